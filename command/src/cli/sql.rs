//! What users type after `keyloom sql`, and of what a statement reads.

use std::path::PathBuf;

use clap::Args;

use super::{CatalogChoice, ParamFlags, Place, Planning, Show};
use crate::store_flag::{self, InputFlag, StoreFlag};

/// What statements read, beside a catalog.
#[derive(Debug, Args)]
pub(crate) struct Sources {
    /// A table: a file, a folder, a glob or a Lance dataset under a name
    #[arg(long = "input", value_name = "NAME=PATH?…", value_parser = store_flag::input)]
    pub(crate) inputs: Vec<InputFlag>,
    /// A store under an alias
    #[arg(
        long = "store",
        value_name = "ALIAS=KIND:PATH?key=…",
        value_parser = store_flag::store
    )]
    pub(crate) stores: Vec<StoreFlag>,
    /// The store of calls without a source [default: the only store, if there is one]
    #[arg(long, value_name = "ALIAS")]
    pub(crate) current: Option<String>,
}

/// `keyloom sql`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Stores are ALIAS=KIND:PATH?OPTION=VALUE&…, in quotes where the shell wants them:
  lance   options: key, version, tag, storage_options, on_duplicate_key, key_path, row_path,
          requests_in_flight, request_timeout_ms, request_attempts
  memory  options: key (needed), and those of inputs; PATH is a file, a folder or a glob
  others  as the workers know them; they name the kinds and the options if one is wrong, and
          get PATH as it stands, relative or not
Inputs are NAME=PATH?OPTION=VALUE&… with the options of job files: delimiter=%3B, header=false,
nulls=- (as often as needed), columns.zip=text, storage_options=minio, …
A key of several columns is key=store,article; a comma within a name is written %2C.

Examples:
  keyloom sql 'SELECT *, kv_get(item_id) AS item FROM items' \\
      --input items=items.parquet --store 'emb=lance:emb.lance?key=item_id' --output out.parquet
  keyloom sql -f job.sql --input items=items.parquet --format json | jq .item_id
  keyloom sql 'SELECT * FROM v WHERE day >= $day' --param day=2024-01-31 --input v=v.parquet
  keyloom sql 'EXPLAIN SELECT kv_exists(id) FROM t' --input t=t.csv --store 's=memory:s.csv?key=id'")]
pub(crate) struct SqlArguments {
    /// The statement: SELECT or EXPLAIN; - reads it from stdin
    #[arg(value_name = "STATEMENT", required_unless_present = "file")]
    pub(crate) sql: Option<String>,
    /// Read the statement from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) sources: Sources,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) show: Show,
}
