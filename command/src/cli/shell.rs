//! What users type after `keyloom shell`.

use clap::Args;

use super::{CatalogChoice, Place, RowForm, Sources};

/// `keyloom shell`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Statements end with ; and may have several lines. Ctrl-C cancels the statement that runs, Ctrl-D
ends the shell, Tab completes names of stores, tables, columns and functions. .help lists what else
there is. Where stdin is no terminal, its statements are run in their order; the first that fails
ends the shell.

Inputs and stores are written as for keyloom sql.

Examples:
  keyloom shell
  keyloom shell --input items=items.parquet --store 'p=lance:products.lance'
  echo \"SELECT count(*) FROM 'items.parquet';\" | keyloom shell --format csv")]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Print the rows in this form
    #[arg(short = 'o', long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: RowForm,
    /// Print all rows of a table in full, not the first 40
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) catalog: CatalogChoice,
    #[command(flatten)]
    pub(crate) place: Place,
}
