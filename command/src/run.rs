//! `keyloom run`, and what `keyloom sql` shares with it: a statement's rows to where they go.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use datafusion::{arrow::datatypes::SchemaRef, dataframe::DataFrame, logical_expr::LogicalPlan};
use keyloom_client::{JobId, JobOptions, MaxMisses, Session, listed_with, read_inputs};
use keyloom_common::{described::Output, stack::Deep};

use crate::{
    catalog,
    cli::{
        CatalogChoice, Form, ParamFlags, Place, Planning, RowForm, RunArguments, Show, StateFlags,
        Summary, Terms,
    },
    drive,
    error::Failure,
    explain,
    incremental::{HandedIn, Remembered},
    job_file, jobs, misses, open,
    output::Destination,
    params,
    report::{Files, Report},
    request::Request,
    sink::{Goal, Kept},
    summary_file, text,
    watch::Watch,
};

/// What became of what was asked.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A job was run to its end.
    Ran(Box<Report>),
    /// A job was handed in, and goes on by itself.
    Submitted(JobId),
    /// There was nothing that was not read before, and so no job.
    NothingNew,
    /// A plan was shown; there was no job, or none of the user's.
    Explained,
}

/// Where what a job answers goes, how much of it may be missing, and how it is known and kept.
pub(crate) struct Goals {
    rows: Goal,
    /// Of the rows that missed their keys, if they are wanted.
    missed: Option<Destination>,
    max_misses: Option<MaxMisses>,
    terms: Terms,
    /// What is read that was not read before, if that is what is read.
    remembered: Option<Remembered>,
}

impl Goals {
    /// Those of the rows alone.
    pub(crate) fn of_rows(rows: Goal) -> Self {
        let terms = Terms::default();
        Self { rows, missed: None, max_misses: None, terms, remembered: None }
    }

    fn options(&self) -> JobOptions {
        JobOptions {
            discard: matches!(self.rows, Goal::Drop),
            keep_missed: self.missed.is_some(),
            ..options(&self.rows, self.max_misses, &self.terms)
        }
    }

    /// How an EXPLAIN is answered where rows were to go.
    fn of_plans(&self) -> Result<Form, Failure> {
        if let Some(missed) = &self.missed {
            return Err(explains_only(missed.path()));
        }
        match &self.rows {
            Goal::File(destination) => Err(explains_only(destination.path())),
            Goal::Workers(output) => Err(explains_only(output.path.as_ref())),
            Goal::Print { form: RowForm::Csv, .. } => {
                Err(Failure::mistake("EXPLAIN answers no rows of CSV")
                    .help("use --format table or --format json"))
            }
            Goal::Print { form: RowForm::Json, .. } => Ok(Form::Json),
            Goal::Print { form: RowForm::Table, .. } | Goal::Drop => Ok(Form::Table),
        }
    }
}

/// How a job is run whose rows go there.
pub(crate) fn options(rows: &Goal, max_misses: Option<MaxMisses>, terms: &Terms) -> JobOptions {
    let output = match rows {
        Goal::Workers(output) => Some(Output::clone(output)),
        Goal::File(_) | Goal::Print { .. } | Goal::Drop => None,
    };
    let Terms { detach, name, id, resumes } = terms.clone();
    JobOptions { max_misses, output, name, detached: detach, resumes, id, ..JobOptions::default() }
}

fn explains_only(output: &Path) -> Failure {
    Failure::mistake(format!(
        "EXPLAIN answers no rows that {} could hold; leave out the output",
        output.display()
    ))
}

/// Runs a job file, or goes on with a job.
pub(crate) async fn job_file(arguments: RunArguments, watch: &Watch) -> Result<(), Failure> {
    let RunArguments { job, resume, params, state, catalog, place, discard, planning, show } =
        arguments;
    let running = async {
        match (resume, job) {
            (Some(id), _) => jobs::resume(id, &place, show.summary, watch).await,
            (None, Some(job)) => {
                let request = request(&job, &catalog, params, planning)?;
                let request = remembering(request, state)?;
                statement(request, &place, discard, &show, Terms::default(), watch).await
            }
            (None, None) => Err(Failure::mistake("there is no job file")),
        }
    };
    summary_file::told(&show, watch, running).await
}

/// What a job file asks for, with what a catalog and flags give to it.
pub(crate) fn request(
    job: &Path,
    catalog: &CatalogChoice,
    params: ParamFlags,
    planning: Planning,
) -> Result<Request, Failure> {
    let mut request = job_file::read(job)?;
    catalog::complete(catalog, &mut request)?;
    params::fill(&mut request, params.given)?;
    request.join_path = planning.join_path.or(request.join_path);
    request.shuffle.shuffle = planning.shuffle.or(request.shuffle.shuffle);
    Ok(request)
}

/// The same request, which remembers what it has read where a flag says.
pub(crate) fn remembering(mut request: Request, state: StateFlags) -> Result<Request, Failure> {
    match (&mut request.incremental, state.state_folder) {
        (_, None) => {}
        (Some(incremental), folder) => incremental.folder = folder,
        (None, Some(_)) => {
            return Err(Failure::mistake("--state-folder is for jobs with incremental"));
        }
    }
    Ok(request)
}

