//! Lance datasets as outputs.
//!
//! Tasks write data files that no manifest names, or rows beside the dataset ([`upsert`]), and
//! their pieces say which. One transaction of Lance makes all of them visible at once ([`commit`]);
//! it bears the job's id, by which a commit that is asked for again finds the one before. Tasks of
//! a job write to the one version that was looked at when it was planned.
//!
//! [`plain`] makes, replaces and extends datasets, [`upsert`] replaces rows by their keys, and
//! [`columns`] adds columns to the rows that are there. What does not say by itself that it was
//! made before is committed as the [`next_version`] or not at all. What nobody has accepted is
//! deleted by who wrote it ([`unaccepted`]), or at the job's end by its [`records`]; [`left`] is
//! what such jobs have left that nobody ends any more.

mod check;
mod cleaner;
mod columns;
mod commit;
mod left;
mod next_version;
mod parts;
mod plain;
mod records;
mod rows;
mod schema;
mod told;
mod unaccepted;
mod upsert;

use std::{collections::HashSet, sync::Arc};

use datafusion::execution::SendableRecordBatchStream;
use keyloom_common::{
    Error, JobId, Result,
    output::{Committed, Leftover, OutputKind, OutputSpec, PreparedOutput},
    rpc::PlannedOutput,
    store::{LANCE, Options, STORAGE_OPTIONS, StoreSpec},
};
use lance::Dataset;

use self::{cleaner::Cleaner, columns::Fragments, unaccepted::Unaccepted, upsert::UpsertBounds};
use super::{OutputSettings, Writing, Written, counters::Counters, room::Room};
use crate::{
    access::Access,
    memory::Commons,
    store::{
        OpenStores, Patience,
        lance::{Files, Target},
    },
};

/// What is shared by all that is written.
#[derive(Debug)]
pub(super) struct LanceOutputs {
    stores: Arc<OpenStores>,
    access: Access,
    commons: Commons,
    bounds: UpsertBounds,
    cleaner: Cleaner,
}

impl LanceOutputs {
    /// Writes by the storage profiles of these stores, where jobs may touch something.
    /// Rows that replace others are taken of `commons`.
    pub(super) fn new(
        stores: Arc<OpenStores>,
        access: Access,
        commons: &Commons,
        settings: &OutputSettings,
    ) -> Self {
        let bounds = UpsertBounds::of(settings);
        let cleaner = Cleaner::new(settings.cleanup_timeout());
        Self { stores, access, commons: commons.clone(), bounds, cleaner }
    }

    /// Looks whether rows with these columns can be written, and at which version.
    ///
    /// # Errors
    /// `permission_denied` if it may not be touched, `not_found` or `invalid` if it cannot be
    /// written like this, naming the dataset and the column; `store` or `timeout` if its storage
    /// does not answer.
    pub(super) async fn prepare(&self, planned: PlannedOutput) -> Result<PreparedOutput> {
        let PlannedOutput { spec, schema } = planned;
        let target = self.target(&spec).await?;
        let there = target.newest().await?;
        match (&spec.kind, &there) {
            (OutputKind::Lance { if_exists, .. }, there) => {
                plain::check(&target, *if_exists, there.as_ref(), &schema).await?;
            }
            (OutputKind::Upsert { key }, Some(dataset)) => {
                upsert::check(&target, dataset, key, &schema)?;
            }
            (OutputKind::Columns, Some(dataset)) => columns::check(&target, dataset, &schema)?,
            (OutputKind::Upsert { .. } | OutputKind::Columns, None) => {
                return Err(Error::not_found(format!(
                    "no Lance dataset at {}, of which rows or columns are to be written",
                    target.shown()
                )));
            }
            (OutputKind::Files(_), _) => return Err(no_dataset()),
        }
        let version = there.map(|dataset| dataset.version_id());
        Ok(PreparedOutput { spec, schema, version })
    }

    /// What jobs other than these keep out of sight beside a dataset that is to be written.
    ///
    /// # Errors
    /// `store` or `timeout` if its storage does not answer.
    pub(super) async fn leftovers(
        &self,
        spec: &OutputSpec,
        known: &HashSet<JobId>,
    ) -> Result<Vec<Leftover>> {
        left::look(&self.target(spec).await?, known).await
    }

    /// Writes a task's rows, and gives one batch of its pieces.
    pub(super) fn write(
        &self,
        writing: Writing<'_>,
        rows: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let output = Arc::clone(writing.node.output());
        let opening = self.opening(&output.spec);
        let (bounds, cleaner) = (self.bounds, self.cleaner.clone());
        let room = Room::new(self.commons.clone(), self.commons.reserve());
        let (attempt, counters) = (writing.attempt, Counters::new(writing.node.metrics_set()));
        let fragments = match output.spec.kind {
            OutputKind::Columns => Some(Fragments::of(writing.node)?),
            _ => None,
        };
        Ok(told::told(async move {
            let (target, files) = opening.open().await?;
            let unaccepted = Unaccepted::new(files, attempt, cleaner);
            let pieces = match (&output.spec.kind, fragments) {
                (OutputKind::Lance { if_exists, target_file_bytes }, _) => {
                    let how = plain::How::new(*if_exists, *target_file_bytes);
                    plain::write(&target, &output, how, rows, &unaccepted).await?
                }
                (OutputKind::Upsert { key }, _) => {
                    let part_bytes = bounds.part_bytes;
                    let staged = upsert::Staging { attempt, key, part_bytes, room: &room };
                    upsert::write(&target, &output, staged, rows, &unaccepted).await?
                }
                (OutputKind::Columns, Some(fragments)) => {
                    columns::write(&target, &output, fragments, rows, &unaccepted).await?
                }
                (OutputKind::Columns, None) | (OutputKind::Files(_), _) => {
                    return Err(no_dataset());
                }
            };
            pieces.iter().for_each(|piece| counters.count(piece));
            Ok((pieces, unaccepted))
        }))
    }

