//! Reading blobs from the coordinator, part by part.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error, ErrorKind, Result,
    rpc::{Chunk, Limits, WorkerApiClient, connection_failed, in_time},
};
use std::{fmt, sync::Arc};
use tokio::sync::Mutex;

use super::Dial;
use crate::store::BlobSource;

/// Reads blobs over a connection of its own, which is opened when it is first needed and again when
/// it breaks.
#[derive(Clone)]
pub struct CoordinatorBlobs {
    dial: Arc<dyn Dial>,
    limits: Limits,
    client: Arc<Mutex<Option<WorkerApiClient>>>,
}

/// Asked for so many bytes when it is known that they will come.
type Room<'a> = &'a (dyn Fn(u64) -> Result<()> + Send + Sync);

impl CoordinatorBlobs {
    /// Reads from the coordinator that `dial` reaches.
    pub fn new(dial: Arc<dyn Dial>, limits: Limits) -> Self {
        Self { dial, limits, client: Arc::default() }
    }

    async fn client(&self) -> Result<WorkerApiClient> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(client) => Ok(client.clone()),
            None => Ok(client.insert(self.dial().await?).clone()),
        }
    }

    /// A coordinator that has no place now has one later, and one that does not let this worker in
    /// any more will, once the files of both are new: until then, the task is tried again.
    async fn dial(&self) -> Result<WorkerApiClient> {
        self.dial.dial().await.map_err(|error| match error.kind() {
            ErrorKind::ResourceExhausted | ErrorKind::PermissionDenied => {
                Error::unavailable(error.message())
            }
            _ => error,
        })
    }

    /// Reads a blob, once more over a new connection if the first one failed: a coordinator closes
    /// those that were idle when it needs their places.
    async fn read_again(&self, id: BlobId, room: Room<'_>) -> Result<Chunk> {
        match self.read_or_reset(id, room).await {
            Err(error) if connection_failed(&error) => {
                tracing::debug!(%id, %error, "reading again");
                self.read_or_reset(id, room).await
            }
            read => read,
        }
    }

    /// Reads a blob. If that fails, the next read opens a connection of its own.
    async fn read_or_reset(&self, id: BlobId, room: Room<'_>) -> Result<Chunk> {
        let read = self.read(id, room).await;
        if read.as_ref().is_err_and(|error| error.kind().is_transient()) {
            self.client.lock().await.take();
        }
        read
    }

    async fn read(&self, id: BlobId, room: Room<'_>) -> Result<Chunk> {
        let client = self.client().await?;
        let timeout = self.limits.call_timeout();
        let first = in_time(timeout, |context| client.read_blob(context, id, 0)).await?;
        let total = first.total;
        room(total)?;
        let Chunk::Stream(first) = first.part else { return Ok(first.part) };
        let first = first.into_bytes();
        if first.len() as u64 == total {
            return whole(id, first);
        }
        let mut bytes = reserved(total).ok_or_else(|| {
            Error::resource_exhausted(format!("no memory for the {total} bytes of blob {id}"))
        })?;
        bytes.extend_from_slice(&first);
        while (bytes.len() as u64) < total {
            let offset = bytes.len() as u64;
            let part = in_time(timeout, |context| client.read_blob(context, id, offset)).await?;
            let Chunk::Stream(part) = part.part else {
                return Err(Error::internal(format!("blob {id} is bytes and rows")));
            };
            let part = part.into_bytes();
            if part.is_empty() {
                return Err(Error::unavailable(format!("blob {id} broke off at {offset}")));
            }
            bytes.extend_from_slice(&part);
        }
        whole(id, bytes.into())
    }
}

/// All bytes of a blob, if it is they that it is known by.
fn whole(id: BlobId, bytes: Bytes) -> Result<Chunk> {
    if BlobId::of(&bytes) == id {
        Ok(bytes.into())
    } else {
        Err(Error::unavailable(format!("blob {id} arrived with another hash")))
    }
}

/// A buffer of exactly this size, which does not double while it is filled.
fn reserved(bytes: u64) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(usize::try_from(bytes).ok()?).ok()?;
    Some(buffer)
}

#[async_trait]
impl BlobSource for CoordinatorBlobs {
    async fn blob(&self, id: BlobId) -> Result<Bytes> {
        self.blob_within(id, &|_| Ok(())).await
    }

    async fn blob_within(
        &self,
        id: BlobId,
        room: &(dyn Fn(u64) -> Result<()> + Send + Sync),
    ) -> Result<Bytes> {
        match self.read_again(id, room).await? {
            Chunk::Stream(body) => Ok(body.into_bytes()),
            Chunk::Batches(_) => Err(Error::internal(format!("blob {id} is rows, not bytes"))),
        }
    }

    async fn rows(&self, id: BlobId) -> Result<Vec<RecordBatch>> {
        self.read_again(id, &|_| Ok(())).await?.decode_all()
    }
}

impl fmt::Debug for CoordinatorBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorBlobs").field("dial", &self.dial).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tarpc::{client::Config, transport::channel};

    use super::*;
    use crate::agent::testing::FakeCoordinator;

    /// Counts connections, all of which are closed at once, or refused.
    #[derive(Debug, Default)]
    struct Closed {
        dials: AtomicUsize,
        refuses: bool,
    }

    #[async_trait]
    impl Dial for Closed {
        async fn dial(&self) -> Result<WorkerApiClient> {
            self.dials.fetch_add(1, Ordering::Relaxed);
            if self.refuses {
                return Err(Error::unavailable("nobody is there"));
            }
            let (client, _closed) = channel::unbounded();
            Ok(WorkerApiClient::new(Config::default(), client).spawn())
        }
    }

    async fn read(closed: Closed) -> (Error, usize) {
        let dial = Arc::new(closed);
        let shared = Arc::clone(&dial);
        let blobs = CoordinatorBlobs::new(shared, Limits::default());
        let error = blobs.blob(BlobId::of(b"rows")).await.unwrap_err();
        (error, dial.dials.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_read_over_a_closed_connection_is_tried_once_more() {
        let (error, dials) = read(Closed::default()).await;
        assert!(connection_failed(&error), "{error}");
        assert_eq!(dials, 2);
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_asked_once() {
        let closed = Closed { refuses: true, ..Closed::default() };
        let (error, dials) = read(closed).await;
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "nobody is there"));
        assert_eq!(dials, 1);
    }

    #[tokio::test]
    async fn bytes_of_another_hash_are_refused_however_few_they_are() {
        for bytes in [&b"few"[..], b"some more"] {
            let coordinator = FakeCoordinator { blob: Some(bytes), ..FakeCoordinator::default() };
            let blobs = CoordinatorBlobs::new(Arc::new(coordinator), Limits::default());
            assert_eq!(blobs.blob(BlobId::of(bytes)).await.unwrap(), bytes);
            let other = BlobId::of(b"others");
            let error = blobs.blob(other).await.unwrap_err();
            let message = format!("blob {other} arrived with another hash");
            assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, &*message));
        }
    }
}
