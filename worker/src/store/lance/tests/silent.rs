//! What is said of a store whose storage takes what is asked, and answers nothing.

use std::{
    fs::{self, OpenOptions},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use super::*;

/// Longer than a busy machine takes for what is there.
const ANSWER_MS: u64 = 1_000;

/// Far more than all attempts of a test take together.
const BOUND: Duration = Duration::from_secs(20);

fn silent(doing: &str) -> Error {
    Error::timeout(format!(
        "{doing}: no answer in 1 s; the worker's store.answer_timeout_ms allows no more"
    ))
}

fn impatient(profiles: HashMap<String, StorageProfile>) -> StoreEnv {
    let settings = StoreSettings {
        request_timeout_ms: 100,
        answer_timeout_ms: ANSWER_MS,
        storage_profiles: profiles,
        ..StoreSettings::default()
    };
    StoreEnv::new(settings, Arc::new(Blobs::default()))
}

/// A server that never takes up what the system accepts for it, as one that is stopped, and a
/// worker with a storage profile for it.
fn stopped() -> (TcpListener, StoreEnv) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "somebody"),
        ("aws_secret_access_key", "something"),
        ("allow_http", "true"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (server, impatient(HashMap::from([("stopped".to_owned(), options.into())])))
}

#[tokio::test]
async fn a_server_that_is_stopped_is_named_with_the_store() {
    let (_server, env) = stopped();
    let remote = LanceSpec {
        storage_profile: Some("stopped".to_owned()),
        ..lance_spec("s3://bucket/rows.lance", "id")
    };
    let rows = three_fragments(false).await;
    let local = describe(&env, rows.spec("id")).await.unwrap();
    let begun = Instant::now();
    let check = |error: Error, name: &str| {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let opening = "cannot be opened: the Lance dataset at s3://bucket/rows.lance: ";
        assert!(error.message().starts_with(&format!("store '{name}' {opening}")), "{error}");
        // Which bound is reached first is a matter of a few milliseconds.
        assert!(error.message().contains(": no answer in "), "{error}");
        assert!(error.message().contains("the worker's store."), "{error}");
    };
    check(describe(&env, remote.clone()).await.unwrap_err(), "own_name");

    let spec = remote.named("own_name");
    let planned = ResolvedStore::try_new("emb", spec, local.description.clone()).unwrap();
    check(env.open(&planned).await.err().unwrap(), "emb");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

/// Files that take for ever to be opened, until this is dropped.
struct Stuck(Vec<PathBuf>);

impl Stuck {
    /// All data files of a dataset.
    fn new(uri: &str) -> Self {
        let files = fs::read_dir(format!("{uri}/data")).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        for file in &files {
            fs::remove_file(file).unwrap();
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }
        Self(files)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        for file in &self.0 {
            // With a writer, those that wait to read go on.
            let _ = OpenOptions::new().read(true).write(true).open(file);
        }
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_named_with_the_store_and_with_what_was_read() {
    let rows = three_fragments(false).await;
    let env = impatient(HashMap::new());
    let planned = describe(&env, rows.spec("id")).await.unwrap();
    let store = env.open(&planned).await.unwrap();
    let by_row = env.open(&describe(&env, rows.spec("_rowid")).await.unwrap()).await.unwrap();
    let _stuck = Stuck::new(&rows.uri);
    let begun = Instant::now();
    let cannot_read = |doing: &str| silent(&format!("KV store 'emb' cannot be read: {doing}"));
    let error = ask(&store, Int64Array::from(vec![1, 15]), &[1]).await.unwrap_err();
    assert_eq!(error, cannot_read("reading its keys"));
    let error = ask(&by_row, UInt64Array::from(vec![1]), &[0, 1]).await.unwrap_err();
    assert_eq!(error, cannot_read("reading columns 'id', 'word'"));
    let error = by_row.row_bytes(&[1]).await.unwrap_err();
    assert_eq!(error, cannot_read("reading column 'word'"));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}
