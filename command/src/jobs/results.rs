//! `keyloom jobs results`: the rows of a job that nobody waited for.

use std::time::Instant;

use keyloom_client::Job;

use crate::{
    cli::ResultsArguments,
    error::Failure,
    open,
    report::{Files, Report},
    sink::{Goal, Kept, Sink},
    text,
    watch::Watch,
};

/// Takes the rows of a detached job, as they come and once: what was taken is not kept.
pub(super) async fn take(arguments: ResultsArguments, watch: &Watch) -> Result<(), Failure> {
    let ResultsArguments { id, cluster, rows } = arguments;
    let goal = Goal::choose(None, &rows, false)?;
    if matches!(goal, Goal::Workers(_)) {
        let message = "the rows of a job that has run go to one file, or are printed";
        return Err(Failure::mistake(message)
            .help("workers write while a job runs: see [output] in keyloom run --help"));
    }
    let started = Instant::now();
    let session = open::on_cluster(cluster, watch).await?;
    if let Some(output) = super::info(&session, id, watch).await?.output {
        return Err(Failure::mistake(format!("the rows of job {id} are in {output}")));
    }
    let handle = watch.step(session.attach_job(id)).await?;
    let mut job = watch.step(handle.results()).await?;
    let mut sink = goal.begin(job.schema())?;
    take_all(&mut job, &mut sink, watch).await?;
    if let Kept::File(file) = sink.finish(watch)? {
        let files = Files { output: Some(file), misses: None, written: None };
        let summary = job.summary().cloned().unwrap_or_default();
        text::note(&Report::new(id, started.elapsed(), summary, files).text());
    }
    Ok(())
}

async fn take_all(job: &mut Job, sink: &mut Sink, watch: &Watch) -> Result<(), Failure> {
    loop {
        let batch = tokio::select! {
            batch = job.next_batch() => batch.map_err(Failure::running)?,
            () = watch.interrupted() => return Err(Failure::interrupted()),
        };
        match batch {
            Some(batch) => sink.take(batch, watch)?,
            None => return Ok(()),
        }
    }
}
