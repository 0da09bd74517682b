//! What users type after `keyloom stores`.

use clap::{Args, Subcommand};

use super::{CatalogChoice, Place, Print};
use crate::store_flag::{self, StoreFlag};

/// The commands on stores.
#[derive(Debug, Subcommand)]
pub(crate) enum StoresCommand {
    /// List the stores of the catalog and of the cluster; none is opened
    List(ListArguments),
    /// Show the columns, the snapshot, the key and the number of rows of stores
    Describe(StoresArguments),
    /// Open stores, and count their rows, keys that are null and keys that repeat
    Check(StoresArguments),
    /// Make a Lance store of an input
    Create(CreateArguments),
}

/// `keyloom stores list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom stores describe` and `keyloom stores check`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A catalog is a file keyloom.toml with the sections [stores.ALIAS] and [inputs.NAME] of job files
(see keyloom run --help). Relative paths are relative to it. A cluster may have a catalog of its own
in the settings of its coordinator, which comes after it.

Examples:
  keyloom stores check
  keyloom stores check products prices -o json
  keyloom stores check p --store 'p=lance:products.lance?key=product_id'")]
pub(crate) struct StoresArguments {
    /// The stores [default: all of the catalog, of the flags and of the cluster]
    #[arg(value_name = "ALIAS")]
    pub(crate) aliases: Vec<String>,
    /// A store that the catalog does not have, as for keyloom sql
    #[arg(
        long = "store",
        value_name = "ALIAS=KIND:PATH?key=…",
        value_parser = store_flag::store
    )]
    pub(crate) stores: Vec<StoreFlag>,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// `keyloom stores create`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The input is PATH?OPTION=VALUE&… with the options of keyloom sql --input. Its rows keep their order.
A key that no row lacks and no two rows share is declared the primary key of the dataset, so that a
store of it needs no key. Others are told of, with their counts, and the store is made all the same.

The store appears whole or not at all. With --overwrite, a dataset gets a new version, and jobs that
read the old one go on.

The rows are read where --cluster says; the store is written by this process. Storage profiles of
object stores are those of --config: [worker.store.storage_profiles.NAME].

Examples:
  keyloom stores create products.lance --from products.csv --key product_id
  keyloom stores create stock.lance --from 'stock/*.parquet' --key store,article
  keyloom stores create products.lance --from products.parquet --key product_id --index --overwrite")]
pub(crate) struct CreateArguments {
    /// The store: a path that ends in .lance, or a URI
    #[arg(value_name = "OUT.lance")]
    pub(crate) store: String,
    /// Its rows: a file, a folder, a glob or a Lance dataset
    #[arg(long, value_name = "PATH?…")]
    pub(crate) from: String,
    /// The column that holds its keys, or several
    #[arg(long, required = true, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(crate) key: Vec<String>,
    /// Give the key a BTree index, which large stores are looked up by where few keys are asked for
    #[arg(long)]
    pub(crate) index: bool,
    /// Replace a dataset that is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// A storage profile, for object stores
    #[arg(long, value_name = "PROFILE")]
    pub(crate) storage_options: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) print: Print,
}
