//! Peers that may come in, and peers that may not, over sockets.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rcgen::ExtendedKeyUsagePurpose;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::{
    testing::{Authority, Files, token},
    *,
};
use crate::{
    Error, ErrorKind, Result, Secret,
    rpc::{Chunk, Limits, Transport, connect, framed, handshake::Service},
};

const HOST: &str = "127.0.0.1";

type Near = Transport<Vec<u8>, Chunk>;

/// What became of a connection on both sides.
struct Met {
    near: Result<Near>,
    far: Result<Admitted<()>>,
}

impl Met {
    /// Who came in.
    fn identity(self) -> Identity {
        self.near.unwrap();
        self.far.unwrap().identity
    }

    /// Why nobody did, as both sides have it.
    fn refused(self) -> [Error; 2] {
        [self.near.unwrap_err(), self.far.unwrap_err()]
    }

    /// That both know that it is for who the peer is, and what each has of it.
    fn denied(self) -> [String; 2] {
        self.refused().map(|error| {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            error.message().to_owned()
        })
    }
}

/// Connects to a gate that has been opened.
async fn meet_at(gate: &Gate, service: Service, credentials: &Credentials, scheme: &str) -> Met {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = format!("{scheme}://{}", listener.local_addr().unwrap());
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        gate.admit(stream, || Ok(())).await
    };
    let limits = Limits::default();
    let (near, far) = tokio::join!(connect(&address, service, &limits, credentials), accepting);
    Met { near, far }
}

async fn meet(security: &ServerSecurity, service: Service, peer: &PeerSecurity) -> Met {
    let gate = Gate::open(PortName::Rpc, security, &Limits::default()).unwrap();
    let scheme = if peer.ca_file.is_some() { "tls" } else { "tcp" };
    meet_at(&gate, service, &peer.load().unwrap(), scheme).await
}

fn identity(role: Role, name: &str) -> Identity {
    Identity { role, name: name.into() }
}

#[tokio::test]
async fn a_certificate_says_who_a_peer_is() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    for (role, name, service) in [
        (Role::Client, "alice", Service::Client),
        (Role::Operator, "olga", Service::Client),
        (Role::Worker, "w-1", Service::Worker),
    ] {
        let peer = files.peer(&ca, Some(&ca.peer(role, name)));
        assert_eq!(meet(&security, service, &peer).await.identity(), identity(role, name));
    }
}

#[tokio::test]
async fn a_certificate_is_good_for_its_role_alone() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    for (role, service, expected) in [
        (Role::Client, Service::Worker, "client 'x' may not run tasks: that takes the role worker"),
        (
            Role::Operator,
            Service::Worker,
            "operator 'x' may not run tasks: that takes the role worker",
        ),
        (
            Role::Worker,
            Service::Client,
            "worker 'x' may not submit jobs: that takes the role client or operator",
        ),
    ] {
        let peer = files.peer(&ca, Some(&ca.peer(role, "x")));
        assert_eq!(meet(&security, service, &peer).await.denied(), [expected; 2]);
    }
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_refused() {
    let (files, ca, other) = (Files::new(), Authority::new("a"), Authority::new("b"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    for (own, expected) in [
        (Some(other.peer(Role::Client, "mallory")), "TLS: invalid peer certificate: UnknownIssuer"),
        (
            Some(ca.expired(Role::Client, "alice")),
            "TLS: invalid peer certificate: certificate expired",
        ),
        // A coordinator's, which is for servers.
        (Some(ca.server(HOST)), "TLS: invalid peer certificate: "),
        (None, "TLS: peer sent no certificates"),
    ] {
        let peer = files.peer(&ca, own.as_ref());
        let [near, far] = meet(&security, Service::Client, &peer).await.denied();
        assert!(near.contains("security.cert_file"), "{near}");
        assert!(far.starts_with(expected), "{far}");
    }
    for uri in ["keyloom://role/admin/a", "keyloom://role/client", "https://role/client/a"] {
        let peer = files.peer(&ca, Some(&ca.peer_of(uri)));
        let [near, far] = meet(&security, Service::Client, &peer).await.denied();
        assert_eq!(near, far);
        assert!(far.starts_with("the certificate names "), "{far}");
    }
}

/// TLS has one word for those whose time is over and those whose time is not there yet.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_not_taken_for_an_expired_one() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let peer = files.peer(&ca, Some(&ca.early(Role::Client, "alice")));
    let [near, far] = meet(&security, Service::Client, &peer).await.denied();
    assert!(near.contains("is not valid before 3000-01-01T00:00:00.000Z: nobody"), "{near}");
    assert!(far.starts_with("TLS: invalid peer certificate: certificate not valid yet"), "{far}");
}

/// As RFC 5280 has it: without the extension, a certificate is for whatever its key can do.
#[tokio::test]
async fn a_certificate_that_names_no_use_is_good_for_its_role() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let peer = |uses| files.peer(&ca, Some(&ca.peer_for(Role::Client, "alice", uses)));
    let met = meet(&security, Service::Client, &peer(Vec::new())).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let met = meet(&security, Service::Client, &peer(both)).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
    // Where it names others, it is for these alone.
    let other = peer(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let [near, far] = meet(&security, Service::Client, &other).await.denied();
    assert!(near.contains("security.cert_file"), "{near}");
    assert!(far.starts_with("TLS: invalid peer certificate: "), "{far}");
}

#[tokio::test]
async fn somebody_elses_certificate_is_none_of_a_coordinator() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.worker_at(HOST, "w-1"), Some(&ca));
    let peer = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let gate = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap();
    let near = meet_at(&gate, Service::Client, &peer.load().unwrap(), "tls").await.near;
    let error = near.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.message().ends_with(" is not accepted: it is that of worker 'w-1'"), "{error}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let crl_file = files.write("crl.pem", &ca.revoked(&[7]));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let security = ServerSecurity { crl_file, ..security };
    let peer = files.peer(&ca, Some(&ca.numbered(Role::Client, "alice", 8)));
    let met = meet(&security, Service::Client, &peer).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
    let peer = files.peer(&ca, Some(&ca.numbered(Role::Client, "alice", 7)));
    let [_, far] = meet(&security, Service::Client, &peer).await.denied();
    assert_eq!(far, "TLS: invalid peer certificate: Revoked");
}

