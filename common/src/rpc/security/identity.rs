//! What a peer may do, and who it is.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::{
    error::{Error, Result},
    rpc::handshake::Service,
};

/// How the URI begins that names a role in a certificate.
const ROLE_URI: &str = "keyloom://role/";

/// The longest name, in bytes: it stands in log lines.
const MAX_NAME: usize = 64;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It submits jobs, reads their rows and cancels them.
    Client,
    /// It runs tasks: it is handed every job's plans and rows.
    Worker,
    /// It may do what clients may, and with the jobs of all of them.
    Operator,
}

impl Role {
    /// Its name, as in certificates and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    /// Whether it may open connections for such a service.
    pub fn may_use(self, service: Service) -> bool {
        match service {
            Service::Client => matches!(self, Self::Client | Self::Operator),
            Service::Worker | Service::Shuffle => self == Self::Worker,
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::Client, Self::Worker, Self::Operator].into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who a peer is, as its connection has shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// Its name in its certificate; `token` if a token is all that it has shown.
    pub name: Arc<str>,
}

impl Identity {
    /// Whoever is in this process, or connects where nothing is asked for: it may do everything.
    pub fn anybody() -> Self {
        Self { role: Role::Operator, name: "anybody".into() }
    }

    /// Whoever has shown nothing but a token of the role.
    pub(super) fn of_token(role: Role) -> Self {
        Self { role, name: "token".into() }
    }

    /// Whom a certificate names.
    ///
    /// # Errors
    /// `permission_denied` if it names no role, several, or one that there is not.
    pub(super) fn certified(certificate: &CertificateDer<'_>) -> Result<Self> {
        let read = EndEntityCert::try_from(certificate);
        let read = read.map_err(|error| {
            Error::permission_denied(format!("the certificate cannot be read: {error}"))
        })?;
        let mut roles = read.valid_uri_names().filter_map(|uri| uri.strip_prefix(ROLE_URI));
        match (roles.next(), roles.next()) {
            (Some(role), None) => Self::read(role),
            (None, _) => Err(Error::permission_denied(
                "the certificate names no role: among its subject alternative names it needs a \
                 URI like keyloom://role/client/NAME",
            )),
            (Some(_), Some(_)) => {
                Err(Error::permission_denied("the certificate names several roles"))
            }
        }
    }

    /// Reads `ROLE/NAME`.
    fn read(text: &str) -> Result<Self> {
        let read = text.split_once('/').and_then(|(role, name)| {
            let role = Role::read(role)?;
            is_name(name).then(|| Self { role, name: name.into() })
        });
        read.ok_or_else(|| {
            let uri = format!("{ROLE_URI}{text}");
            Error::permission_denied(format!(
                "the certificate names the role {uri:?}, which is not keyloom://role/ with \
                 client, worker or operator, and a name of at most {MAX_NAME} letters, digits, \
                 '.', '_' and '-'"
            ))
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.role, self.name)
    }
}

/// The URI that names a role in a certificate, among its subject alternative names.
///
/// # Errors
/// `invalid` if that is no name.
pub fn role_uri(role: Role, name: &str) -> Result<String> {
    if !is_name(name) {
        return Err(Error::invalid(format!(
            "{name:?} is no name for a {role}: it takes 1 to {MAX_NAME} letters, digits, '.', '_' \
             and '-'"
        )));
    }
    Ok(format!("{ROLE_URI}{role}/{name}"))
}

fn is_name(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn each_role_has_its_services() {
        let uses = |role: Role| [Service::Client, Service::Worker].map(|of| role.may_use(of));
        assert_eq!(uses(Role::Client), [true, false]);
        assert_eq!(uses(Role::Operator), [true, false]);
        assert_eq!(uses(Role::Worker), [false, true]);
    }

    #[test]
    fn what_is_written_into_certificates_is_read_again() {
        for role in [Role::Client, Role::Worker, Role::Operator] {
            let uri = role_uri(role, "a-1.b_C").unwrap();
            let read = Identity::read(uri.strip_prefix(ROLE_URI).unwrap()).unwrap();
            assert_eq!(read, Identity { role, name: "a-1.b_C".into() });
        }
    }

    #[test]
    fn other_names_and_roles_are_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", "a/b", "a b", "ä", "a\n", &long] {
            assert_eq!(role_uri(Role::Client, name).unwrap_err().kind(), ErrorKind::Invalid);
            let refused = Identity::read(&format!("client/{name}")).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{name}");
        }
        for role in ["client", "coordinator/a", "Client/a", ""] {
            let refused = Identity::read(role).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{role}");
        }
    }
}
