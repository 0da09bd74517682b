//! What users type to hand in jobs and to look after those that run.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyloom_client::{Error, JobId};

use super::{
    CatalogChoice, OnCluster, ParamFlags, Place, Planning, Print, Show, ShowRows, StateFlags,
};

/// `keyloom submit`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A job file is written as for keyloom run, whose --help has an example. Without --detach the command
waits for the job, as keyloom run does; a job that is detached goes on by itself, and its id is
printed.

Examples:
  keyloom submit job.toml --detach --name nightly --cluster tcp://10.0.0.5:7700
  keyloom submit job.toml --detach --resumes --param day=2024-01-31
  keyloom jobs wait $(keyloom submit job.toml --detach)")]
pub(crate) struct SubmitArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    #[command(flatten)]
    pub(crate) terms: Terms,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// How a job is known and kept.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Terms {
    /// Print the job's id and return; the job goes on
    #[arg(long)]
    pub(crate) detach: bool,
    /// A name for people, in lists and logs
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The job's id: a UUID. Submitting the same id again starts nothing new
    #[arg(long, value_name = "ID", value_parser = job_id)]
    pub(crate) id: Option<JobId>,
    /// Go on by itself when the coordinator was restarted: for a detached job with an [output]
    #[arg(long, requires = "detach")]
    pub(crate) resumes: bool,
}

/// The commands on jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the jobs that the cluster knows, the newest first
    List(ListJobsArguments),
    /// Show all that is known of a job
    Show(JobArguments),
    /// Stop a job
    Cancel(JobArguments),
    /// Wait until a job has ended; the exit code says how
    Wait(JobArguments),
    /// Print what happened to a job, in order
    Logs(LogsArguments),
    /// Take the rows of a detached job that has no [output]: once, as they are not kept
    Results(ResultsArguments),
}

/// `keyloom jobs list`.
#[derive(Debug, Args)]
pub(crate) struct ListJobsArguments {
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom jobs show`, `cancel` and `wait`.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// The job's id
    #[arg(value_name = "ID", value_parser = job_id)]
    pub(crate) id: JobId,
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom jobs logs`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
With -o json, each line is an object of its own.")]
pub(crate) struct LogsArguments {
    /// The job's id
    #[arg(value_name = "ID", value_parser = job_id)]
    pub(crate) id: JobId,
    /// Go on until the job has ended
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom jobs results`.
#[derive(Debug, Args)]
pub(crate) struct ResultsArguments {
    /// The job's id
    #[arg(value_name = "ID", value_parser = job_id)]
    pub(crate) id: JobId,
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
    #[command(flatten)]
    pub(crate) rows: ShowRows,
}

/// `keyloom top`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The screen is drawn anew each second, until q or Ctrl-C. Where stdout is no terminal, it is printed
once.")]
pub(crate) struct TopArguments {
    /// Print one screen and end
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) cluster: OnCluster,
}

/// Reads an id as it is printed: a UUID.
pub(crate) fn job_id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let id = JobId::new();
        assert_eq!(job_id(&id.to_string()), Ok(id));
        for wrong in ["", "7", "nightly", "00000000-0000-0000-0000-00000000000g"] {
            assert!(job_id(wrong).is_err_and(|message| message.contains("UUID")), "{wrong}");
        }
    }
}