#[tokio::test]
async fn another_coordinator_than_meant_is_not_believed() {
    let (files, ca, other) = (Files::new(), Authority::new("a"), Authority::new("b"));
    let alice = ca.peer(Role::Client, "alice");
    let peer = files.peer(&ca, Some(&alice));
    // Of another authority, and of another host.
    for own in [other.server(HOST), ca.server("elsewhere.example")] {
        let security = files.server(&own, Some(&ca));
        let [near, _] = meet(&security, Service::Client, &peer).await.denied();
        assert!(near.contains("is not accepted: "), "{near}");
    }
    let server_name = Some("elsewhere.example".to_owned());
    let security = files.server(&ca.server("elsewhere.example"), Some(&ca));
    let named = PeerSecurity { server_name, ..peer };
    let met = meet(&security, Service::Client, &named).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
}

#[tokio::test]
async fn tokens_say_what_a_peer_may_do_within_tls_and_without() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let tls = ServerSecurity { tokens: files.tokens(), ..files.server(&ca.server(HOST), None) };
    let plain = ServerSecurity { tokens: files.tokens(), ..ServerSecurity::default() };
    let (trusting, blind) = (files.peer(&ca, None), PeerSecurity::default());
    for (security, peer) in [(tls, trusting), (plain, blind)] {
        let meet_with = async |role: &str, service| {
            let token = Some(Secret::new(token(role)));
            meet(&security, service, &PeerSecurity { token, ..peer.clone() }).await
        };
        for (role, service) in [
            (Role::Client, Service::Client),
            (Role::Worker, Service::Worker),
            (Role::Operator, Service::Client),
        ] {
            let met = meet_with(role.name(), service).await;
            assert_eq!(met.identity(), identity(role, "token"));
        }
        let expected = "client 'token' may not run tasks: that takes the role worker";
        assert_eq!(meet_with("client", Service::Worker).await.denied(), [expected; 2]);
        let expected = "the token is none of the coordinator's";
        assert_eq!(meet_with("nobody", Service::Client).await.denied(), [expected; 2]);
        let [near, far] = meet(&security, Service::Client, &peer).await.denied();
        assert_eq!(near, far);
        assert!(far.starts_with("the coordinator wants a token"), "{far}");
    }
}

#[tokio::test]
async fn certificate_and_token_must_agree() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let security = ServerSecurity { tokens: files.tokens(), ..security };
    let alice = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let with = |role: &str| {
        let token = Some(Secret::new(token(role)));
        PeerSecurity { token, ..alice.clone() }
    };
    let met = meet(&security, Service::Client, &with("client")).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
    let expected = "the certificate is that of client 'alice', and the token is one of the role \
                    operator";
    let met = meet(&security, Service::Client, &with("operator")).await;
    assert_eq!(met.denied(), [expected; 2]);
    let [near, _] = meet(&security, Service::Client, &alice).await.denied();
    assert!(near.starts_with("the coordinator wants a token"), "{near}");
    // A token is wanted of those roles alone that have one.
    let worker = files.write("worker", &token("worker"));
    let tokens = TokenFiles { worker, ..TokenFiles::default() };
    let security = ServerSecurity { tokens, ..security };
    let met = meet(&security, Service::Client, &alice).await;
    assert_eq!(met.identity(), identity(Role::Client, "alice"));
}

