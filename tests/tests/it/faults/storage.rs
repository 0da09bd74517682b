//! A server of objects that falls silent, as one that is stopped: jobs that need it end by its
//! store's or its file's name, all else goes on, and one that is only slow is waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs, io,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use keyloom_client::{
    EmbeddedSettings, Error, ErrorKind, Input, LanceOptions, Session, Settings, load_kv,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::harness::{batch, failure, ints, rows, write_lance};

const BUCKET: &str = "bucket";
const PROFILE: &str = "server";

const ROWS: i64 = 300;
/// So that a job makes many requests.
const FRAGMENT_ROWS: usize = 10;

const QUERY: &str = "SELECT id, kv_get(id, source => 'emb')['name'] AS name FROM t";

/// Far more than all attempts of a job take together.
const BOUND: Duration = Duration::from_secs(60);

/// A folder shown as an S3 bucket, read-only. It ends when it is dropped.
struct Server {
    address: SocketAddr,
    bucket: Arc<Bucket>,
    serving: JoinHandle<()>,
}

struct Bucket {
    folder: PathBuf,
    /// Before every answer.
    delay: Duration,
    /// How many requests are still answered.
    answers: Semaphore,
    asked: AtomicUsize,
    /// Which requests are refused, by their numbers.
    refused: Mutex<Range<usize>>,
    /// Requests that wait for their answer, and how many did so at most.
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
}

impl Server {
    async fn start(folder: &Path, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        let folder = folder.to_owned();
        let bucket = Arc::new(Bucket {
            folder,
            delay,
            answers,
            asked: AtomicUsize::new(0),
            refused: Mutex::default(),
            waiting: AtomicUsize::new(0),
            most_waiting: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&bucket);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let bucket = Arc::clone(&shared);
                connections.spawn(async move { bucket.talk(stream).await });
            }
        });
        Ok(Self { address, bucket, serving })
    }

    /// Answers so many requests more, and then none. Connections stay as they are.
    fn fall_silent_after(&self, requests: usize) {
        self.bucket.answers.forget_permits(Semaphore::MAX_PERMITS);
        self.bucket.answers.add_permits(requests);
    }

    /// Answers all that was asked meanwhile, and whatever is asked from now on.
    fn speak(&self) {
        self.bucket.answers.forget_permits(Semaphore::MAX_PERMITS);
        self.bucket.answers.add_permits(Semaphore::MAX_PERMITS);
    }

    /// Refuses these of the requests that come from now on, as one that is asked too much.
    fn refuse(&self, requests: Range<usize>) {
        let number = |request: usize| self.asked().saturating_add(request);
        let refused = number(requests.start)..number(requests.end);
        *self.bucket.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// How many requests waited for their answer at most at once.
    fn most_waiting(&self) -> usize {
        self.bucket.most_waiting.load(Ordering::SeqCst)
    }

    /// How many requests came so far.
    fn asked(&self) -> usize {
        self.bucket.asked.load(Ordering::SeqCst)
    }

    /// A session of two workers that wait for an answer for so long, and make one request after the
    /// other, as far as that goes.
    async fn session(&self, request_ms: u64, answer_ms: u64) -> Result<Session> {
        let mut settings = self.settings(request_ms, answer_ms);
        settings.worker.store.remote_reads_in_flight = 1;
        open(settings).await
    }

    /// Settings of two workers that wait for an answer for so long.
    fn settings(&self, request_ms: u64, answer_ms: u64) -> EmbeddedSettings {
        let endpoint = format!("http://{}", self.address);
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "somebody"),
            ("aws_secret_access_key", "something"),
            ("allow_http", "true"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = EmbeddedSettings {
            workers: Some(2),
            session: Settings { task_rows: 50, ..Settings::default() },
            ..EmbeddedSettings::default()
        };
        let store = &mut settings.worker.store;
        store.request_timeout_ms = request_ms;
        store.answer_timeout_ms = answer_ms;
        store.storage_profiles.insert(PROFILE.to_owned(), options.into());
        settings.coordinator.scheduler.retry_elsewhere_ms = 100;
        settings
    }
}

