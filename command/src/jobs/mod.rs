//! `keyloom jobs`: the jobs that a cluster knows, whoever handed them in and whether they run.
//!
//! [`view`] is what is told of one, [`logs`] what happened to it, [`wait`] stays with one until it
//! has ended, and [`results`] takes its rows.

mod logs;
mod results;
mod view;
mod wait;

use keyloom_client::{
    JobId, Session,
    report::{JobInfo, JobList},
};
use serde::Serialize;

use crate::{
    cli::{Form, JobArguments, JobsCommand, ListJobsArguments, Place, Summary},
    error::Failure,
    open,
    run::{Ended, tell},
    text,
    watch::Watch,
};
use view::Viewed;
pub(crate) use view::{in_columns, left_out, now_ms};

/// Runs a command on jobs.
pub(crate) async fn run(command: JobsCommand, watch: &Watch) -> Result<(), Failure> {
    match command {
        JobsCommand::List(arguments) => list(arguments, watch).await,
        JobsCommand::Show(arguments) => show(arguments, watch).await,
        JobsCommand::Cancel(arguments) => cancel(arguments, watch).await,
        JobsCommand::Wait(arguments) => wait(arguments, watch).await,
        JobsCommand::Logs(arguments) => logs::read(arguments, watch).await,
        JobsCommand::Results(arguments) => results::take(arguments, watch).await,
    }
}

async fn list(arguments: ListJobsArguments, watch: &Watch) -> Result<(), Failure> {
    let session = open::on_cluster(arguments.cluster, watch).await?;
    let JobList { jobs, left_out } = watch.step(session.jobs()).await?;
    watch.end();
    match arguments.print.format {
        Form::Json => text::print(&json(&jobs.iter().map(Viewed::of).collect::<Vec<_>>()))?,
        Form::Table if jobs.is_empty() => text::print("no job is known")?,
        Form::Table => text::print(&in_columns(&jobs, now_ms()))?,
    }
    // Whoever reads the list as JSON reads jobs alone.
    view::left_out(left_out).iter().for_each(|line| text::note(line));
    Ok(())
}

async fn show(arguments: JobArguments, watch: &Watch) -> Result<(), Failure> {
    let JobArguments { id, cluster, print } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    let job = info(&session, id, watch).await?;
    watch.end();
    print_one(&job, print.format)
}

async fn cancel(arguments: JobArguments, watch: &Watch) -> Result<(), Failure> {
    let JobArguments { id, cluster, print } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    // A job that is not known is refused. One that has ended may have left something that goes:
    // rows that nobody took, and what is written of one that could be resumed.
    let had_ended = info(&session, id, watch).await?.state.is_end();
    let handle = watch.step(session.attach_job(id)).await?;
    watch.step(handle.cancel()).await?;
    let job = wait::until_end(&session, id, watch).await?;
    watch.end();
    if had_ended {
        text::note(&format!("job {id} had ended: it is {}", job.state.name()));
    }
    print_one(&job, print.format)
}

async fn wait(arguments: JobArguments, watch: &Watch) -> Result<(), Failure> {
    let JobArguments { id, cluster, print } = arguments;
    let session = open::on_cluster(cluster, watch).await?;
    let job = wait::until_end(&session, id, watch).await?;
    watch.end();
    print_one(&job, print.format)?;
    wait::outcome(&job)
}

/// Goes on with a job that ended before its output was committed, and stays with it.
pub(crate) async fn resume(
    id: JobId,
    place: &Place,
    summary: Summary,
    watch: &Watch,
) -> Result<Ended, Failure> {
    if place.cluster().is_none() {
        return Err(open::no_cluster());
    }
    let session = open::session(place, watch).await?;
    let handle = watch.step(session.attach_job(id)).await?;
    watch.step(handle.resume()).await?;
    watch.started(id);
    let job = wait::until_end(&session, id, watch).await?;
    watch.end();
    wait::outcome(&job)?;
    let report = view::report(job);
    tell(&report, summary, false)?;
    Ok(Ended::Ran(Box::new(report)))
}

/// What is known of a job.
async fn info(session: &Session, id: JobId, watch: &Watch) -> Result<JobInfo, Failure> {
    watch.step(session.job(id)).await
}

fn print_one(job: &JobInfo, form: Form) -> Result<(), Failure> {
    text::print(&match form {
        Form::Json => json(&Viewed::of(job)),
        Form::Table => view::text(job),
    })
}

fn json(value: &impl Serialize) -> String {
    // A tree of numbers and strings can always be written.
    serde_json::to_string(value).unwrap_or_default()
}
