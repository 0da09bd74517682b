//! `keyloom jobs logs`: what happened to a job, as it is known, or as it comes.

use std::time::Duration;

use keyloom_client::report::LogLine;
use keyloom_common::report::words;

use super::wait::{GONE, LATER, SOON};
use crate::{
    cli::{Form, LogsArguments},
    error::Failure,
    open, text,
    watch::Watch,
};

/// Prints what happened to a job and, if it is followed, what happens until it has ended. Who is
/// interrupted meanwhile leaves it as it is.
pub(super) async fn read(arguments: LogsArguments, watch: &Watch) -> Result<(), Failure> {
    let LogsArguments { id, follow, cluster, print } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    let handle = watch.step(session.attach_job(id)).await?;
    watch.end();
    let (mut printed, mut pause, mut gone) = (Printed::default(), SOON, Duration::ZERO);
    loop {
        match watch.step(handle.logs()).await {
            Ok(log) => {
                gone = Duration::ZERO;
                print_new(&mut printed, &log.lines, print.format)?;
                if !follow || log.state.is_end() {
                    return Ok(());
                }
            }
            Err(failure) if follow && failure.kind() == "unavailable" && gone < GONE => {
                gone += pause;
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LATER),
            () = watch.interrupted() => return Err(Failure::interrupted()),
        }
    }
}

/// How far a log was printed.
#[derive(Debug, Default)]
struct Printed {
    /// The number of the next line.
    next: u64,
    /// The latest time of a line.
    at_ms: u64,
}

impl Printed {
    /// The lines that are new. One that stands for others is news where these were. A coordinator
    /// that was killed may have kept less than it told: what happens after it began anew has
    /// numbers that others had, but not their times.
    fn new_of<'a>(&mut self, lines: &'a [LogLine]) -> Vec<&'a LogLine> {
        let is_new = |line: &&LogLine| line.number >= self.next || line.at_ms > self.at_ms;
        let new: Vec<_> = lines.iter().filter(is_new).collect();
        self.next = lines.last().map_or(self.next, |line| line.number.saturating_add(1));
        self.at_ms = lines.iter().map(|line| line.at_ms).fold(self.at_ms, u64::max);
        new
    }
}

fn print_new(printed: &mut Printed, lines: &[LogLine], form: Form) -> Result<(), Failure> {
    let new: String = printed.new_of(lines).into_iter().map(|line| of(line, form)).collect();
    if new.is_empty() { Ok(()) } else { text::print_lines(new.as_bytes()) }
}

fn of(line: &LogLine, form: Form) -> String {
    match form {
        Form::Json => super::json(line) + "\n",
        Form::Table => {
            let worker = line.worker.as_ref().map(|worker| format!(" [{worker}]"));
            let (at, kind) = (words::moment(line.at_ms), line.kind.name());
            // What a peer says stays on its line.
            let text = line.text.replace(char::is_control, " ");
            format!("{at}  {kind:14}  {text}{}\n", worker.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use keyloom_client::report::LogKind;

    use super::*;

    fn line() -> LogLine {
        LogLine {
            number: 7,
            at_ms: 1_767_225_600_123,
            kind: LogKind::AttemptFailed,
            stage: Some(1),
            task: Some(3),
            worker: Some("w1".to_owned()),
            text: "task 3 of stage 1: no\nanswer".to_owned(),
            left_out: 0,
        }
    }

    #[test]
    fn lines_are_printed_once_also_where_a_coordinator_has_kept_less_than_it_told() {
        let mut printed = Printed::default();
        let mut new = |lines: &[(u64, u64)]| {
            let line =
                |(number, at_ms): &(u64, u64)| LogLine { number: *number, at_ms: *at_ms, ..line() };
            let lines: Vec<_> = lines.iter().map(line).collect();
            let new = printed.new_of(&lines).into_iter();
            new.map(|line| (line.number, line.at_ms)).collect::<Vec<_>>()
        };
        assert_eq!(new(&[(0, 100), (1, 110)]), [(0, 100), (1, 110)]);
        assert!(new(&[(0, 100), (1, 110)]).is_empty());
        // Others are left out, and the clock is put back.
        assert_eq!(new(&[(0, 100), (2, 120), (3, 90)]), [(2, 120), (3, 90)]);
        assert!(new(&[(0, 100), (2, 120), (3, 90)]).is_empty());
        // The last two were not kept.
        assert_eq!(new(&[(0, 100), (1, 110), (2, 200)]), [(2, 200)]);
    }

    #[test]
    fn a_line_has_its_time_its_kind_and_who_it_was() {
        let expected = "2026-01-01T00:00:00.123Z  attempt_failed  task 3 of stage 1: no answer \
                        [w1]\n";
        assert_eq!(of(&line(), Form::Table), expected);
        let expected = concat!(
            r#"{"number":7,"at_ms":1767225600123,"kind":"attempt_failed","stage":1,"task":3,"#,
            r#""worker":"w1","text":"task 3 of stage 1: no\nanswer","left_out":0}"#,
            "\n"
        );
        assert_eq!(of(&line(), Form::Json), expected);
    }
}
