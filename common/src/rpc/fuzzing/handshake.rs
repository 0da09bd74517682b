//! The first exchange on a connection.

use futures::FutureExt;
use tokio::io::join;

use crate::rpc::{
    handshake::{Service, accept, challenge, hello, welcome},
    security::{Binding, Role, Token},
};

/// A token that nobody has.
const TOKEN: &str = "a-token-of-fuzzers";

/// A nonce, or a proof, as it travels.
const NUMBER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const WAITS: &str = "what is all there is waited for";

/// Reads bytes as what either side of a handshake hears.
pub(crate) fn handshake(bytes: &[u8]) {
    heard_by_a_coordinator(bytes);
    for token in [None, Some(Token::of(TOKEN))] {
        let mut stream = join(bytes, Vec::<u8>::new());
        let token = token.as_ref();
        let heard = hello(&mut stream, Service::Client, token, Binding::default()).now_or_never();
        assert!(heard.is_some(), "{WAITS}");
        // Nobody proves a token for a nonce that is drawn then.
        assert!(token.is_none() || heard != Some(Ok(())), "a proof of another connection holds");
    }
}

fn heard_by_a_coordinator(bytes: &[u8]) {
    let mut stream = join(bytes, Vec::<u8>::new());
    let greeted = welcome(&mut stream).now_or_never();
    assert!(greeted.is_some(), "{WAITS}");
    let Some(Ok(service)) = greeted else { return };
    let tokens = [(Role::Client, Token::of(TOKEN))];
    let proved = challenge(&mut stream, service, &tokens, Binding::default()).now_or_never();
    assert!(proved.is_some(), "{WAITS}");
    assert!(!matches!(proved, Some(Ok(_))), "a proof of another connection holds");
    let answer = accepted();
    let mut stream = join(&answer[..], Vec::<u8>::new());
    let heard = hello(&mut stream, service, None, Binding::default()).now_or_never();
    assert!(heard == Some(Ok(())), "who is welcome hears something else: {heard:?}");
}

/// What whoever connects says first.
fn greeting(service: Service) -> Vec<u8> {
    let mut stream = join(&b""[..], Vec::<u8>::new());
    // Nobody answers.
    let _ = hello(&mut stream, service, None, Binding::default()).now_or_never();
    stream.into_inner().1
}

/// What a coordinator says that lets somebody in.
fn accepted() -> Vec<u8> {
    let mut said = Vec::new();
    let _ = accept(&mut said, None).now_or_never();
    said
}

/// What both sides say, for each service, with tokens and without.
pub(crate) fn handshakes() -> Vec<Vec<u8>> {
    let answer = format!("{{\"nonce\":\"{NUMBER}\",\"proof\":\"{NUMBER}\",\"sum\":null}}\n");
    let challenge = format!(
        "{{\"build\":\"1\",\"refused\":null,\"challenge\":\"{NUMBER}\",\"sum\":null}}\n\
         {{\"build\":\"1\",\"refused\":null,\"proof\":\"{NUMBER}\",\"sum\":null}}\n"
    );
    let mut said = vec![accepted(), challenge.into_bytes()];
    for service in [Service::Client, Service::Worker] {
        let greeting = greeting(service);
        said.push([&greeting[..], answer.as_bytes()].concat());
        said.push(greeting);
    }
    said
}
