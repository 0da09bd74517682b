//! Files in folders as outputs.
//!
//! Tasks write files that nobody sees: beside the output's own in a hidden folder of the job, or as
//! uploads to an object store that are not completed. The commit writes a manifest, which decides,
//! and then makes the files visible one by one.
//!
//! In reading order: [`folder`] is where, [`shape`] which columns, and [`split`] which folders
//! within; [`encode`] makes bytes of rows, [`sink`] takes them to where [`staged`] says, in
//! [`parts`] if that is an object store, as one [`file`] for an [`attempt`]; [`task`] writes the
//! files of a task. [`present`] is what is there, [`claim`] keeps others out, [`manifest`] is
//! what was written, [`check`] looks whether that is there still, [`commit`] shows it, [`durable`]
//! has it outlive a loss of power, and [`clean`] removes the rest; [`left`] is what nobody removed.

mod attempt;
mod check;
mod claim;
mod clean;
mod commit;
mod durable;
mod encode;
mod file;
mod folder;
mod left;
mod manifest;
mod parts;
mod present;
mod shape;
mod sink;
mod split;
mod staged;
mod task;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    error::DataFusionError, execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{StreamExt, TryFutureExt, stream};
use keyloom_common::{
    Error, JobId, Result,
    memory::MemoryBudget,
    output::{
        Committed, IfExists, Leftover, OutputKind, OutputSpec, Piece, PreparedOutput, piece_schema,
    },
    rpc::PlannedOutput,
};

use self::{
    commit::Commit, folder::Folder, manifest::Manifest, present::Present, shape::Shape,
    staged::Token, task::TaskWriter,
};
use super::{OutputSettings, Writing, Written, room::Room};
use crate::{memory::Commons, object_stores::ObjectStores};

/// What is shared by all that is written.
#[derive(Debug)]
pub(super) struct FileOutputs {
    stores: Arc<ObjectStores>,
    settings: OutputSettings,
    commons: Commons,
    /// Of these, what tasks hold until it is written.
    memory: MemoryBudget,
}

impl FileOutputs {
    pub(super) fn new(
        stores: Arc<ObjectStores>,
        commons: &Commons,
        settings: OutputSettings,
    ) -> Self {
        let memory = commons.budget().part("output.memory_bytes", settings.memory_bytes);
        Self { stores, settings, commons: commons.clone(), memory }
    }

    pub(super) async fn prepare(&self, planned: PlannedOutput) -> Result<PreparedOutput> {
        let PlannedOutput { spec, schema } = planned;
        let shape = Shape::of(&spec, &schema)?;
        let folder = Folder::open_whole(&self.stores, &spec).await?;
        match shape.files.if_exists {
            IfExists::Error => Present::look(&folder).await?.refuse_any(&folder)?,
            IfExists::Overwrite => {
                folder.check_within(&Present::look(&folder).await?.data).await?;
            }
            IfExists::Append => Present::glance(&folder).await?,
        }
        Ok(PreparedOutput { spec, schema, version: None })
    }

    /// What jobs other than these keep out of sight in a folder that is to be written to.
    pub(super) async fn leftovers(
        &self,
        spec: &OutputSpec,
        known: &HashSet<JobId>,
    ) -> Result<Vec<Leftover>> {
        left::look(&Folder::open(&self.stores, spec).await?, known).await
    }

    pub(super) fn write(
        &self,
        writing: Writing<'_>,
        mut rows: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let Writing { attempt, node, computed } = writing;
        let output = Arc::clone(node.output());
        let shape = Arc::new(Shape::of(&output.spec, &output.schema)?);
        let (stores, settings) = (Arc::clone(&self.stores), self.settings.clone());
        let room = Room::new(self.commons.clone(), self.memory.reserve());
        let (metrics, computed) = (node.metrics_set().clone(), computed.clone());
        let written = async move {
            let folder = Folder::open(&stores, &output.spec).await?;
            let mut task = TaskWriter::new(shape, folder, attempt, settings, room, &metrics);
            while let Some(batch) = rows.next().await {
                task.write(&batch?).await?;
            }
            Piece::batch(&task.finish(&computed).await?)
        };
        let pieces = stream::once(written.map_err(DataFusionError::from));
        Ok(Box::pin(RecordBatchStreamAdapter::new(piece_schema(), pieces)))
    }

    pub(super) async fn commit(&self, written: Written) -> Result<Committed> {
        let Written { job, output, pieces } = written;
        let tokens = pieces.iter().map(|piece| Token::read(piece, job));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let shape = Shape::of(&output.spec, &output.schema)?;
        let folder = Folder::open_whole(&self.stores, &output.spec).await?;
        let (folder, shape, settings) = (&folder, &shape, &self.settings);
        let files = tokens.into_iter().zip(pieces).collect();
        Commit { folder, job, shape, settings, files }.run().await
    }

    /// The places of the pieces that are not there any more as they were written: none of a job
    /// that is committed.
    pub(super) async fn gone(&self, written: Written) -> Result<Vec<usize>> {
        let Written { job, output, pieces } = written;
        let tokens = pieces.iter().map(|piece| Token::read(piece, job));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let folder = Folder::open(&self.stores, &output.spec).await?;
        if Manifest::read(&folder, job).await?.is_some() {
            return Ok(Vec::new());
        }
        folder.check_files(&[staged::job_folder(job)]).await?;
        let files: Vec<_> = tokens.into_iter().zip(pieces).collect();
        check::gone(&folder, job, &files).await
    }

    pub(super) async fn abort(&self, written: Written) -> Result<()> {
        let Written { job, output, pieces } = written;
        let tokens = pieces.iter().map(|piece| Token::read(piece, job));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let folder = Folder::open(&self.stores, &output.spec).await?;
        if Manifest::read(&folder, job).await?.is_some() {
            return Err(Error::invalid(format!(
                "the output of job {job} in {} is committed, and stays",
                folder.given()
            )));
        }
        let released = match &output.spec.kind {
            OutputKind::Files(files) if files.if_exists == IfExists::Error => {
                claim::release(&folder, job).await
            }
            _ => Ok(()),
        };
        // What it has staged goes whether or not others can be let in.
        clean::abort(&folder, job, &tokens, &self.settings).await.and(released)
    }
}
