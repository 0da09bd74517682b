//! `--summary-file`: what a job did, or why it failed, for the programs that run it again and again.
//! The names of its fields stay.

use std::{
    fs::Permissions,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use keyloom_client::JobId;
use serde::Serialize;

use crate::{cli::Show, error::Failure, report::Report, run::Ended, text, watch::Watch};

/// What stands for stdout.
const STDOUT: &str = "-";

/// Whether the summary is printed.
pub(crate) fn is_stdout(show: &Show) -> bool {
    show.summary_file.as_deref() == Some(Path::new(STDOUT))
}

/// Does something, and tells how it ended where that is wanted.
pub(crate) async fn told(
    show: &Show,
    watch: &Watch,
    work: impl Future<Output = Result<Ended, Failure>>,
) -> Result<(), Failure> {
    let Some(path) = &show.summary_file else {
        return work.await.map(drop);
    };
    let file = Place::check(path)?;
    let ended = work.await;
    watch.end();
    let written = file.write(&summary(&ended, watch.job()));
    // What went wrong first is told.
    ended.and(written)
}

/// How something ended.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    /// `done`, `submitted`, `failed` or `cancelled`.
    state: &'static str,
    exit_code: u8,
    /// Where the report does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// False if there was nothing to do; where there was, the report has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<bool>,
    #[serde(flatten)]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Told<'a>>,
}

/// Why it failed.
#[derive(Debug, Serialize)]
struct Told<'a> {
    kind: &'static str,
    message: &'a str,
    help: Option<&'a str>,
}

fn summary(ended: &Result<Ended, Failure>, job: Option<JobId>) -> String {
    let none =
        Summary { state: "done", exit_code: 0, job_id: None, new: None, report: None, error: None };
    let summary = match ended {
        Ok(Ended::Ran(report)) => Summary { report: Some(report), ..none },
        Ok(Ended::Submitted(id)) => {
            Summary { state: "submitted", job_id: Some(id.to_string()), ..none }
        }
        Ok(Ended::NothingNew) => Summary { new: Some(false), ..none },
        Ok(Ended::Explained) => none,
        Err(failure) => {
            let is_cancelled = failure.kind() == "cancelled";
            let error = failure.message.as_deref().map(|message| Told {
                kind: failure.kind(),
                message,
                help: failure.help.as_deref(),
            });
            let state = if is_cancelled { "cancelled" } else { "failed" };
            let (exit_code, job_id) = (failure.code(), job.map(|job| job.to_string()));
            Summary { state, exit_code, job_id, error, ..none }
        }
    };
    // A tree of numbers and strings can always be written.
    serde_json::to_string(&summary).unwrap_or_default()
}

/// Where the summary goes.
enum Place {
    Stdout,
    /// A file, and the folder that it is to be in.
    File(PathBuf, PathBuf),
}

impl Place {
    /// Refuses a file that cannot be written, before anything else is done.
    fn check(path: &Path) -> Result<Self, Failure> {
        if path == Path::new(STDOUT) {
            return Ok(Self::Stdout);
        }
        let shown = path.display();
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        if path.is_dir() || !folder.is_dir() {
            return Err(Failure::mistake(format!("--summary-file {shown} is no file in a folder")));
        }
        Ok(Self::File(path.to_owned(), folder))
    }

    /// Writes it: whole, or not at all.
    fn write(&self, summary: &str) -> Result<(), Failure> {
        let (path, folder) = match self {
            Self::Stdout => return text::print(summary),
            Self::File(path, folder) => (path, folder),
        };
        // What the user's umask leaves of it, as for any new file.
        let mut new = tempfile::Builder::new();
        new.permissions(Permissions::from_mode(0o666));
        let written = new.tempfile_in(folder).and_then(|mut file| {
            writeln!(file, "{summary}")?;
            file.persist(path).map(drop).map_err(|error| error.error)
        });
        written
            .map_err(|error| Failure::failed(format!("--summary-file {}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use keyloom_client::report::JobSummary;
    use serde_json::{Value, json};

    use super::*;
    use crate::report::Files;

    fn read(ended: &Result<Ended, Failure>, job: Option<JobId>) -> Value {
        serde_json::from_str(&summary(ended, job)).unwrap()
    }

    #[test]
    fn the_names_of_a_summary_stay() {
        let id = JobId::from_u128(7);
        let files = Files { output: Some("a.csv".into()), misses: None, written: None };
        let did = JobSummary { rows: 3, tasks: 2, workers: 1, ..JobSummary::default() };
        let report = Report::new(id, Duration::from_secs(2), did, files);
        let ran = read(&Ok(Ended::Ran(Box::new(report))), Some(id));
        let expected = json!({
            "state": "done", "exit_code": 0, "job_id": id.to_string(), "rows": 3, "seconds": 2.0,
            "workers": 1, "tasks": 2, "stores": {}, "output": "a.csv",
        });
        assert_eq!(ran, expected);
        let submitted = json!({"state": "submitted", "exit_code": 0, "job_id": id.to_string()});
        assert_eq!(read(&Ok(Ended::Submitted(id)), None), submitted);
        let nothing = json!({"state": "done", "exit_code": 0, "new": false});
        assert_eq!(read(&Ok(Ended::NothingNew), None), nothing);
        let failure = Failure::mistake("no table").help("make one");
        let error = json!({"kind": "invalid", "message": "no table", "help": "make one"});
        let failed = json!({"state": "failed", "exit_code": 2, "error": error});
        assert_eq!(read(&Err(failure), None), failed);
        let cancelled = read(&Err(Failure::interrupted()), Some(id));
        assert_eq!(cancelled["state"], "cancelled");
        assert_eq!(cancelled["job_id"], id.to_string());
    }

    #[test]
    fn a_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        for text in ["{\"a\":1}", "{}"] {
            Place::check(&path).unwrap().write(text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}\n"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Place::check(folder.path()).is_err());
        assert!(Place::check(&folder.path().join("none/a.json")).is_err());
    }
}
