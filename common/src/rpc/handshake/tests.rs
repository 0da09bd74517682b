//! Both sides of a handshake, and peers that are none.

use super::*;

const TOKEN: &str = "client-0123456789";

/// Both sides of a handshake, of which the accepting one has these tokens.
async fn shake(
    service: Service,
    token: Option<&Token>,
    tokens: &[(Role, Token)],
) -> (Result<()>, Result<Role>) {
    let (mut near, mut far) = tokio::io::duplex(4096);
    let accepting = async {
        let service = welcome(&mut far).await?;
        match challenge(&mut far, service, tokens, Binding::default()).await {
            Ok((role, proof)) => {
                accept(&mut far, Some(proof)).await?;
                Ok(role)
            }
            Err(error) => {
                refuse(&mut far, &error).await?;
                Err(error)
            }
        }
    };
    tokio::join!(hello(&mut near, service, token, Binding::default()), accepting)
}

fn tokens() -> Vec<(Role, Token)> {
    vec![
        (Role::Client, Token::of("client-9876543210")),
        (Role::Client, Token::of(TOKEN)),
        (Role::Worker, Token::of("worker-0123456789")),
    ]
}

fn hello_of(build: &str) -> Hello {
    Hello { keyloom: PROTOCOL, build: build.to_owned(), service: Service::Client }
}

#[tokio::test]
async fn a_peer_of_this_build_is_welcome() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    let accepting = async {
        let service = welcome(&mut b).await?;
        accept(&mut b, None).await.map(|()| service)
    };
    let connecting = hello(&mut a, Service::Worker, None, Binding::default());
    let (hello, service) = tokio::join!(connecting, accepting);
    hello.unwrap();
    assert_eq!(service.unwrap(), Service::Worker);
}

#[tokio::test]
async fn whoever_has_one_of_the_tokens_is_of_its_role() {
    for (token, role) in [
        (TOKEN, Role::Client),
        ("client-9876543210", Role::Client),
        ("worker-0123456789", Role::Worker),
    ] {
        let token = Token::of(token);
        let (hello, proved) = shake(Service::Client, Some(&token), &tokens()).await;
        assert_eq!((hello, proved), (Ok(()), Ok(role)));
    }
}

#[tokio::test]
async fn whoever_has_another_token_or_none_is_told_so() {
    let wrong = Token::of("client-0123456780");
    for (token, expected) in [
        (Some(&wrong), "the token is none of the coordinator's"),
        (
            None,
            "the coordinator wants a token, and there is none: set security.token_file or \
             security.token",
        ),
    ] {
        let (hello, proved) = shake(Service::Client, token, &tokens()).await;
        assert_eq!(hello, Err(Error::permission_denied(expected)));
        assert_eq!(proved, Err(Error::permission_denied(expected)));
    }
}

#[tokio::test]
async fn a_token_that_nobody_asks_for_is_an_error() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    let accepting = async {
        welcome(&mut b).await?;
        accept(&mut b, None).await
    };
    let token = Token::of(TOKEN);
    let connecting = hello(&mut a, Service::Client, Some(&token), Binding::default());
    let (hello, accepted) = tokio::join!(connecting, accepting);
    accepted.unwrap();
    let error = hello.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.message().contains("asks for none"), "{error}");
}

/// What one side says to the coordinator's challenge.
async fn answered(answer: impl FnOnce(Nonce) -> Answer) -> Result<Role> {
    let (mut near, mut far) = tokio::io::duplex(4096);
    let (tokens, none) = (tokens(), Binding::default());
    let accepting = challenge(&mut far, Service::Client, &tokens, none);
    let connecting = async {
        let challenge = read_welcome(&mut near).await?.challenge.unwrap();
        write_line(&mut near, &answer(Nonce::from_hex(&challenge).unwrap())).await
    };
    let (proved, written) = tokio::join!(accepting, connecting);
    written.unwrap();
    proved.map(|(role, _)| role)
}

#[tokio::test]
async fn a_proof_is_worth_nothing_anywhere_else() {
    let token = Token::of(TOKEN);
    let answer = |service, side, accepting, binding| {
        let connecting = Nonce::draw().unwrap();
        let transcript = Transcript { service, accepting, connecting, binding };
        let proof = Some(token.prove(side, &transcript).to_hex());
        Answer { nonce: connecting.to_hex(), proof }
    };
    let (client, here) = (Service::Client, Binding::default());
    let right = answered(|nonce| answer(client, Side::Connecting, nonce, here)).await;
    assert_eq!(right, Ok(Role::Client));
    let denied = Err(Error::permission_denied("the token is none of the coordinator's"));
    // Of another connection, for another service, as the coordinator proves it, and in another TLS
    // session.
    let earlier = Nonce::draw().unwrap();
    let replayed = answered(|_| answer(client, Side::Connecting, earlier, here)).await;
    assert_eq!(replayed, denied);
    let swapped = answered(|nonce| answer(Service::Worker, Side::Connecting, nonce, here)).await;
    assert_eq!(swapped, denied);
    let reflected = answered(|nonce| answer(client, Side::Accepting, nonce, here)).await;
    assert_eq!(reflected, denied);
    let tls = Binding([1; 32]);
    let relayed = answered(|nonce| answer(client, Side::Connecting, nonce, tls)).await;
    assert_eq!(relayed, denied);
}

