//! `keyloom describe`: what is in stores and inputs, without a statement.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::AsArray,
    datatypes::{Int64Type, Schema},
};
use indicatif::HumanCount;
use keyloom_client::{Error, Input, OtherOptions, OwnKind, Session};
use keyloom_common::store::AttachedStore;
use serde::Serialize;

use crate::{
    cli::{DescribeArguments, Form},
    drive,
    error::Failure,
    job_file, open, params,
    request::{Request, Store},
    store_flag,
    stores::{CLUSTER, Meant},
    text,
    watch::Watch,
};

/// Describes a store, an input, or what a job file names.
pub(crate) async fn describe(arguments: DescribeArguments, watch: &Watch) -> Result<(), Failure> {
    let things = things(&arguments)?;
    let session = open::session(&arguments.place, watch).await?;
    show(&session, things, arguments.print.format, watch).await
}

/// Describes stores under their aliases.
pub(crate) async fn stores(
    session: &Session,
    stores: BTreeMap<String, Meant>,
    form: Form,
    watch: &Watch,
) -> Result<(), Failure> {
    let thing = |(alias, store): (String, Meant)| match store {
        Meant::Own(store) => Thing { name: Some(alias), what: What::Store(*store) },
        Meant::OfCluster => Thing { name: None, what: What::OfCluster(alias) },
    };
    show(session, stores.into_iter().map(thing).collect(), form, watch).await
}

async fn show(
    session: &Session,
    things: Vec<Thing>,
    form: Form,
    watch: &Watch,
) -> Result<(), Failure> {
    let mut described = Vec::new();
    for thing in things {
        described.push(match thing.what {
            What::Input(input) => of_input(session, thing.name, input, watch).await?,
            What::Store(store) => of_store(session, thing.name, store, watch).await?,
            What::OfCluster(alias) => of_cluster(session, alias, watch).await?,
        });
    }
    watch.end();
    let texts = described.iter().map(|description| match form {
        Form::Json => description.json(),
        Form::Table => description.table(),
    });
    let between = if form == Form::Json { "\n" } else { "\n\n" };
    text::print(&texts.collect::<Vec<_>>().join(between))
}

/// What can be described, under the name that a job file gives it.
struct Thing {
    name: Option<String>,
    what: What,
}

enum What {
    Input(Input),
    Store(Store),
    /// What the cluster's catalog calls so.
    OfCluster(String),
}

/// What the arguments name.
fn things(arguments: &DescribeArguments) -> Result<Vec<Thing>, Failure> {
    let DescribeArguments { target, name, params, .. } = arguments;
    let flag = |message: String| Failure::mistake(format!("{target}: {message}"));
    if target.ends_with(".toml") {
        return in_job(target, name.as_deref(), params.given.clone());
    }
    if !params.given.is_empty() {
        return Err(Failure::mistake("--param is for job files: describe what is meant itself"));
    }
    if let Some(name) = name {
        return Err(Failure::mistake(format!("'{name}' is no part of {target}"))
            .help("names are those of a job file: keyloom describe job.toml NAME"));
    }
    let what = if is_store(target) {
        What::Store(store_flag::store(&format!("store={target}")).map_err(flag)?.1)
    } else {
        What::Input(store_flag::input(&format!("input={target}")).map_err(flag)?.1)
    };
    Ok(vec![Thing { name: None, what }])
}

/// Whether it is written as `KIND:PLACE`, of whatever kind. What begins with a scheme is a URI.
fn is_store(target: &str) -> bool {
    target.split_once(':').is_some_and(|(kind, place)| {
        let is_other = OtherOptions::is_kind(kind) && !place.starts_with("//");
        OwnKind::of(kind).is_some() || is_other
    })
}

/// The inputs and stores of a job file, or the one with the name.
fn in_job(
    path: &str,
    name: Option<&str>,
    params: Vec<(String, String)>,
) -> Result<Vec<Thing>, Failure> {
    let mut request = job_file::read(path.as_ref())?;
    params::fill_paths(&mut request, params)?;
    let Request { inputs, stores, .. } = request;
    let names: Vec<_> = inputs.keys().chain(stores.keys()).cloned().collect();
    let inputs = inputs.into_iter().map(|(name, input)| (name, What::Input(input)));
    let stores = stores.into_iter().map(|(alias, store)| (alias, What::Store(store)));
    let wanted = inputs.chain(stores).filter(|(given, _)| name.is_none_or(|name| name == given));
    let things: Vec<_> = wanted.map(|(name, what)| Thing { name: Some(name), what }).collect();
    match name {
        Some(name) if things.is_empty() => Err(Failure::mistake(format!(
            "{path} has no input or store '{name}'; there are: {}",
            names.join(", ")
        ))),
        _ => Ok(things),
    }
}

async fn of_input(
    session: &Session,
    name: Option<String>,
    input: Input,
    watch: &Watch,
) -> Result<Description, Failure> {
    let source = input.path.clone();
    let (schema, rows) = read(session, name.as_ref().unwrap_or(&source), input, watch).await?;
    Ok(Description {
        kind: "input".to_owned(),
        name,
        origin: None,
        source,
        snapshot: None,
        key: None,
        options: None,
        rows: Some(rows),
        columns: columns(&schema),
    })
}

