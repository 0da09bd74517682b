//! A look at a job that goes on, before any of its tasks runs: at what it reads, which must be what
//! it was, also where tasks that are done have read it already; and at what those have written,
//! which run again where it is gone.

use std::{collections::BTreeSet, iter::repeat_n, sync::Arc};

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
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

/// Of how many tasks at once it is read what they have written: each waits for the disk.
const READ_AT_ONCE: usize = 16;

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
        let tasks = journal.done(stage).into_iter();
        let reads: Vec<_> = tasks.map(|task| read_pieces(journal, stage, task)).collect();
        // In the order of the tasks.
        let mut reads = stream::iter(reads).buffered(READ_AT_ONCE);
        while let Some((task, read)) = reads.next().await {
            match read {
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

/// A task, and what it has written.
async fn read_pieces(journal: &Journal, stage: u32, task: u32) -> (u32, Result<Vec<RecordBatch>>) {
    let read = journal.read(stage, task).await;
    (task, read.and_then(|record| kept_pieces(vec![record])))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keyloom_common::{BlobId, WorkerId, output::Piece, report::PlanMetrics};

    use super::*;
    use crate::{
        history::{Cut, History, TaskRecord},
        settings::Settings,
    };

    const JOB: JobId = JobId::from_u128(7);
    const STAGE: u32 = 1;

    /// The task whose record is damaged.
    const DAMAGED: u32 = 7;

    /// What a task has written: one piece, or two.
    fn pieces(task: u32) -> Vec<Piece> {
        let piece = |rows: u32| Piece { rows: rows.into(), bytes: 1, token: b"file".to_vec() };
        (0..=task % 2).map(|place| piece(10 * task + place)).collect()
    }

    fn record(task: u32) -> TaskRecord {
        let batch = Piece::batch(&pieces(task)).unwrap();
        let rows = match task {
            DAMAGED => Bytes::from_static(b"no rows"),
            _ => ipc::encode_all(&piece_schema(), &[batch]).unwrap(),
        };
        TaskRecord {
            worker: WorkerId::from_u128(1),
            rows: 1,
            metrics: PlanMetrics::default(),
            lookups: Vec::new(),
            chunks: vec![(rows, true)],
        }
    }

    #[tokio::test]
    async fn what_many_tasks_have_written_is_read_in_their_order_and_what_is_damaged_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = Some(folder.path().to_owned());
        let settings = Settings { state_folder, ..Settings::default() };
        let history = History::open(&Arc::new(settings)).unwrap();
        let tasks = 3 * READ_AT_ONCE as u32 + 1;
        let slices = BlobId::NONE;
        let cut = Cut { stage: STAGE, tasks: tasks.into(), slices, writes: true };
        let journal = || history.journal(JOB, &[cut]).unwrap().unwrap();
        let first = journal();
        for task in 0..tasks {
            first.keep(STAGE, task, &record(task)).await;
        }
        history.written().await;
        let next = journal();
        assert_eq!(next.count(STAGE), tasks as usize);

        let done = Done::read(JOB, Some(&next)).await;
        let sound: Vec<u32> = (0..tasks).filter(|task| *task != DAMAGED).collect();
        let expected: Vec<_> = sound.iter().flat_map(|task| pieces(*task)).collect();
        let read = done.pieces.iter().flat_map(|batch| Piece::read(batch).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), expected);
        let owners = sound.iter().flat_map(|task| repeat_n(*task, pieces(*task).len()));
        assert_eq!(done.owners, owners.collect::<Vec<_>>());
        assert_eq!(done.unread, BTreeSet::from([DAMAGED]));

        // The only piece of the first task, and the second one of the next.
        done.redo(JOB, Some(&next), &[0, 2]);
        let again = BTreeSet::from([0, 1, DAMAGED]);
        let left: BTreeSet<u32> = (0..tasks).filter(|task| !again.contains(task)).collect();
        assert_eq!(next.done(STAGE), left);
    }
}