/// A session with the table of [`QUERY`].
async fn open(settings: EmbeddedSettings) -> Result<Session> {
    let session = Session::embedded_with(settings).await?;
    session.register_batches("t", &[RecordBatch::try_from_iter([("id", ints(0..ROWS))])?])?;
    Ok(session)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Bucket {
    async fn talk(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_waiting.fetch_max(waiting, Ordering::SeqCst);
            sleep(self.delay).await;
            let turn = self.answers.acquire().await.map_err(io::Error::other)?;
            turn.forget();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            stream.get_mut().write_all(&self.answer(&head, number)).await?;
        }
    }

    fn answer(&self, head: &str, number: usize) -> Vec<u8> {
        let (method, target) = head.split_once(' ').unwrap_or_default();
        let target = target.split(' ').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&number);
        let answered = match key.trim_start_matches('/') {
            _ if refused => Ok(slow_down()),
            "" => self.list(query),
            key => self.object(key, range(head)),
        };
        let (status, headers, body) = answered.unwrap_or_else(|_| {
            let body = "<Error><Code>NoSuchKey</Code></Error>".into();
            ("404 Not Found", String::new(), body)
        });
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
        let mut answer = answer.into_bytes();
        if method == "GET" {
            answer.extend(body);
        }
        answer
    }

    /// An object, or a range of its bytes.
    fn object(&self, key: &str, range: Option<&str>) -> Result<Response> {
        let body = fs::read(self.folder.join(key))?;
        let size = body.len();
        // Nothing changes while it is served, so the size tells an object from others.
        let mut headers = format!(
            "etag: \"{size:x}\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
             accept-ranges: bytes\r\n"
        );
        let Some((start, end)) = range.and_then(|range| bounds(range, size)) else {
            return Ok(("200 OK", headers, body));
        };
        write!(headers, "content-range: bytes {start}-{}/{size}\r\n", end - 1)?;
        Ok(("206 Partial Content", headers, body[start..end].to_vec()))
    }

    /// `ListObjectsV2`, all at once.
    fn list(&self, query: &str) -> Result<Response> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| decode(value)).unwrap_or_default()
        };
        let (prefix, after, delimiter) =
            (value("prefix"), value("start-after"), value("delimiter"));
        let mut keys = BTreeMap::new();
        collect(&self.folder, "", &mut keys)?;
        let mut folders = BTreeSet::new();
        let mut xml = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
        for (key, size) in keys.iter().filter(|(key, _)| **key > after) {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            match rest.split_once('/') {
                Some((folder, _)) if !delimiter.is_empty() => {
                    folders.insert(format!("{prefix}{folder}/"));
                }
                _ => write!(
                    xml,
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z\
                     </LastModified><ETag>\"{size:x}\"</ETag><Size>{size}</Size></Contents>"
                )?,
            }
        }
        for folder in folders {
            write!(xml, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")?;
        }
        xml.push_str("</ListBucketResult>");
        Ok(("200 OK", "content-type: application/xml\r\n".to_owned(), xml.into_bytes()))
    }
}

/// Status, headers and body.
type Response = (&'static str, String, Vec<u8>);

/// What S3 answers where it is asked too much.
fn slow_down() -> Response {
    ("503 Slow Down", String::new(), b"<Error><Code>SlowDown</Code></Error>".to_vec())
}

/// The header that asks for a range.
fn range(head: &str) -> Option<&str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(name, _)| name.eq_ignore_ascii_case("range")).map(|(_, range)| range)
}

/// Start and end of `bytes=1-2`, `bytes=1-` or `bytes=-2`.
fn bounds(range: &str, size: usize) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (start.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(last)) => (start, size.min(last.saturating_add(1))),
        (Ok(start), Err(_)) => (start, size),
        (Err(_), Ok(length)) => (size.saturating_sub(length), size),
        (Err(_), Err(_)) => return None,
    };
    (start < end).then_some((start, end))
}

/// A value of a query without its escapes.
fn decode(value: &str) -> String {
    let mut parts = value.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.extend(code.map(char::from));
        decoded.push_str(part.get(2..).unwrap_or_default());
    }
    decoded
}

