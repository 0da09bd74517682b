//! What users type.

mod certs;
mod cluster;
mod config;
mod jobs;
mod params;
mod place;
mod security;
mod shell;
mod stores;
mod workers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyloom_client::{JobId, JoinPath, MaxMisses, Shuffle};
use keyloom_common::log::LogFormat;

use crate::store_flag::{self, InputFlag, StoreFlag};

pub(crate) use certs::{CertsCommand, CertsCreateArguments, CertsShowArguments};
pub(crate) use cluster::OnCluster;
pub(crate) use config::ConfigCommand;
pub(crate) use jobs::{
    JobArguments, JobsCommand, ListJobsArguments, LogsArguments, ResultsArguments, SubmitArguments,
    Terms, TopArguments,
};
pub(crate) use keyloom_program::config::{Form, Print};
pub(crate) use params::{ParamFlags, StateFlags};
pub(crate) use place::{CLUSTER, Place};
pub(crate) use security::Security;
pub(crate) use shell::ShellArguments;
pub(crate) use stores::{CreateArguments, ListArguments, StoresArguments, StoresCommand};
pub(crate) use workers::{DrainArguments, ListWorkersArguments, WorkersArguments, WorkersCommand};

/// Enriches tables with lookups in key-value stores: in this process, or on a cluster.
///
/// A job reads inputs (Parquet, CSV, JSON, Arrow, Lance), adds columns with kv_get,
/// kv_batch_get and kv_exists from Lance datasets and in-memory tables under aliases, and writes
/// the rows in input order.
#[derive(Debug, Parser)]
#[command(
    name = "keyloom",
    version = keyloom_common::BUILD,
    after_long_help = "\
Exit codes:
  0    done
  1    the job failed
  2    a mistake in what was asked, found before the job starts
  4    the job failed, since more keys are missing than max_misses allows
  5    the cluster cannot be reached, or is lost
  130  interrupted (Ctrl-C), or the job that was waited for was cancelled
  143  terminated (SIGTERM)
Rows go to stdout or to a file, everything else to stderr. A file appears whole or not at all.

Environment:
  KEYLOOM_CLUSTER        the address of --cluster
  KEYLOOM_CONFIG         the file of --config
  KEYLOOM_CA_FILE        the file of --ca-file; so KEYLOOM_CERT_FILE, _KEY_FILE and _TOKEN_FILE
  KEYLOOM_TOKEN          a token for the cluster, if it stands in no file
  KEYLOOM_WORKER_*       settings of the workers in this process, as for keyloom-worker
  KEYLOOM_COORDINATOR_*  settings of the coordinator in this process, as for keyloom-coordinator
  KEYLOOM_LOG            what is logged to stderr: error (default), warn, info, debug, …
  KEYLOOM_LOG_FORMAT     text or json, as --log-format"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How the log is written: text or json [default: text]
    #[arg(
        long,
        global = true,
        env = "KEYLOOM_LOG_FORMAT",
        hide_env = true,
        value_name = "FORMAT",
        value_parser = LogFormat::parse
    )]
    pub(crate) log_format: Option<LogFormat>,
    /// Show no progress, nor that workers are waited for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Once(Once),
    /// Run statements as they are typed
    Shell(ShellArguments),
}

/// The commands that do one thing and end.
#[derive(Debug, Subcommand)]
pub(crate) enum Once {
    /// Run a job file
    Run(RunArguments),
    /// Hand in a job file to a cluster, under a name, and perhaps without waiting for it
    Submit(SubmitArguments),
    /// Run a statement on files and stores named on the command line
    Sql(SqlArguments),
    /// List, show, cancel and wait for the jobs of a cluster, and take their rows and logs
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Show the plan of a job file
    Explain(ExplainArguments),
    /// Show the columns, the snapshot, the key and the number of rows of a store or an input
    Describe(DescribeArguments),
    /// List, describe, check and make stores
    #[command(subcommand)]
    Stores(StoresCommand),
    /// List the workers of a cluster, or let one drain
    Workers(WorkersArguments),
    /// Show the workers and the jobs of a cluster, again and again
    Top(TopArguments),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make and show certificates, and draw tokens
    #[command(subcommand)]
    Certs(CertsCommand),
}

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

/// Which catalog is used.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CatalogChoice {
    /// The catalog that names stores and inputs [default: the nearest keyloom.toml, in the working
    /// folder or above it]
    #[arg(long, value_name = "FILE")]
    pub(crate) catalog: Option<PathBuf>,
    /// Use no catalog
    #[arg(long, conflicts_with = "catalog")]
    pub(crate) no_catalog: bool,
}

