//! Outputs: what tasks write, and its commit.
//!
//! Nothing that a task writes can be seen before the commit, and of each task one attempt's pieces
//! are committed. Committing again changes nothing; what is removed may be gone before.

mod counters;
mod files;
mod lance;
mod room;
mod settings;

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use keyloom_common::{
    AttemptId, Result,
    error::redact,
    output::{Committed, OutputInspection, OutputKind, Piece, PreparedOutput, WriteExec},
    rpc::{PlannedOutput, WrittenOutput},
};

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
}

/// A task's attempt, and where its rows go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'a> {
    pub(crate) attempt: AttemptId,
    pub(crate) node: &'a WriteExec,
}

/// An output of a job whose pieces have been read.
#[derive(Debug)]
struct Written {
    job: keyloom_common::JobId,
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
            lance: LanceOutputs::new(stores, access, commons, &settings),
            files: FileOutputs::new(objects, commons, settings),
        }
    }

    /// Looks whether an output can be written, and what jobs keep out of sight there.
    pub(crate) async fn inspect(&self, planned: PlannedOutput) -> Result<OutputInspection> {
        let (prepared, left) = match planned.spec.kind {
            OutputKind::Files(_) => {
                let prepared = self.files.prepare(planned).await?;
                let left = self.files.leftovers(&prepared.spec).await;
                (prepared, left)
            }
            _ => {
                let prepared = self.lance.prepare(planned).await?;
                let left = self.lance.leftovers(&prepared.spec).await;
                (prepared, left)
            }
        };
        let leftovers = left.unwrap_or_else(|error| {
            // The output can be written all the same.
            let output = redact(&prepared.spec.path);
            tracing::warn!(output, %error, "it is not known what jobs have left where one writes");
            Vec::new()
        });
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

impl Written {
    async fn read(written: WrittenOutput, blobs: &dyn BlobSource) -> Result<Self> {
        let WrittenOutput { job, output, pieces } = written;
        let batches = blobs.rows(pieces).await?;
        let pieces = batches.iter().map(Piece::read).collect::<Result<Vec<_>>>()?.concat();
        Ok(Self { job, output, pieces })
    }
}