/// The files below a folder, with their sizes.
fn collect(root: &Path, folder: &str, keys: &mut BTreeMap<String, u64>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        match entry.metadata()? {
            file if file.is_file() => drop(keys.insert(key, file.len())),
            _ => collect(root, &key, keys)?,
        }
    }
    Ok(())
}

/// A folder with the store of [`QUERY`], and a file with its table.
async fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(name)));
    let store = batch([("id", ints(0..ROWS)), ("name", names)]);
    let path = folder.path().join("emb.lance");
    write_lance(path.to_str().context("a path that is text")?, &[store], FRAGMENT_ROWS).await?;
    let mut lines = "id\n".to_owned();
    (0..ROWS).try_for_each(|id| writeln!(lines, "{id}"))?;
    fs::write(folder.path().join("rows.csv"), lines)?;
    Ok(folder)
}

fn name(id: i64) -> String {
    format!("name {id}")
}

fn expected() -> Vec<String> {
    (0..ROWS).map(|id| format!("{id} | {}", name(id))).collect()
}

async fn attach(session: &Session) -> Result<(), Error> {
    attach_with(session, |options| options).await
}

async fn attach_with(
    session: &Session,
    more: impl FnOnce(LanceOptions) -> LanceOptions,
) -> Result<(), Error> {
    let options = LanceOptions::new(format!("s3://{BUCKET}/emb.lance")).key("id");
    session.attach(load_kv("own_name", more(options.storage_options(PROFILE)))?, "emb").await
}

/// The error says what was waited for, for how long, and which setting bounds that.
fn check_silence(error: &Error, answer_ms: u64, doing: &str) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let silence = format!(
        ": no answer in {answer_ms} ms; the worker's store.answer_timeout_ms allows no more"
    );
    assert!(error.message().contains(doing), "{error}");
    assert!(error.message().contains(&silence), "{error}");
}

#[tokio::test]
async fn attaching_a_store_of_a_silent_server_fails_by_its_name() -> Result<()> {
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::ZERO).await?;
    let session = server.session(100, 500).await?;
    server.fall_silent_after(0);
    let attached = timeout(BOUND, attach(&session)).await.context("no end")?;
    let error = attached.err().context("attached without an answer")?;
    let doing = "store 'own_name' cannot be opened: the Lance dataset at s3://bucket/emb.lance";
    check_silence(&error, 500, doing);
    server.speak();
    attach(&session).await?;
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    Ok(())
}

#[tokio::test]
async fn a_server_that_falls_silent_in_the_middle_of_a_job_fails_it_by_the_stores_name()
-> Result<()> {
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::ZERO).await?;
    // How many requests a job makes that finds nothing in memory.
    let session = server.session(100, 500).await?;
    attach(&session).await?;
    let before = server.asked();
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    let requests = server.asked() - before;
    assert!(requests > ROWS as usize / FRAGMENT_ROWS, "{requests} requests");

    let session = server.session(100, 500).await?;
    attach(&session).await?;
    let query = session.sql(QUERY).await?;
    server.fall_silent_after(requests / 2);
    let error = timeout(BOUND, failure(query)).await.context("no end")??;
    check_silence(&error, 500, "KV store 'emb' cannot be read: reading ");
    // Its slots are free, and nothing of it is remembered.
    let all = rows(session.sql("SELECT id FROM t").await?);
    assert_eq!(timeout(BOUND, all).await.context("no end")??.len(), ROWS as usize);
    server.speak();
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    Ok(())
}

#[tokio::test]
async fn a_server_that_falls_silent_fails_a_job_by_the_name_of_its_input() -> Result<()> {
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::ZERO).await?;
    let session = server.session(100, 500).await?;
    let file = Input::new(format!("s3://{BUCKET}/rows.csv")).storage_options(PROFILE);
    session.register("f", file).await?;
    let query = || session.sql("SELECT id FROM f");
    let first = query().await?;
    server.fall_silent_after(0);
    let error = timeout(BOUND, failure(first)).await.context("no end")??;
    check_silence(&error, 500, "s3://bucket/rows.csv");
    server.speak();
    let ids: Vec<_> = (0..ROWS).map(|id| id.to_string()).collect();
    assert_eq!(rows(query().await?).await?, ids);
    Ok(())
}

