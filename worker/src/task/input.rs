//! Looking at input files: which there are, in which format, with which columns.

use std::sync::Arc;

use datafusion::{
    datasource::{
        file_format::{
            FileFormat, arrow::ArrowFormat, csv::CsvFormat, json::JsonFormat,
            parquet::ParquetFormat,
        },
        listing::ListingTableUrl,
        physical_plan::parquet::metadata::DFParquetMetadata,
    },
    error::DataFusionError,
    parquet::file::metadata::RowGroupMetaData,
    prelude::SessionContext,
};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, Result,
    error::redact,
    input::{Format, InputDescription, InputFile, InputSpec, RowGroup},
};
use object_store::{ObjectMeta, ObjectStore};

/// How many Parquet footers are read at once.
const FOOTERS_IN_FLIGHT: usize = 16;

/// Endings of compressed text files, which DataFusion's plans cannot carry.
const COMPRESSED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".zip"];

pub(super) async fn describe(
    spec: &InputSpec,
    session: &SessionContext,
) -> Result<InputDescription> {
    let path = redact(&spec.path);
    let url = ListingTableUrl::parse(&spec.path)
        .map_err(|error| Error::from(error).context(format!("input {path}")))?;
    let object_store = url.object_store();
    let store = session.runtime_env().object_store(&object_store)?;
    let files = list(&url, session, &store)
        .await
        .map_err(|error| error.context(format!("input {path}")))?;
    let (format, files) = choose(spec, &path, files)?;
    let schema = file_format(format)
        .infer_schema(&session.state(), &store, &files)
        .await
        .map_err(|error| unfit(error).context(format!("input {path}")))?;
    let files = stream::iter(files)
        .map(|meta| input_file(meta, format, &store))
        .buffered(FOOTERS_IN_FLIGHT)
        .try_collect()
        .await
        .map_err(|error: Error| error.context(format!("input {path}")))?;
    Ok(InputDescription { format, schema, object_store: object_store.as_str().to_owned(), files })
}

/// Why files have no schema. DataFusion takes an Arrow file that is none for a defect of its own.
fn unfit(error: DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::Internal(reason) => Error::invalid(reason),
        _ => error.into(),
    }
}

async fn input_file(
    meta: ObjectMeta,
    format: Format,
    store: &Arc<dyn ObjectStore>,
) -> Result<InputFile> {
    let row_groups = match format {
        Format::Parquet => row_groups(&meta, store).await?,
        Format::Csv | Format::Json | Format::Arrow => Vec::new(),
    };
    Ok(InputFile {
        path: meta.location.to_string(),
        size: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
        row_groups,
    })
}

/// Row groups by where DataFusion looks for them: at their first column's first page.
async fn row_groups(meta: &ObjectMeta, store: &Arc<dyn ObjectStore>) -> Result<Vec<RowGroup>> {
    let footer = DFParquetMetadata::new(store.as_ref(), meta).fetch_metadata().await?;
    let row_group = |group: &RowGroupMetaData| {
        let column = group.columns().first()?;
        let page = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let (start, rows) = (u64::try_from(page).ok()?, u64::try_from(group.num_rows()).ok()?);
        Some(RowGroup { start, rows })
    };
    Ok(footer.row_groups().iter().filter_map(row_group).collect())
}

/// All files that are not hidden, in the order of their names.
async fn list(
    url: &ListingTableUrl,
    session: &SessionContext,
    store: &Arc<dyn ObjectStore>,
) -> Result<Vec<ObjectMeta>> {
    let state = session.state();
    let listed = url.list_all_files(&state, store.as_ref(), "").await;
    let mut files: Vec<ObjectMeta> = match listed {
        Ok(files) => files.try_collect().await?,
        Err(error) => return Err(error.into()),
    };
    files.retain(|file| {
        let name = file.location.filename().unwrap_or_default();
        !name.starts_with(['.', '_'])
    });
    files.sort_by(|one, other| one.location.cmp(&other.location));
    if files.is_empty() {
        return Err(Error::not_found("no such file, or a folder or pattern without files"));
    }
    Ok(files)
}

/// The format, and the files that have it.
fn choose(
    spec: &InputSpec,
    path: &str,
    files: Vec<ObjectMeta>,
) -> Result<(Format, Vec<ObjectMeta>)> {
    let compressed = files
        .iter()
        .find(|file| COMPRESSED.iter().any(|ending| file.location.as_ref().ends_with(ending)));
    if let Some(file) = compressed {
        return Err(Error::invalid(format!(
            "input {path}: {} is compressed; unpack it, or use Parquet",
            file.location
        )));
    }
    if let Some(format) = spec.format {
        return Ok((format, files));
    }
    let known: Vec<_> = files
        .into_iter()
        .filter_map(|file| Some((Format::of_path(file.location.as_ref())?, file)))
        .collect();
    let Some((format, _)) = known.first() else {
        let names: Vec<_> = Format::ALL.iter().flat_map(|format| format.extensions()).collect();
        return Err(Error::invalid(format!(
            "input {path}: the format cannot be told from the file names; known endings are \
             {names:?}, or give the format"
        )));
    };
    let format = *format;
    if let Some((other, file)) = known.iter().find(|(other, _)| *other != format) {
        return Err(Error::invalid(format!(
            "input {path} holds files of two formats: {} is {}, others are {}; name one with a \
             pattern",
            file.location,
            other.name(),
            format.name()
        )));
    }
    Ok((format, known.into_iter().map(|(_, file)| file).collect()))
}

fn file_format(format: Format) -> Arc<dyn FileFormat> {
    match format {
        Format::Parquet => Arc::new(ParquetFormat::default().with_force_view_types(false)),
        Format::Csv => Arc::new(CsvFormat::default().with_has_header(true)),
        Format::Json => Arc::new(JsonFormat::default()),
        Format::Arrow => Arc::new(ArrowFormat),
    }
}
