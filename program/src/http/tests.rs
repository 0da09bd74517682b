use std::{fs, time::Instant};

use axum::routing::get;
use keyloom_common::{
    http::HttpJobsSettings,
    rpc::{Identity, TokenFiles},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const TOKEN: &str = "a-token-of-some-length";

/// A daemon that is ready if it says so.
struct Daemon(Result<(), String>);

impl Told for Daemon {
    fn ready(&self) -> Result<(), String> {
        self.0.clone()
    }

    async fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

fn settings() -> HttpSettings {
    HttpSettings { listen: Some("127.0.0.1:0".to_owned()), ..HttpSettings::default() }
}

async fn open(settings: &HttpSettings) -> Result<Port> {
    Port::open(settings, None, &Limits::default()).await.map(|port| port.expect("a port"))
}

/// A port that answers, and where it is.
async fn serve(settings: &HttpSettings, daemon: Daemon) -> (Serving, SocketAddr) {
    let port = open(settings).await.unwrap();
    let address = port.address;
    (port.serve(daemon), address)
}

/// What is answered to these lines.
async fn ask(address: SocketAddr, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The status and the body.
async fn asked(address: SocketAddr, lines: &[&str]) -> (String, String) {
    let answer = ask(address, lines).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.lines().next().unwrap_or_default();
    (status.replace("HTTP/1.1 ", ""), body.to_owned())
}

async fn check(address: SocketAddr, lines: &[&str], status: &str, body: &str) {
    let answer = asked(address, lines).await;
    assert_eq!(answer, (status.to_owned(), body.to_owned()), "{lines:?}");
}

const HOST: &str = "Host: localhost";

#[tokio::test]
async fn a_daemon_that_lives_and_works_says_so() {
    let (_serving, address) = serve(&settings(), Daemon(Ok(()))).await;
    check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n").await;
    check(address, &["GET /readyz HTTP/1.1", HOST], "200 OK", "ready\n").await;
    check(address, &["GET /metrics HTTP/1.1", HOST], "200 OK", "# EOF\n").await;
    let answer = ask(address, &["GET /metrics HTTP/1.1", HOST]).await;
    let format = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(format), "{answer}");
}

#[tokio::test]
async fn a_daemon_that_does_not_work_says_why_and_that_it_lives() {
    let (_serving, address) = serve(&settings(), Daemon(Err("it drains".to_owned()))).await;
    check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n").await;
    let status = "503 Service Unavailable";
    check(address, &["GET /readyz HTTP/1.1", HOST], status, "it drains\n").await;
}

#[tokio::test]
async fn what_there_is_not_is_answered_with_what_there_is() {
    let (_serving, address) = serve(&settings(), Daemon(Ok(()))).await;
    let paths = "there is no such path; there are /healthz, /readyz, /metrics\n";
    check(address, &["GET /jobs HTTP/1.1", HOST], "404 Not Found", paths).await;
    let (status, _) = asked(address, &["POST /metrics HTTP/1.1", HOST]).await;
    assert_eq!(status, "405 Method Not Allowed");
}

#[tokio::test]
async fn a_page_of_another_name_is_refused() {
    let (_serving, address) = serve(&settings(), Daemon(Ok(()))).await;
    let refused = "this port is for this machine: ask for localhost or 127.0.0.1\n";
    for path in ["/metrics", "/healthz", "/elsewhere"] {
        let line = format!("GET {path} HTTP/1.1");
        check(address, &[line.as_str(), "Host: rebound.example"], "403 Forbidden", refused).await;
    }
}

#[tokio::test]
async fn what_is_counted_is_told_for_the_token_and_health_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    let settings = HttpSettings { token_file: Some(path), ..settings() };
    let (_serving, address) = serve(&settings, Daemon(Ok(()))).await;
    check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n").await;
    let line = "GET /metrics HTTP/1.1";
    let needed = "a token is needed: Authorization: Bearer …\n";
    check(address, &[line, HOST], "401 Unauthorized", needed).await;
    let wrong = "Authorization: Bearer another-token-of-some-length";
    check(address, &[line, HOST, wrong], "401 Unauthorized", "the token is not known\n").await;
    let right = format!("Authorization: Bearer {TOKEN}");
    check(address, &[line, HOST, right.as_str()], "200 OK", "# EOF\n").await;
}

#[tokio::test]
async fn other_machines_are_let_in_only_where_it_is_said_how() {
    let anywhere = HttpSettings { listen: Some("0.0.0.0:0".to_owned()), ..HttpSettings::default() };
    let refused = open(&anywhere).await.unwrap_err();
    let expected = "0.0.0.0:0 can be reached from other machines, and would tell whoever asks what \
                    is counted; listen on 127.0.0.1, give a token by the setting http.token_file, \
                    or add --insecure-http on a network that you trust";
    assert_eq!(refused.to_string(), expected);
    let insecure = HttpSettings { insecure_listen: true, ..anywhere.clone() };
    let (_serving, address) = serve(&insecure, Daemon(Ok(()))).await;
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    check(address, &["GET /metrics HTTP/1.1", "Host: worker-1"], "200 OK", "# EOF\n").await;
}

#[tokio::test]
async fn an_operators_token_is_not_asked_for_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator");
    fs::write(&path, TOKEN).unwrap();
    let tokens = TokenFiles { operator: Some(path), ..TokenFiles::default() };
    let server = ServerSecurity { tokens, ..ServerSecurity::default() };
    let open = async |listen: &str| {
        let settings = HttpSettings { listen: Some(listen.to_owned()), ..HttpSettings::default() };
        Port::open(&settings, Some(&server), &Limits::default()).await
    };
    let refused = open("0.0.0.0:0").await.unwrap_err().to_string();
    assert!(refused.contains("give a token by the setting http.token_file"), "{refused}");
    let near = open("127.0.0.1:0").await.unwrap().unwrap();
    assert!(near.guard.operators.is_some());
}

