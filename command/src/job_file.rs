//! Job files: TOML, in which relative paths are relative to the file.

use std::{collections::BTreeMap, fs, path::Path};

use keyloom_client::{Input, JoinPath, MaxMisses, Shuffle, ShuffleChoice};
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
    let mut request = parse(&text, folder).map_err(|mistake| mistake.of_file(path, &text))?;
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
mod tests {
    use keyloom_common::described::Mode;

    use super::*;

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "
            [inputs.items]
            path = 'data/'
            [stores.emb]
            kind = 'lance'
            uri = 's3://bucket/emb.lance'
            [stores.more]
            kind = 'memory'
            path = '/abs/more.csv'
            key = 'id'
            [job]
            sql = 'SELECT 1'
            output = '../out.parquet'
        ";
        let request = parse(text, Path::new("jobs")).unwrap();
        assert_eq!(request.inputs["items"].path, "jobs/data/");
        assert_eq!(request.folder, Path::new("jobs"));
        assert_eq!(request.output, Some(Target::File(OutputFile::new("jobs/../out.parquet"))));
        assert!(
            matches!(&request.stores["emb"], Store::Lance(o) if o.uri == "s3://bucket/emb.lance")
        );
        assert!(
            matches!(&request.stores["more"], Store::Memory { input, .. } if input.path == "/abs/more.csv")
        );
    }

    #[test]
    fn a_key_is_a_column_or_several() {
        let text = "
            [stores.stock]
            kind = 'lance'
            uri = 'stock.lance'
            key = ['store', 'article']
            [stores.more]
            kind = 'memory'
            path = 'more.csv'
            key = ['id', 'day']
            [stores.plain]
            kind = 'lance'
            uri = 'plain.lance'
            [job]
            sql = 'SELECT 1'
        ";
        let request = parse(text, Path::new("")).unwrap();
        let lance = |alias: &str| match &request.stores[alias] {
            Store::Lance(options) => options.key.clone(),
            Store::Memory { .. } | Store::Other(_) => None,
        };
        assert_eq!(lance("stock"), Some(["store", "article"].into()));
        assert_eq!(lance("plain"), None);
        assert!(
            matches!(&request.stores["more"], Store::Memory { key, .. } if *key == ["id", "day"].into())
        );
    }

    #[test]
    fn sizes_and_times_may_have_units() {
        let text = "
            [inputs.items]
            path = 'items.csv'
            infer_bytes = '64MiB'
            [stores.emb]
            kind = 'lance'
            uri = 'emb.lance'
            request_timeout_ms = '30s'
            [stores.more]
            kind = 'memory'
            path = 'more.csv'
            key = 'id'
            infer_bytes = '1KB'
            columns = { size_bytes = 'text' }
            [job]
            sql = 'SELECT 1'
        ";
        let request = parse(text, Path::new("")).unwrap();
        assert_eq!(request.inputs["items"].infer_bytes, Some(64 << 20));
        assert!(
            matches!(&request.stores["emb"], Store::Lance(o) if o.request_timeout_ms == Some(30_000))
        );
        assert!(
            matches!(&request.stores["more"], Store::Memory { input, .. } if input.infer_bytes == Some(1000))
        );
    }

    #[test]
    fn an_output_is_a_path_or_a_table_with_options() {
        let output = |output: &str| {
            let text = format!("[job]\nsql = 'SELECT 1'\noutput = {output}");
            parse(&text, Path::new("jobs")).map(|request| request.output.unwrap())
        };
        let file = OutputFile::new("jobs/out.parquet");
        assert_eq!(output("'out.parquet'").unwrap(), Target::File(file.clone()));
        assert_eq!(output("{ path = 'out.parquet' }").unwrap(), Target::File(file.clone()));
        let kept = Target::File(OutputFile { arrow_types: true, ..file });
        assert_eq!(output("{ path = 'out.parquet', arrow_types = true }").unwrap(), kept);
        let message = output("{ path = 'x', types = 1 }").unwrap_err().message;
        assert!(message.contains("expected `path` or `arrow_types`"), "{message}");
        let message = output("{ arrow_types = true }").unwrap_err().message;
        assert!(message.contains("missing field `path`"), "{message}");
        let message = output("3").unwrap_err().message;
        assert!(message.contains("a path, or a table with path and arrow_types"), "{message}");
    }

    #[test]
    fn an_output_of_workers_has_a_section() {
        let job = "[job]\nsql = 'SELECT 1'\n";
        let output = |lines: &str| {
            let request = parse(&format!("{job}[output]\n{lines}"), Path::new("jobs"));
            request.map(|request| request.output)
        };
        let check = |lines: &str, expected: Output| {
            assert_eq!(
                output(lines).unwrap(),
                Some(Target::Workers(Box::new(expected))),
                "{lines}"
            );
        };
        check("path = 'out/'", Output::new("jobs/out/"));
        check("path = 's3://bucket/out/'", Output::new("s3://bucket/out/"));
        check(
            "path = '/data/out.lance'\nif_exists = 'append'",
            Output::new("/data/out.lance").if_exists(Mode::Append),
        );
        let message = output("path = 'out/'\nif_exists = 'upsert'").unwrap_err().message;
        assert!(message.starts_with("[output]: if_exists = \"upsert\" is for Lance"), "{message}");
        let both = format!("{job}output = 'out.csv'\n[output]\npath = 'out/'");
        let message = parse(&both, Path::new("")).unwrap_err().message;
        assert!(message.ends_with("leave out one of them"), "{message}");
    }

    #[test]
    fn parameters_have_defaults() {
        let params = |lines: &str| {
            let text = format!("[job]\nsql = 'SELECT $day'\n[params]\n{lines}");
            parse(&text, Path::new("")).map(|request| request.params)
        };
        let of = |name: &str, value: &str| -> BTreeMap<String, String> {
            [(name.to_owned(), value.to_owned())].into()
        };
        assert_eq!(params("day = '2024-01-31'").unwrap(), of("day", "2024-01-31"));
        assert_eq!(params("day = 2024-01-31").unwrap(), of("day", "2024-01-31"));
        assert_eq!(params("least = 7").unwrap(), of("least", "7"));
        let message = params("day = []").unwrap_err().message;
        assert_eq!(message, "the default of parameter 'day' is a text or a number");
    }

    #[test]
    fn a_job_may_say_whether_its_rows_are_shuffled() {
        let shuffle = |lines: &str| {
            let text = format!("[job]\nsql = 'SELECT 1'\n{lines}");
            parse(&text, Path::new("")).unwrap().shuffle
        };
        assert_eq!(shuffle(""), ShuffleChoice::default());
        let lines = "shuffle = 'auto'\nshuffle_min_rows = 1000\nshuffle_partitions = 8";
        let (min_rows, partitions) = (Some(1000), Some(8));
        let expected = ShuffleChoice { shuffle: Some(Shuffle::Auto), min_rows, partitions };
        assert_eq!(shuffle(lines), expected);
    }

    #[test]
    fn missing_keys_have_a_limit_and_a_file() {
        let misses = |lines: &str| {
            let text = format!("[job]\nsql = 'SELECT 1'\n{lines}");
            parse(&text, Path::new("jobs")).unwrap().misses
        };
        assert_eq!(misses(""), Misses::default());
        let percent = misses("max_misses = '1%'\nmisses = 'missed.csv'");
        let file = Some(OutputFile::new("jobs/missed.csv"));
        assert_eq!(percent, Misses { max: Some(MaxMisses::Share(10_000)), file });
        assert_eq!(misses("max_misses = 7").max, Some(MaxMisses::Count(7)));
    }

    #[test]
    fn mistakes_name_the_line_and_the_choices() {
        let check = |text: &str, line: usize, words: &str| {
            let mistake = parse(text, Path::new("")).unwrap_err();
            assert_eq!(position(text, mistake.at).0, line, "{text}: {mistake:?}");
            assert!(mistake.message.contains(words), "{text}: {mistake:?}");
        };
        let job = "[job]\nsql = 'SELECT 1'\n";
        check(&format!("{job}outptu = 'x'"), 3, "`current_store`, `join_path`, `shuffle`");
        check(&format!("{job}shuffle = 'yes'"), 3, "expected one of `auto`, `never`, `always`");
        check(&format!("{job}shuffle_partitions = 'all'"), 3, "invalid type: string");
        check(&format!("{job}max_misses = '1 in 7'"), 3, "max_misses is a number of rows");
        check(&format!("{job}max_misses = -7"), 3, "max_misses is a number of rows");
        check(&format!("{job}[inputs.a]\npth = 'x'"), 4, "expected one of `path`, `uri`, `format`");
        check(&format!("{job}[inputs.a]\npath = 'x'\nformat = 'xls'"), 5, "`parquet`, `csv`");
        let size = "infer_bytes: 'many' is no size, as \"2GiB\"";
        check(&format!("{job}[inputs.a]\npath = 'x'\ninfer_bytes = 'many'"), 5, size);
        let time = "request_timeout_ms: 'soon' is no time, as \"30s\"";
        let lance = "[stores.a]\nkind = 'lance'\nuri = 'x'\nrequest_timeout_ms = 'soon'";
        check(&format!("{job}{lance}"), 3, time);
        check(&format!("{job}[stores.a]\nkind = 3"), 3, "`lance` or `memory`, not");
        check(&format!("{job}[stores.a]\nkind = 'redis'"), 3, "a redis store needs uri");
        check(&format!("{job}[stores.a]\nkind = 'lance'"), 3, "a lance store needs uri");
        check(
            &format!("{job}[stores.a]\nkind = 'lance'\nuri = 'x'\nkey_path = 'index'"),
            3,
            "[stores.a]: options of a lance store: key_path is auto, map, scan or btree, not 'index'",
        );
        check(
            &format!("{job}[stores.a]\nkind = 'lance'\nuri = 'x'\nkey = 5"),
            3,
            "key is the name of a column or a list of names",
        );
        check(
            &format!("{job}\n[stores.a]\nkind = 'memory'\nuri = 'x'"),
            4,
            "[stores.a]: a memory store needs key",
        );
    }
}
