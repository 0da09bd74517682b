//! Looking at an input: its files, their format, their columns, and where they can be cut.

use std::{collections::HashMap, future::Future, sync::Arc};

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::{
        CsvOptions, Fingerprint, Format, InputDescription, InputFile, InputInspection, InputSpec,
        JsonLayout, Layout, Location, Piece, is_tab_separated, union_schemas, unknown_columns,
    },
};
use object_store::{ObjectMeta, ObjectStore};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Inputs, hive, in_file, ipc, lance,
    list::{Listed, fingerprint, list},
    parquet,
    pinned::Pinned,
    text::{csv, json},
};

/// How many files are looked at at once.
const FILES_IN_FLIGHT: usize = 16;

/// The most files that are looked into before the job, spread evenly over all. Others are compared
/// with them when they are read.
const FILES_LOOKED_INTO: usize = 1024;

/// About the most pieces that an input is cut into, whatever is asked for: of text a piece costs
/// nothing to find, and who asks may come from anywhere.
const MAX_PIECES: u64 = 1 << 20;

/// What is in the files.
struct Contents {
    layout: Layout,
    schema: SchemaRef,
    /// For each file, where it may be cut.
    pieces: Vec<Vec<Piece>>,
}

impl Inputs {
    /// Looks at the files, unless they are those that are known.
    ///
    /// # Errors
    /// `not_found` if there is no file; `invalid` if the files cannot be read as the options say.
    /// The message names the input, and the file where it is one.
    pub(crate) async fn describe(
        &self,
        spec: &InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputInspection> {
        let path = redact(&spec.path);
        let described = self.describe_files(spec, known).await;
        described.map_err(|error| match error.message().contains(&path) {
            true => error,
            false => error.context(format!("input {path}")),
        })
    }

    async fn describe_files(
        &self,
        spec: &InputSpec,
        known: Option<Fingerprint>,
    ) -> Result<InputInspection> {
        if lance::is_lance(spec) {
            check_options(spec, Format::Lance)?;
            return lance::describe(&self.lance, spec, known).await;
        }
        let Listed { location, base, files } = list(&self.stores, spec).await?;
        let (format, files) = choose(spec, &location, files)?;
        check_options(spec, format)?;
        let fingerprint = fingerprint(&files);
        if known == Some(fingerprint) {
            return Ok(InputInspection::Unchanged);
        }
        let spec = &in_pieces(spec, &files);
        let store = self.stores.get(&location)?;
        let step = match format {
            Format::Parquet | Format::Arrow => files.len().div_ceil(FILES_LOOKED_INTO).max(1),
            _ => 1,
        };
        let some: Vec<_> = files.iter().step_by(step).collect();
        let store: Arc<dyn ObjectStore> = Arc::new(Pinned::of_files(store, &location, &some));
        let (partition_schema, partition_values) = match spec.hive_partitioning {
            true => hive::partitions(&base, &files, &spec.columns)?,
            false => (Arc::new(Schema::empty()), vec![Vec::new(); files.len()]),
        };
        let given = without(&spec.columns, &partition_schema);
        let contents = match format {
            Format::Csv => csv_contents(&store, &files, spec, &given).await,
            Format::Json => json_contents(&store, &files, spec, &given).await,
            Format::Parquet => {
                let look = |meta| parquet::look(&self.ends, &location, &store, meta);
                looked_into(&files, &some, Layout::Parquet, &given, look).await
            }
            Format::Arrow => {
                let look = |meta| ipc::look(&store, meta, spec.piece_bytes);
                looked_into(&files, &some, Layout::Arrow, &given, look).await
            }
            Format::Lance => Err(Error::internal("a Lance dataset is no list of files")),
        };
        let contents = contents.map_err(|error| named(error, &location, &files))?;
        // What files say of themselves goes before the names of their folders.
        check_given_once(&spec.columns, &contents.schema, &partition_schema)?;
        let (partition_schema, partition_values) =
            told_by_folders_alone(&contents.schema, &partition_schema, partition_values);
        let files = files.into_iter().zip(partition_values).zip(contents.pieces);
        let files = files.map(|((meta, values), pieces)| input_file(meta, values, pieces));
        Ok(InputInspection::Described(Box::new(InputDescription {
            layout: contents.layout,
            file_schema: contents.schema,
            partition_schema,
            location,
            files: files.collect(),
            fragments: Vec::new(),
            fingerprint,
        })))
    }
}

/// The same, but with pieces so large that there are not too many.
fn in_pieces(spec: &InputSpec, files: &[ObjectMeta]) -> InputSpec {
    let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.size));
    InputSpec { piece_bytes: spec.piece_bytes.max(bytes / MAX_PIECES), ..spec.clone() }
}

