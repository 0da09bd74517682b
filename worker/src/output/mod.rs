//! Outputs: what tasks write, and its commit.
//!
//! Nothing that a task writes can be seen before the commit, and of each task one attempt's pieces
//! are committed. Committing again changes nothing; what is removed may be gone before.

mod counters;
mod files;
mod lance;
mod room;
mod settings;

use std::{collections::HashSet, sync::Arc, time::Duration};

use datafusion::execution::SendableRecordBatchStream;
use keyloom_common::{
    AttemptId, JobId, Result,
    error::redact,
    output::{
        Committed, Leftover, Leftovers, OutputInspection, OutputKind, Piece, PreparedOutput,
        WriteExec,
    },
    rpc::{PlannedOutput, WrittenOutput},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{files::FileOutputs, lance::LanceOutputs};
use crate::{
    memory::Commons,
    object_stores::ObjectStores,
    store::{BlobSource, OpenStores},
};

pub use settings::OutputSettings;

/// Of how many files that a job has left it is looked when they were written.
const MAX_LEFT_FILES: usize = 1_000;

/// Everything that a worker writes goes through here.
#[derive(Debug)]
pub(crate) struct Outputs {
    files: FileOutputs,
    lance: LanceOutputs,
    leftovers_timeout: Duration,
}

/// A task's attempt, and where its rows go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'a> {
    pub(crate) attempt: AttemptId,
    pub(crate) node: &'a WriteExec,
    /// Cancelled when nothing is left but to wait until the rows are stored, if that is known.
    pub(crate) computed: &'a CancellationToken,
}

/// An output of a job whose pieces have been read.
#[derive(Debug)]
struct Written {
    job: JobId,
    output: PreparedOutput,
    /// In the order of their rows.
    pieces: Vec<Piece>,
}

impl Outputs {
    /// Outputs to where jobs may write. What is held until it is written is taken of `commons`.
    pub(crate) fn new(
        objects: Arc<ObjectStores>,
        stores: Arc<OpenStores>,
        commons: &Commons,
        settings: OutputSettings,
    ) -> Self {
        let access = objects.access().clone();
        Self {
            leftovers_timeout: settings.leftovers_timeout(),
            lance: LanceOutputs::new(stores, access, commons, &settings),
            files: FileOutputs::new(objects, commons, settings),
        }
    }

    /// Looks whether an output can be written, and what jobs other than these keep out of sight
    /// there.
    pub(crate) async fn inspect(
        &self,
        planned: PlannedOutput,
        known: &HashSet<JobId>,
    ) -> Result<OutputInspection> {
        let (prepared, leftovers) = match planned.spec.kind {
            OutputKind::Files(_) => {
                let prepared = self.files.prepare(planned).await?;
                let left = self.files.leftovers(&prepared.spec, known);
                let left = in_time(self.leftovers_timeout, &prepared.spec.path, left).await;
                (prepared, left)
            }
            _ => {
                let prepared = self.lance.prepare(planned).await?;
                let left = self.lance.leftovers(&prepared.spec, known);
                let left = in_time(self.leftovers_timeout, &prepared.spec.path, left).await;
                (prepared, left)
            }
        };
        Ok(OutputInspection { prepared, leftovers })
    }

    /// Writes a task's rows, and gives rows that tell of the pieces (see [`Piece::batch`]).
    pub(crate) fn write(
        &self,
        writing: Writing<'_>,
        rows: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        match writing.node.output().spec.kind {
            OutputKind::Files(_) => self.files.write(writing, rows),
            _ => self.lance.write(writing, rows),
        }
    }

    /// Makes visible what the tasks of a job have written.
    pub(crate) async fn commit(
        &self,
        written: WrittenOutput,
        blobs: &dyn BlobSource,
    ) -> Result<Committed> {
        let written = Written::read(written, blobs).await?;
        match written.output.spec.kind {
            OutputKind::Files(_) => self.files.commit(written).await,
            _ => self.lance.commit(written).await,
        }
    }

    /// The places of the pieces that are not there any more as they were written.
    pub(crate) async fn gone(
        &self,
        written: WrittenOutput,
        blobs: &dyn BlobSource,
    ) -> Result<Vec<usize>> {
        let written = Written::read(written, blobs).await?;
        match written.output.spec.kind {
            OutputKind::Files(_) => self.files.gone(written).await,
            _ => self.lance.gone(written).await,
        }
    }

    /// Removes what the tasks of a job have written.
    pub(crate) async fn abort(&self, written: WrittenOutput, blobs: &dyn BlobSource) -> Result<()> {
        let written = Written::read(written, blobs).await?;
        match written.output.spec.kind {
            OutputKind::Files(_) => self.files.abort(written).await,
            _ => self.lance.abort(written).await,
        }
    }
}

/// What is found at an output within a time. It can be written whatever comes of that.
async fn in_time(
    bound: Duration,
    output: &str,
    looking: impl Future<Output = Result<Vec<Leftover>>>,
) -> Leftovers {
    match timeout(bound, looking).await {
        Ok(Ok(found)) => Leftovers::Found(found),
        Ok(Err(error)) => {
            let output = redact(output);
            tracing::warn!(output, %error, "it is not known what jobs have left where one writes");
            Leftovers::Found(Vec::new())
        }
        Err(_) => Leftovers::NotInTime(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
    }
}

impl Written {
    async fn read(written: WrittenOutput, blobs: &dyn BlobSource) -> Result<Self> {
        let WrittenOutput { job, output, pieces } = written;
        let batches = blobs.rows(pieces).await?;
        let pieces = batches.iter().map(Piece::read).collect::<Result<Vec<_>>>()?.concat();
        Ok(Self { job, output, pieces })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use keyloom_common::Error;

    use super::*;

    #[tokio::test]
    async fn a_storage_that_does_not_tell_what_is_left_there_holds_no_job_up() {
        let bound = Duration::from_millis(1);
        assert_eq!(in_time(bound, "/out/", pending()).await, Leftovers::NotInTime(1));
        let place = "/out/.keyloom/1".to_owned();
        let found = vec![Leftover { job: JobId::from_u128(1), place, written_ms: None }];
        let bound = Duration::from_secs(600);
        let told = in_time(bound, "/out/", ready(Ok(found.clone()))).await;
        assert_eq!(told, Leftovers::Found(found));
        let refused = ready(Err(Error::store("no list")));
        assert_eq!(in_time(bound, "/out/", refused).await, Leftovers::Found(Vec::new()));
    }
}
