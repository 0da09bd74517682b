//! How the parts of a job get on: its stages, each at its own pace, and its stores.

use std::{collections::BTreeMap, time::Instant};

use indicatif::HumanCount;
use keyloom_client::report::{JobProgress, Share, StageProgress, StoreProgress, words};

use crate::pace::{Counted, Pace, Seen};

/// The most stages, and the most stores, that there are lines for.
const LINES: usize = 8;

/// The characters of a stage's bar.
const WIDTH: u64 = 20;

/// The stages of a job that is looked at now and then.
#[derive(Debug, Default)]
pub(super) struct Parts {
    paces: BTreeMap<u32, Pace>,
}

impl Parts {
    /// Lines for below the bar of the whole job: a bar for each stage, if there are several, and
    /// what each store answered.
    pub(super) fn lines(&mut self, now: Instant, progress: &JobProgress) -> String {
        let mut lines = Vec::new();
        for stage in shown(progress) {
            let seen = self.seen(now, stage);
            let bar = seen.map(|seen| bar(seen.share)).unwrap_or_default();
            let line = format!("  {:21}{bar}{}", name(stage), counted(stage, seen));
            lines.push(line.trim_end().to_owned());
        }
        lines.extend(stores(progress).map(|store| format!("  {store}")));
        lines.extend(left_out(progress).map(|left_out| format!("  {left_out}")));
        lines.join("\n")
    }

    /// The same behind what is said of the whole job, in one line.
    pub(super) fn words(&mut self, now: Instant, progress: &JobProgress) -> String {
        let stages = shown(progress).map(|stage| {
            let counted = counted(stage, self.seen(now, stage));
            let space = if counted.is_empty() { "" } else { " " };
            format!("{}{space}{counted}", name(stage))
        });
        let parts = stages.chain(stores(progress)).chain(left_out(progress));
        parts.map(|part| format!("; {part}")).collect()
    }

    /// How a stage gets on. What the coordinator does is not counted.
    fn seen(&mut self, now: Instant, stage: &StageProgress) -> Option<Seen> {
        let counted = Counted::of_stage(stage);
        let pace = self.paces.entry(stage.stage?).or_insert_with(|| Pace::start(now, counted));
        let seen = pace.seen(now, counted);
        Some(match stage.is_done() {
            // It has no pace any more.
            true => Seen { rate: None, left: None, ..seen },
            false => seen,
        })
    }
}

/// What a stage has done, in words.
fn counted(stage: &StageProgress, seen: Option<Seen>) -> String {
    let Some(seen) = seen else { return String::new() };
    let bytes = (stage.bytes > 0).then(|| format!(", {}", words::bytes(stage.bytes)));
    let (done, tasks) = (stage.tasks_done, stage.tasks);
    format!("{done}/{tasks} tasks{}{}", seen.text(), bytes.unwrap_or_default())
}

/// The stages that there are lines for: of one alone, the job's own line tells all.
fn shown(progress: &JobProgress) -> impl Iterator<Item = &StageProgress> {
    let are_several = progress.stages.len() > 1;
    let many = progress.stages.len() > LINES;
    // Of many, those that go on.
    let stages = progress.stages.iter().filter(move |stage| !many || !stage.is_done());
    stages.filter(move |_| are_several).take(LINES)
}

fn name(stage: &StageProgress) -> String {
    match stage.stage {
        Some(number) => format!("stage {number} {}", stage.work.name()),
        None => stage.work.name().to_owned(),
    }
}

fn bar(share: Share) -> String {
    let full = share.thousandths * WIDTH / share.all().max(1);
    let full = full.min(WIDTH);
    let part = |character: &str, length: u64| character.repeat(length as usize);
    format!("{}{} ", part("█", full), part("░", WIDTH - full))
}

fn stores(progress: &JobProgress) -> impl Iterator<Item = String> {
    let told = progress.stores.iter().map(|(alias, store)| {
        let StoreProgress { hits, misses, .. } = *store;
        format!("{alias}: {} hits, {} misses", HumanCount(hits), HumanCount(misses))
    });
    told.take(LINES)
}

