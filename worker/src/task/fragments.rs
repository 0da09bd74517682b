//! The fragments that tasks run: each is read and decoded once for all its tasks.

use std::sync::Arc;

use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};
use keyloom_common::{BlobId, Error, Result, plan::decode_plan};

use super::rounds::Rounds;
use crate::{
    shelf::{Shelf, Weighed},
    store::BlobSource,
};

/// More bytes than any plan takes.
const MAX_BYTES: u64 = 256 << 20;

/// About how many times as large a plan is as its bytes.
const DECODED: u64 = 16;

/// Fragments by the hash of their bytes, whichever coordinator they came from.
#[derive(Debug)]
pub(super) struct Fragments {
    shelf: Shelf<BlobId, Arc<dyn ExecutionPlan>>,
    /// Tasks that wait for a fragment. One that cannot be read is not read again for each.
    rounds: Rounds,
    /// Where functions are found.
    context: Arc<TaskContext>,
}

impl Fragments {
    /// Keeps fragments of about so many bytes.
    pub(super) fn new(bytes: u64, context: Arc<TaskContext>) -> Self {
        Self { shelf: Shelf::new(bytes), rounds: Rounds::default(), context }
    }

    /// A fragment without its input.
    ///
    /// # Errors
    /// If it cannot be read, or is none; then all tasks that wait for it now have that error.
    pub(super) async fn get(
        &self,
        id: BlobId,
        blobs: &dyn BlobSource,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(plan) = self.shelf.get(&id) {
            return Ok(plan);
        }
        let round = self.rounds.join(id);
        let read = round.make(async {
            let bytes = blobs.blob_within(id, &within_bounds).await?;
            tracing::debug!(fragment = %id, bytes = bytes.len(), "read a fragment");
            let plan = decode_plan(&bytes, &self.context)?;
            Ok::<_, Error>(Weighed(plan, (bytes.len() as u64).saturating_mul(DECODED)))
        });
        self.shelf.get_or_make(&id, read).await
    }
}

fn within_bounds(bytes: u64) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!("a plan of {bytes} bytes, more than {MAX_BYTES}")))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use arrow::datatypes::{DataType, Field, Schema};
    use async_trait::async_trait;
    use bytes::Bytes;
    use datafusion::{physical_plan::empty::EmptyExec, prelude::SessionContext};
    use futures::future::join_all;
    use keyloom_common::{ErrorKind, plan::encode_plan};

    use super::*;

    /// Counts what is read.
    #[derive(Debug, Default)]
    struct Blobs {
        held: HashMap<BlobId, Bytes>,
        reads: AtomicUsize,
    }

    impl Blobs {
        fn hold(&mut self, bytes: Bytes) -> BlobId {
            let id = BlobId::of(&bytes);
            self.held.insert(id, bytes);
            id
        }

        fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }
    }

    #[async_trait]
    impl BlobSource for Blobs {
        async fn blob(&self, id: BlobId) -> Result<Bytes> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            self.held.get(&id).cloned().ok_or_else(|| Error::not_found("it is gone"))
        }
    }

    /// A fragment of one column of this name.
    fn fragment(name: &str) -> Bytes {
        let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]));
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema));
        encode_plan(&plan).unwrap()
    }

    fn fragments(bytes: u64) -> Fragments {
        Fragments::new(bytes, SessionContext::new().task_ctx())
    }

    #[tokio::test]
    async fn a_fragment_is_read_once_for_all_its_tasks() {
        let (mut blobs, fragments) = (Blobs::default(), fragments(1 << 20));
        let [one, other] = ["one", "other"].map(|name| blobs.hold(fragment(name)));
        for _ in 0..2 {
            let tasks = [one, other].repeat(10);
            let tasks = tasks.iter().map(|id| fragments.get(*id, &blobs));
            let plans = join_all(tasks).await.into_iter().map(Result::unwrap);
            let names = plans.map(|plan| plan.schema().field(0).name().clone());
            assert_eq!(names.collect::<Vec<_>>(), ["one", "other"].repeat(10));
        }
        assert_eq!(blobs.reads(), 2);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_what_is_not_is_read_again() {
        let mut blobs = Blobs::default();
        let ids: Vec<_> = (0..20).map(|n| blobs.hold(fragment(&format!("c{n:02}")))).collect();
        let fragments = fragments(blobs.held[&ids[0]].len() as u64 * DECODED * 4);
        for _ in 0..2 {
            for id in &ids {
                fragments.get(*id, &blobs).await.unwrap();
            }
        }
        // Twenty at first, and then those that are not among the four at most that were kept.
        assert!((36..=40).contains(&blobs.reads()), "{} reads", blobs.reads());
        fragments.get(ids[19], &blobs).await.unwrap();
        let reads = blobs.reads();
        fragments.get(ids[19], &blobs).await.unwrap();
        assert_eq!(blobs.reads(), reads);
    }

    #[test]
    fn plans_have_bounds() {
        assert!(within_bounds(MAX_BYTES).is_ok());
        let error = within_bounds(MAX_BYTES + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    }

    #[tokio::test]
    async fn what_is_gone_or_no_fragment_is_an_error_and_not_kept() {
        let (mut blobs, fragments) = (Blobs::default(), fragments(1 << 20));
        let gone = BlobId::of(b"gone");
        let bad = blobs.hold(Bytes::from_static(b"no plan at all"));
        for (id, kind) in [(gone, ErrorKind::NotFound), (bad, ErrorKind::Internal)] {
            for _ in 0..2 {
                let error = fragments.get(id, &blobs).await.unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
            }
        }
        assert_eq!(blobs.reads(), 4);
    }

    #[tokio::test]
    async fn one_failure_is_that_of_all_tasks_that_wait() {
        let (mut blobs, fragments) = (Blobs::default(), fragments(1 << 20));
        let gone = BlobId::of(b"gone");
        let bad = blobs.hold(Bytes::from_static(b"no plan at all"));
        for (id, kind) in [(gone, ErrorKind::NotFound), (bad, ErrorKind::Internal)] {
            let before = blobs.reads();
            let tasks = (0..20).map(|_| fragments.get(id, &blobs));
            let errors: Vec<_> =
                join_all(tasks).await.into_iter().map(Result::unwrap_err).collect();
            assert_eq!(errors[0].kind(), kind, "{}", errors[0]);
            assert_eq!(errors, vec![errors[0].clone(); 20]);
            assert_eq!(blobs.reads(), before + 1);
        }
    }
}
