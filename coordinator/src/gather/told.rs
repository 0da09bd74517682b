//! What the tasks of a stage tell when they are done, which is counted at once.
//!
//! It may be megabytes a task. A reader whose client is slow hears of tasks late, and those that
//! are done before would all wait with theirs.

use std::{mem, sync::Arc};

use keyloom_common::{
    Result,
    rpc::{TaskReport, guarded},
};
use keyloom_planner::Fragment;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{context::JobContext, misses::TellingTask, nodes::Nodes, numbered::numbered_from};
use crate::{
    dispatch::{Finished, Incident, StageUpdate},
    history::Happened,
};

/// Where a stage's tasks are counted.
pub(super) struct Told {
    context: Arc<JobContext>,
    stage: u32,
    nodes: Nodes,
    /// From which of the fragment's nodes on rows have numbers, if they do.
    numbered_from: Option<usize>,
}

impl Told {
    pub(super) fn of(fragment: &Fragment, context: &Arc<JobContext>) -> Self {
        Self {
            context: Arc::clone(context),
            stage: fragment.stage,
            nodes: Nodes::of(fragment),
            numbered_from: numbered_from(fragment),
        }
    }

    /// Counts a task that is done. What it told of its lookups is not kept with its rows.
    ///
    /// # Errors
    /// `not_found` as soon as there are certainly too many misses.
    pub(super) fn count(&self, index: u32, finished: &mut Finished) -> Result<()> {
        let lookups = match &mut finished.report {
            TaskReport::Rows { lookups, .. } => mem::take(lookups),
            _ => return Ok(()),
        };
        let (stage, places) = (self.stage, self.nodes.of_task(index));
        if let TaskReport::Rows { rows, metrics, .. } = &finished.report {
            self.context.task_done(stage, index, finished, *rows, (metrics, places));
        }
        let task = TellingTask { stage, index, places, numbered_from: self.numbered_from };
        self.context.tell_misses(self.context.misses.add(task, &lookups))
    }

    /// Tells of what the scheduler met.
    pub(super) fn met(&self, incident: Incident) {
        self.context.tell(Happened::met(Some(self.stage), incident));
    }
}

/// The updates of a stage, each passed on as soon as it was counted, for as long as the handle is
/// there. If counting fails, so does the stage. What was met is told, and not passed on.
pub(super) fn counted(
    updates: mpsc::UnboundedReceiver<StageUpdate>,
    count: impl FnMut(u32, &mut Finished) -> Result<()> + Send + 'static,
    met: impl FnMut(Incident) + Send + 'static,
) -> (mpsc::UnboundedReceiver<StageUpdate>, AbortOnDropHandle<()>) {
    let (tx, receiver) = mpsc::unbounded_channel();
    let counting = async move {
        // Also a panic is told, or the reader would take it for the coordinator's end.
        if let Err(error) = guarded(pass_on(updates, (count, met), &tx)).await {
            // A reader that is gone cancels its stage.
            let _ = tx.send(StageUpdate::Failed(error.into()));
        }
    };
    (receiver, AbortOnDropHandle::new(tokio::spawn(counting)))
}

async fn pass_on(
    mut updates: mpsc::UnboundedReceiver<StageUpdate>,
    (mut count, mut met): (impl FnMut(u32, &mut Finished) -> Result<()>, impl FnMut(Incident)),
    tx: &mpsc::UnboundedSender<StageUpdate>,
) -> Result<()> {
    while let Some(mut update) = updates.recv().await {
        match &mut update {
            StageUpdate::Done { index, finished } => count(*index, finished)?,
            StageUpdate::Failed(_) => {}
            StageUpdate::Met(incident) => {
                met(incident.clone());
                continue;
            }
        }
        let _ = tx.send(update);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{env::temp_dir, time::Instant};

    use keyloom_common::{Error, WorkerId, misses::LookupTally, report::PlanMetrics};

    use super::*;
    use crate::spool::{Spool, SpoolRoom};

    fn done(index: u32) -> StageUpdate {
        let lookups = vec![LookupTally { node: 0, rows: index.into(), fetches: Vec::new() }];
        let finished = Finished {
            worker: WorkerId::new(),
            report: TaskReport::Rows {
                chunks: 0,
                rows: 1,
                metrics: PlanMetrics::default(),
                lookups,
            },
            chunks: Spool::new(SpoolRoom::new(1 << 10, 1 << 10, temp_dir())),
            is_kept: false,
            launched: Instant::now(),
            ended: Instant::now(),
        };
        StageUpdate::Done { index, finished: Box::new(finished) }
    }

    /// What was told, which is not there any more.
    fn take(finished: &mut Finished) -> Vec<LookupTally> {
        match &mut finished.report {
            TaskReport::Rows { lookups, .. } => mem::take(lookups),
            _ => Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_tasks_tell_is_counted_while_nobody_reads_their_rows() {
        let (updates, receiver) = mpsc::unbounded_channel();
        let (tell, mut told) = mpsc::unbounded_channel();
        let count = move |index, finished: &mut Finished| {
            tell.send((index, take(finished)[0].rows)).unwrap();
            Ok(())
        };
        let (mut read, _counting) = counted(receiver, count, |_| ());
        for index in [2, 0] {
            updates.send(done(index)).unwrap();
        }
        assert_eq!([told.recv().await, told.recv().await], [Some((2, 2)), Some((0, 0))]);
        for due in [2, 0] {
            let Some(StageUpdate::Done { index, mut finished }) = read.recv().await else {
                panic!("no update of task {due}");
            };
            assert_eq!((index, take(&mut finished).len()), (due, 0));
        }
        drop(updates);
        assert!(read.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_stage_fails_where_counting_does() {
        let (updates, receiver) = mpsc::unbounded_channel();
        let count = |index, _: &mut Finished| match index {
            0 => Ok(()),
            1 => Err(Error::not_found("too many")),
            _ => panic!("it went on"),
        };
        let (mut read, _counting) = counted(receiver, count, |_| ());
        for index in 0..3 {
            updates.send(done(index)).unwrap();
        }
        assert!(matches!(read.recv().await, Some(StageUpdate::Done { index: 0, .. })));
        match read.recv().await {
            Some(StageUpdate::Failed(lost)) => assert_eq!(lost.error.message(), "too many"),
            other => panic!("counting failed, and this is told: {other:?}"),
        }
        assert!(read.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_was_met_is_told_at_once_and_is_no_update_of_a_reader() {
        let (updates, receiver) = mpsc::unbounded_channel();
        let (tell, mut told) = mpsc::unbounded_channel();
        let count = |_, _: &mut Finished| Ok(());
        let (mut read, _counting) = counted(receiver, count, move |incident| {
            tell.send(incident).unwrap();
        });
        let alone = Incident::Alone { tasks: 3 };
        updates.send(StageUpdate::Met(alone.clone())).unwrap();
        updates.send(done(4)).unwrap();
        assert_eq!(told.recv().await, Some(alone));
        assert!(matches!(read.recv().await, Some(StageUpdate::Done { index: 4, .. })));
    }
}
