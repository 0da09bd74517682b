//! The bytes of a file, in large chunks, the next of which is read while the last is used.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result};
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, path::Path};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::error::unreadable;
use crate::input::LOCAL_READ;

/// Bytes, in order.
pub(super) type Chunks = BoxStream<'static, Result<Bytes>>;

/// Bytes of one read of a local file.
const CHUNK: u64 = 1 << 20;

/// A read that runs while the chunk before it is used.
type Reading = AbortOnDropHandle<io::Result<(File, Vec<u8>)>>;

/// A range of a file. What comes over a network is handed on as it comes.
pub(super) async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
) -> Result<Chunks> {
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let options =
        GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
    let result = store.get_opts(path, options).await.map_err(|e| unreadable(path, e))?;
    if result.range != range {
        return Err(shrunk(path));
    }
    let path = path.clone();
    Ok(match result.payload {
        GetResultPayload::File(file, _) => local(file, path, range),
        GetResultPayload::Stream(stream) => {
            stream.map_err(move |error| unreadable(&path, error)).fuse().boxed()
        }
    })
}

/// A range of a local file.
fn local(file: File, path: Path, range: Range<u64>) -> Chunks {
    let first = start(file, range.start, range.end);
    let state = Some((first, range.start));
    stream::try_unfold(state, move |state| {
        let (path, end) = (path.clone(), range.end);
        async move {
            let Some((reading, at)) = state else { return Ok(None) };
            let (file, chunk) = timeout(LOCAL_READ, reading)
                .await
                .map_err(|_| silent(&path))?
                .map_err(|error| Error::internal(format!("file '{path}': {error}")))?
                .map_err(|error| Error::store(format!("file '{path}': {error}")))?;
            let next = at + chunk.len() as u64;
            if next < end && next < at + CHUNK {
                return Err(shrunk(&path));
            }
            let state = (next < end).then(|| (start(file, next, end), next));
            Ok(Some((Bytes::from(chunk), state)))
        }
    })
    .boxed()
}

fn start(mut file: File, at: u64, end: u64) -> Reading {
    AbortOnDropHandle::new(tokio::task::spawn_blocking(move || {
        let length = CHUNK.min(end - at);
        let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.seek(SeekFrom::Start(at))?;
        (&mut file).take(length).read_to_end(&mut chunk)?;
        Ok((file, chunk))
    }))
}

fn silent(path: &Path) -> Error {
    let seconds = LOCAL_READ.as_secs();
    Error::timeout(format!("file '{path}': a read of it has taken more than {seconds} s"))
}

fn shrunk(path: &Path) -> Error {
    Error::invalid(format!("file '{path}' has become shorter while it was read"))
}
