//! What happened to a job, in so many bytes: of the kind that came most often, the oldest lines go
//! first, and one line in their place says how many they are.

use keyloom_common::{
    error::Error,
    report::{LogKind, LogLine, words::plural},
};
use serde::{Deserialize, Serialize};

use super::record::shorten;
use crate::dispatch::Incident;

/// The most bytes of a line's text, and of a worker's name in it.
const TEXT_BYTES: usize = 1024;
const WORKER_BYTES: usize = 128;

/// About the bytes that a line takes beside its texts.
const LINE_BYTES: usize = 64;

/// How many tasks a line names.
const NAMED: usize = 8;

/// Something that is to be told of a job.
#[derive(Debug)]
pub(crate) struct Happened {
    kind: LogKind,
    stage: Option<u32>,
    task: Option<u32>,
    worker: Option<String>,
    text: String,
}

impl Happened {
    pub(crate) fn new(kind: LogKind, text: impl Into<String>) -> Self {
        Self { kind, stage: None, task: None, worker: None, text: text.into() }
    }

    /// The same, about a stage.
    pub(crate) fn of_stage(self, stage: u32) -> Self {
        Self { stage: Some(stage), ..self }
    }

    /// What the scheduler met while it had a stage's tasks done, or the one that ends an output,
    /// which has no number.
    pub(crate) fn met(stage: Option<u32>, incident: Incident) -> Self {
        let what = stage.map_or_else(|| "the output".to_owned(), |stage| format!("stage {stage}"));
        let told = match incident {
            Incident::Failed { task, worker, error } => {
                let text = format!("{}: {}", of_task(task, &what, stage), error.message());
                Self::new(LogKind::AttemptFailed, text).on(task, worker)
            }
            Incident::Again { task, worker, attempt } => {
                let text = format!("{}: attempt {attempt}", of_task(task, &what, stage));
                Self::new(LogKind::Retried, text).on(task, worker)
            }
            Incident::Lost { tasks, worker, reason } => {
                let text = format!("{}: {reason}", those(&tasks, &what, stage));
                let worker = Some(worker);
                Self { worker, ..Self::new(LogKind::WorkerLost, text) }
            }
            Incident::Alone { tasks } => {
                let tasks = plural(tasks as u64, "task");
                Self::new(LogKind::NoWorker, format!("{what}: {tasks}, and no worker is there"))
            }
        };
        Self { stage, task: told.task.filter(|_| stage.is_some()), ..told }
    }

    fn on(self, task: u32, worker: String) -> Self {
        Self { task: Some(task), worker: Some(worker), ..self }
    }
}

/// That a job failed, or cannot go on.
pub(super) fn because(kind: LogKind, error: &Error) -> Happened {
    Happened::new(kind, error.message())
}

fn of_task(task: u32, what: &str, stage: Option<u32>) -> String {
    stage.map_or_else(|| what.to_owned(), |_| format!("task {task} of {what}"))
}

fn those(tasks: &[u32], what: &str, stage: Option<u32>) -> String {
    if stage.is_none() {
        return what.to_owned();
    }
    let named: Vec<_> = tasks.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if tasks.len() > NAMED { ", …" } else { "" };
    let word = if tasks.len() == 1 { "task" } else { "tasks" };
    format!("{word} {}{more} of {what}", named.join(", "))
}

/// The lines of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    lines: Vec<LogLine>,
    next: u64,
}

impl Log {
    /// Adds what happened at a time, and leaves out others until all take so many bytes at most.
    pub(super) fn add(&mut self, happened: Happened, at_ms: u64, max_bytes: usize) {
        let Happened { kind, stage, task, mut worker, mut text } = happened;
        shorten(&mut text, TEXT_BYTES);
        worker.iter_mut().for_each(|worker| shorten(worker, WORKER_BYTES));
        let (number, left_out) = (self.next, 0);
        self.lines.push(LogLine { number, at_ms, kind, stage, task, worker, text, left_out });
        self.next += 1;
        while self.bytes() > max_bytes && self.leave_one_out() {}
    }

    pub(super) fn lines(&self) -> &[LogLine] {
        &self.lines
    }

    fn bytes(&self) -> usize {
        let bytes = |line: &LogLine| {
            LINE_BYTES + line.text.len() + line.worker.as_ref().map_or(0, String::len)
        };
        self.lines.iter().map(bytes).sum()
    }

