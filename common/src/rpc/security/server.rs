//! The settings of whoever listens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    PeerSecurity, Role, Token,
    files::{Named, Stamp},
};
use crate::{
    bounds::{AT_ONCE, Bounds, TIME_MS},
    error::{Error, Result},
};

/// Whom a coordinator lets in. By default everybody, who may do everything: it listens on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSecurity {
    /// Certificates (PEM) of the authority that signs those of clients, workers and operators. With
    /// it each must show one, whose URI `keyloom://role/ROLE/NAME` says who it is. Default none.
    pub ca_file: Option<PathBuf>,
    /// The own certificate (PEM), with those between it and the authority, if there are any. With
    /// it the address is `tls://HOST:PORT`. Default none.
    pub cert_file: Option<PathBuf>,
    /// The key (PEM) of `cert_file`. Default none.
    pub key_file: Option<PathBuf>,
    /// Certificates of `ca_file`'s that are revoked (PEM). Connections that are open stay so.
    /// Default none.
    pub crl_file: Option<PathBuf>,
    /// How often the files are looked at, and read again if they have changed, in milliseconds;
    /// SIGHUP has them read at once. Default 1 minute.
    pub reload_ms: u64,
    /// The most handshakes at once; others wait. Of those who have connected and say nothing there
    /// may be four times as many: then the one that is silent for the longest time is hung up
    /// on. Default 256.
    pub max_handshakes: usize,
    /// Files with tokens, by the roles of those who have them.
    pub tokens: TokenFiles,
}

/// Files with tokens of at least 16 characters, a line each. Of two lines both hold, so that one
/// can replace the other. Which token a peer proves to have says what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenFiles {
    /// Those of clients. Default none.
    pub client: Option<PathBuf>,
    /// Those of workers. Default none.
    pub worker: Option<PathBuf>,
    /// Those of operators. Default none.
    pub operator: Option<PathBuf>,
}

impl Default for ServerSecurity {
    fn default() -> Self {
        Self {
            ca_file: None,
            cert_file: None,
            key_file: None,
            crl_file: None,
            reload_ms: 60_000,
            max_handshakes: 256,
            tokens: TokenFiles::default(),
        }
    }
}

