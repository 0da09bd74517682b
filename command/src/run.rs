//! `keyloom run`, and what `keyloom sql` shares with it: a statement's rows to where they go.

use std::{sync::Arc, time::Instant};

use datafusion::{arrow::datatypes::SchemaRef, dataframe::DataFrame, logical_expr::LogicalPlan};
use keyloom_client::Session;
use keyloom_common::stack::Deep;

use crate::{
    cli::{Form, Place, RowForm, RunArguments, Show, Summary},
    drive,
    error::Failure,
    explain, job_file, open,
    report::Report,
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
    let session = open::session(place, watch).await?;
    let query = open::plan(&session, request, watch).await?;
    let explains = match query.logical_plan() {
        LogicalPlan::Explain(_) => explain::plans(query.clone(), watch).await?,
        LogicalPlan::Analyze(analyze) => {
            let plan = Arc::unwrap_or_clone(Arc::clone(&analyze.input));
            let query = DataFrame::new(session.context().state(), plan);
            vec![("plan".to_owned(), explain::analysis(&session, query, watch).await?)]
        }
        _ => return rows(&session, query, goal, show.summary, watch).await,
    };
    let form = match goal {
        Goal::File(destination) => {
            return Err(Failure::mistake(format!(
                "EXPLAIN answers no rows that {} could hold; leave out the output",
                destination.path().display()
            )));
        }
        Goal::Print { form: RowForm::Csv, .. } => {
            return Err(Failure::mistake("EXPLAIN answers no rows of CSV")
                .help("use --format table or --format json"));
        }
        Goal::Print { form: RowForm::Json, .. } => Form::Json,
        Goal::Print { form: RowForm::Table, .. } | Goal::Drop => Form::Table,
    };
    explain::print(&explains, form, watch)
}

async fn rows(
    session: &Session,
    query: DataFrame,
    goal: Goal,
    summary: Summary,
    watch: &Watch,
) -> Result<(), Failure> {
    let (prints, discards) = (matches!(goal, Goal::Print { .. }), matches!(goal, Goal::Drop));
    let mut sink = goal.begin(&schema(query.clone(), watch).await?)?;
    let submitted = Instant::now();
    let submission = async {
        match discards {
            true => session.submit_discarding(query).await,
            false => session.submit(query).await,
        }
    };
    let job = watch.step(submission).await?;
    let id = job.id();
    let taken = drive::drive(job, watch, |batch| sink.take(batch, watch)).await?;
    let output = sink.finish(watch)?;
    let report = Report::new(id, taken.at - submitted, taken.summary, output);
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