/// The error with a file that it names as users name it.
fn named(error: Error, location: &Location, files: &[ObjectMeta]) -> Error {
    let paths = files.iter().map(|file| file.location.as_ref());
    match paths.into_iter().find(|path| error.message().contains(path)) {
        Some(path) => in_file(error, location, path),
        None => error,
    }
}

/// Refuses a type that is given for a column of the files and of the names of their folders: which
/// of the two is meant cannot be told.
fn check_given_once(given: &Schema, files: &Schema, folders: &Schema) -> Result<()> {
    let is_in = |schema: &Schema, name: &str| schema.field_with_name(name).is_ok();
    let mut names = given.fields().iter().map(|field| field.name());
    match names.find(|name| is_in(files, name) && is_in(folders, name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "column '{name}' stands in the files and in the names of their folders; say \
             hive_partitioning = false to give the type of the files' own"
        ))),
    }
}

/// The columns of folders that files do not have, and their values.
fn told_by_folders_alone(
    files: &Schema,
    folders: &Schema,
    values: Vec<Vec<Option<String>>>,
) -> (SchemaRef, Vec<Vec<Option<String>>>) {
    let alone = without(folders, files);
    let is_alone = |field: &FieldRef| alone.field_with_name(field.name()).is_ok();
    let kept: Vec<bool> = folders.fields().iter().map(is_alone).collect();
    let keep = |values: Vec<Option<String>>| {
        let kept = values.into_iter().zip(&kept).filter(|(_, kept)| **kept);
        kept.map(|(value, _)| value).collect()
    };
    (alone, values.into_iter().map(keep).collect())
}

fn input_file(
    meta: ObjectMeta,
    partition_values: Vec<Option<String>>,
    pieces: Vec<Piece>,
) -> InputFile {
    InputFile {
        path: meta.location.to_string(),
        size: meta.size,
        modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
        e_tag: meta.e_tag,
        partition_values,
        pieces,
    }
}

