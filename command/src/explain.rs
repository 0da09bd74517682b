//! `keyloom explain`, and EXPLAIN statements: plans, and how they ran.

mod advice;
mod answer;
mod page;
mod page_file;

use datafusion::{arrow::array::AsArray, dataframe::DataFrame, logical_expr::LogicalPlan};
use keyloom_client::{Error, JobOptions, MaxMisses, Session};

use crate::{
    cli::{ExplainArguments, Form},
    drive,
    error::Failure,
    open, run, text,
    watch::Watch,
};
pub(crate) use answer::Explained;
use page_file::PageFile;

/// Shows the plan of a job file, with how it ran if it is run, and what other ways would cost.
pub(crate) async fn job_file(arguments: ExplainArguments, watch: &Watch) -> Result<(), Failure> {
    let ExplainArguments { job, catalog, analyze, advise, html, params, planning, place, print } =
        arguments;
    let page = html.map(PageFile::check).transpose()?;
    let request = run::request(&job, &catalog, params, planning)?;
    let max_misses = request.misses.max;
    open::warn(&place, &request);
    let session = open::session(&place, watch).await?;
    let query = open::plan(&session, request, watch).await?;
    if matches!(query.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return Err(Failure::mistake("the job's sql is an EXPLAIN itself")
            .help("run it with keyloom run, or leave EXPLAIN out of it"));
    }
    let advice = match advise {
        true => Some(watch.step(session.advise(query.clone())).await?),
        false => None,
    };
    let explained = if analyze {
        analyzed(&session, query, max_misses, watch).await?
    } else {
        Explained::planned(watch.step(session.explain(query, false)).await?)
    };
    let explained = explained.with_advice(advice);
    if let Some(page) = page {
        let written = page.write(&explained.page(&job.display().to_string()))?;
        watch.aside(|| text::note(&format!("page written to {}", written.display())));
    }
    explained.print(print.format, watch)
}

/// Runs a query to its last row and drops the rows: how it ran. More misses than it may have fail
/// it, as they do where the rows are kept.
pub(crate) async fn analyzed(
    session: &Session,
    query: DataFrame,
    max_misses: Option<MaxMisses>,
    watch: &Watch,
) -> Result<Explained, Failure> {
    let options = JobOptions { discard: true, max_misses, ..JobOptions::default() };
    let job = watch.step(session.submit_with(query, options)).await?;
    let taken = drive::drive(job, watch, |_| Ok(())).await?;
    Ok(Explained::ran(taken.summary.analysis))
}

/// The plans that an EXPLAIN statement answers, by their names.
pub(crate) async fn plans(
    query: DataFrame,
    watch: &Watch,
) -> Result<Vec<(String, String)>, Failure> {
    let batches = watch.step(async { Ok(query.collect().await?) }).await?;
    let mut plans = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter().map(|column| column.as_string_opt::<i32>());
        let [Some(names), Some(texts)] = columns.collect::<Vec<_>>()[..] else {
            return Err(Failure::before(Error::internal("EXPLAIN answered other columns")));
        };
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        plans.extend(names.iter().map(owned).zip(texts.iter().map(owned)));
    }
    Ok(plans)
}

/// Shows plans: a JSON object from name to text, or the texts, under their names if there are
/// several.
pub(crate) fn print(plans: &[(String, String)], form: Form, watch: &Watch) -> Result<(), Failure> {
    watch.end();
    if form == Form::Json {
        let object = plans.iter().map(|(name, plan)| (name.clone(), plan.as_str().into()));
        return text::print(&serde_json::Value::Object(object.collect()).to_string());
    }
    match plans {
        [(_, plan)] => text::print(plan),
        plans => {
            let sections =
                plans.iter().map(|(name, plan)| format!("{name}:\n{}\n", plan.trim_end()));
            text::print(&sections.collect::<Vec<_>>().join("\n"))
        }
    }
}