/// Runs a request's statement.
pub(crate) async fn statement(
    mut request: Request,
    place: &Place,
    discard: bool,
    show: &Show,
    terms: Terms,
    watch: &Watch,
) -> Result<Ended, Failure> {
    let rows = Goal::choose(request.output.take(), &show.rows, discard)?;
    if request.incremental.is_some() && terms.id.is_some() {
        let message = "an incremental job has an id of its own in each run, by which the next run \
                       finds out what became of it";
        return Err(Failure::mistake(message).help("leave out incremental, or --id"));
    }
    if matches!(rows, Goal::Print { .. }) && summary_file::is_stdout(show) {
        return Err(Failure::mistake("the rows are printed where --summary-file - is to be")
            .help("name a file for one of them"));
    }
    let policy = mem::take(&mut request.misses).choose(show);
    let missed = policy.destination(rows.path())?;
    let mut remembered = Remembered::open(&request)?;
    open::warn(place, &request);
    let session = open::session(place, watch).await?;
    if let Some(remembered) = &mut remembered
        && remembered.register(&session, &mut request, watch).await? == 0
    {
        watch.end();
        text::note(&remembered.nothing_new());
        return Ok(Ended::NothingNew);
    }
    let goals = Goals { rows, missed, max_misses: policy.max, terms, remembered };
    on_session(&session, request, goals, show.summary, watch).await
}

/// Runs a request's statement where a session is open.
pub(crate) async fn on_session(
    session: &Session,
    request: Request,
    goals: Goals,
    summary: Summary,
    watch: &Watch,
) -> Result<Ended, Failure> {
    let statement = request.sql.clone();
    let query = open::plan(session, request, watch).await?;
    match query.logical_plan() {
        LogicalPlan::Explain(_) => {
            let form = goals.of_plans()?;
            explain::print(&explain::plans(query.clone(), watch).await?, form, watch)?;
            Ok(Ended::Explained)
        }
        LogicalPlan::Analyze(analyze) => {
            let form = goals.of_plans()?;
            let plan = Arc::unwrap_or_clone(Arc::clone(&analyze.input));
            // Its options are the statement's.
            let (state, _) = query.clone().into_parts();
            let query = DataFrame::new(state, plan);
            let explained = explain::analyzed(session, query, goals.max_misses, watch).await?;
            explained.print(form, watch)?;
            Ok(Ended::Explained)
        }
        _ => {
            let options = JobOptions { statement: Some(statement), ..goals.options() };
            rows(session, query, goals, options, summary, watch).await
        }
    }
}

async fn rows(
    session: &Session,
    query: DataFrame,
    goals: Goals,
    mut options: JobOptions,
    summary: Summary,
    watch: &Watch,
) -> Result<Ended, Failure> {
    let prints = matches!(goals.rows, Goal::Print { .. });
    let drops = matches!(goals.rows, Goal::Drop);
    let (by_workers, handed_in) = match &goals.rows {
        Goal::Workers(output) => {
            let path = PathBuf::from(output.spec().map_err(Failure::before)?.path);
            (Some(path), Some(HandedIn::to(output)))
        }
        Goal::File(_) | Goal::Print { .. } | Goal::Drop => (None, None),
    };
    let rows = match &goals.rows {
        Goal::File(destination) => Some(destination),
        Goal::Workers(_) | Goal::Print { .. } | Goal::Drop => None,
    };
    let inputs = read_inputs(query.logical_plan());
    for destination in rows.into_iter().chain(&goals.missed) {
        if let Some(warning) = listed_with(destination.path(), &inputs) {
            watch.aside(|| text::note(&format!("warning: {warning}")));
        }
    }
    let mut sink = goals.rows.begin(&schema(query.clone(), watch).await?)?;
    let missed = misses::begin(goals.missed)?;
    let new_files = goals.remembered.as_ref().map(Remembered::new_files);
    // Rows that are dropped are nobody's.
    let mut remembered = goals.remembered.filter(|_| !drops);
    if let Some((remembered, job)) = remembered.as_mut().zip(handed_in) {
        options.id = Some(job.id);
        remembered.hand_in(job)?;
    }
    let running = async move {
        let submitted = Instant::now();
        let job = watch.step(session.submit_with(query, options)).await?;
        let id = job.id();
        watch.started(id);
        let taken = drive::drive(job, watch, |batch| sink.take(batch, watch)).await?;
        let files = files(sink.finish(watch)?, by_workers, misses::write(missed, taken.missed)?);
        Ok::<_, Failure>(Report::new(id, taken.at - submitted, taken.summary, files))
    };
    // Before the job is told of: its rows are where they are to be, whoever hears that.
    let report = match (running.await, remembered) {
        (Ok(report), None) => report,
        (Ok(report), Some(remembered)) => {
            remembered.keep()?;
            report
        }
        (Err(failure), None) => return Err(failure),
        (Err(failure), Some(remembered)) => {
            return Err(remembered.recover(session, watch.job().is_some(), failure).await);
        }
    };
    let report = report.of_new(new_files);
    tell(&report, summary, prints)?;
    Ok(Ended::Ran(Box::new(report)))
}

fn files(kept: Kept, by_workers: Option<PathBuf>, misses: Option<PathBuf>) -> Files {
    match kept {
        Kept::File(file) => Files { output: Some(file), misses, written: None },
        Kept::ByWorkers(written) => Files { output: by_workers, misses, written: Some(written) },
        Kept::Nowhere => Files { output: None, misses, written: None },
    }
}

/// Tells what a job did, where no rows are printed.
pub(crate) fn tell(report: &Report, summary: Summary, prints: bool) -> Result<(), Failure> {
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