#[tokio::test]
async fn without_security_everybody_may_do_everything() {
    for service in [Service::Client, Service::Worker] {
        let met = meet(&ServerSecurity::default(), service, &PeerSecurity::default()).await;
        assert_eq!(met.identity(), Identity::anybody());
    }
}

#[tokio::test]
async fn whoever_speaks_without_tls_is_told() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let [near, far] = meet(&security, Service::Client, &PeerSecurity::default()).await.refused();
    assert_eq!((near.kind(), &near), (ErrorKind::Invalid, &far));
    assert!(near.message().starts_with("the coordinator takes TLS alone"), "{near}");

    let peer = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let [near, far] = meet(&ServerSecurity::default(), Service::Client, &peer).await.refused();
    assert_eq!(near.kind(), ErrorKind::Unavailable);
    assert!(near.message().contains("no TLS with the coordinator"), "{near}");
    assert_eq!(far.message(), "it speaks TLS, and security.cert_file is not set");
}

#[tokio::test]
async fn a_gate_takes_new_files_and_keeps_the_old_for_bad_ones() {
    let (files, old, new) = (Files::new(), Authority::new("a"), Authority::new("b"));
    let security = files.server(&old.server(HOST), Some(&old));
    let gate = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap();
    let peer = |name: &str, ca: &Authority| {
        let files = Files::new();
        let credentials = files.peer(ca, Some(&ca.peer(Role::Client, name))).load().unwrap();
        (files, credentials)
    };
    let ((_old_files, before), (_new_files, after)) = (peer("alice", &old), peer("alice", &new));
    let meet =
        async |credentials: &Credentials| meet_at(&gate, Service::Client, credentials, "tls").await;
    assert!(meet(&before).await.far.is_ok());
    assert!(meet(&after).await.far.is_err());

    files.write("server.pem", "no certificate");
    gate.reload();
    assert!(meet(&before).await.far.is_ok());
    let counted = || {
        let Reloads { succeeded, failed, valid_until } = gate.reloads();
        assert!(valid_until.is_some());
        [succeeded, failed]
    };
    assert_eq!(counted(), [0, 1]);

    files.server(&new.server(HOST), Some(&new));
    gate.reload();
    assert!(meet(&after).await.far.is_ok());
    assert!(meet(&before).await.far.is_err());
    let figures = gate.figures();
    assert_eq!((figures.admitted, figures.refused), (3, 2));
    assert_eq!(counted(), [1, 1]);
}

#[tokio::test]
async fn a_gate_sees_by_itself_that_files_have_changed() {
    let files = Files::new();
    let security =
        ServerSecurity { tokens: files.tokens(), reload_ms: 1, ..ServerSecurity::default() };
    let gate = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap();
    let changed = "client-fedcba9876543210";
    assert_eq!(gate.bearer(changed), None);
    files.write("client", &format!("{changed}\n{}\n", token("client")));
    let seen = async {
        while gate.bearer(changed).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = gate.keep_fresh() => {}
        seen = tokio::time::timeout(Duration::from_secs(10), seen) => seen.unwrap(),
    }
    // Of two both hold.
    let client = Some(identity(Role::Client, "token"));
    assert_eq!([gate.bearer(changed), gate.bearer(&token("client"))], [client.clone(), client]);
}

#[test]
fn whoever_asks_at_another_port_needs_what_it_would_need_here() {
    let files = Files::new();
    let security = ServerSecurity { tokens: files.tokens(), ..ServerSecurity::default() };
    let gate = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap();
    let who = |certified: Option<&Identity>, token: Option<&str>| {
        let identity = gate.identify(certified.cloned(), token);
        identity.map_err(|error| error.message().to_owned())
    };
    let [alice, some] = ["alice", "token"].map(|name| identity(Role::Client, name));
    assert_eq!(who(None, Some(&token("client"))), Ok(some));
    assert_eq!(who(Some(&alice), Some(&token("client"))), Ok(alice.clone()));
    let needed = "a token is needed: Authorization: Bearer …".to_owned();
    assert_eq!([who(None, None), who(Some(&alice), None)], [Err(needed.clone()), Err(needed)]);
    assert_eq!(who(None, Some("of-nobody")), Err("the token is not known".to_owned()));
    let other = "the certificate is that of client 'alice', and the token is one of the role \
                 operator";
    assert_eq!(who(Some(&alice), Some(&token("operator"))), Err(other.to_owned()));
}

