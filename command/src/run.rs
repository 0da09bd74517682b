//! `keyloom run`, and what `keyloom sql` shares with it: a statement's rows to where they go.

use std::{mem, path::Path, sync::Arc, time::Instant};

use datafusion::{arrow::datatypes::SchemaRef, dataframe::DataFrame, logical_expr::LogicalPlan};
use keyloom_client::{JobOptions, MaxMisses, Session};
use keyloom_common::stack::Deep;

use crate::{
    catalog,
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

/// Where what a job answers goes, and how much of it may be missing.
pub(crate) struct Goals {
    rows: Goal,
    /// Of the rows that missed their keys, if they are wanted.
    missed: Option<Destination>,
    max_misses: Option<MaxMisses>,
}

impl Goals {
    /// Those of the rows alone.
    pub(crate) fn of_rows(rows: Goal) -> Self {
        Self { rows, missed: None, max_misses: None }
    }

    fn options(&self) -> JobOptions {
        JobOptions {
            discard: matches!(self.rows, Goal::Drop),
            max_misses: self.max_misses,
            keep_missed: self.missed.is_some(),
            output: None,
        }
    }

    /// How an EXPLAIN is answered where rows were to go.
    fn of_plans(&self) -> Result<Form, Failure> {
        if let Some(missed) = &self.missed {
            return Err(explains_only(missed.path()));
        }
        match &self.rows {
            Goal::File(destination) => Err(explains_only(destination.path())),
            Goal::Print { form: RowForm::Csv, .. } => {
                Err(Failure::mistake("EXPLAIN answers no rows of CSV")
                    .help("use --format table or --format json"))
            }
            Goal::Print { form: RowForm::Json, .. } => Ok(Form::Json),
            Goal::Print { form: RowForm::Table, .. } | Goal::Drop => Ok(Form::Table),
        }
    }
}

fn explains_only(output: &Path) -> Failure {
    Failure::mistake(format!(
        "EXPLAIN answers no rows that {} could hold; leave out the output",
        output.display()
    ))
}

/// Runs a job file.
pub(crate) async fn job_file(arguments: RunArguments, watch: &Watch) -> Result<(), Failure> {
    let mut request = job_file::read(&arguments.job)?;
    catalog::complete(&arguments.catalog, &mut request)?;
    request.join_path = arguments.joins.join_path.or(request.join_path);
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
    let goals = Goals { rows: goal, missed, max_misses: policy.max };
    on_session(&session, request, goals, show.summary, watch).await
}

/// Runs a request's statement where a session is open.
pub(crate) async fn on_session(
    session: &Session,
    request: Request,
    goals: Goals,
    summary: Summary,
    watch: &Watch,
) -> Result<(), Failure> {
    let query = open::plan(session, request, watch).await?;
    match query.logical_plan() {
        LogicalPlan::Explain(_) => {
            let form = goals.of_plans()?;
            explain::print(&explain::plans(query.clone(), watch).await?, form, watch)
        }
        LogicalPlan::Analyze(analyze) => {
            let form = goals.of_plans()?;
            let plan = Arc::unwrap_or_clone(Arc::clone(&analyze.input));
            // Its options are the statement's.
            let (state, _) = query.clone().into_parts();
            let query = DataFrame::new(state, plan);
            let explained = explain::analyzed(session, query, goals.max_misses, watch).await?;
            explained.print(form, watch)
        }
        _ => rows(session, query, goals, summary, watch).await,
    }
}

async fn rows(
    session: &Session,
    query: DataFrame,
    goals: Goals,
    summary: Summary,
    watch: &Watch,
) -> Result<(), Failure> {
    let prints = matches!(goals.rows, Goal::Print { .. });
    let options = goals.options();
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
