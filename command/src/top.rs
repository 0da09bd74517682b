//! `keyloom top`: a cluster's workers and jobs on a screen that is drawn again and again.

use std::{
    io::{IsTerminal, Read, stdin, stdout},
    time::Duration,
};

use indicatif::HumanCount;
use keyloom_client::{
    Session,
    report::{JobInfo, JobList, JobState, Share, WorkerStatus},
};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::TopArguments,
    columns::columns,
    error::Failure,
    jobs::{self, now_ms},
    open, text,
    watch::Watch,
    workers,
};

/// How often the screen is drawn.
const EVERY: Duration = Duration::from_secs(1);

/// How many jobs that have ended are shown.
const ENDED: usize = 10;

/// A screen of its own, so that what stood there comes back; and its first place, with nothing
/// below.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[J";

/// Lines and columns of a terminal that does not say how large it is.
const SIZE: (usize, usize) = (24, 80);

/// Shows a cluster until the user has seen enough.
pub(crate) async fn show(arguments: TopArguments, watch: &Watch) -> Result<(), Failure> {
    let TopArguments { once, cluster } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    watch.end();
    if once || !stdout().is_terminal() {
        return text::print(&screen(&session, watch).await?);
    }
    let _drawing = Drawing::begin()?;
    let quit = typed_quit();
    loop {
        let drawn = match screen(&session, watch).await {
            // Ctrl-C is one of the ways to end it.
            Err(_) if watch.is_interrupted() => return Ok(()),
            drawn => cut(&drawn?, size()),
        };
        text::print_lines(format!("{CLEAR}{drawn}").as_bytes())?;
        tokio::select! {
            () = sleep(EVERY) => {}
            () = quit.cancelled() => return Ok(()),
            () = watch.interrupted() => return Ok(()),
        }
    }
}

/// All that is shown.
async fn screen(session: &Session, watch: &Watch) -> Result<String, Failure> {
    let workers = watch.step(session.workers()).await?;
    let JobList { jobs, left_out } = watch.step(session.jobs()).await?;
    let drawn = drawn(workers, jobs, now_ms());
    Ok(match jobs::left_out(left_out) {
        Some(line) => format!("{drawn}\n{line}\n"),
        None => drawn,
    })
}

fn drawn(workers: Vec<WorkerStatus>, jobs: Vec<JobInfo>, now_ms: u64) -> String {
    let sum = |of: fn(&WorkerStatus) -> u32| workers.iter().map(of).map(u64::from).sum::<u64>();
    // Those that only wait until what they wrote is stored run, too, and have no slot.
    let with_slots = |worker: &WorkerStatus| worker.running.min(worker.slots);
    let (slots, running) = (sum(|worker| worker.slots), sum(with_slots));
    let draining = workers.iter().filter(|worker| worker.draining).count();
    let mut head = format!("workers: {}, {running} of {slots} slots run tasks", workers.len());
    if draining > 0 {
        head += &format!(", {draining} draining");
    }
    let (ended, going): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.state.is_end());
    let of = |state: JobState| going.iter().filter(|job| job.state == state).count();
    let (queued, at_work) = (of(JobState::Queued), of(JobState::Running));
    let mut parts = vec![head];
    if !workers.is_empty() {
        parts.push(workers::in_columns(workers));
    }
    parts.push(format!("jobs: {at_work} running, {queued} queued"));
    if !going.is_empty() {
        parts.push(progress(&going, now_ms));
    }
    if !ended.is_empty() {
        let ended = &ended[..ended.len().min(ENDED)];
        parts.push("ended".to_owned());
        parts.push(jobs::in_columns(ended, now_ms));
    }
    parts.join("\n\n") + "\n"
}

/// Jobs that have not ended.
fn progress(jobs: &[JobInfo], now_ms: u64) -> String {
    let row = |job: &JobInfo| {
        let took = job.started_ms.map_or(0, |start| now_ms.saturating_sub(start));
        let seconds = Duration::from_millis(took).as_secs_f64();
        let status = job.status;
        let percent = Share::of_job(status, &job.progress).percent();
        let share = percent.map_or("-".to_owned(), |percent| format!("{percent}%"));
        let rows = job.progress.rows();
        let rate = match seconds > 0.0 {
            true => HumanCount((rows as f64 / seconds) as u64).to_string(),
            false => "-".to_owned(),
        };
        [
            job.id.to_string(),
            job.name.clone().unwrap_or("-".to_owned()),
            job.state.name().to_owned(),
            share,
            format!("{}/{}", status.tasks_done, status.tasks),
            HumanCount(rows).to_string(),
            rate,
            format!("{seconds:.0} s"),
            job.owner.clone(),
        ]
    };
    let head = ["ID", "NAME", "STATE", "DONE", "TASKS", "ROWS", "ROWS/S", "RUNS", "OWNER"];
    columns(head, jobs.iter().map(row).collect())
}

