//! The result of a job on its way to its client: chunks that wait until they are taken.
//!
//! All jobs share the memory for them. A job whose chunk finds none keeps this one all the same,
//! and goes on when its client has taken all that waits: it waits for nobody but its own client.
//! A detached job waits for nobody: its chunks go to temporary files, until somebody asks for them.

use std::sync::Arc;

use keyloom_common::{
    Error, Result,
    memory::{MemoryBudget, Reserved},
    rpc::{Chunk, Next},
};
use tokio::sync::{Semaphore, mpsc};

use super::turns::Place;
use crate::spool::{Spool, SpoolRoom, decoded};

/// The first chunk of a job that waits for nobody stays in memory if it is no larger, in bytes: it
/// is all that a job that writes has to say, whose rows are safe by then.
const SMALL_BYTES: usize = 64 << 10;

/// The end where a job puts its result.
#[derive(Debug)]
pub(super) struct Results {
    chunks: mpsc::Sender<Waiting>,
    memory: MemoryBudget,
    place: Option<Place>,
    /// Where chunks are kept, if the job waits for nobody.
    files: Option<Arc<SpoolRoom>>,
    has_begun: bool,
}

/// What a client takes next, and the memory for it.
#[derive(Debug)]
pub(super) struct Waiting {
    what: What,
    _memory: Option<Reserved>,
}

#[derive(Debug)]
enum What {
    Next(Result<Next>),
    /// The one chunk in there, of this stream or of rows that missed their keys.
    Kept(Option<u32>, Spool),
}

impl Waiting {
    /// The end of a result, which takes no memory that is worth counting.
    pub(super) fn last(next: Result<Next>) -> Self {
        Self { what: What::Next(next), _memory: None }
    }

    /// What the client is answered, as often as it asks. May read a file; whoever stops waiting for
    /// that loses nothing.
    pub(super) async fn next(&mut self) -> Result<Next> {
        match &mut self.what {
            What::Next(next) => next.clone(),
            What::Kept(stream, spool) => {
                let (bytes, whole) = spool.peek(0).await?;
                Ok(next(*stream, decoded(bytes, whole)?))
            }
        }
    }
}

/// A chunk of a stream, or of rows that missed their keys.
fn next(stream: Option<u32>, chunk: Chunk) -> Next {
    match stream {
        Some(stream) => Next::Chunk { stream, chunk },
        None => Next::Missed(chunk),
    }
}

/// Both ends of a result of which so many chunks wait at most.
pub(super) fn results(ahead: usize, memory: MemoryBudget) -> (Results, mpsc::Receiver<Waiting>) {
    let (chunks, receiver) = mpsc::channel(ahead.max(1));
    (Results { chunks, memory, place: None, files: None, has_begun: false }, receiver)
}