#[tokio::test]
async fn without_an_address_there_is_no_port_and_a_wrong_one_is_named() {
    let none = Port::open(&HttpSettings::default(), None, &Limits::default()).await.unwrap();
    assert!(none.is_none());
    let listen = Some("nowhere".to_owned());
    let wrong = open(&HttpSettings { listen, ..HttpSettings::default() }).await.unwrap_err();
    assert_eq!(wrong.to_string(), "--http takes HOST:PORT, not 'nowhere'");
    let half = HttpSettings { cert_file: Some("cert.pem".into()), ..settings() };
    let wrong = open(&half).await.unwrap_err();
    let expected = "http.cert_file and http.key_file go together: set both or none";
    assert_eq!(wrong.to_string(), expected);
}

#[tokio::test]
async fn whoever_does_not_finish_its_request_leaves_its_place_to_others() {
    let settings = HttpSettings { max_connections: 1, header_timeout_ms: 200, ..settings() };
    let (_serving, address) = serve(&settings, Daemon(Ok(()))).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    let begun = Instant::now();
    check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn those_who_hold_all_places_keep_nobody_away() {
    let settings = HttpSettings { max_connections: 2, header_timeout_ms: 600_000, ..settings() };
    let (_serving, address) = serve(&settings, Daemon(Ok(()))).await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
        slow.push(stream);
    }
    let answered = check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n");
    timeout(Duration::from_secs(20), answered).await.expect("an answer");
    // The one that came first was hung up on.
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(20), slow[0].read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
}

/// Pages that tell who asks.
fn pages(settings: HttpJobsSettings) -> Pages {
    let who = |Extension(identity): Extension<Identity>| async move { identity.to_string() };
    Pages { router: Router::new().route("/v1/who", get(who)), settings, insecure: false }
}

async fn serve_pages(
    settings: &HttpSettings,
    server: Option<&ServerSecurity>,
    jobs: HttpJobsSettings,
) -> (Serving, SocketAddr) {
    let port = Port::open(settings, server, &Limits::default()).await.unwrap().expect("a port");
    let address = port.address;
    (port.serve_with(Daemon(Ok(())), Some(pages(jobs))), address)
}

