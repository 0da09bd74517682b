//! What is kept of a job, and how it is written: a byte for the version, and then bincode. Whoever
//! changes a type in here, or one of those that it is made of, raises the version.

use bytes::Bytes;
use keyloom_common::{
    BUILD, BlobId, Error, Result, WorkerId,
    misses::{LookupTally, MissPolicy},
    output::PreparedOutput,
    report::{JobInfo, JobSummary, PlanMetrics},
    rpc::{Identity, JobTerms, Role, bincode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::log::Log;

/// The version of all values.
const VERSION: u8 = 3;

/// What stands for the rest of a text that is too long.
const CUT: &str = "…";

/// What is kept of a job in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) info: JobInfo,
    pub(super) log: Log,
    pub(super) terms: JobTerms,
    pub(super) resumable: Resumable,
    pub(super) runs: u32,
    pub(super) commits: bool,
}

impl Record {
    /// Whose it is.
    pub(super) fn whose(&self) -> Identity {
        Identity { role: self.role, name: self.name.as_str().into() }
    }
}

/// Whether a job can be resumed, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resumable {
    /// What it takes is in the file.
    Yes,
    /// There is no file.
    NoFolder,
    /// It ended with its client.
    NotDetached,
    /// Nothing is left of what it has done.
    NoOutput,
    /// It reads what its client held in memory, which is gone.
    HeldRows,
}

impl Resumable {
    /// Why not, if so.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Yes => None,
            Self::NoFolder => {
                Some("the coordinator has no state_folder, which keeps what it takes")
            }
            Self::NotDetached => Some("it was not submitted as a job that is detached"),
            Self::NoOutput => Some("workers write no output of it: submit it again"),
            Self::HeldRows => Some(
                "it reads tables or stores that its client held in memory: put them into files",
            ),
        }
    }
}

/// What it takes to run a job again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanRecord {
    /// The build that planned it.
    pub(crate) build: String,
    pub(crate) plan: Bytes,
    pub(crate) batch_rows: u32,
    pub(crate) misses: MissPolicy,
    /// Where its rows go.
    pub(crate) output: PreparedOutput,
    /// How the stages were cut whose tasks are kept.
    pub(crate) cuts: Vec<Cut>,
}

impl PlanRecord {
    /// Refuses what another build has written: no worker of this one would run it.
    ///
    /// # Errors
    /// `invalid`, naming both.
    pub(crate) fn check_build(&self) -> Result<()> {
        match self.build == BUILD {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "it was planned by build {}, and this is build {BUILD}: submit it again",
                self.build
            ))),
        }
    }
}

/// How a stage is cut into tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    pub(crate) stage: u32,
    pub(crate) tasks: u64,
    /// A hash of all slices.
    pub(crate) slices: BlobId,
    /// Whether its tasks write.
    pub(crate) writes: bool,
}

impl Cut {
    /// That of the stage that writes, if it is among these.
    pub(crate) fn written(cuts: &[Self]) -> Option<Self> {
        cuts.iter().copied().find(|cut| cut.writes)
    }
}

/// A task that is done: what it reported, and the rows that it handed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    pub(crate) worker: WorkerId,
    pub(crate) rows: u64,
    pub(crate) metrics: PlanMetrics,
    pub(crate) lookups: Vec<LookupTally>,
    /// The chunks, and whether each is an Arrow IPC stream of its own.
    pub(crate) chunks: Vec<(Bytes, bool)>,
}

/// A value as bytes.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = bincode::encode(value)?;
    bytes.insert(0, VERSION);
    Ok(bytes)
}

/// A value from bytes.
///
/// # Errors
/// `invalid` if they are of another version, `internal` if they are no such value.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, value)) => bincode::decode(value),
        Some((other, _)) => Err(Error::invalid(format!(
            "it is of version {other}, and this build reads version {VERSION}"
        ))),
        None => Err(Error::invalid("there is nothing in it")),
    }
}

/// What is known of a job, in so many bytes: the counters of its plan go first, then its columns,
/// then the rest of its summary, and then the ends of texts.
pub(super) fn bounded(mut info: JobInfo, max: usize) -> JobInfo {
    let fits = |info: &JobInfo| {
        let bytes = bincode::encoded_bytes(info);
        bytes.is_ok_and(|bytes| bytes <= max as u64)
    };
    if !fits(&info)
        && let Some(summary) = &mut info.summary
    {
        *summary = totals(summary);
    }
    if !fits(&info) {
        info.schema = None;
    }
    if !fits(&info) {
        info.summary = None;
    }
    if !fits(&info) {
        for text in [&mut info.statement, &mut info.name, &mut info.output].into_iter().flatten() {
            shorten(text, max / 8);
        }
    }
    if !fits(&info) {
        info.error = info.error.map(|error| {
            let mut message = error.message().to_owned();
            shorten(&mut message, max / 8);
            error.reworded(message)
        });
    }
    info
}

/// A summary without the counters of its plan.
pub(super) fn totals(summary: &JobSummary) -> JobSummary {
    let JobSummary { rows, tasks, workers, stores, missed_left_out, .. } = summary;
    let (rows, tasks, workers) = (*rows, *tasks, *workers);
    let (stores, missed_left_out) = (stores.clone(), *missed_left_out);
    JobSummary { rows, tasks, workers, stores, missed_left_out, ..JobSummary::default() }
}

/// Cuts a text off after so many bytes.
pub(super) fn shorten(text: &mut String, max: usize) {
    if text.len() > max {
        let most = max.saturating_sub(CUT.len());
        text.truncate(text.floor_char_boundary(most));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::{
        JobId,
        report::{JobProgress, JobState, JobStatus},
    };

    use super::*;

    fn info(statement: &str) -> JobInfo {
        let summary = JobSummary { rows: 7, plan: "p".repeat(10_000), ..JobSummary::default() };
        JobInfo {
            id: JobId::from_u128(1),
            name: None,
            statement: Some(statement.to_owned()),
            owner: "client 'a'".to_owned(),
            state: JobState::Done,
            output: None,
            submitted_ms: 1,
            started_ms: Some(2),
            ended_ms: Some(3),
            status: JobStatus::default(),
            progress: JobProgress::default(),
            error: None,
            committed: None,
            summary: Some(summary),
            schema: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_other_versions_are_named() {
        let mut bytes = encode(&info("SELECT 1")).unwrap();
        assert_eq!(decode::<JobInfo>(&bytes), Ok(info("SELECT 1")));
        bytes[0] = 9;
        let error = decode::<JobInfo>(&bytes).unwrap_err();
        assert_eq!(error.message(), "it is of version 9, and this build reads version 3");
        assert!(decode::<JobInfo>(&[]).is_err() && decode::<JobInfo>(&[VERSION, 3]).is_err());
    }

    #[test]
    fn of_what_is_too_large_the_least_wanted_goes_first() {
        assert_eq!(bounded(info("SELECT 1"), 64 << 10), info("SELECT 1"));
        let small = bounded(info("SELECT 1"), 4096);
        assert_eq!(small.summary.map(|summary| (summary.rows, summary.plan.len())), Some((7, 0)));
        let least = bounded(info(&"ä".repeat(4000)), 1024);
        let statement = least.statement.unwrap_or_default();
        assert!(statement.len() <= 128 && statement.ends_with("ä…"), "{statement}");
    }
}