/// The columns that are not among the others.
fn without(schema: &Schema, others: &Schema) -> SchemaRef {
    let fields =
        schema.fields().iter().filter(|field| others.field_with_name(field.name()).is_err());
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// The columns, and those of the others that are not among them.
fn with(schema: &Schema, others: &Schema) -> Schema {
    let added = without(others, schema);
    let fields = schema.fields().iter().chain(added.fields());
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

/// The format, and the files that have it.
fn choose(
    spec: &InputSpec,
    location: &Location,
    files: Vec<ObjectMeta>,
) -> Result<(Format, Vec<ObjectMeta>)> {
    if let Some(format) = spec.format {
        return Ok((format, files));
    }
    let known = |file: ObjectMeta| Some((Format::of_path(file.location.as_ref())?, file));
    let known: Vec<_> = files.into_iter().filter_map(known).collect();
    let Some((format, first)) = known.first() else {
        let names: Vec<_> =
            Format::ALL.iter().flat_map(|format| format.extensions().iter().copied()).collect();
        return Err(Error::invalid(format!(
            "the format cannot be told from the file names; known endings are {}, or say \
             format = \"csv\"",
            names.join(", ")
        )));
    };
    let (format, first) = (*format, location.shown(first.location.as_ref()));
    if let Some((other, file)) = known.iter().find(|(other, _)| *other != format) {
        return Err(Error::invalid(format!(
            "it holds files of two formats: {} is {}, {first} is {}; name one with a pattern, or \
             say which is meant with format",
            location.shown(file.location.as_ref()),
            other.name(),
            format.name()
        )));
    }
    Ok((format, known.into_iter().map(|(_, file)| file).collect()))
}

/// Refuses options that the format does not take.
fn check_options(spec: &InputSpec, format: Format) -> Result<()> {
    let choices = format.options();
    match spec.given.iter().find(|given| !choices.contains(&given.as_str())) {
        None => Ok(()),
        Some(foreign) => Err(Error::invalid(format!(
            "{foreign} is no option of {} inputs; their options are {}",
            format.name(),
            choices.join(", ")
        ))),
    }
}

async fn csv_contents(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    spec: &InputSpec,
    given: &Schema,
) -> Result<Contents> {
    let mut options = csv_options(spec, files)?;
    // One core learns the columns while another looks where records start.
    let learnt = AbortOnDropHandle::new(tokio::spawn({
        let (store, files, infer_bytes) = (Arc::clone(store), files.to_vec(), spec.infer_bytes);
        let (options, given) = (options.clone(), given.clone());
        async move { csv::infer(store.as_ref(), &files, &options, &given, infer_bytes).await }
    }));
    let pieces = |meta| csv::pieces(store.as_ref(), meta, &options, spec.piece_bytes);
    let pieces = each(files.iter(), pieces).await;
    let learnt = learnt.await;
    let learnt = learnt.map_err(|error| Error::internal(format!("csv columns: {error}")))??;
    let pieces = pieces?;
    options.unproven = learnt.unproven;
    Ok(Contents { layout: Layout::Csv(options), schema: learnt.schema, pieces })
}

/// The options, with a tab as the delimiter if all names say so.
fn csv_options(spec: &InputSpec, files: &[ObjectMeta]) -> Result<CsvOptions> {
    let mut options = spec.csv.clone();
    if spec.given.iter().any(|given| given == "delimiter") {
        return Ok(options);
    }
    let tabs = |file: &&ObjectMeta| is_tab_separated(file.location.as_ref());
    match files.iter().filter(tabs).count() {
        0 => {}
        count if count == files.len() => options.delimiter = b'\t',
        _ => {
            return Err(Error::invalid(
                "some of its files end in .tsv, others do not; name one kind with a pattern, or say \
                 which delimiter is meant",
            ));
        }
    }
    Ok(options)
}

async fn json_contents(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    spec: &InputSpec,
    given: &Schema,
) -> Result<Contents> {
    let (schema, complete) = json::infer(store.as_ref(), files, given, spec.infer_bytes).await?;
    let pieces = |meta| json::pieces(store.as_ref(), meta, spec.piece_bytes);
    let pieces = each(files.iter(), pieces).await?;
    Ok(Contents { layout: Layout::Json(JsonLayout { complete }), schema, pieces })
}

/// Files that say by themselves what is in them: the union of the columns of some of them.
async fn looked_into<'a, F>(
    files: &'a [ObjectMeta],
    some: &[&'a ObjectMeta],
    layout: Layout,
    given: &Schema,
    look: impl Fn(&'a ObjectMeta) -> F,
) -> Result<Contents>
where
    F: Future<Output = Result<(Schema, Vec<Piece>)>>,
{
    let looked = each(some.iter().copied(), look).await?;
    let schemas = some.iter().zip(&looked);
    let schemas = schemas.map(|(meta, (schema, _))| (meta.location.as_ref(), schema));
    let mut schema = union_schemas(schemas, given)?;
    match some.len() == files.len() {
        true => unknown_columns(given, &schema)?,
        // Files that are not looked into may have them.
        false => schema = with(&schema, given),
    }
    let paths = some.iter().map(|meta| &meta.location);
    let mut known: HashMap<_, _> = paths.zip(looked.into_iter().map(|(_, p)| p)).collect();
    let pieces =
        files.iter().map(|meta| known.remove(&meta.location).unwrap_or_else(|| whole(meta)));
    let pieces = pieces.collect();
    Ok(Contents { layout, schema: Arc::new(schema), pieces })
}

/// A file that is read in one go.
pub(super) fn whole(meta: &ObjectMeta) -> Vec<Piece> {
    if meta.size == 0 {
        return Vec::new();
    }
    vec![Piece { start: 0, rows: None, lines_before: 0 }]
}

/// Asks something of each file, some at once; errors name the file.
async fn each<'a, T, F>(
    files: impl Iterator<Item = &'a ObjectMeta>,
    ask: impl Fn(&'a ObjectMeta) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let ask = |meta: &'a ObjectMeta| {
        let answer = ask(meta);
        async move {
            answer.await.map_err(|error| match error.message().contains(meta.location.as_ref()) {
                true => error,
                false => error.context(format!("file {}", meta.location)),
            })
        }
    };
    stream::iter(files.map(ask).collect::<Vec<_>>()).buffered(FILES_IN_FLIGHT).try_collect().await
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;
    use crate::samples;

    fn file(size: u64) -> ObjectMeta {
        ObjectMeta {
            location: Path::from("a.jsonl"),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size,
            e_tag: None,
            version: None,
        }
    }

    #[test]
    fn pieces_are_as_small_as_is_wanted_but_not_too_many() {
        let piece_bytes = |wanted, sizes: &[u64]| {
            let spec = InputSpec { piece_bytes: wanted, ..samples::input("/a.jsonl") };
            let files: Vec<_> = sizes.iter().map(|size| file(*size)).collect();
            in_pieces(&spec, &files).piece_bytes
        };
        assert_eq!(piece_bytes(1, &[MAX_PIECES, 5]), 1);
        assert_eq!(piece_bytes(0, &[3 * MAX_PIECES, 2 * MAX_PIECES]), 5);
        assert_eq!(piece_bytes(1 << 20, &[1 << 40]), 1 << 20);
        assert_eq!(piece_bytes(1, &[u64::MAX, 1]), u64::MAX / MAX_PIECES);
    }
}
