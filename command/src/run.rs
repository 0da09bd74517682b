//! `keyloom run`, and what `keyloom sql` shares with it: a statement's rows to where they go.

use std::{mem, path::Path, sync::Arc, time::Instant};

use datafusion::{arrow::datatypes::SchemaRef, dataframe::DataFrame, logical_expr::LogicalPlan};
use keyloom_client::{JobOptions, Session};
use keyloom_common::stack::Deep;

use crate::{
    cli::{Form, Place, RowForm, RunArguments, Show, Summary},
    drive,
    error::Failure,
    explain, job_file, misses, open,
    output::Destination,
    report::{Files, Report},
    request::Request,
    sink::Goal,
    text,
    watch::Watch,
};

/// Runs a job file.
pub(crate) async fn job_file(arguments: RunArguments, watch: &Watch) -> Result<(), Failure> {
    let request = job_file::read(&arguments.job)?;
    statement(request, &arguments.place, arguments.discard, &arguments.show, watch).await
}

/// Runs a request's statement.
pub(crate) async fn statement(
    mut request: Request,
    place: &Place,
    discard: bool,
    show: &Show,
    watch: &Watch,
) -> Result<(), Failure> {
    let goal = Goal::choose(request.output.take(), show, discard)?;
    let policy = mem::take(&mut request.misses).choose(show);
    let missed = policy.destination(goal.path())?;
    let session = open::session(place, watch).await?;
    let query = open::plan(&session, request, watch).await?;
    match query.logical_plan() {
        LogicalPlan::Explain(_) => {
            let form = explain_form(&goal, missed.as_ref())?;
            explain::print(&explain::plans(query.clone(), watch).await?, form, watch)
        }
        LogicalPlan::Analyze(analyze) => {
            let form = explain_form(&goal, missed.as_ref())?;
            let plan = Arc::unwrap_or_clone(Arc::clone(&analyze.input));
            let query = DataFrame::new(session.context().state(), plan);
            explain::analyzed(&session, query, watch).await?.print(form, watch)
        }
        _ => {
            let (discard, keep_missed) = (matches!(goal, Goal::Drop), missed.is_some());
            let options = JobOptions { discard, max_misses: policy.max, keep_missed };
            let goals = Goals { rows: goal, missed };
            rows(&session, query, options, goals, show.summary, watch).await
        }
    }
}

/// How an EXPLAIN is answered where rows were to go.
fn explain_form(goal: &Goal, missed: Option<&Destination>) -> Result<Form, Failure> {
    if let Some(missed) = missed {
        return Err(explains_only(missed.path()));
    }
    match goal {
        Goal::File(destination) => Err(explains_only(destination.path())),
        Goal::Print { form: RowForm::Csv, .. } => {
            Err(Failure::mistake("EXPLAIN answers no rows of CSV")
                .help("use --format table or --format json"))
        }
        Goal::Print { form: RowForm::Json, .. } => Ok(Form::Json),
        Goal::Print { form: RowForm::Table, .. } | Goal::Drop => Ok(Form::Table),
    }
}

fn explains_only(output: &Path) -> Failure {
    Failure::mistake(format!(
        "EXPLAIN answers no rows that {} could hold; leave out the output",
        output.display()
    ))
}

/// Where the rows of a job go.
struct Goals {
    rows: Goal,
    /// Those that missed their keys, if they are wanted.
    missed: Option<Destination>,
}

async fn rows(
    session: &Session,
    query: DataFrame,
    options: JobOptions,
    goals: Goals,
    summary: Summary,
    watch: &Watch,
) -> Result<(), Failure> {
    let prints = matches!(goals.rows, Goal::Print { .. });
    let mut sink = goals.rows.begin(&schema(query.clone(), watch).await?)?;
    let missed = misses::begin(goals.missed)?;
    let submitted = Instant::now();
    let job = watch.step(session.submit_with(query, options)).await?;
    let id = job.id();
    let taken = drive::drive(job, watch, |batch| sink.take(batch, watch)).await?;
    let output = sink.finish(watch)?;
    let files = Files { output, misses: misses::write(missed, taken.missed)? };
    let report = Report::new(id, taken.at - submitted, taken.summary, files);
    match summary {
        Summary::Text => text::note(&report.text()),
        Summary::Json if prints => text::note(&report.json()),
        Summary::Json => text::print(&report.json())?,
        Summary::None => {}
    }
    Ok(())
}

/// The columns that a query's rows will have.
async fn schema(query: DataFrame, watch: &Watch) -> Result<SchemaRef, Failure> {
    let plan = Deep::new(async { Ok(query.create_physical_plan().await?) });
    Ok(watch.step(plan).await?.schema())
}
