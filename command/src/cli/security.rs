//! What users type so that a cluster is known, and lets them in.

use std::{env, path::PathBuf};

use clap::Args;
use keyloom_program::settings::Layers;

use crate::error::Failure;

const TOKEN: &str = "session.security.token";
const TOKEN_FILE: &str = "session.security.token_file";

/// The variable of a token itself, which is never on a command line, where everybody can read it.
const TOKEN_VARIABLE: &str = "KEYLOOM_TOKEN";
const TOKEN_FILE_VARIABLE: &str = "KEYLOOM_TOKEN_FILE";

/// Whose certificates are believed, and what a cluster is shown. A flag goes before the
/// environment, and that before the settings.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Security {
    /// Believe the cluster whose certificate these authorities signed, for tls://HOST:PORT [env:
    /// KEYLOOM_CA_FILE]
    #[arg(long, value_name = "FILE.pem")]
    ca_file: Option<PathBuf>,
    /// Show the cluster this certificate [env: KEYLOOM_CERT_FILE]
    #[arg(long, value_name = "FILE.pem")]
    cert_file: Option<PathBuf>,
    /// The key of that certificate [env: KEYLOOM_KEY_FILE]
    #[arg(long, value_name = "FILE.pem")]
    key_file: Option<PathBuf>,
    /// Prove to the cluster that the token in this file is known [env: KEYLOOM_TOKEN_FILE, or
    /// KEYLOOM_TOKEN for the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Security {
    /// Puts them over settings.
    pub(crate) fn over(&self, layers: Layers) -> Result<Layers, Failure> {
        let Self { ca_file, cert_file, key_file, token_file } = self;
        let layers = variables(layers)?
            .flag("--ca-file", "session.security.ca_file", ca_file.as_ref())
            .flag("--cert-file", "session.security.cert_file", cert_file.as_ref())
            .flag("--key-file", "session.security.key_file", key_file.as_ref());
        Ok(match token_file {
            Some(file) => layers.without(TOKEN).flag("--token-file", TOKEN_FILE, Some(file)),
            None => layers,
        })
    }
}

/// What the environment says goes over settings; a token in whatever form over one in the other.
fn variables(layers: Layers) -> Result<Layers, Failure> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let layers = match is_set(TOKEN_VARIABLE) || is_set(TOKEN_FILE_VARIABLE) {
        true => layers.without(TOKEN).without(TOKEN_FILE),
        false => layers,
    };
    let settings = [
        ("KEYLOOM_CA_FILE", "session.security.ca_file"),
        ("KEYLOOM_CERT_FILE", "session.security.cert_file"),
        ("KEYLOOM_KEY_FILE", "session.security.key_file"),
        (TOKEN_FILE_VARIABLE, TOKEN_FILE),
        (TOKEN_VARIABLE, TOKEN),
    ];
    let over = settings
        .into_iter()
        .try_fold(layers, |layers, (variable, setting)| layers.variable(variable, setting));
    over.map_err(|error| Failure::mistake(format!("{error:#}")))
}