/// An input's columns and the number of its rows.
async fn read(
    session: &Session,
    name: &str,
    input: Input,
    watch: &Watch,
) -> Result<(Schema, u64), Failure> {
    let table = format!("\"{}\"", name.replace('"', "\"\""));
    let sql = format!("SELECT * FROM {table}");
    let inputs = [(name.to_owned(), input)].into();
    let query = open::plan(session, Request { inputs, sql, ..Request::default() }, watch).await?;
    let schema = query.schema().as_arrow().clone();
    let count = watch.step(session.sql(&format!("SELECT count(*) FROM {table}"))).await?;
    let job = watch.step(session.submit(count)).await?;
    let mut rows = 0;
    let take = |batch: datafusion::arrow::array::RecordBatch| {
        let counts = batch.column(0).as_primitive_opt::<Int64Type>();
        let counts =
            counts.ok_or_else(|| Failure::running(Error::internal("count(*) is no number")))?;
        rows += counts.values().iter().map(|count| count.unsigned_abs()).sum::<u64>();
        Ok(())
    };
    drive::drive(job, watch, take).await?;
    Ok((schema, rows))
}

async fn of_store(
    session: &Session,
    name: Option<String>,
    store: Store,
    watch: &Watch,
) -> Result<Description, Failure> {
    let alias = name.clone().unwrap_or_else(|| "store".to_owned());
    let contents = match &store {
        Store::Memory { input, .. } => Some(input.clone()),
        Store::Lance(_) | Store::Other(_) => None,
    };
    let sql = "SELECT 1".to_owned();
    let stores = [(alias.clone(), store)].into();
    open::plan(session, Request { stores, sql, ..Request::default() }, watch).await?;
    let attached = session.get_kv(&alias).map_err(Failure::before)?;
    let description = &attached.description;
    let rows = match contents.clone() {
        // What a memory store holds is what its files hold.
        Some(input) => Some(read(session, &format!("contents of {alias}"), input, watch).await?.1),
        None => description.figures.as_ref().map(|figures| figures.rows),
    };
    // What was read into memory says no more where it was.
    let source = contents.map_or_else(|| attached.spec.place.clone(), |input| input.path);
    Ok(Description { name, source, rows, ..of_opened(&attached)? })
}

async fn of_cluster(
    session: &Session,
    alias: String,
    watch: &Watch,
) -> Result<Description, Failure> {
    let attached = watch.step(session.find_kv(&alias)).await?;
    let (name, origin) = (Some(alias), Some(CLUSTER.to_owned()));
    Ok(Description { name, origin, ..of_opened(&attached)? })
}

/// What is known of an open store.
fn of_opened(attached: &AttachedStore) -> Result<Description, Failure> {
    let (spec, description) = (&attached.spec, &attached.description);
    Ok(Description {
        kind: spec.kind.clone(),
        name: None,
        origin: None,
        source: spec.place.clone(),
        snapshot: Some(description.snapshot.to_string()),
        key: Some(attached.key_in_words()),
        options: spec.pace().map_err(Failure::before)?.in_words(),
        rows: description.figures.as_ref().map(|figures| figures.rows),
        columns: columns(attached.schema()),
    })
}

/// What `keyloom describe` shows of a store or an input.
#[derive(Debug, Serialize)]
struct Description {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Who describes it, if it is not the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Where it is.
    source: String,
    /// The version that a job would read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// How its storage may be asked, if the store's options say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    columns: Vec<Column>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
}

fn columns(schema: &Schema) -> Vec<Column> {
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: field.is_nullable(),
    });
    columns.collect()
}

impl Description {
    fn json(&self) -> String {
        // A tree of numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("{}  {}", self.kind, self.source)];
        let rows = self.rows.map(|rows| HumanCount(rows).to_string());
        let facts = [
            ("name", &self.name),
            ("origin", &self.origin),
            ("snapshot", &self.snapshot),
            ("key", &self.key),
            ("options", &self.options),
            ("rows", &rows),
        ];
        let facts = facts.into_iter().filter_map(|(fact, value)| Some((fact, value.as_ref()?)));
        lines.extend(facts.map(|(fact, value)| format!("{fact:8}  {value}")));
        lines.push(String::new());
        let width = |texts: &mut dyn Iterator<Item = &str>, least: &str| {
            texts.map(|text| text.chars().count()).max().unwrap_or_default().max(least.len())
        };
        let names = width(&mut self.columns.iter().map(|column| column.name.as_str()), "COLUMN");
        let types = width(&mut self.columns.iter().map(|column| column.data_type.as_str()), "TYPE");
        lines.push(format!("{:names$}  {:types$}  NULLS", "COLUMN", "TYPE"));
        for Column { name, data_type, nullable } in &self.columns {
            let nulls = if *nullable { "yes" } else { "no" };
            lines.push(format!("{name:names$}  {data_type:types$}  {nulls}"));
        }
        lines.join("\n")
    }
}
