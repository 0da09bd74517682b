//! A look at a job that goes on, before any of its tasks runs: at what it reads, which must be what
//! it was, also where tasks that are done have read it already; and at what those have written,
//! which run again where it is gone.

use std::{collections::BTreeSet, iter::repeat_n, sync::Arc};

use arrow::array::RecordBatch;
use keyloom_common::{
    Error, JobId, Result, StageId, ipc,
    output::piece_schema,
    rpc::{ResumedJob, TaskReport, Work, WrittenOutput},
    trace::TraceParent,
};
use tokio::task::spawn_blocking;

use super::{context::JobContext, held::HeldBlob};
use crate::{
    history::{JobRecord, Journal},
    output::kept_pieces,
};

/// Has a worker look at a job that was resumed. One whose output may be committed only goes
/// forward, whatever has become of its inputs.
///
/// # Errors
/// `invalid` or `not_found`, naming the input or the store that is not what it was; or why nobody
/// could look.
pub(crate) async fn look_again(context: &Arc<JobContext>) -> Result<()> {
    let Some(record) = context.record() else { return Ok(()) };
    if record.known.runs() == 0 || record.known.may_be_committed() {
        return Ok(());
    }
    let looked = look(context, record).await;
    looked.map_err(|error| error.context("the job cannot go on where it was"))
}

async fn look(context: &Arc<JobContext>, record: &JobRecord) -> Result<()> {
    let (history, job) = (Arc::clone(&record.history), context.job);
    let plan = spawn_blocking(move || history.plan(job)).await.map_err(Error::from_join)??;
    let done = Done::read(job, record.journal.as_ref()).await;
    let held = HeldBlob::plan(context, plan.plan)?;
    let pieces = match done.owners.is_empty() {
        true => None,
        false => {
            let pieces = ipc::encode_all(&piece_schema(), &done.pieces)?;
            Some(HeldBlob::rows(context, pieces)?)
        }
    };
    let written = pieces.as_ref().map(|pieces| WrittenOutput {
        job,
        output: plan.output,
        pieces: pieces.id(),
    });
    let work = Work::CheckResumed(ResumedJob { plan: held.id(), written });
    // It is no stage of the job's.
    let stage = StageId { job: JobId::new(), index: 0 };
    let asked = context.dispatcher.ask(stage, work, TraceParent::of(&context.span));
    let TaskReport::Resumed { gone } = asked.await? else {
        return Err(Error::internal("a worker answered another question than was asked"));
    };
    done.redo(job, record.journal.as_ref(), &gone);
    Ok(())
}

/// What tasks that are done have written.
#[derive(Default)]
struct Done {
    pieces: Vec<RecordBatch>,
    /// The task of each piece.
    owners: Vec<u32>,
    /// The tasks of which that cannot be read.
    unread: BTreeSet<u32>,
}

impl Done {
    async fn read(job: JobId, journal: Option<&Journal>) -> Self {
        let mut done = Self::default();
        let Some((journal, stage)) = journal.and_then(|own| Some((own, own.written()?))) else {
            return done;
        };
        for task in journal.done(stage) {
            let read = journal.read(stage, task).await;
            match read.and_then(|record| kept_pieces(vec![record])) {
                Ok(pieces) => {
                    let count: usize = pieces.iter().map(RecordBatch::num_rows).sum();
                    done.owners.extend(repeat_n(task, count));
                    done.pieces.extend(pieces);
                }
                Err(error) => {
                    tracing::warn!(%job, stage, task, %error, "what a task wrote is not known");
                    done.unread.insert(task);
                }
            }
        }
        done
    }

    /// Has the tasks run again whose pieces are gone, or not known.
    fn redo(&self, job: JobId, journal: Option<&Journal>, gone: &[u32]) {
        let owner = |place: &u32| self.owners.get(*place as usize).copied();
        let mut lost: BTreeSet<u32> = gone.iter().filter_map(owner).collect();
        lost.extend(&self.unread);
        let Some((journal, stage)) = journal.and_then(|own| Some((own, own.written()?))) else {
            return;
        };
        if !lost.is_empty() {
            let tasks = lost.len();
            tracing::warn!(
                %job, stage, tasks,
                "what these tasks had written is not there any more as it was: they run again"
            );
            journal.redo(stage, &lost);
        }
    }
}
