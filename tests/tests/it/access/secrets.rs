//! Secrets of profiles: they are read where they stand, anew when they change, and seen by nobody
//! but the server that they are for.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use keyloom_client::{EmbeddedSettings, ErrorKind, Input, LanceOptions, Session, load_kv};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::harness::rows;

const BODY: &str = "id\n1\n2\n";

/// A web server of one file that keeps what it was told to be authorized by.
struct Server {
    address: String,
    told: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&told);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&shared);
                connections.spawn(async move { talk(stream, &told).await });
            }
        });
        Ok(Self { address, told, serving })
    }

    /// What it was told since it was asked for that, without repetitions.
    fn told(&self) -> Vec<String> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = std::mem::take(&mut *told);
        told.dedup();
        told
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request after the other.
async fn talk(stream: TcpStream, told: &Mutex<Vec<String>>) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(request) = lines.next_line().await? {
        let mut range = None;
        while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => told
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(value.trim().to_owned()),
                "range" => range = wanted(value.trim()),
                _ => {}
            }
        }
        let (start, end) = range.unwrap_or((0, BODY.len()));
        let (status, content) = match range {
            Some(_) => ("206 Partial Content", format!("bytes {start}-{}/{}", end - 1, BODY.len())),
            None => ("200 OK", String::new()),
        };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"one\"\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n",
            end - start
        );
        if range.is_some() {
            answer += &format!("Content-Range: {content}\r\n");
        }
        answer += "\r\n";
        if !request.starts_with("HEAD") {
            answer += &BODY[start..end];
        }
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// The start and the end of `bytes=1-2`.
fn wanted(range: &str) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = last.parse().unwrap_or(BODY.len() - 1).min(BODY.len() - 1);
    Some((start.parse().ok()?, last + 1))
}

#[tokio::test]
async fn a_secret_that_is_renewed_in_its_file_holds_for_the_next_job() -> Result<()> {
    let server = Server::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    fs::write(&file, "Bearer first-secret\n")?;
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    let profile = serde_json::json!({"headers.authorization": {"file": file}});
    let profiles = &mut settings.worker.store.storage_profiles;
    profiles.insert("web".to_owned(), serde_json::from_value(profile)?);
    settings.worker.access.endpoints = Some(vec![format!("http://{}", server.address)]);
    let shown = format!("{settings:?}");
    assert!(shown.contains("web") && !shown.contains("first-secret"), "{shown}");
    let session = Session::embedded_with(settings).await?;

    let url = format!("http://{}/a.csv", server.address);
    let read = async || -> Result<Vec<String>> {
        let options = Some("web".to_owned());
        let input = Input { storage_options: options, ..Input::new(&url) };
        rows(session.read(input).await?).await
    };
    assert_eq!(read().await?, ["1", "2"]);
    assert_eq!(server.told(), ["Bearer first-secret"]);
    fs::write(&file, "Bearer second-secret\n")?;
    assert_eq!(read().await?, ["1", "2"]);
    assert_eq!(server.told(), ["Bearer second-secret"]);

    fs::remove_file(&file)?;
    let error = read().await.err().context("it was read")?.to_string();
    assert!(error.contains("storage profile 'web': headers.authorization: file "), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(server.told(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn keys_beside_the_machines_own_identity_are_refused_by_name() -> Result<()> {
    let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    let profile = serde_json::json!({"credentials": "cloud", "aws_secret_access_key": "hunter2"});
    let profiles = &mut settings.worker.store.storage_profiles;
    profiles.insert("prod".to_owned(), serde_json::from_value(profile)?);
    let session = Session::embedded_with(settings).await?;
    let store = load_kv("s", LanceOptions::new("s3://bucket/a.lance").storage_options("prod"))?;
    let error = session.attach(store, None::<&str>).await.err().context("it was opened")?;
    let message = "store 's' cannot be opened: storage profile 'prod': aws_secret_access_key \
                   stands beside credentials = \"cloud\", which takes the machine's own identity \
                   and nothing else; leave one of them out";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}