/// How a statement is planned.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Planning {
    /// How joins with stores are made: auto, lookup or scan [default: as the job file says, or
    /// join_path in [session], or auto: by cost]
    #[arg(long, value_name = "PATH", value_parser = JoinPath::parse)]
    pub(crate) join_path: Option<JoinPath>,
    /// Whether the workers of a cluster shuffle rows among themselves, for groups, joins and
    /// windows: never, auto or always [default: as the job file says, or shuffle in [session], or
    /// never]
    #[arg(long, value_name = "WHEN", value_parser = Shuffle::parse)]
    pub(crate) shuffle: Option<Shuffle>,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowForm {
    /// A table for people
    Table,
    /// A JSON object a line
    Json,
    /// CSV with a header line
    Csv,
}

/// How it is told what a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Summary {
    /// A line for people, on stderr
    Text,
    /// A JSON object: on stderr, or on stdout if no rows are printed there
    Json,
    /// Not at all
    None,
}

/// Where rows go, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowRows {
    /// Write the rows to a file: .parquet, .arrow, .csv or .json; or have the workers write them,
    /// to FOLDER/ or NAME.lance, with the options of [output]: 'out/?format=csv&if_exists=append'
    #[arg(short, long, value_name = "FILE|FOLDER/?…")]
    pub(crate) output: Option<PathBuf>,
    /// Keep the Arrow types in a .parquet file, which then not every reader knows: fixed-size
    /// lists, half floats, dictionaries, views, seconds, decimals and intervals as they are
    #[arg(long)]
    pub(crate) arrow_types: bool,
    /// Print the rows in this form [default: table]; -o json and -o csv say the same
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<RowForm>,
    /// Print all rows of a table in full, not the first 40
    #[arg(long)]
    pub(crate) all: bool,
}

impl ShowRows {
    /// Whether anything is said of it.
    pub(crate) fn is_given(&self) -> bool {
        self.output.is_some() || self.format.is_some() || self.all || self.arrow_types
    }
}

/// What becomes of a job's rows, and what is told of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) rows: ShowRows,
    /// Fail the job if more rows of a store miss their keys where that gives null: a number, or a
    /// share as 1%
    #[arg(long, value_name = "N|N%", value_parser = MaxMisses::parse)]
    pub(crate) max_misses: Option<MaxMisses>,
    /// Write the rows that miss their keys to a file: their store, key and number
    #[arg(long, value_name = "FILE")]
    pub(crate) misses: Option<PathBuf>,
    /// What is told about the job [default: text]; --summary alone is --summary=json
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_value = "text",
        default_missing_value = "json",
        hide_default_value = true,
        value_name = "FORM"
    )]
    pub(crate) summary: Summary,
    /// Write what the job did, or why it failed, to a file as a JSON object, too; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) summary_file: Option<PathBuf>,
}

