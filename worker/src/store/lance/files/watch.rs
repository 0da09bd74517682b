//! Whether what a dataset is read from still answers.
//!
//! Below, a request is made again on several levels ([`super::requests`]), each of which multiplies
//! how long the one beneath takes to give up; and of many lookups that wait for one read, each
//! would make it again when it has failed. So what is bounded is how long nothing at all is
//! answered of what is owed, and all that wait then fail together. A storage that is slow but
//! steady is waited for, and so is what computes while nothing is owed.
//!
//! Lance's futures are large: they are put on the heap before they are wrapped, or each wrapping
//! would take their size of the stack again.

use std::{sync::Arc, task::Poll, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use keyloom_common::Result;
use lance_io::utils::tracking_store::IOTracker;
use tokio::time::timeout;

use super::{ledger::Ledger, requests::Requests};
use crate::store::Patience;

/// Silence is counted in spans of time, as many as this: when the whole process was stopped, only
/// one has passed.
const SPANS: u32 = 20;

/// Watches over the storage of a dataset.
#[derive(Clone, Debug)]
pub(in crate::store::lance) struct Watch {
    patience: Patience,
    ledger: Arc<Ledger>,
    /// Whether its files are local. Reads of these make no requests that could be counted, so they
    /// are counted themselves.
    local: bool,
    /// Lance's own count of reads of local files.
    reads: Option<IOTracker>,
}

impl Watch {
    /// Over what makes these requests, or reads local files if there are none.
    pub(in crate::store::lance) fn new(patience: Patience, requests: Option<&Requests>) -> Self {
        let local = requests.is_none();
        let ledger = requests.map(Requests::ledger).unwrap_or_default();
        Self { patience, ledger, local, reads: None }
    }

    /// The same, where the reads of local files are counted.
    pub(in crate::store::lance) fn counting(self, reads: &IOTracker) -> Self {
        let reads = self.local.then(|| reads.clone());
        Self { reads, ..self }
    }

    /// A read of files: what it asks of remote storage is counted there.
    pub(in crate::store::lance) fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        if self.local { self.owing(read) } else { read.boxed() }
    }

    /// Work that is an answer as a whole.
    pub(in crate::store::lance) fn owing<'a, T: Send + 'a>(
        &'a self,
        work: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        let work = work.boxed();
        let owing = async move {
            let _owed = self.ledger.owe();
            let done = work.await;
            self.ledger.answered();
            done
        };
        owing.boxed()
    }

    /// Waits for work as long as the storage answers something, or owes nothing.
    ///
    /// # Errors
    /// Those of the work; `timeout` if all was silent for too long, saying what was done.
    pub(in crate::store::lance) fn bounded<'a, T: Send + 'a>(
        &'a self,
        doing: impl FnOnce() -> String + Send + 'a,
        work: impl Future<Output = Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>> {
        self.wait(doing, work.boxed()).boxed()
    }

    async fn wait<T>(
        &self,
        doing: impl FnOnce() -> String,
        mut work: BoxFuture<'_, Result<T>>,
    ) -> Result<T> {
        // What is in memory is there at once, without a timer.
        if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return done;
        }
        let (mut silent, mut known) = (0, self.answers());
        while silent < SPANS {
            if let Ok(done) = timeout(self.span(), work.as_mut()).await {
                return done;
            }
            let answers = self.answers();
            if answers != known {
                (silent, known) = (0, answers);
            } else if self.is_owed() {
                silent += 1;
            }
        }
        let refusals = self.ledger.refusals();
        let silence =
            if refusals > 0 { self.patience.refused() } else { self.patience.no_answer() };
        Err(silence.context(doing()))
    }

    fn span(&self) -> Duration {
        self.patience.answer / SPANS
    }

    fn is_owed(&self) -> bool {
        self.ledger.is_owed()
    }

    fn answers(&self) -> u64 {
        let reads = self.reads.as_ref().map_or(0, |reads| reads.stats().read_iops);
        self.ledger.answers().wrapping_add(reads)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Instant};

    use futures::future::join_all;
    use keyloom_common::{Error, ErrorKind};
    use tokio::{sync::OnceCell, time::sleep};

    use super::*;
    use crate::store::StoreSettings;

    /// Over local files that may be silent for so many milliseconds.
    fn watch(answer_timeout_ms: u64) -> Watch {
        let settings = StoreSettings { answer_timeout_ms, ..StoreSettings::default() };
        Watch::new(Patience::of(&settings), None)
    }

    #[tokio::test]
    async fn silence_is_an_error_that_says_what_was_done() {
        let watch = watch(40);
        let read = watch.read(pending::<Result<()>>());
        let error = watch.bounded(|| "reading column 'x'".to_owned(), read).await.unwrap_err();
        let expected = "reading column 'x': no answer in 40 ms; the worker's \
                        store.answer_timeout_ms allows no more";
        assert_eq!(error, Error::timeout(expected));
        assert!(!watch.is_owed());
    }

    #[tokio::test]
    async fn a_storage_that_only_refuses_is_told_from_one_that_is_silent() {
        let watch = watch(40);
        assert_eq!((watch.ledger.refused(), watch.ledger.refused()), (0, 1));
        let wait = || {
            let read = watch.read(pending::<Result<()>>());
            watch.bounded(|| "reading".to_owned(), read)
        };
        assert_eq!(wait().await, Err(watch.patience.refused().context("reading")));
        watch.ledger.answered();
        assert_eq!(wait().await, Err(watch.patience.no_answer().context("reading")));
    }

    /// Of those that wait for one read, the next makes it again when it has failed.
    #[tokio::test]
    async fn all_that_wait_for_a_silent_read_fail_together() {
        const WAITING: u32 = 50;
        let (watch, read) = (watch(100), OnceCell::new());
        let wait = |_| {
            let read = read.get_or_try_init(|| watch.read(pending::<Result<()>>()));
            watch.bounded(|| "waiting".to_owned(), read)
        };
        let begun = Instant::now();
        for done in join_all((0..WAITING).map(wait)).await {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Timeout);
        }
        assert!(begun.elapsed() < watch.patience.answer * WAITING / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn slow_answers_are_waited_for() {
        let watch = watch(400);
        let reads = async {
            for _ in 0..10 {
                watch.read(sleep(Duration::from_millis(80))).await;
            }
            Ok(watch.answers())
        };
        assert_eq!(watch.bounded(|| unreachable!("it answers"), reads).await, Ok(10));
    }

    #[tokio::test]
    async fn what_owes_nothing_is_waited_for() {
        let watch = watch(20);
        let computing = async {
            sleep(Duration::from_millis(100)).await;
            Ok(7)
        };
        assert_eq!(watch.bounded(|| unreachable!("it computes"), computing).await, Ok(7));
    }
}