/// Both ends of a result that waits for nobody. What it takes is bounded by the room in files.
pub(super) fn kept_results(
    files: Arc<SpoolRoom>,
    memory: MemoryBudget,
) -> (Results, mpsc::Receiver<Waiting>) {
    let (chunks, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
    (Results { chunks, memory, place: None, files: Some(files), has_begun: false }, receiver)
}

impl Results {
    /// Takes the job's place, which it has until it ends or waits for its client.
    pub(super) fn begin(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Sends a chunk, and waits for the client if there is no room for more.
    ///
    /// # Errors
    /// `cancelled` if the client is gone.
    pub(super) async fn send(&mut self, stream: u32, chunk: Chunk) -> Result<()> {
        self.put(Some(stream), chunk).await
    }

    /// Sends a chunk of rows that missed their keys, likewise.
    ///
    /// # Errors
    /// `cancelled` if the client is gone.
    pub(super) async fn send_missed(&mut self, chunk: Chunk) -> Result<()> {
        self.put(None, chunk).await
    }

    async fn put(&mut self, stream: Option<u32>, chunk: Chunk) -> Result<()> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let bytes = chunk.size() as u64;
        if let Some(files) = &self.files {
            let waiting = if is_first && chunk.size() <= SMALL_BYTES {
                let what = What::Next(Ok(next(stream, chunk)));
                Waiting { what, _memory: Some(self.memory.force(bytes)) }
            } else {
                kept(Arc::clone(files), stream, chunk).await?
            };
            return self.chunks.send(waiting).await.map_err(|_| client_is_gone());
        }
        let taken = self.memory.try_take(bytes);
        let fits = taken.is_ok();
        let memory = taken.unwrap_or_else(|_| self.memory.force(bytes));
        if !fits || self.chunks.capacity() == 0 {
            // It will wait, and must not keep others waiting.
            self.place = None;
        }
        let what = What::Next(Ok(next(stream, chunk)));
        let waiting = Waiting { what, _memory: Some(memory) };
        self.chunks.send(waiting).await.map_err(|_| client_is_gone())?;
        if !fits {
            let all = self.chunks.max_capacity();
            drop(self.chunks.reserve_many(all).await.map_err(|_| client_is_gone())?);
        }
        Ok(())
    }

    /// Sends the last message.
    pub(super) async fn end(self, last: Result<Next>) {
        drop(self.place);
        // Without a reader there is nobody to tell.
        let _ = self.chunks.send(Waiting::last(last)).await;
    }
}

/// A chunk in a file.
///
/// # Errors
/// `resource_exhausted` if there is no room in files, or they cannot be written.
async fn kept(files: Arc<SpoolRoom>, stream: Option<u32>, chunk: Chunk) -> Result<Waiting> {
    let spilled = files.spill(chunk, true).await?.ok_or_else(|| files.full())?;
    let mut spool = Spool::new(files);
    spool.push_spilled(spilled);
    Ok(Waiting { what: What::Kept(stream, spool), _memory: None })
}

fn client_is_gone() -> Error {
    Error::cancelled("the client is gone")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;
    use keyloom_common::rpc::Identity;

    use super::*;
    use crate::{jobs::turns::Turns, settings::Settings};

    const CHUNK: u64 = 10;

    fn chunk() -> Chunk {
        Bytes::from(vec![0; CHUNK as usize]).into()
    }

    fn memory(chunks: u64) -> MemoryBudget {
        MemoryBudget::new("memory_bytes", chunks * CHUNK)
    }

    #[tokio::test]
    async fn where_memory_is_full_one_chunk_waits_and_its_job_with_it() {
        let memory = memory(2);
        let (mut results, mut chunks) = results(8, memory.clone());
        results.send(0, chunk()).await.unwrap();
        results.send(0, chunk()).await.unwrap();
        let mut sending = Box::pin(results.send(0, chunk()));
        for taken in 0..3 {
            assert!(futures::poll!(&mut sending).is_pending(), "{taken} were taken");
            assert_eq!(memory.used(), 3 * CHUNK - taken * CHUNK);
            drop(chunks.recv().await.expect("a chunk"));
        }
        sending.now_or_never().expect("all were taken").unwrap();
        assert_eq!(memory.used(), 0);
        results.send(0, chunk()).now_or_never().expect("there is room again").unwrap();
    }

    #[tokio::test]
    async fn of_each_job_one_chunk_waits_however_little_memory_there_is() {
        let memory = memory(0);
        let jobs = [(); 3].map(|()| results(8, memory.clone()));
        let mut waiting = Vec::new();
        for (mut results, chunks) in jobs {
            let sending = async move { results.send(0, chunk()).await };
            let mut sending = Box::pin(sending);
            assert!(futures::poll!(&mut sending).is_pending());
            waiting.push((sending, chunks));
        }
        assert_eq!(memory.used(), 3 * CHUNK);
        for (sending, mut chunks) in waiting {
            drop(chunks.recv().await.expect("a chunk"));
            sending.now_or_never().expect("it was taken").unwrap();
        }
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn a_job_that_waits_for_its_client_leaves_its_place_to_another() {
        let settings = Settings { max_running_jobs: 1, ..Settings::default() };
        let turns = Turns::new(&settings);
        let (mut results, _chunks) = results(1, memory(8));
        let enter = || turns.enter(&Identity::anybody()).unwrap();
        results.begin(enter().come().await.unwrap());
        results.send(0, chunk()).await.unwrap();
        let mut next = Box::pin(enter().come());
        assert!(futures::poll!(&mut next).is_pending(), "the first still runs");
        let mut sending = Box::pin(results.send(0, chunk()));
        assert!(futures::poll!(&mut sending).is_pending());
        let _place = next.now_or_never().expect("its turn").unwrap();
    }

    #[tokio::test]
    async fn a_detached_job_waits_for_nobody_and_its_chunks_are_in_files() {
        let room = |bytes| SpoolRoom::new(0, bytes, std::env::temp_dir());
        let memory = memory(0);
        let (mut results, mut chunks) = kept_results(room(1000 * CHUNK), memory.clone());
        for stream in 0..100 {
            results.send(stream, chunk()).await.unwrap();
        }
        results.send_missed(chunk()).await.unwrap();
        assert_eq!(memory.used(), CHUNK, "the first");
        results.end(Err(client_is_gone())).await;
        let mut streams = Vec::new();
        while let Some(mut waiting) = chunks.recv().await {
            for _ in 0..2 {
                match waiting.next().await {
                    Ok(Next::Chunk { stream, chunk: taken }) => {
                        assert_eq!(taken, chunk());
                        streams.push(stream);
                    }
                    Ok(Next::Missed(taken)) => assert_eq!(taken, chunk()),
                    last => assert_eq!(last.unwrap_err(), client_is_gone()),
                }
            }
        }
        assert_eq!(streams, (0..100).flat_map(|stream| [stream; 2]).collect::<Vec<_>>());

        let (mut results, _chunks) = kept_results(room(CHUNK), memory);
        results.send(0, chunk()).await.unwrap();
        let full = results.send(0, chunk()).await.unwrap_err();
        assert!(full.message().contains("gather_disk_bytes = 10"), "{full}");
    }

    #[tokio::test]
    async fn who_sends_to_a_client_that_is_gone_is_told() {
        let (mut results, chunks) = results(8, memory(0));
        let mut sending = Box::pin(results.send(0, chunk()));
        assert!(futures::poll!(&mut sending).is_pending());
        drop(chunks);
        let error = sending.now_or_never().expect("an end").unwrap_err();
        assert_eq!(error, client_is_gone());
    }
}