/// `keyloom run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A job file (relative paths are relative to the file):

  [inputs.items]              # the table's name in SQL
  path = \"items.parquet\"      # a file, a folder or a glob; local, s3://, gs://, az:// or https://
  # format = \"parquet\"        # parquet, csv, json, arrow or lance, if the name does not tell
  # columns = { zip = \"text\", day = \"date\" }  # types, for some columns or all
  # delimiter = \";\"           # CSV; also quote, escape, comment, header, nulls
  # infer_bytes = \"64MiB\"     # CSV and JSON: how much columns and types are learnt from
  # hive_partitioning = true  # whether folders called name=value are columns
  # version = 3               # Lance; or tag = \"production\"
  # storage_options = \"minio\" # a profile in the workers' settings

  [stores.embeddings]         # the alias
  kind = \"lance\"
  uri = \"embeddings.lance\"    # a path or a URI; path says the same
  key = \"item_id\"             # a column, [\"several\", \"columns\"], _rowid or _offset; absent: the
                              # declared primary key, or the column named as the one looked up
  # version = 3               # or tag = \"production\"
  # storage_options = \"minio\" # a profile in the workers' settings
  # on_duplicate_key = \"last\" # error (default), first or last
  # key_path = \"map\"         # auto (default), map, scan or btree: the way from keys to rows
  # row_path = \"take\"        # auto (default), take or scan: the way from rows to values
  # requests_in_flight = 16   # the most that a worker asks of its storage at once
  # request_timeout_ms = \"5s\" # of remote storage; and request_attempts = 2

  [stores.features]
  kind = \"memory\"
  path = \"features.csv\"
  key = \"item_id\"

  [job]
  current_store = \"embeddings\" # of calls without a source; default: the only store
  # join_path = \"scan\"        # auto (default), lookup or scan: how joins with stores are made
  # shuffle = \"auto\"          # never (default), auto or always: whether workers send each other
                              # rows, for groups, joins and windows
  # shuffle_min_rows = 5000000 # auto: from so many rows of the largest input on
  # shuffle_partitions = 4    # what each worker computes at the same time
  sql = \"\"\"
  SELECT item_id,
         kv_get(item_id) AS embedding,
         kv_get(item_id, source => 'features', on_error => 'null') AS features
  FROM items
  \"\"\"
  output = \"enriched.parquet\" # or .arrow, .csv, .json; absent: printed, or to [output]
  # output = { path = \"enriched.parquet\", arrow_types = true }  # see --arrow-types
  # max_misses = \"1%\"         # or a number: see --max-misses
  # misses = \"missed.parquet\" # see --misses
  # incremental = \"items\"     # read only files of this input that no run before has read

  # [output]                  # written by the workers, instead of output in [job]
  # path = \"enriched/\"        # a folder, or a dataset that ends in .lance; local or a URL
  # format = \"parquet\"        # parquet, arrow, csv, json or lance, if the name does not tell
  # if_exists = \"error\"       # error (default), overwrite or append; Lance: upsert, add_columns
  # key = \"item_id\"           # of if_exists = \"upsert\"
  # partition_by = [\"day\"]    # folders called day=…
  # target_file_bytes = \"256MiB\"; compression = \"zstd\"; storage_options = \"minio\"

  # [params]                  # defaults of $NAME in sql and of ${NAME} in paths; see --param
  # day = \"2024-01-31\"

Examples:
  keyloom run job.toml
  keyloom run job.toml --param day=2024-01-31
  keyloom run --resume 6f9619ff-8b86-4d01-b42d-00cf4fc964ff --cluster tcp://10.0.0.5:7700
  keyloom run job.toml --cluster tcp://10.0.0.5:7700
  keyloom run job.toml --output elsewhere.parquet
  keyloom run job.toml --workers 4 --discard --summary")]
pub(crate) struct RunArguments {
    /// The job file
    #[arg(value_name = "JOB.toml", required_unless_present = "resume")]
    pub(crate) job: Option<PathBuf>,
    /// Go on with a job of a cluster that ended before its output was committed, and wait for it
    #[arg(
        long,
        value_name = "ID",
        value_parser = jobs::job_id,
        conflicts_with_all = [
            "job", "given", "catalog", "no_catalog", "discard", "join_path", "shuffle", "output",
            "arrow_types", "format", "all", "max_misses", "misses", "workers", "state_folder",
        ]
    )]
    pub(crate) resume: Option<JobId>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Run to the last row and drop the rows: for measuring
    #[arg(long)]
    pub(crate) discard: bool,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) show: Show,
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

/// `keyloom explain`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  keyloom explain job.toml
  keyloom explain job.toml --advise
  keyloom explain job.toml --analyze --cluster tcp://10.0.0.5:7700
  keyloom explain job.toml --analyze --html job.html
  keyloom explain job.toml --analyze -o json | jq .analysis.notes")]
pub(crate) struct ExplainArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    /// Run the job, drop its rows, and show how long each part of the plan took, what it counted,
    /// and what was wasted
    #[arg(long)]
    pub(crate) analyze: bool,
    /// Show what the other ways to the rows of stores are estimated to cost, and what would help
    #[arg(long)]
    pub(crate) advise: bool,
    /// Write how the job ran to a page for browsers, too
    #[arg(long, requires = "analyze", value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) planning: Planning,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom describe`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Stores are written as for keyloom sql --store, without the alias; inputs as for --input, without the
name.

Examples:
  keyloom describe 'lance:products.lance?key=product_id'
  keyloom describe items.parquet
  keyloom describe job.toml products
  keyloom describe job.toml --format json")]
pub(crate) struct DescribeArguments {
    /// A store, an input (a file, a folder or a glob), or a job file
    #[arg(value_name = "STORE|INPUT|JOB.toml")]
    pub(crate) target: String,
    /// One input or store of the job file [default: all of them]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) params: ParamFlags,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}
