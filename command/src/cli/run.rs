//! What users type after `keyloom run`, and what a job file is.

use std::path::PathBuf;

use clap::Args;
use keyloom_client::JobId;

use super::{CatalogChoice, ParamFlags, Place, Planning, Show, StateFlags, jobs};

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
  # shuffle_partitions = 4    # into how many parts of each worker
  # group_keys = \"never\"      # never, auto (default) or always: whether rows are grouped by keys
                              # before lookups that groups are of
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
