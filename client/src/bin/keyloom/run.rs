//! `keyloom run`, and what `keyloom sql` shares with it: a statement's rows to where they go.

use std::{sync::Arc, time::Instant};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    dataframe::DataFrame,
    logical_expr::LogicalPlan,
};
use keyloom_client::Session;

use crate::{
    cli::{Form, Place, RunArguments, Show},
    drive,
    error::Failure,
    explain, job_file, open,
    output::{Destination, Output},
    report::Report,
    request::Request,
    table::Table,
    text,
    watch::Watch,
};

/// Runs a job file.
pub(crate) async fn job_file(arguments: RunArguments, watch: &Watch) -> Result<(), Failure> {
    let request = job_file::read(&arguments.job)?;
    statement(request, &arguments.place, arguments.discard, arguments.show, watch).await
}

/// Runs a request's statement.
pub(crate) async fn statement(
    mut request: Request,
    place: &Place,
    discard: bool,
    show: Show,
    watch: &Watch,
) -> Result<(), Failure> {
    let destination = request.output.take().filter(|_| !discard);
    let destination = destination.map(Destination::check).transpose()?;
    let session = open::session(place, watch).await?;
    let query = open::plan(&session, request, watch).await?;
    let explains = match query.logical_plan() {
        LogicalPlan::Explain(_) => explain::plans(query.clone(), watch).await?,
        LogicalPlan::Analyze(analyze) => {
            let plan = Arc::unwrap_or_clone(Arc::clone(&analyze.input));
            let query = DataFrame::new(session.context().state(), plan);
            vec![("plan".to_owned(), explain::analysis(&session, query, watch).await?)]
        }
        _ => return rows(&session, query, destination, discard, show, watch).await,
    };
    match destination {
        Some(destination) => Err(Failure::mistake(format!(
            "EXPLAIN answers no rows that {} could hold; leave out the output",
            destination.path().display()
        ))),
        None => explain::print(&explains, show.form, watch),
    }
}

async fn rows(
    session: &Session,
    query: DataFrame,
    destination: Option<Destination>,
    discard: bool,
    show: Show,
    watch: &Watch,
) -> Result<(), Failure> {
    let mut sink = match destination {
        Some(destination) => {
            Sink::File(Box::new(destination.create(schema(query.clone(), watch).await?)?))
        }
        None if discard || show.form == Form::Json => Sink::Nothing,
        None => Sink::Table(Table::new(show.all)),
    };
    let submitted = Instant::now();
    let submission = async {
        match discard {
            true => session.submit_discarding(query).await,
            false => session.submit(query).await,
        }
    };
    let job = watch.step(submission).await?;
    let (id, schema) = (job.id(), Arc::clone(job.schema()));
    let taken = drive::drive(job, watch, |batch| sink.take(batch)).await?;
    let report = Report::new(id, taken.at - submitted, taken.summary);
    sink.finish(&report, &schema, show.form, watch)?;
    match show.form {
        Form::Json => text::print(&report.json()),
        Form::Table => {
            text::note(&report.line());
            Ok(())
        }
    }
}

/// The columns that a query's rows will have.
async fn schema(query: DataFrame, watch: &Watch) -> Result<SchemaRef, Failure> {
    let plan = async { Ok(query.create_physical_plan().await?) };
    Ok(watch.step(plan).await?.schema())
}

/// Where rows go.
enum Sink {
    File(Box<Output>),
    Table(Table),
    Nothing,
}

impl Sink {
    fn take(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        match self {
            Self::File(output) => output.write(batch),
            Self::Table(table) => {
                table.take(batch);
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }

    /// All rows were taken.
    fn finish(
        self,
        report: &Report,
        schema: &SchemaRef,
        form: Form,
        watch: &Watch,
    ) -> Result<(), Failure> {
        match self {
            Self::File(output) => {
                let path = output.finish()?;
                watch.end();
                match form {
                    Form::Table => text::print(&report.written(&path)),
                    Form::Json => Ok(()),
                }
            }
            Self::Table(table) => {
                watch.end();
                text::print(&table.render(schema)?)
            }
            Self::Nothing => {
                watch.end();
                Ok(())
            }
        }
    }
}
