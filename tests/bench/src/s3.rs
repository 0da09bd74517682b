//! A folder shown as an S3 bucket, read-only, with a delay before every answer: a store that is far
//! away. Credentials are not looked at.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    fs,
    io::SeekFrom,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    net::TcpListener,
};

use crate::storage::BUCKET;

/// Nothing changes while it is served.
const MODIFIED: &str = "2026-01-01T00:00:00.000Z";
const MODIFIED_HTTP: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Bucket {
    folder: PathBuf,
    latency: Duration,
}

impl Server {
    /// Serves a folder on a free port of this machine.
    pub(crate) async fn start(folder: &Path, latency: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let bucket = Arc::new(Bucket { folder: folder.to_owned(), latency });
        let router = Router::new().fallback(answer).with_state(bucket);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the S3 server ended: {error}");
            }
        });
        Ok(Self { address, serving })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(bucket): State<Arc<Bucket>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response<Body> {
    tokio::time::sleep(bucket.latency).await;
    let key = uri.path().trim_start_matches('/').strip_prefix(BUCKET);
    let answered = match key.map(|key| key.trim_start_matches('/')) {
        None => return refusal(StatusCode::NOT_FOUND, "NoSuchBucket"),
        Some("") if method == Method::GET => bucket.list(&query),
        Some(key) if method == Method::GET || method == Method::HEAD => {
            let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
            bucket.object(key, range, method == Method::HEAD).await
        }
        Some(_) => return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    answered.unwrap_or_else(|_| refusal(StatusCode::NOT_FOUND, "NoSuchKey"))
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

impl Bucket {
    /// An object, or a range of its bytes.
    async fn object(&self, key: &str, range: Option<&str>, head: bool) -> Result<Response<Body>> {
        let path = Path::new(key);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        anyhow::ensure!(inside, "a key outside of the bucket");
        let path = self.folder.join(path);
        let metadata = fs::metadata(&path)?;
        anyhow::ensure!(metadata.is_file(), "no object");
        let size = metadata.len();
        let part = range.and_then(|range| parse_range(range, size));
        let (start, end) = part.unwrap_or((0, size));
        let mut body = Vec::new();
        if !head {
            let mut file = File::open(&path).await?;
            file.seek(SeekFrom::Start(start)).await?;
            file.take(end - start).read_to_end(&mut body).await?;
        }
        let mut response = Response::builder()
            .header(header::ETAG, format!("\"{size:x}\""))
            .header(header::LAST_MODIFIED, MODIFIED_HTTP)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::CONTENT_LENGTH, end - start);
        if part.is_some() {
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
        }
        Ok(response.body(Body::from(body))?)
    }

    /// `ListObjectsV2`: all at once, never in pages.
    fn list(&self, query: &HashMap<String, String>) -> Result<Response<Body>> {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let after = query.get("start-after").map_or("", String::as_str);
        let flat = !query.contains_key("delimiter");
        let mut listing = Listing::default();
        // Prefixes end at a slash, so they name a folder.
        listing.collect(&self.folder, prefix.trim_end_matches('/'), flat)?;
        let mut xml = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
        for (key, size) in listing.objects.iter().filter(|(key, _)| key.as_str() > after) {
            write!(
                xml,
                "<Contents><Key>{key}</Key><LastModified>{MODIFIED}</LastModified>\
                 <ETag>\"{size:x}\"</ETag><Size>{size}</Size></Contents>"
            )?;
        }
        for folder in &listing.folders {
            write!(xml, "<CommonPrefixes><Prefix>{folder}/</Prefix></CommonPrefixes>")?;
        }
        xml.push_str("</ListBucketResult>");
        Ok(Response::builder().header(header::CONTENT_TYPE, "application/xml").body(xml.into())?)
    }
}

/// Objects and folders below a folder, sorted.
#[derive(Debug, Default)]
struct Listing {
    objects: BTreeSet<(String, u64)>,
    folders: BTreeSet<String>,
}

impl Listing {
    fn collect(&mut self, root: &Path, folder: &str, flat: bool) -> Result<()> {
        // What is not there lists as empty.
        let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                self.objects.insert((key, metadata.len()));
            } else if flat {
                self.collect(root, &key, flat)?;
            } else {
                self.folders.insert(key);
            }
        }
        Ok(())
    }
}

/// Start and end of `bytes=1-2`, `bytes=1-` or `bytes=-2`.
fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (start.parse::<u64>(), end.parse::<u64>()) {
        (Ok(start), Ok(last)) => (start, size.min(last.saturating_add(1))),
        (Ok(start), Err(_)) => (start, size),
        (Err(_), Ok(length)) => (size.saturating_sub(length), size),
        (Err(_), Err(_)) => return None,
    };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ranges_end_with_the_object() {
        assert_eq!(parse_range("bytes=2-4", 10), Some((2, 5)));
        assert_eq!(parse_range("bytes=8-", 10), Some((8, 10)));
        assert_eq!(parse_range("bytes=-3", 10), Some((7, 10)));
        assert_eq!(parse_range("bytes=5-99", 10), Some((5, 10)));
        assert_eq!(parse_range("bytes=10-", 10), None);
        assert_eq!(parse_range("pages=1-2", 10), None);
    }

    #[test]
    fn listings_are_flat_or_of_one_folder() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("a.lance/data"))?;
        for (name, contents) in [("a.lance/data/1", "four"), ("a.lance/x", "-"), ("b", "")] {
            fs::write(folder.path().join(name), contents)?;
        }
        let listed = |prefix: &str, flat| -> Result<_> {
            let mut listing = Listing::default();
            listing.collect(folder.path(), prefix, flat)?;
            Ok((Vec::from_iter(listing.objects), Vec::from_iter(listing.folders)))
        };
        let object = |name: &str, size: u64| (name.to_owned(), size);
        let all = vec![object("a.lance/data/1", 4), object("a.lance/x", 1), object("b", 0)];
        assert_eq!(listed("", true)?, (all, vec![]));
        let below = (vec![object("a.lance/x", 1)], vec!["a.lance/data".to_owned()]);
        assert_eq!(listed("a.lance", false)?, below);
        assert_eq!(listed("nowhere", true)?, (vec![], vec![]));
        Ok(())
    }

    #[tokio::test]
    async fn objects_come_whole_in_part_and_not_from_outside() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let shown = folder.path().join("shown");
        fs::create_dir(&shown)?;
        fs::write(shown.join("object"), "0123456789")?;
        fs::write(folder.path().join("hidden"), "-")?;
        let bucket = Bucket { folder: shown, latency: Duration::ZERO };

        let whole = bucket.object("object", None, false).await?;
        assert_eq!(whole.status(), StatusCode::OK);
        let part = bucket.object("object", Some("bytes=2-4"), false).await?;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 2-4/10");
        assert_eq!(axum::body::to_bytes(part.into_body(), 10).await?, "234");
        assert!(bucket.object("../hidden", None, false).await.is_err());
        assert!(bucket.object("nothing", None, false).await.is_err());
        Ok(())
    }
}
