//! The settings of whoever dials.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Credentials;
use crate::Secret;
use crate::error::{Error, Result};

/// How whoever dials knows its coordinator, and what it shows of itself. By default nothing: the
/// connection is plain. Files are read again when they have changed, before a connection is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerSecurity {
    /// Certificates (PEM) of the authority that signed the coordinator's. With it the address is
    /// `tls://HOST:PORT`. Default none.
    pub ca_file: Option<PathBuf>,
    /// The own certificate (PEM), where the coordinator wants one: with those between it and the
    /// authority, if there are any. Default none.
    pub cert_file: Option<PathBuf>,
    /// The key (PEM) of `cert_file`. Default none.
    pub key_file: Option<PathBuf>,
    /// The name that must stand in the coordinator's certificate. Default the address's host.
    pub server_name: Option<String>,
    /// A file that holds a token, where the coordinator wants one. Of two lines, the first is used.
    /// Default none.
    pub token_file: Option<PathBuf>,
    /// The token itself, meant for the environment. Default none.
    pub token: Option<Secret>,
}

impl PeerSecurity {
    /// Checks what does not go together. No file is read.
    ///
    /// # Errors
    /// `invalid`, naming the settings.
    pub fn validate(&self) -> Result<()> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(Error::invalid(
                "security.cert_file and security.key_file go together: set both or none",
            ));
        }
        let needs_ca = [
            ("security.cert_file", self.cert_file.is_some()),
            ("security.server_name", self.server_name.is_some()),
        ];
        for (setting, is_set) in needs_ca {
            if is_set && self.ca_file.is_none() {
                return Err(Error::invalid(format!(
                    "{setting} is set without security.ca_file: set both, for TLS, or none"
                )));
            }
        }
        if self.token_file.is_some() && self.token.is_some() {
            return Err(Error::invalid(
                "security.token_file and security.token are both set: set one of them",
            ));
        }
        Ok(())
    }

    /// Reads all files.
    ///
    /// # Errors
    /// `invalid`, naming settings that do not go together, or the setting whose file is not what it
    /// should be, and the file.
    pub fn load(&self) -> Result<Credentials> {
        self.validate()?;
        if *self == Self::default() {
            return Ok(Credentials::default());
        }
        Credentials::load(self.clone())
    }

    /// The files that are named.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file, &self.token_file].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(security: &PeerSecurity, expected: &str) {
        assert_eq!(security.validate(), Err(Error::invalid(expected)));
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let file = || Some(PathBuf::from("file"));
        check(
            &PeerSecurity { ca_file: file(), cert_file: file(), ..PeerSecurity::default() },
            "security.cert_file and security.key_file go together: set both or none",
        );
        check(
            &PeerSecurity { cert_file: file(), key_file: file(), ..PeerSecurity::default() },
            "security.cert_file is set without security.ca_file: set both, for TLS, or none",
        );
        check(
            &PeerSecurity { server_name: Some("a".to_owned()), ..PeerSecurity::default() },
            "security.server_name is set without security.ca_file: set both, for TLS, or none",
        );
        let token = Some(Secret::new("0123456789abcdef"));
        check(
            &PeerSecurity { token_file: file(), token, ..PeerSecurity::default() },
            "security.token_file and security.token are both set: set one of them",
        );
        assert_eq!(PeerSecurity::default().validate(), Ok(()));
    }

    #[test]
    fn a_token_in_the_settings_is_checked_and_not_shown() {
        let token = Some(Secret::new("hunter2"));
        let error = PeerSecurity { token, ..PeerSecurity::default() }.load().unwrap_err();
        let expected = "security.token has 7 characters, and a token has at least 16";
        assert_eq!(error.message(), expected);
    }
}
