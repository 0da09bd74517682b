//! The rows of a task on their way to files: one at a time, or one for each value of the columns
//! that name folders, within bounds on their number and on what they hold.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::{StreamExt, stream};
use keyloom_common::{AttemptId, Error, Result, output::Piece};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::Attempt,
    file::{Closed, Common, OutputFile},
    folder::Folder,
    shape::Shape,
    split::split,
    staged::file_name,
};
use crate::output::{OutputSettings, counters::Counters, room::Room};

/// Writes the rows of a task.
pub(super) struct TaskWriter {
    shape: Arc<Shape>,
    settings: OutputSettings,
    id: AttemptId,
    attempt: Attempt,
    open: HashMap<String, OutputFile>,
    /// Counts batches in place of a clock.
    clock: u64,
    begun: u32,
    finished: Vec<(u32, Piece)>,
    room: Room,
    counters: Counters,
}

impl TaskWriter {
    pub(super) fn new(
        shape: Arc<Shape>,
        folder: Folder,
        id: AttemptId,
        settings: OutputSettings,
        room: Room,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Self {
        let attempt = Attempt::new(folder, id, &settings);
        Self {
            shape,
            settings,
            id,
            attempt,
            open: HashMap::new(),
            clock: 0,
            begun: 0,
            finished: Vec::new(),
            room,
            counters: Counters::new(metrics),
        }
    }

    /// Writes rows behind those before.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.clock += 1;
        for (folder, rows) in split(&self.shape, batch)? {
            let rows = self.shape.columns.convert(rows)?;
            self.write_to(folder, rows).await?;
        }
        self.settle().await
    }

    async fn write_to(&mut self, folder: String, rows: RecordBatch) -> Result<()> {
        if !self.open.contains_key(&folder) {
            while self.open.len() >= self.settings.open_files.max(1) {
                let Some(oldest) = self.best(|file| Reverse((file.touched, file.number))) else {
                    break;
                };
                self.finish_one(&oldest).await?;
            }
            let file = self.begin(&folder).await?;
            self.open.insert(folder.clone(), file);
        }
        let lost = || Error::internal("a file that was begun is gone");
        let file = self.open.get_mut(&folder).ok_or_else(lost)?;
        file.touched = self.clock;
        file.write(rows).await?;
        match file.size() >= self.shape.files.target_file_bytes {
            true => self.finish_one(&folder).await,
            false => Ok(()),
        }
    }

    async fn begin(&mut self, folder: &str) -> Result<OutputFile> {
        let (task, number) = (self.id.task, self.begun);
        self.begun += 1;
        let name = file_name(task.stage.job, task.index, number, &self.shape.ending());
        let (shape, attempt) = (self.shape.as_ref(), &self.attempt);
        let common = Common { shape, attempt, settings: &self.settings };
        OutputFile::begin(common, folder, &name, number).await
    }

    /// Takes memory for what is held, or holds less.
    async fn settle(&mut self) -> Result<()> {
        if self.room.fits(self.held()) {
            return Ok(());
        }
        // What is on its way need only arrive.
        for file in self.open.values_mut() {
            file.sent().await?;
        }
        while !self.room.fits(self.held()) {
            let Some(folder) = self.best(|file| file.held()) else { return Ok(()) };
            let Some(file) = self.open.get_mut(&folder) else { return Ok(()) };
            let before = file.held();
            file.shrink().await?;
            if file.held() > before / 2 {
                self.finish_one(&folder).await?;
            }
        }
        Ok(())
    }

    fn held(&self) -> u64 {
        self.open.values().map(OutputFile::held).sum()
    }

    /// The folder of the open file that is first by some measure.
    fn best<T: Ord>(&self, measure: impl Fn(&OutputFile) -> T) -> Option<String> {
        let best = self.open.iter().max_by_key(|(_, file)| measure(file));
        best.map(|(folder, _)| folder.clone())
    }

    async fn finish_one(&mut self, folder: &str) -> Result<()> {
        let Some(file) = self.open.remove(folder) else { return Ok(()) };
        let stored = file.close().await?.stored().await?;
        self.take(stored);
        Ok(())
    }

    fn take(&mut self, (number, piece): (u32, Piece)) {
        self.counters.count(&piece);
        self.finished.push((number, piece));
    }

    /// All rows have come: the files, in the order in which they were begun. Says when nothing is
    /// left but to wait until they are stored.
    pub(super) async fn finish(mut self, computed: &CancellationToken) -> Result<Vec<Piece>> {
        let mut closed = Vec::new();
        while let Some(folder) = self.best(|file| Reverse(file.number)) {
            let Some(file) = self.open.remove(&folder) else { break };
            closed.push(file.close().await?);
        }
        computed.cancel();
        let at_once = self.settings.requests_in_flight.max(1);
        let mut storing = stream::iter(closed).map(Closed::stored).buffer_unordered(at_once);
        while let Some(stored) = storing.next().await {
            self.take(stored?);
        }
        let Self { attempt, mut finished, .. } = self;
        attempt.done();
        finished.sort_unstable_by_key(|(number, _)| *number);
        Ok(finished.into_iter().map(|(_, piece)| piece).collect())
    }
}
