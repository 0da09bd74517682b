//! `keyloom certs`: a certificate authority and certificates for trying out and small clusters, and
//! tokens.
//!
//! [`wanted`] says which certificates are meant, [`authority`] signs them, and [`files`] writes
//! them; [`read`] reads certificates.

mod authority;
mod create;
mod files;
mod read;
mod show;
mod token;
mod wanted;

use crate::{cli::CertsCommand, error::Failure};

pub(crate) use wanted::{NamedWorker, host, name, worker};

/// Runs a command on certificates and tokens.
pub(crate) fn run(command: &CertsCommand) -> Result<(), Failure> {
    match command {
        CertsCommand::Create(arguments) => create::create(arguments),
        CertsCommand::Show(arguments) => show::show(arguments),
        CertsCommand::Token => token::print(),
    }
}
