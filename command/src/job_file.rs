//! Job files: TOML, in which relative paths are relative to the file.

use std::{collections::BTreeMap, fs, path::Path};

use keyloom_client::{GroupKeys, Input, JoinPath, MaxMisses, Shuffle, ShuffleChoice};
use keyloom_common::described::Output;
use serde::Deserialize;
use toml::{Spanned, Table, Value};

use crate::{
    error::Failure,
    incremental::Incremental,
    misses::Misses,
    output::OutputFile,
    request::{Request, Store, Target},
};

/// A job file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    #[serde(default)]
    inputs: BTreeMap<String, Input>,
    #[serde(default)]
    stores: BTreeMap<String, Spanned<Table>>,
    #[serde(default)]
    params: BTreeMap<String, Spanned<Value>>,
    output: Option<Spanned<Output>>,
    job: JobSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobSection {
    current_store: Option<String>,
    join_path: Option<JoinPath>,
    shuffle: Option<Shuffle>,
    shuffle_min_rows: Option<u64>,
    shuffle_partitions: Option<usize>,
    group_keys: Option<GroupKeys>,
    sql: String,
    incremental: Option<String>,
    output: Option<OutputFile>,
    max_misses: Option<MaxMisses>,
    misses: Option<OutputFile>,
}

/// Reads a job file.
pub(crate) fn read(path: &Path) -> Result<Request, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::mistake(format!("job file {}: {error}", path.display()))
            .help("see keyloom run --help for an example")
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut request = parse(&text, folder).map_err(|mistake| {
        let failure = mistake.of_file(path, &text);
        match toml::from_str::<Table>(&text) {
            Ok(_) => failure,
            Err(_) => failure.help("a job file is TOML: see keyloom run --help for an example"),
        }
    })?;
    if let Some(incremental) = &mut request.incremental {
        let stem = path.file_stem().unwrap_or_default();
        incremental.job = stem.to_string_lossy().into_owned();
        incremental.file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }
    Ok(request)
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub(crate) struct Mistake {
    at: usize,
    pub(crate) message: String,
}

impl Mistake {
    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self { at, message: error.message().to_owned() }
    }

    /// The same in the words of a command's end.
    pub(crate) fn of_file(&self, path: &Path, text: &str) -> Failure {
        let (line, column) = self.position(text);
        Failure::mistake(format!("{}:{line}:{column}: {}", path.display(), self.message))
    }

    /// Its line and its column in the file's text, from 1.
    pub(crate) fn position(&self, text: &str) -> (usize, usize) {
        position(text, self.at)
    }
}

fn parse(text: &str, folder: &Path) -> Result<Request, Mistake> {
    let file: JobFile = toml::from_str(text).map_err(|error| Mistake::of_toml(&error))?;
    let (inputs, stores) = named(folder, file.inputs, file.stores)?;
    let output = target(folder, file.job.output, file.output)?;
    Ok(Request {
        inputs,
        stores,
        current_store: file.job.current_store,
        join_path: file.job.join_path,
        shuffle: ShuffleChoice {
            shuffle: file.job.shuffle,
            min_rows: file.job.shuffle_min_rows,
            partitions: file.job.shuffle_partitions,
        },
        group_keys: file.job.group_keys,
        sql: file.job.sql,
        folder: folder.to_owned(),
        incremental: file.job.incremental.map(Incremental::of),
        params: defaults(file.params)?,
        output,
        misses: Misses {
            max: file.job.max_misses,
            file: file.job.misses.map(|misses| output_beside(folder, misses)),
        },
        ..Request::default()
    })
}

/// The defaults of parameters: text, or what is as good as text.
fn defaults(params: BTreeMap<String, Spanned<Value>>) -> Result<BTreeMap<String, String>, Mistake> {
    let text = |(name, value): (String, Spanned<Value>)| {
        let at = value.span().start;
        match value.into_inner() {
            Value::String(text) => Ok((name, text)),
            Value::Array(_) | Value::Table(_) => {
                let message = format!("the default of parameter '{name}' is a text or a number");
                Err(Mistake { at, message })
            }
            plain => Ok((name, plain.to_string())),
        }
    };
    params.into_iter().map(text).collect()
}

/// Where the rows go: one of two places at most.
fn target(
    folder: &Path,
    file: Option<OutputFile>,
    workers: Option<Spanned<Output>>,
) -> Result<Option<Target>, Mistake> {
    let Some(workers) = workers else {
        return Ok(file.map(|file| Target::File(output_beside(folder, file))));
    };
    let at = workers.span().start;
    if file.is_some() {
        let message = "the rows go to [output], which workers write, or to output in [job], which \
                       is one file; leave out one of them";
        return Err(Mistake { at, message: message.to_owned() });
    }
    let output = workers.into_inner();
    let path = beside(folder, &output.path);
    let output = Output { path, ..output };
    // What does not go together is told by its line.
    let spec = output.spec();
    spec.map_err(|error| Mistake { at, message: format!("[output]: {}", error.message()) })?;
    Ok(Some(Target::Workers(Box::new(output))))
}

/// Inputs and stores by their names.
pub(crate) type Named = (BTreeMap<String, Input>, BTreeMap<String, Store>);

/// The inputs and the stores that the sections of a file in this folder name.
pub(crate) fn named(
    folder: &Path,
    inputs: BTreeMap<String, Input>,
    stores: BTreeMap<String, Spanned<Table>>,
) -> Result<Named, Mistake> {
    let inputs = inputs.into_iter().map(|(name, input)| (name, input_beside(folder, input)));
    let mut read = BTreeMap::new();
    for (alias, options) in stores {
        let at = options.span().start;
        let store = Store::read(options.into_inner());
        let store = store
            .map_err(|message| Mistake { at, message: format!("[stores.{alias}]: {message}") })?;
        read.insert(alias, store_beside(folder, store));
    }
    Ok((inputs.collect(), read))
}

fn input_beside(folder: &Path, input: Input) -> Input {
    Input { path: beside(folder, &input.path), ..input }
}

fn output_beside(folder: &Path, output: OutputFile) -> OutputFile {
    OutputFile { path: beside(folder, &output.path.to_string_lossy()).into(), ..output }
}

fn store_beside(folder: &Path, store: Store) -> Store {
    match store {
        Store::Lance(mut options) => {
            options.uri = beside(folder, &options.uri);
            Store::Lance(options)
        }
        Store::Memory { input, key } => Store::Memory { input: input_beside(folder, input), key },
        // Where it is need not be a path.
        other @ Store::Other(_) => other,
    }
}

/// A path from the job file's folder; a URI and an absolute path as they are.
pub(crate) fn beside(folder: &Path, path: &str) -> String {
    if path.contains("://") { path.to_owned() } else { folder.join(path).display().to_string() }
}

/// The line and the column of a byte, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests;
