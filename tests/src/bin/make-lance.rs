//! `make-lance`: writes a Lance dataset from a CSV or Parquet file. The demo makes its stores
//! with it.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use datafusion::prelude::{
    CsvReadOptions, DataFrame, ParquetReadOptions, SessionConfig, SessionContext,
};
use lance::dataset::{InsertBuilder, WriteMode, WriteParams};

/// Writes a Lance dataset from a CSV or Parquet file.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The rows: a .csv file with a header line, or a .parquet file
    input: PathBuf,
    /// The dataset; one that is there gets a new version
    output: String,
    /// The columns to keep, in this order [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    columns: Vec<String>,
    /// The rows to keep, as a condition in SQL [default: all]
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// The most rows of a file, and so of a fragment
    #[arg(long, value_name = "N", default_value = "1048576")]
    rows_per_file: NonZeroUsize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let rows = rows(&arguments)
        .await
        .with_context(|| format!("cannot read {}", arguments.input.display()))?;
    let params = WriteParams {
        mode: WriteMode::Overwrite,
        max_rows_per_file: arguments.rows_per_file.get(),
        ..WriteParams::default()
    };
    let output = &arguments.output;
    let writing = || format!("cannot write {output}");
    let stream = rows.execute_stream().await?;
    let dataset =
        InsertBuilder::new(output.as_str()).with_params(&params).execute_stream(stream).await;
    let dataset = dataset.with_context(writing)?;
    let count = dataset.count_rows(None).await.with_context(writing)?;
    let (fragments, version) = (dataset.get_fragments().len(), dataset.version().version);
    println!("{output}: version {version}, {count} rows, fragments: {fragments}");
    Ok(())
}

/// The rows wanted, in the order of the file.
async fn rows(arguments: &Arguments) -> Result<DataFrame> {
    // Lance has no string views.
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let session = SessionContext::new_with_config(config);
    let path = arguments.input.to_str().context("the path is not UTF-8")?;
    let extension = arguments.input.extension().and_then(|extension| extension.to_str());
    let mut rows = match extension {
        Some("csv") => session.read_csv(path, CsvReadOptions::new()).await?,
        Some("parquet") => {
            // A column's metadata may declare it the primary key.
            session.read_parquet(path, ParquetReadOptions::default().skip_metadata(false)).await?
        }
        _ => bail!("its name ends neither in .csv nor in .parquet"),
    };
    if let Some(condition) = &arguments.condition {
        let condition = rows.parse_sql_expr(condition)?;
        rows = rows.filter(condition)?;
    }
    if !arguments.columns.is_empty() {
        let columns: Vec<_> = arguments.columns.iter().map(String::as_str).collect();
        rows = rows.select_columns(&columns)?;
    }
    Ok(rows)
}