/// The job waits for answers longer than the bound on silence, but never for one.
#[tokio::test]
async fn a_server_that_is_slow_but_steady_is_waited_for() -> Result<()> {
    const ANSWER_MS: u64 = 1_000;
    let delay = Duration::from_millis(40);
    let folder = folder().await?;
    let server = Server::start(folder.path(), delay).await?;
    let session = server.session(ANSWER_MS, ANSWER_MS).await?;
    attach(&session).await?;
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    let asked = u32::try_from(server.asked())?;
    assert!(delay * asked > Duration::from_millis(ANSWER_MS), "{asked} requests");
    Ok(())
}

/// Enough to wait for a server that answers everything after a while.
const PATIENT_MS: u64 = 20_000;

/// How many requests of a job wait for their answers at most at once, if a worker may make so many,
/// and if the store's options may say otherwise.
async fn most_waiting(
    most: usize,
    more: impl FnOnce(LanceOptions) -> LanceOptions,
) -> Result<usize> {
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::from_millis(50)).await?;
    let mut settings = server.settings(PATIENT_MS, PATIENT_MS);
    settings.workers = Some(1);
    settings.worker.store.remote_requests_in_flight = most;
    let session = open(settings).await?;
    attach_with(&session, more).await?;
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    Ok(server.most_waiting())
}

#[tokio::test]
async fn a_server_that_answers_late_is_asked_much_at_once_and_no_more_than_it_may_be() -> Result<()>
{
    let many = most_waiting(20, |options| options).await?;
    assert!((9..=20).contains(&many), "{many}");
    let few = most_waiting(20, |options| options.requests_in_flight(3)).await?;
    assert!((1..=3).contains(&few), "{few}");
    // A store's options ask for no more than the worker allows.
    let more = most_waiting(4, |options| options.requests_in_flight(100)).await?;
    assert!((1..=4).contains(&more), "{more}");
    Ok(())
}

/// How many requests a job makes that finds nothing in memory.
async fn requests_of_a_job(server: &Server, settings: EmbeddedSettings) -> Result<usize> {
    let session = open(settings).await?;
    attach(&session).await?;
    let before = server.asked();
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    Ok(server.asked() - before)
}

#[tokio::test]
async fn a_server_that_refuses_some_requests_is_asked_again() -> Result<()> {
    const REFUSALS: usize = 40;
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::ZERO).await?;
    let settings = server.settings(PATIENT_MS, PATIENT_MS);
    let requests = requests_of_a_job(&server, settings.clone()).await?;

    let session = open(settings).await?;
    attach(&session).await?;
    let middle = requests / 2;
    server.refuse(middle..middle + REFUSALS);
    let before = server.asked();
    let found = timeout(BOUND, rows(session.sql(QUERY).await?)).await.context("no end")??;
    assert_eq!(found, expected());
    assert!(server.asked() - before >= middle + REFUSALS);
    Ok(())
}

#[tokio::test]
async fn a_server_that_refuses_all_requests_fails_a_job_by_the_stores_name() -> Result<()> {
    const ANSWER_MS: u64 = 4_000;
    let folder = folder().await?;
    let server = Server::start(folder.path(), Duration::ZERO).await?;
    let mut settings = server.settings(1_000, ANSWER_MS);
    settings.coordinator.scheduler.max_task_attempts = 1;
    let requests = requests_of_a_job(&server, settings.clone()).await?;

    let session = open(settings).await?;
    attach(&session).await?;
    let query = session.sql(QUERY).await?;
    server.refuse(requests / 2..usize::MAX);
    let error = timeout(BOUND, failure(query)).await.context("no end")??;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    for words in ["KV store 'emb' cannot be read: reading ", "too much is asked (429 or 503)"] {
        assert!(error.message().contains(words), "{error}");
    }
    server.refuse(0..0);
    assert_eq!(rows(session.sql(QUERY).await?).await?, expected());
    Ok(())
}
