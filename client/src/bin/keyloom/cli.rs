//! What users type.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::store_flag::{self, InputFlag, StoreFlag};

/// Enriches tables with lookups in key-value stores: in this process, or on a cluster.
///
/// A job reads inputs (Parquet, CSV, newline-delimited JSON, Arrow), adds columns with kv_get,
/// kv_batch_get and kv_exists from Lance datasets and in-memory tables under aliases, and writes
/// the rows in input order.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom",
    version,
    after_long_help = "\
Exit codes:
  0    done
  1    the job failed, or the cluster cannot be reached
  2    a mistake in what was asked, found before the job starts
  130  interrupted

Environment:
  KEYLOOM_CLUSTER        the address of --cluster
  KEYLOOM_CONFIG         the file of --config
  KEYLOOM_WORKER_*       settings of the workers in this process, as for keyloom-worker
  KEYLOOM_COORDINATOR_*  settings of the coordinator in this process, as for keyloom-coordinator
  KEYLOOM_LOG            what is logged to stderr: error (default), warn, info, debug, …"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job file
    Run(RunArguments),
    /// Run a statement on files and stores named on the command line
    Sql(SqlArguments),
    /// Show the plan of a job file
    Explain(ExplainArguments),
    /// List the workers of a cluster
    Workers(WorkersArguments),
}

/// Where a job runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Run on the cluster whose coordinator listens there, not in this process
    #[arg(long, env = "KEYLOOM_CLUSTER", value_name = "tcp://HOST:PORT")]
    pub(crate) cluster: Option<String>,
    /// How many workers run in this process [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Settings as TOML, in sections [session], [worker] and [coordinator]; the last two are for
    /// jobs in this process
    #[arg(long, env = "KEYLOOM_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What is written to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Text for people
    Table,
    /// One JSON value for programs
    Json,
}

/// How the rows of a job are shown.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Show {
    /// What is written to stdout: rows and text, or one JSON object with what was counted
    #[arg(
        short = 'o',
        long = "format",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) form: Form,
    /// Print all rows in full, not the first 40
    #[arg(long)]
    pub(crate) all: bool,
}

/// `keyloom run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A job file (relative paths are relative to the file):

  [inputs.items]              # the table's name in SQL
  path = \"items.parquet\"      # a file, a folder or a glob
  # format = \"parquet\"        # parquet, csv, json or arrow, if the name does not tell

  [stores.embeddings]         # the alias
  kind = \"lance\"
  uri = \"embeddings.lance\"    # a path or a URI
  key = \"item_id\"             # a column, [\"several\", \"columns\"], _rowid or _offset; absent: the
                              # declared primary key, or the column named as the one looked up
  # version = 3               # or tag = \"production\"
  # storage_options = \"minio\" # a profile in the workers' settings
  # on_duplicate_key = \"last\" # error (default), first or last
  # key_path = \"map\"         # auto (default), map, scan or btree: the way from keys to rows
  # row_path = \"take\"        # auto (default), take or scan: the way from rows to values

  [stores.features]
  kind = \"memory\"
  path = \"features.csv\"
  key = \"item_id\"

  [job]
  current_store = \"embeddings\"
  sql = \"\"\"
  SELECT item_id,
         kv_get(item_id) AS embedding,
         kv_get(item_id, source => 'features', on_error => 'null') AS features
  FROM items
  \"\"\"
  output = \"enriched.parquet\" # or .arrow, .csv, .json; absent: printed as a table

Examples:
  keyloom run job.toml
  keyloom run job.toml --cluster tcp://10.0.0.5:7700
  keyloom run job.toml --workers 4 --discard -o json")]
pub(crate) struct RunArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Run to the last row and drop the rows: for measuring
    #[arg(long)]
    pub(crate) discard: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// `keyloom sql`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Stores are ALIAS=KIND:PATH?OPTION=VALUE&…, in quotes where the shell wants them:
  lance   options: key, version, tag, storage_options, on_duplicate_key, key_path, row_path
  memory  options: key (needed), format; PATH is a file, a folder or a glob
A key of several columns is key=store,article; a comma within a name is written %2C.

Examples:
  keyloom sql 'SELECT *, kv_get(item_id) AS item FROM items' \\
      --input items=items.parquet --store 'emb=lance:emb.lance?key=item_id' --output out.parquet
  keyloom sql 'EXPLAIN SELECT kv_exists(id) FROM t' --input t=t.csv --store 's=memory:s.csv?key=id'")]
pub(crate) struct SqlArguments {
    /// The statement: SELECT or EXPLAIN
    #[arg(value_name = "STATEMENT")]
    pub(crate) sql: String,
    /// A table: a file, a folder or a glob under a name
    #[arg(long = "input", value_name = "NAME=PATH", value_parser = store_flag::input)]
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
    /// Write the rows to a file: .parquet, .arrow, .csv or .json
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// `keyloom explain`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  keyloom explain job.toml
  keyloom explain job.toml --analyze --cluster tcp://10.0.0.5:7700")]
pub(crate) struct ExplainArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    /// Run the job, drop its rows, and show what each part of the plan counted
    #[arg(long)]
    pub(crate) analyze: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// `keyloom workers`.
#[derive(Debug, Args)]
pub(crate) struct WorkersArguments {
    /// The cluster's address
    #[arg(long, env = "KEYLOOM_CLUSTER", value_name = "tcp://HOST:PORT")]
    pub(crate) cluster: String,
    /// What is written to stdout
    #[arg(
        short = 'o',
        long = "format",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) form: Form,
}