    /// Makes the pieces of a job visible, or finds that they are.
    ///
    /// # Errors
    /// `invalid` if somebody has changed the dataset so that they do not fit it any more, naming
    /// it: nothing of them is visible then. `store` or `timeout` if that is not known: asking again
    /// finds out.
    pub(super) async fn commit(&self, written: Written) -> Result<Committed> {
        let target = self.target(&written.output.spec).await?;
        let committed = match &written.output.spec.kind {
            OutputKind::Lance { if_exists, .. } => {
                plain::commit(&target, &written, *if_exists).await
            }
            OutputKind::Upsert { key } => {
                return upsert::commit(&target, &written, key, self.bounds, &self.commons).await;
            }
            OutputKind::Columns => columns::commit(&target, &written).await,
            OutputKind::Files(_) => Err(no_dataset()),
        }?;
        // It is committed, whatever becomes of what is left of lost attempts.
        if let Err(error) = clear_lost(&target, &written, committed.version).await {
            let job = written.job;
            tracing::warn!(%job, %error, "what lost attempts of a committed job wrote may stay");
        }
        Ok(committed)
    }

    /// The places of the pieces that are not there any more as they were written: none of a job
    /// that is committed.
    ///
    /// # Errors
    /// `store` or `timeout` if the storage does not answer.
    pub(super) async fn gone(&self, written: Written) -> Result<Vec<usize>> {
        let target = self.target(&written.output.spec).await?;
        let planned = written.output.version.unwrap_or(0);
        if let Some(newest) = target.newest().await?
            && commit::version_of(&target, &newest, planned, written.job).await?.is_some()
        {
            return Ok(Vec::new());
        }
        check::gone(&target, &written).await
    }

    /// Deletes the files of the pieces of a job, unless they are visible.
    ///
    /// # Errors
    /// `store` or `timeout` if the storage does not answer.
    pub(super) async fn abort(&self, written: Written) -> Result<()> {
        let target = self.target(&written.output.spec).await?;
        let newest = target.newest().await?;
        let planned = written.output.version.unwrap_or(0);
        if let Some(newest) = &newest
            && commit::version_of(&target, newest, planned, written.job).await?.is_some()
        {
            return Ok(());
        }
        let files = target.files().await?;
        let kind = &written.output.spec.kind;
        match kind {
            OutputKind::Upsert { .. } => upsert::abort(&target, files, &written).await,
            _ => {
                let planned = match (kind, &newest, written.output.version) {
                    (OutputKind::Columns, Some(_), Some(version)) => {
                        Some(target.at(version).await?)
                    }
                    _ => None,
                };
                // Versions may be gone, and with them who made them: what is read stays.
                let kept: Vec<&Dataset> = newest.iter().chain(&planned).map(Arc::as_ref).collect();
                let names = parts::new_files(&written.pieces, kept.iter().copied())?;
                let mut kept = records::names_of(kept);
                // Records name them, too, and they are deleted once.
                kept.extend(names.iter().cloned());
                cleaner::delete_data(&files, names).await;
                records::clear(&target, written.job, kept).await
            }
        }
    }

    async fn target(&self, spec: &OutputSpec) -> Result<Target> {
        let opening = self.opening(spec);
        opening.target().await
    }

    fn opening(&self, spec: &OutputSpec) -> Opening {
        let (stores, access) = (Arc::clone(&self.stores), self.access.clone());
        Opening { stores, access, store: store(spec) }
    }
}

/// Deletes what lost attempts of a job that is committed have left.
async fn clear_lost(target: &Target, written: &Written, version: Option<u64>) -> Result<()> {
    let newest = target.newest().await?;
    let made = match version {
        Some(version) if newest.as_ref().is_none_or(|newest| newest.version_id() != version) => {
            Some(target.at(version).await?)
        }
        _ => None,
    };
    let mut kept = records::names_of(newest.iter().chain(&made).map(Arc::as_ref));
    kept.extend(records::names_in(&written.pieces)?);
    records::clear(target, written.job, kept).await
}

/// What opens a place that is written, if it may be touched.
struct Opening {
    stores: Arc<OpenStores>,
    access: Access,
    store: StoreSpec,
}

impl Opening {
    async fn target(&self) -> Result<Target> {
        let patience = Patience::of(self.stores.settings());
        self.access.check_store(&self.store, patience).await?;
        self.stores.lance_target(&self.store)
    }

    async fn open(&self) -> Result<(Target, Files)> {
        let target = self.target().await?;
        let files = target.files().await?;
        Ok((target, files))
    }
}

/// The dataset as stores are named.
fn store(spec: &OutputSpec) -> StoreSpec {
    let mut options = Options::default();
    options.set(STORAGE_OPTIONS, spec.storage_profile.as_deref());
    StoreSpec { options, ..StoreSpec::new(&spec.path, LANCE, &spec.path) }
}

fn no_dataset() -> Error {
    Error::internal("files are not written as a Lance dataset")
}

#[cfg(test)]
mod tests;