/// As much as the terminal has room for.
fn cut(text: &str, (lines, columns): (usize, usize)) -> String {
    let lines = text.lines().take(lines.saturating_sub(1));
    // A terminal of which echo and lines are off still goes to the line's start by itself.
    lines.map(|line| line.chars().take(columns).collect::<String>() + "\n").collect()
}

fn size() -> (usize, usize) {
    let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(SIZE, |size| (size.ws_row.into(), size.ws_col.into()))
}

/// The terminal while the screen is drawn: keys come at once and are not shown. Dropping it brings
/// back what was there.
struct Drawing {
    before: Option<Termios>,
}

impl Drawing {
    fn begin() -> Result<Self, Failure> {
        // Where stdin is no terminal, nothing is typed.
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(stdin(), OptionalActions::Now, &keys);
        }
        let drawing = Self { before };
        text::print_lines(ENTER.as_bytes())?;
        Ok(drawing)
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        let _ = text::print_lines(LEAVE.as_bytes());
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Whether somebody typed `q`: told by a thread, which waits for keys and ends with the process.
fn typed_quit() -> CancellationToken {
    let quit = CancellationToken::new();
    let typed = quit.clone();
    let read = move || {
        let mut key = [0_u8];
        while stdin().lock().read_exact(&mut key).is_ok() {
            if key == *b"q" {
                return typed.cancel();
            }
        }
    };
    // Without threads, Ctrl-C ends it.
    let _ = std::thread::Builder::new().name("keyloom-top".to_owned()).spawn(read);
    quit
}

#[cfg(test)]
mod tests {
    use keyloom_client::{
        JobId,
        report::{JobProgress, JobStatus, StageProgress, StageWork},
    };
    use keyloom_common::WorkerId;

    use super::*;

    fn worker(id: u128, running: u32, draining: bool) -> WorkerStatus {
        let (id, name) = (WorkerId::from_u128(id), format!("worker-{id}"));
        WorkerStatus { id, name, slots: 2, running, draining }
    }

    fn job(id: u128, state: JobState) -> JobInfo {
        let stage = StageProgress {
            stage: Some(0),
            work: StageWork::Lookups,
            tasks: 8,
            tasks_done: 2,
            thousandths: 400,
            rows: 2_400,
            bytes: 0,
        };
        JobInfo {
            id: JobId::from_u128(id),
            name: None,
            statement: None,
            owner: "me".to_owned(),
            state,
            output: None,
            submitted_ms: 0,
            started_ms: (state != JobState::Queued).then_some(1_000),
            ended_ms: state.is_end().then_some(2_000),
            status: JobStatus { tasks: 8, tasks_done: 2, workers: 1 },
            progress: JobProgress { stages: vec![stage], ..JobProgress::default() },
            error: None,
            committed: None,
            summary: None,
            schema: None,
        }
    }

    #[test]
    fn a_screen_has_workers_and_jobs() {
        let workers = vec![worker(1, 1, false), worker(2, 3, true)];
        let states = [JobState::Running, JobState::Queued, JobState::Done];
        let jobs = (1..).zip(states).map(|(id, state)| job(id, state)).collect();
        let id = |last: u32| format!("00000000-0000-0000-0000-{last:012}");
        let (one, two, three) = (id(1), id(2), id(3));
        let space = " ".repeat(34);
        let expected = format!(
            "workers: 2, 3 of 4 slots run tasks, 1 draining\n\n\
             ID{space}  NAME      SLOTS  RUNNING  STATE\n\
             {one}  worker-1  2      1        ready\n\
             {two}  worker-2  2      3        draining\n\n\
             jobs: 1 running, 1 queued\n\n\
             ID{space}  NAME  STATE    DONE  TASKS  ROWS   ROWS/S  RUNS  OWNER\n\
             {one}  -     running  30%   2/8    2,400  600     4 s   me\n\
             {two}  -     queued   30%   2/8    2,400  -       0 s   me\n\n\
             ended\n\n\
             ID{space}  NAME  STATE  TASKS  TOOK   SUBMITTED      OWNER  OUTPUT\n\
             {three}  -     done   2/8    1.0 s  5 seconds ago  me     -\n"
        );
        assert_eq!(drawn(workers, jobs, 5_000), expected);
    }

    #[test]
    fn a_cluster_of_nobody_is_a_screen_too() {
        let expected = "workers: 0, 0 of 0 slots run tasks\n\njobs: 0 running, 0 queued\n";
        assert_eq!(drawn(Vec::new(), Vec::new(), 0), expected);
    }

    #[test]
    fn no_more_is_drawn_than_there_is_room_for() {
        assert_eq!(cut("äbc\nd\ne\n", (3, 2)), "äb\nd\n");
    }
}
