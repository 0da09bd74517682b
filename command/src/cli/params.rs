//! What users type for jobs that come again: the values of parameters, and where what was read is
//! remembered.

use std::path::PathBuf;

use clap::Args;

/// Values of parameters.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ParamFlags {
    /// The value of a parameter: of $NAME in the statement, and of ${NAME} in paths
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    pub(crate) given: Vec<(String, String)>,
}

/// Where jobs remember what they have read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StateFlags {
    /// Where a job with incremental remembers which files it has read [default: .keyloom/state
    /// beside the job file]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state_folder: Option<PathBuf>,
}

fn param(flag: &str) -> Result<(String, String), String> {
    let split = flag.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = split.ok_or("write NAME=VALUE, as in day=2024-01-31")?;
    Ok((name.to_owned(), value.to_owned()))
}