/// How many stages and stores there are no lines for.
fn left_out(progress: &JobProgress) -> Option<String> {
    let stages = match progress.stages.len() {
        0 | 1 => 0,
        all => all - shown(progress).count(),
    };
    let stores = progress.stores.len().saturating_sub(LINES);
    let all = stages as u64 + stores as u64 + u64::from(progress.left_out);
    (all > 0).then(|| format!("{all} more stages and stores"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyloom_client::report::StageWork;

    use super::*;

    fn stage(number: u32, work: StageWork, tasks_done: u32, rows: u64) -> StageProgress {
        let (stage, tasks, thousandths) = (Some(number), 8, 0);
        StageProgress { stage, work, tasks, tasks_done, thousandths, rows, bytes: 0 }
    }

    fn progress(stages: Vec<StageProgress>) -> JobProgress {
        let store = StoreProgress { keys: 2000, hits: 1200, misses: 3 };
        let stores = [("products".to_owned(), store)];
        JobProgress { stages, stores: stores.into(), left_out: 0 }
    }

    #[test]
    fn each_stage_has_a_bar_and_each_store_a_line() {
        let (mut parts, start) = (Parts::default(), Instant::now());
        let committing =
            StageProgress { stage: None, tasks: 1, ..stage(0, StageWork::Committing, 0, 0) };
        let at = |done, rows| {
            let writing = StageProgress { bytes: 5000, ..stage(1, StageWork::Writing, done, rows) };
            progress(vec![stage(0, StageWork::Lookups, 8, 7000), writing, committing])
        };
        parts.lines(start, &at(0, 0));
        let now = start + Duration::from_secs(4);
        let expected = "  stage 0 lookups      ████████████████████ 8/8 tasks, 7,000 rows\n  \
                        stage 1 writing      ██████████░░░░░░░░░░ 4/8 tasks, 2,400 rows (600/s), 4 \
                        seconds left, 5.0 kB\n  committing\n  products: 1,200 hits, 3 misses";
        assert_eq!(parts.lines(now, &at(4, 2400)), expected);
        let expected = "; stage 0 lookups 8/8 tasks, 7,000 rows; stage 1 writing 4/8 tasks, 2,400 \
                        rows (600/s), 4 seconds left, 5.0 kB; committing; products: 1,200 hits, 3 \
                        misses";
        assert_eq!(parts.words(now, &at(4, 2400)), expected);
    }

    #[test]
    fn a_bar_grows_with_what_tasks_have_done_that_run_and_never_shrinks() {
        let (mut parts, now) = (Parts::default(), Instant::now());
        let full = |thousandths| {
            let running = StageProgress { thousandths, ..stage(1, StageWork::Rows, 2, 0) };
            let lines = parts.lines(now, &progress(vec![stage(0, StageWork::Rows, 8, 0), running]));
            lines.lines().nth(1).map(|line| line.matches('█').count())
        };
        let shown = [0, 1000, 2000, 400, 6000].map(full);
        assert_eq!(shown, [5, 7, 10, 10, 20].map(Some));
    }

    #[test]
    fn of_one_stage_the_job_tells_all() {
        let one = progress(vec![stage(0, StageWork::Lookups, 4, 10)]);
        let lines = Parts::default().lines(Instant::now(), &one);
        assert_eq!(lines, "  products: 1,200 hits, 3 misses");
        assert_eq!(Parts::default().lines(Instant::now(), &JobProgress::default()), "");
    }

    #[test]
    fn of_many_stages_those_are_shown_that_go_on() {
        let many = (0..20).map(|number| stage(number, StageWork::Rows, number.min(8), 0));
        let many = JobProgress { left_out: 2, ..progress(many.collect()) };
        let lines = Parts::default().lines(Instant::now(), &many);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 10, "{lines:?}");
        assert!(lines[7].starts_with("  stage 7 rows "), "{lines:?}");
        assert_eq!(lines[9], "  14 more stages and stores");
    }
}