impl ServerSecurity {
    /// Checks the numbers, as a section of other settings.
    pub fn check(&self, bounds: &mut Bounds) {
        bounds.within("reload_ms", self.reload_ms, TIME_MS);
        bounds.within("max_handshakes", self.max_handshakes, AT_ONCE);
    }

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
        if self.ca_file.is_some() && !self.has_tls() {
            return Err(Error::invalid(
                "security.ca_file is set without security.cert_file and security.key_file: set \
                 all three, for TLS, or none",
            ));
        }
        if self.crl_file.is_some() && self.ca_file.is_none() {
            return Err(Error::invalid(
                "security.crl_file is set without security.ca_file, whose certificates it revokes",
            ));
        }
        if self.has_tls() && self.ca_file.is_none() && !self.has_tokens() {
            return Err(Error::invalid(
                "security.cert_file is set, and nothing says who may connect: set \
                 security.ca_file, for certificates of peers, or security.tokens",
            ));
        }
        Ok(())
    }

    /// Whom a worker lets in that shuffles: other workers, by what it shows of itself.
    ///
    /// # Errors
    /// `invalid`, naming the settings that are not enough for that.
    pub fn of_worker(worker: &PeerSecurity) -> Result<Self> {
        let PeerSecurity { ca_file, cert_file, key_file, token_file, token, .. } = worker.clone();
        if token.is_some() {
            return Err(Error::invalid(
                "security.token is set: a worker that others reach has its token in a file, \
                 security.token_file",
            ));
        }
        if ca_file.is_some() && cert_file.is_none() {
            return Err(Error::invalid(
                "security.ca_file is set without security.cert_file and security.key_file, which \
                 a worker needs that others reach by TLS",
            ));
        }
        let tokens = TokenFiles { worker: token_file, ..TokenFiles::default() };
        Ok(Self { ca_file, cert_file, key_file, tokens, ..Self::default() })
    }

    /// Whether connections are TLS.
    pub fn has_tls(&self) -> bool {
        self.cert_file.is_some()
    }

    /// Whether anybody needs a token.
    pub fn has_tokens(&self) -> bool {
        self.token_files().next().is_some()
    }

    /// What is open to whoever reaches the port; none if each must show who it is, and nobody on
    /// the way can read or change anything.
    pub fn exposure(&self) -> Option<&'static str> {
        match (self.has_tls(), self.ca_file.is_some() || self.has_tokens()) {
            (true, true) => None,
            (true, false) => Some(
                "nothing says who may connect: who can can run jobs and read what workers can read",
            ),
            (false, true) => Some(
                "tokens are asked for without TLS: who is on the way can read and change all that \
                 follows",
            ),
            (false, false) => Some(
                "there is neither TLS nor authentication: who can connect can run jobs and read \
                 what workers can read",
            ),
        }
    }

    /// How the files look.
    pub(super) fn stamp(&self) -> Stamp {
        let tls = [&self.ca_file, &self.cert_file, &self.key_file, &self.crl_file];
        let tokens = [&self.tokens.client, &self.tokens.worker, &self.tokens.operator];
        Stamp::of(tls.into_iter().chain(tokens).flatten())
    }

    /// The tokens, by their roles.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the file. A token of two roles would be of either.
    pub(super) fn read_tokens(&self) -> Result<Vec<(Role, Token)>> {
        let mut read: Vec<(Role, Token)> = Vec::new();
        for (role, file) in self.token_files() {
            for token in file.tokens()? {
                if let Some((other, _)) = read.iter().find(|(of, had)| *of != role && *had == token)
                {
                    return Err(Error::invalid(format!(
                        "security.tokens.{role} and security.tokens.{other} have a token in common"
                    )));
                }
                read.push((role, token));
            }
        }
        Ok(read)
    }

    fn token_files(&self) -> impl Iterator<Item = (Role, Named<'_>)> {
        let TokenFiles { client, worker, operator } = &self.tokens;
        let files = [
            (Role::Client, Named::of("security.tokens.client", client.as_ref())),
            (Role::Worker, Named::of("security.tokens.worker", worker.as_ref())),
            (Role::Operator, Named::of("security.tokens.operator", operator.as_ref())),
        ];
        files.into_iter().filter_map(|(role, file)| Some((role, file?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Option<PathBuf> {
        Some(PathBuf::from("file"))
    }

    fn tls() -> ServerSecurity {
        ServerSecurity { cert_file: file(), key_file: file(), ..ServerSecurity::default() }
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let cases = [
            (
                ServerSecurity { key_file: None, ..tls() },
                "security.cert_file and security.key_file go together: set both or none",
            ),
            (
                ServerSecurity { ca_file: file(), ..ServerSecurity::default() },
                "security.ca_file is set without security.cert_file and security.key_file: set all \
                 three, for TLS, or none",
            ),
            (
                ServerSecurity { crl_file: file(), ..tls() },
                "security.crl_file is set without security.ca_file, whose certificates it revokes",
            ),
            (
                tls(),
                "security.cert_file is set, and nothing says who may connect: set \
                 security.ca_file, for certificates of peers, or security.tokens",
            ),
        ];
        for (security, expected) in cases {
            assert_eq!(security.validate(), Err(Error::invalid(expected)));
        }
        assert_eq!(ServerSecurity::default().validate(), Ok(()));
        assert_eq!(ServerSecurity { ca_file: file(), ..tls() }.validate(), Ok(()));
    }

    #[test]
    fn a_worker_is_known_to_others_by_what_it_shows() {
        let peer = PeerSecurity {
            ca_file: file(),
            cert_file: file(),
            key_file: file(),
            token_file: file(),
            ..PeerSecurity::default()
        };
        let security = ServerSecurity::of_worker(&peer).unwrap();
        assert_eq!((security.exposure(), &security.tokens.worker), (None, &file()));
        assert!(security.ca_file.is_some() && security.tokens.client.is_none());
        let lacking = PeerSecurity { cert_file: None, key_file: None, ..peer };
        let error = ServerSecurity::of_worker(&lacking).unwrap_err();
        assert!(error.message().contains("without security.cert_file"), "{error}");
    }

    #[test]
    fn tls_and_something_that_says_who_one_is_leave_nothing_open() {
        let tokens = || TokenFiles { client: file(), ..TokenFiles::default() };
        assert_eq!(ServerSecurity { tokens: tokens(), ..tls() }.exposure(), None);
        assert_eq!(ServerSecurity { ca_file: file(), ..tls() }.exposure(), None);
        let open = ServerSecurity { tokens: tokens(), ..ServerSecurity::default() };
        assert!(open.exposure().unwrap().contains("without TLS"));
        let open = ServerSecurity::default().exposure().unwrap();
        assert!(open.contains("neither TLS nor authentication"));
    }

    #[test]
    fn a_token_is_of_one_role() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let client = write("client", "client-0123456789\nclient-9876543210\n");
        let worker = write("worker", "worker-0123456789\nclient-9876543210\n");
        let tokens = TokenFiles { client, worker, operator: None };
        let security = ServerSecurity { tokens, ..ServerSecurity::default() };
        let error = security.read_tokens().unwrap_err();
        let expected = "security.tokens.worker and security.tokens.client have a token in common";
        assert_eq!(error.message(), expected);
        write("worker", "worker-0123456789");
        let roles = security.read_tokens().unwrap();
        let roles: Vec<_> = roles.into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, [Role::Client, Role::Client, Role::Worker]);
    }
}