const WHO: &str = "GET /v1/who HTTP/1.1";

#[tokio::test]
async fn where_nobody_is_asked_all_are_the_same_and_pages_of_browsers_are_nobody() {
    let jobs = HttpJobsSettings::default();
    let (_serving, address) =
        serve_pages(&settings(), Some(&ServerSecurity::default()), jobs).await;
    check(address, &[WHO, HOST], "200 OK", "operator 'anybody'").await;
    check(address, &["GET /healthz HTTP/1.1", HOST], "200 OK", "lives\n").await;
    let (status, body) = asked(address, &[WHO, HOST, "Origin: http://evil.example"]).await;
    assert_eq!(status, "403 Forbidden");
    let refused = "{\"error\":{\"kind\":\"permission_denied\",\"message\":\"jobs are for programs: \
                   pages in browsers may not ask for them\"}}\n";
    assert_eq!(body, refused);
    let refused = "{\"error\":{\"kind\":\"permission_denied\",\"message\":\"this port is for this \
                   machine: ask for localhost or 127.0.0.1\"}}\n";
    check(address, &[WHO, "Host: rebound.example"], "403 Forbidden", refused).await;
    let paths = "there is no such path; there are /healthz, /readyz, /metrics, /v1/openapi.json\n";
    check(address, &["GET /jobs HTTP/1.1", HOST], "404 Not Found", paths).await;
}

#[tokio::test]
async fn a_token_says_who_asks_for_pages() {
    let folder = tempfile::tempdir().unwrap();
    let file = |role: &str| {
        let path = folder.path().join(role);
        fs::write(&path, format!("{role}-{TOKEN}")).unwrap();
        Some(path)
    };
    let (client, worker, operator) = (file("client"), file("worker"), file("operator"));
    let tokens = TokenFiles { client, worker, operator };
    let server = ServerSecurity { tokens, ..ServerSecurity::default() };
    let jobs = HttpJobsSettings::default();
    let (_serving, address) = serve_pages(&settings(), Some(&server), jobs).await;
    let shown = |token: &str| format!("Authorization: Bearer {token}");
    for role in ["client", "operator"] {
        let token = shown(&format!("{role}-{TOKEN}"));
        check(address, &[WHO, HOST, token.as_str()], "200 OK", &format!("{role} 'token'")).await;
    }
    let token = shown(&format!("worker-{TOKEN}"));
    let (status, body) = asked(address, &[WHO, HOST, token.as_str()]).await;
    assert_eq!(status, "403 Forbidden");
    assert!(body.contains("worker 'token' may not submit jobs"), "{body}");
    let wrong = shown("of-nobody-at-all-here");
    for lines in [&[WHO, HOST][..], &[WHO, HOST, wrong.as_str()][..]] {
        let answer = ask(address, lines).await;
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_slow_is_answered_in_time_and_only_so_much_at_once() {
    let jobs = HttpJobsSettings { max_requests: 1, request_timeout_ms: 300, ..Default::default() };
    let port = Port::open(&settings(), None, &Limits::default()).await.unwrap().expect("a port");
    let address = port.address;
    let router = Router::new().route("/v1/never", get(std::future::pending::<()>));
    let pages = Pages { router, settings: jobs, insecure: false };
    let _serving = port.serve_with(Daemon(Ok(())), Some(pages));
    let line = &["GET /v1/never HTTP/1.1", HOST];
    let (one, other) = tokio::join!(asked(address, line), asked(address, line));
    let mut answers = [one, other];
    answers.sort();
    let [(full, at_once), (late, in_time)] = answers;
    assert_eq!((full.as_str(), late.as_str()), ("429 Too Many Requests", "504 Gateway Timeout"));
    assert!(at_once.contains("http_jobs.max_requests = 1"), "{at_once}");
    assert!(in_time.contains("http_jobs.request_timeout_ms"), "{in_time}");
}
