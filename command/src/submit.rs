//! `keyloom submit`: a job file handed to a cluster, which is waited for or goes on by itself.

use datafusion::logical_expr::LogicalPlan;
use keyloom_client::JobOptions;
use serde_json::json;

use crate::{
    cli::{Place, Show, SubmitArguments, Summary, Terms},
    error::Failure,
    open,
    request::Request,
    run::{self, Ended},
    sink::Goal,
    summary_file, text,
    watch::Watch,
};

/// Hands in a job file.
pub(crate) async fn job_file(arguments: SubmitArguments, watch: &Watch) -> Result<(), Failure> {
    let SubmitArguments { job, terms, params, state, catalog, place, planning, show } = arguments;
    let submitting = async {
        if place.cluster().is_none() {
            return Err(open::no_cluster());
        }
        let request = run::request(&job, &catalog, params, planning)?;
        let request = run::remembering(request, state)?;
        match terms.detach {
            true => detached(request, &place, &terms, &show, watch).await,
            false => run::statement(request, &place, false, &show, terms, watch).await,
        }
    };
    summary_file::told(&show, watch, submitting).await
}

/// Hands in a job that goes on by itself.
async fn detached(
    mut request: Request,
    place: &Place,
    terms: &Terms,
    show: &Show,
    watch: &Watch,
) -> Result<Ended, Failure> {
    let rows = Goal::choose(request.output.take(), &show.rows, false)?;
    check(&rows, terms, show)?;
    if request.incremental.is_some() {
        let message = "what an incremental job has read is remembered by who waits for it";
        return Err(Failure::mistake(message).help("leave out incremental, or --detach"));
    }
    let misses = std::mem::take(&mut request.misses).choose(show);
    if misses.file.is_some() {
        let message = "the rows that missed their keys are written by who waits for the job";
        return Err(Failure::mistake(message).help("leave out misses, or --detach"));
    }
    open::warn(place, &request);
    let session = open::session(place, watch).await?;
    let statement = Some(request.sql.clone());
    let query = open::plan(&session, request, watch).await?;
    if matches!(query.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Err(Failure::mistake("an EXPLAIN is no job to be handed in")
            .help("run it with keyloom run"));
    }
    let options = JobOptions { statement, ..run::options(&rows, misses.max, terms) };
    let job = watch.step(session.submit_with(query, options)).await?;
    let id = job.detach().map_err(Failure::before)?.id();
    watch.started(id);
    watch.end();
    match show.summary {
        Summary::Json => text::print(&json!({ "job_id": id.to_string() }).to_string())?,
        // The id is the answer, and no summary.
        Summary::Text | Summary::None => text::print(&id.to_string())?,
    }
    Ok(Ended::Submitted(id))
}

/// Refuses what nobody would do who does not wait.
fn check(rows: &Goal, terms: &Terms, show: &Show) -> Result<(), Failure> {
    let message = match rows {
        Goal::Workers(_) => return Ok(()),
        Goal::File(_) => "a job that is detached writes no file of this machine",
        Goal::Print { .. } | Goal::Drop if show.rows.is_given() => {
            "of a job that is detached, no rows are printed here"
        }
        Goal::Print { .. } | Goal::Drop if terms.resumes => {
            "--resumes is for jobs whose rows the workers write"
        }
        Goal::Print { .. } | Goal::Drop => return Ok(()),
    };
    Err(Failure::mistake(message).help(
        "have the workers write them, by [output] in the job file, or take them later, by keyloom \
         jobs results ID",
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use keyloom_common::described::Output;

    use super::*;
    use crate::cli::{Cli, Command, Once};

    /// What is said of a job whose rows go there, if it is detached with these flags.
    fn refusal(rows: Option<Goal>, flags: &[&str]) -> Option<String> {
        let cli = [&["keyloom", "submit", "job.toml", "--detach"][..], flags].concat();
        let Command::Once(Once::Submit(submit)) = Cli::parse_from(cli).command else {
            panic!("it is no submit");
        };
        let SubmitArguments { terms, show, .. } = submit;
        let rows = rows.unwrap_or_else(|| Goal::choose(None, &show.rows, false).unwrap());
        check(&rows, &terms, &show).err().and_then(|failure| failure.message)
    }

    #[test]
    fn who_does_not_wait_gets_no_rows() {
        let workers = || Some(Goal::Workers(Box::new(Output::new("/out/"))));
        assert_eq!(refusal(workers(), &["--resumes"]), None);
        assert_eq!(refusal(None, &["--name", "nightly"]), None);
        let printed = "of a job that is detached, no rows are printed here";
        for flags in [["--format", "json"], ["-o", "csv"]] {
            assert_eq!(refusal(None, &flags).as_deref(), Some(printed));
        }
        let resumes = refusal(None, &["--resumes"]).unwrap();
        assert!(resumes.contains("whose rows the workers write"), "{resumes}");
    }
}