#[tokio::test]
async fn a_coordinator_without_the_token_is_not_believed() {
    let token = Token::of(TOKEN);
    // It sends back what it was sent, or nothing.
    for reflects in [true, false] {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let accepting = async {
            welcome(&mut far).await?;
            let challenge = Some(Nonce::draw()?.to_hex());
            write_line(&mut far, &Welcome { challenge, ..Welcome::new() }).await?;
            let answer: Answer = read_line(&mut far).await?;
            let proof = answer.proof.filter(|_| reflects);
            write_line(&mut far, &Welcome { proof, ..Welcome::new() }).await
        };
        let connecting = hello(&mut near, Service::Client, Some(&token), Binding::default());
        let (hello, accepted) = tokio::join!(connecting, accepting);
        accepted.unwrap();
        let error = hello.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().starts_with("the coordinator did not prove"), "{error}");
    }
}

#[tokio::test]
async fn the_token_does_not_cross_the_wire() {
    let (mut near, mut far) = tokio::io::duplex(4096);
    let token = Token::of(TOKEN);
    let sent = async {
        let mut line = String::new();
        let mut far = tokio::io::BufReader::new(&mut far);
        tokio::io::AsyncBufReadExt::read_line(&mut far, &mut line).await.unwrap();
        let challenge = Some(Nonce::draw().unwrap().to_hex());
        write_line(far.get_mut(), &Welcome { challenge, ..Welcome::new() }).await.unwrap();
        tokio::io::AsyncBufReadExt::read_line(&mut far, &mut line).await.unwrap();
        refuse(far.get_mut(), &Error::permission_denied("no")).await.unwrap();
        line
    };
    let connecting = hello(&mut near, Service::Client, Some(&token), Binding::default());
    let (hello, sent) = tokio::join!(connecting, sent);
    assert_eq!(hello, Err(Error::permission_denied("no")));
    assert!(sent.contains("proof") && !sent.contains(TOKEN), "{sent}");
}

#[tokio::test]
async fn a_peer_of_another_build_is_refused_by_name() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    write_line(&mut a, &hello_of("0.0.9")).await.unwrap();
    let error = welcome(&mut b).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("build 0.0.9"), "{error}");
    let answer: Welcome = read_line(&mut a).await.unwrap();
    assert_eq!(answer.refused.as_deref(), Some(error.message()));
}

#[tokio::test]
async fn a_peer_without_a_place_is_refused_for_now() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    let full = Error::resource_exhausted("all places are taken");
    let accepting = async {
        welcome(&mut b).await?;
        refuse(&mut b, &full).await
    };
    let connecting = hello(&mut a, Service::Client, None, Binding::default());
    let (hello, told) = tokio::join!(connecting, accepting);
    told.unwrap();
    assert_eq!(hello.unwrap_err(), full);
}

/// Peers of builds before there was one compute their checksum without it, and so of what else they
/// do not know.
#[test]
fn the_first_lines_look_as_ever() {
    let welcome = Welcome { build: "1".to_owned(), ..Welcome::new() };
    assert_eq!(serde_json::to_string(&welcome).unwrap(), r#"{"build":"1","refused":null}"#);
    let hello = Hello { keyloom: 1, ..hello_of("1") };
    let expected = r#"{"keyloom":1,"build":"1","role":"client"}"#;
    assert_eq!(serde_json::to_string(&hello).unwrap(), expected);
}

#[tokio::test]
async fn a_damaged_handshake_is_worth_another_try() {
    let (mut near, mut far) = tokio::io::duplex(4096);
    write_line(&mut near, &hello_of(BUILD)).await.unwrap();
    drop(near);
    let mut line = Vec::new();
    far.read_to_end(&mut line).await.unwrap();
    let at = line.windows(BUILD.len()).position(|part| part == BUILD.as_bytes()).unwrap();
    for bit in 0..8 {
        let mut damaged = line.clone();
        damaged[at + 2] ^= 1 << bit;
        let (mut a, mut b) = tokio::io::duplex(4096);
        a.write_all(&damaged).await.unwrap();
        drop(a);
        let error = welcome(&mut b).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // Some of the others make no line that can be read.
        if bit == 0 {
            assert_eq!(error.code(), Some(ErrorCode::HandshakeDamaged));
        }
    }
}

#[tokio::test]
async fn a_stranger_is_no_panic() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    a.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(welcome(&mut b).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_a_stranger_says_steers_no_terminal() {
    let (mut a, mut b) = tokio::io::duplex(4096);
    let error = Error::permission_denied("\u{1b}[2Jno\r\n\u{9b}K\u{202e}");
    let accepting = async {
        welcome(&mut b).await?;
        refuse(&mut b, &error).await
    };
    let connecting = hello(&mut a, Service::Client, None, Binding::default());
    let (refused, told) = tokio::join!(connecting, accepting);
    told.unwrap();
    let shown = "\u{fffd}[2Jno\u{fffd}\u{fffd}\u{fffd}K\u{fffd}";
    assert_eq!(refused.unwrap_err().message(), shown);
}
