//! Where files are until a commit makes them visible: in a folder of the job beside them, or as
//! uploads that are not completed.
//!
//! Of each upload there is a record in the job's folder, so that it is found even where nobody is
//! left who began it.

use keyloom_common::{AttemptId, BlobId, Error, JobId, Result, output::Piece};
use serde::{Deserialize, Serialize};

/// The folder below that of an output in which jobs keep what nobody is to see.
pub(super) const HIDDEN: &str = ".keyloom";

/// The folder in that of a job which says that the job has made the output's folder.
const MADE: &str = "made";

/// How the names of records of uploads end.
pub(super) const RECORD: &str = ".upload";

/// What a commit needs to know of a file. Paths are from the output's folder on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// Where the file is to be.
    pub(super) path: String,
    pub(super) staged: Staged,
}

/// Where it is until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Staged {
    /// A file.
    File(String),
    /// An upload to where the file is to be, of which there is this record.
    Upload { id: String, parts: Vec<String>, record: String },
}

/// An upload that somebody began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Where the file is to be, within the object store.
    pub(super) path: String,
    pub(super) id: String,
}

impl Token {
    /// What is told of a file.
    pub(super) fn write(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))
    }

    /// What was told of a file that this job wrote.
    ///
    /// # Errors
    /// `internal` if it is no such thing: it comes from a peer, and may name what it likes.
    pub(super) fn read(piece: &Piece, job: JobId) -> Result<Self> {
        let bad = || Error::internal("bad pieces of an output from a peer");
        let token: Self = serde_json::from_slice(&piece.token).map_err(|_| bad())?;
        let own = format!("{}/", job_folder(job));
        let is_own = match &token.staged {
            Staged::File(file) => file.starts_with(&own) && is_plain(file),
            Staged::Upload { record, .. } => record.starts_with(&own) && is_plain(record),
        };
        let name = token.path.rsplit('/').next().unwrap_or_default();
        match is_own && is_plain(&token.path) && is_of(job, name) {
            true => Ok(token),
            false => Err(bad()),
        }
    }
}

/// Whether a path stays in its folder.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// Whether it is the name of a file of a job's.
fn is_of(job: JobId, name: &str) -> bool {
    name.starts_with("part-") && name.contains(&format!("-{job}."))
}

/// The folder in which a job keeps its files.
pub(super) fn job_folder(job: JobId) -> String {
    format!("{HIDDEN}/{job}")
}

/// What stands in the folder of a job that has made the output's folder, on a disk of this machine:
/// who gives up the job removes that, too. It is a folder itself, which is there or not.
pub(super) fn made_mark(job: JobId) -> String {
    format!("{}/{MADE}", job_folder(job))
}

/// The folder of an attempt. Attempts that a coordinator does not know any more may have had the
/// same number.
pub(super) fn attempt_folder(attempt: AttemptId) -> String {
    let AttemptId { task, number } = attempt;
    let (job, life) = (job_folder(task.stage.job), BlobId::unique().to_string());
    format!("{job}/{:05}-{number}-{life}", task.index)
}

/// The name of a task's file. Names stand in the order of the numbers, of which there may be many:
/// some inputs are one task, however large they are. All of the job's id is in it: of two jobs that
/// append to a folder, files of one name would take each other's place, and ids that clients draw
/// by the clock begin alike.
pub(super) fn file_name(job: JobId, task: u32, file: u32, ending: &str) -> String {
    format!("part-{task:05}-{file:06}-{job}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_files_of_its_job_in_its_folder_alone() {
        let job = JobId::from_u128(0x0123_4567 << 96);
        let read = |path: &str, staged: Staged| {
            let token = Token { path: path.to_owned(), staged }.write().unwrap();
            Token::read(&Piece { rows: 1, bytes: 1, token }, job)
        };
        let staged = |path: &str| Staged::File(path.to_owned());
        let own = format!("{}/00000-0-x/part", job_folder(job));
        let name = file_name(job, 3, 1, "csv.gz");
        assert_eq!(name, format!("part-00003-000001-{job}.csv.gz"));
        assert!(file_name(job, 3, 999, "csv.gz") < file_name(job, 3, 1000, "csv.gz"));
        assert!(read(&name, staged(&own)).is_ok());
        assert!(read(&format!("day=1/{name}"), staged(&own)).is_ok());
        let upload = |record: &str| {
            let (id, parts, record) = ("id".to_owned(), Vec::new(), record.to_owned());
            Staged::Upload { id, parts, record }
        };
        assert!(read(&name, upload(&format!("{own}{RECORD}"))).is_ok());
        assert!(read(&name, upload("other/part.upload")).is_err());
        let up = format!("{}/../part", job_folder(job));
        let (outside, absolute) = (format!("../{name}"), format!("/{name}"));
        // It begins as this one does.
        let other = JobId::from_u128((0x0123_4567 << 96) + 1);
        let of_other = file_name(other, 3, 1, "csv.gz");
        let wrong = [
            (of_other.as_str(), own.as_str()),
            ("other.csv", own.as_str()),
            (outside.as_str(), own.as_str()),
            (absolute.as_str(), own.as_str()),
            (name.as_str(), up.as_str()),
            (name.as_str(), "other/part"),
        ];
        for (path, at) in wrong {
            assert!(read(path, staged(at)).is_err(), "{path} from {at}");
        }
        assert!(Token::read(&Piece { rows: 0, bytes: 0, token: vec![7] }, job).is_err());
    }
}