    /// Leaves out the oldest line of the kind that has the most, but never the newest of all. False
    /// if there is nothing to leave out.
    fn leave_one_out(&mut self) -> bool {
        let older = self.lines.len().saturating_sub(1);
        let (older, _) = self.lines.split_at(older);
        let stands = |line: &&LogLine| line.left_out == 0;
        // Of those that have as many, the first.
        let most = LogKind::ALL.into_iter().rev().max_by_key(|kind| {
            older.iter().filter(stands).filter(|line| line.kind == *kind).count()
        });
        let oldest = older.iter().position(|line| line.left_out == 0 && Some(line.kind) == most);
        let Some(oldest) = oldest else { return false };
        let kind = self.lines[oldest].kind;
        let before = self.lines.iter().position(|line| line.kind == kind && line.left_out > 0);
        let left_out = before.map_or(0, |before| self.lines[before].left_out) + 1;
        let line = &mut self.lines[oldest];
        let lines = if left_out == 1 { "line is" } else { "lines are" };
        let text = format!("{left_out} {lines} left out (job_log_bytes)");
        *line = LogLine { stage: None, task: None, worker: None, text, left_out, ..line.clone() };
        if let Some(before) = before {
            self.lines.remove(before);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(log: &mut Log, kind: LogKind, text: &str, max_bytes: usize) {
        let at_ms = 100 + log.next;
        log.add(Happened::new(kind, text), at_ms, max_bytes);
    }

    /// The numbers, kinds and counts of all lines.
    fn told(log: &Log) -> Vec<(u64, LogKind, u64)> {
        log.lines().iter().map(|line| (line.number, line.kind, line.left_out)).collect()
    }

    #[test]
    fn of_the_kind_that_comes_too_often_the_oldest_are_left_out_and_counted() {
        use LogKind::{AttemptFailed, Done, StageBegun, Started, Submitted};
        let (mut log, max) = (Log::default(), 8 * (LINE_BYTES + 40));
        for kind in [Submitted, Started, StageBegun] {
            add(&mut log, kind, &"x".repeat(40), max);
        }
        for _ in 0..1000 {
            add(&mut log, AttemptFailed, &"y".repeat(40), max);
        }
        add(&mut log, Done, &"z".repeat(40), max);
        assert!(log.bytes() <= max, "{} bytes", log.bytes());
        let expected = [
            (0, Submitted, 0),
            (1, Started, 0),
            (2, StageBegun, 0),
            (999, AttemptFailed, 997),
            (1000, AttemptFailed, 0),
            (1001, AttemptFailed, 0),
            (1002, AttemptFailed, 0),
            (1003, Done, 0),
        ];
        assert_eq!(told(&log), expected);
        let line = &log.lines()[3];
        assert_eq!(
            (line.at_ms, line.text.as_str()),
            (1099, "997 lines are left out (job_log_bytes)")
        );
    }

    #[test]
    fn a_line_has_a_bound_and_the_newest_stays_whatever_the_bound_of_all() {
        let mut log = Log::default();
        for kind in [LogKind::Submitted, LogKind::Failed] {
            add(&mut log, kind, &"ä".repeat(10_000), 1);
        }
        let failed = &log.lines()[1];
        assert!(failed.text.len() <= TEXT_BYTES && failed.text.ends_with("ä…"), "{}", failed.text);
        assert_eq!(told(&log), [(0, LogKind::Submitted, 1), (1, LogKind::Failed, 0)]);
        assert_eq!(log.lines()[0].text, "1 line is left out (job_log_bytes)");
    }

    #[test]
    fn what_the_scheduler_met_is_told_in_words() {
        let text = |stage: Option<u32>, incident: Incident| {
            let mut log = Log::default();
            log.add(Happened::met(stage, incident), 7, 4096);
            let line = log.lines()[0].clone();
            (line.kind, line.stage, line.task, line.worker, line.text)
        };
        let worker = || "w1".to_owned();
        let failed =
            || Incident::Failed { task: 3, worker: worker(), error: Error::store("no answer") };
        let (told, of_task) = (text(Some(1), failed()), "task 3 of stage 1: no answer".to_owned());
        assert_eq!(told, (LogKind::AttemptFailed, Some(1), Some(3), Some(worker()), of_task));
        let told = text(None, failed());
        let of_output = "the output: no answer".to_owned();
        assert_eq!(told, (LogKind::AttemptFailed, None, None, Some(worker()), of_output));
        let again = Incident::Again { task: 3, worker: worker(), attempt: 2 };
        let of_task = "task 3 of stage 1: attempt 2".to_owned();
        let told = text(Some(1), again);
        assert_eq!(told, (LogKind::Retried, Some(1), Some(3), Some(worker()), of_task));
        let lost = |tasks: u32| Incident::Lost {
            tasks: (0..tasks).collect(),
            worker: worker(),
            reason: "it was not heard of".to_owned(),
        };
        let told = text(Some(0), lost(1)).4;
        assert_eq!(told, "task 0 of stage 0: it was not heard of");
        let told = text(Some(0), lost(20)).4;
        let expected = "tasks 0, 1, 2, 3, 4, 5, 6, 7, … of stage 0: it was not heard of";
        assert_eq!(told, expected);
        let alone = text(Some(2), Incident::Alone { tasks: 4 }).4;
        assert_eq!(alone, "stage 2: 4 tasks, and no worker is there");
    }
}