#[tokio::test]
async fn credentials_are_read_again_when_they_have_changed() {
    let (files, own, ca) = (Files::new(), Files::new(), Authority::new("a"));
    let gate =
        Gate::open(PortName::Rpc, &files.server(&ca.server(HOST), Some(&ca)), &Limits::default())
            .unwrap();
    let credentials = own.peer(&ca, Some(&ca.peer(Role::Client, "alice"))).load().unwrap();
    let name = async || {
        let met = meet_at(&gate, Service::Client, &credentials, "tls").await;
        met.identity().name.to_string()
    };
    assert_eq!(name().await, "alice");
    own.write("own.pem", "no certificate");
    assert_eq!(name().await, "alice");
    own.peer(&ca, Some(&ca.peer(Role::Client, "bob")));
    assert_eq!(name().await, "bob");
}

#[test]
fn files_that_do_not_go_together_are_named() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let other = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let security = ServerSecurity { key_file: other.key_file, ..security };
    let error = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let shown = |path: &Option<PathBuf>| path.as_ref().unwrap().display().to_string();
    let expected = format!(
        "security.cert_file '{}' and security.key_file '{}' do not go together: ",
        shown(&security.cert_file),
        shown(&security.key_file)
    );
    assert!(error.message().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn whoever_finds_no_place_is_told_once_it_is_known() {
    let files = Files::new();
    let security = ServerSecurity { tokens: files.tokens(), ..ServerSecurity::default() };
    let gate = Gate::open(PortName::Rpc, &security, &Limits::default()).unwrap();
    let full = || Error::resource_exhausted("all places are taken");
    let meet = async |role: &str| {
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let token = Some(Secret::new(token(role)));
        let credentials = PeerSecurity { token, ..PeerSecurity::default() }.load().unwrap();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            gate.admit(stream, || Err::<(), _>(full())).await
        };
        let limits = Limits::default();
        let connecting =
            connect::<Vec<u8>, Chunk>(&address, Service::Client, &limits, &credentials);
        let (near, far) = tokio::join!(connecting, accepting);
        [near.unwrap_err(), far.unwrap_err()]
    };
    assert_eq!(meet("client").await, [full(), full()]);
    let kinds = meet("nobody").await.map(|error| error.kind());
    assert_eq!(kinds, [ErrorKind::PermissionDenied; 2]);
}

#[tokio::test]
async fn peers_that_say_nothing_or_nonsense_have_a_deadline() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let limits = Limits { handshake_timeout_ms: 100, ..Limits::default() };
    for security in [ServerSecurity::default(), files.server(&ca.server(HOST), Some(&ca))] {
        let gate = Gate::open(PortName::Rpc, &security, &limits).unwrap();
        // TLS that goes no further, a line that does not end, and nothing.
        for said in [&b"\x16\x03\x01\x02"[..], b"{", b""] {
            let listener = TcpListener::bind((HOST, 0)).await.unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut near, said).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            let error = gate.admit(far, || Ok(())).await.unwrap_err();
            let is_tls_to_none = !security.has_tls() && said.len() > 1;
            let expected = if is_tls_to_none { ErrorKind::Invalid } else { ErrorKind::Timeout };
            assert_eq!(error.kind(), expected, "{error}");
            // It hangs up.
            let mut rest = Vec::new();
            let _ = near.read_to_end(&mut rest).await;
        }
    }
}

#[tokio::test]
async fn large_messages_travel_within_tls() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let peer = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let met = meet(&security, Service::Client, &peer).await;
    let (mut near, far) = (met.near.unwrap(), met.far.unwrap());
    let mut far: Transport<Chunk, Vec<u8>> = framed(far.stream, &Limits::default(), None);
    let sent: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (sending, received) = tokio::join!(near.send(Bytes::from(sent.clone()).into()), far.next());
    sending.unwrap();
    let Chunk::Stream(body) = received.unwrap().unwrap() else { unreachable!("rows") };
    assert_eq!(body.into_bytes(), sent);
    let (answering, answer) = tokio::join!(far.send(vec![1, 2, 3]), near.next());
    answering.unwrap();
    assert_eq!(answer.unwrap().unwrap(), [1, 2, 3]);
}

/// Each client that ends would otherwise be an error in the coordinator's log.
#[tokio::test]
async fn a_peer_that_goes_without_a_word_has_ended_its_connection() {
    let (files, ca) = (Files::new(), Authority::new("a"));
    let security = files.server(&ca.server(HOST), Some(&ca));
    let peer = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
    let met = meet(&security, Service::Client, &peer).await;
    let (near, far) = (met.near.unwrap(), met.far.unwrap());
    let mut far: Transport<Chunk, Vec<u8>> = framed(far.stream, &Limits::default(), None);
    drop(near);
    assert!(far.next().await.is_none());
}
