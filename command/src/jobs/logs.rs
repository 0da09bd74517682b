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
    let (mut next, mut pause, mut gone) = (0, SOON, Duration::ZERO);
    loop {
        match watch.step(handle.logs()).await {
            Ok(log) => {
                gone = Duration::ZERO;
                print_from(&mut next, &log.lines, print.format)?;
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

/// Prints the lines that are new. One that stands for others is news where these were.
fn print_from(next: &mut u64, lines: &[LogLine], form: Form) -> Result<(), Failure> {
    let new: String =
        lines.iter().filter(|line| line.number >= *next).map(|line| of(line, form)).collect();
    *next = lines.last().map_or(*next, |line| line.number.saturating_add(1));
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
