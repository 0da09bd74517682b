//! The settings of a daemon's HTTP port, over which it tells whether it lives, whether it does its
//! work, and what it counts; and of the jobs that a coordinator takes there.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    bounds::{AT_ONCE, BYTES, Bounds, CALL_MS, COUNT, KEPT_BYTES},
    error::{Error, Result},
};

/// Where a daemon answers HTTP, whom, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Where it listens, as `HOST:PORT`; port 0 is any that is free. Without it there is no such
    /// port, which is the default.
    pub listen: Option<String>,
    /// Whether it may listen where other machines reach it without a token for what it counts.
    /// Default no.
    pub insecure_listen: bool,
    /// A file of one or two lines, each a token of at least 16 characters, one of which whoever
    /// reads what is counted must send as `Authorization: Bearer`. It is read again when it has
    /// changed. Whether the daemon lives and does its work is told without.
    pub token_file: Option<PathBuf>,
    /// The port's certificate, with which it speaks HTTPS. Default the coordinator's own, and none
    /// on workers.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
    /// The most connections at once; for one more, the oldest is closed. Default 64.
    pub max_connections: usize,
    /// How long the head of a request may take, and a connection may be idle, in milliseconds.
    /// Default 10 s.
    pub header_timeout_ms: u64,
    /// How long an answer may take, in milliseconds. Default 10 s.
    pub request_timeout_ms: u64,
    /// How long a connection is kept for further requests, in milliseconds; whoever does not take
    /// an answer has no place for longer. Default 1 minute.
    pub connection_ms: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: None,
            insecure_listen: false,
            token_file: None,
            cert_file: None,
            key_file: None,
            max_connections: 64,
            header_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            connection_ms: 60_000,
        }
    }
}

impl HttpSettings {
    /// Checks the numbers, as a section of others.
    pub fn check(&self, bounds: &mut Bounds) {
        bounds.within("max_connections", self.max_connections, COUNT);
        bounds.within("header_timeout_ms", self.header_timeout_ms, CALL_MS);
        bounds.within("request_timeout_ms", self.request_timeout_ms, CALL_MS);
        bounds.within("connection_ms", self.connection_ms, CALL_MS);
    }

    /// Checks what must go together. No file is read.
    ///
    /// # Errors
    /// `invalid`, naming the settings.
    pub fn validate(&self) -> Result<()> {
        if self.cert_file.is_some() == self.key_file.is_some() {
            return Ok(());
        }
        Err(Error::invalid("http.cert_file and http.key_file go together: set both or none"))
    }

    /// [`Self::header_timeout_ms`] as a duration.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// [`Self::request_timeout_ms`] as a duration.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// [`Self::connection_ms`] as a duration.
    pub fn connection(&self) -> Duration {
        Duration::from_millis(self.connection_ms)
    }
}

/// Whether a coordinator takes jobs over HTTP, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpJobsSettings {
    /// Whether jobs are taken, told of and cancelled at `/v1` of the HTTP port, if there is one.
    /// Default yes.
    pub enabled: bool,
    /// The most bytes of a request. Default 1 MiB.
    pub body_bytes: u64,
    /// The most requests at once; whoever comes beyond is told to come again. Default 32.
    pub max_requests: usize,
    /// How long an answer may take to begin, in milliseconds: a job is planned meanwhile, for which
    /// workers look at stores, inputs and outputs. Default 1 minute.
    pub request_timeout_ms: u64,
    /// How long the rows of a job may take to their last, in milliseconds. Default 10 minutes.
    pub results_timeout_ms: u64,
    /// The most bytes of rows that a job holds in memory as a store of the kind `memory`. Default
    /// 64 MiB.
    pub store_bytes: u64,
}

impl Default for HttpJobsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            body_bytes: 1 << 20,
            max_requests: 32,
            request_timeout_ms: 60_000,
            results_timeout_ms: 600_000,
            store_bytes: 64 << 20,
        }
    }
}

impl HttpJobsSettings {
    /// Checks the numbers, as a section of others.
    pub fn check(&self, bounds: &mut Bounds) {
        bounds.within("body_bytes", self.body_bytes, BYTES);
        bounds.within("max_requests", self.max_requests, AT_ONCE);
        bounds.within("request_timeout_ms", self.request_timeout_ms, CALL_MS);
        bounds.within("results_timeout_ms", self.results_timeout_ms, CALL_MS);
        bounds.within("store_bytes", self.store_bytes, KEPT_BYTES);
    }

    /// [`Self::request_timeout_ms`] as a duration.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// [`Self::results_timeout_ms`] as a duration.
    pub fn results_timeout(&self) -> Duration {
        Duration::from_millis(self.results_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let check = |cert_file: Option<&str>, key_file: Option<&str>| {
            let [cert_file, key_file] = [cert_file, key_file].map(|file| file.map(PathBuf::from));
            HttpSettings { cert_file, key_file, ..HttpSettings::default() }.validate()
        };
        let half = Error::invalid("http.cert_file and http.key_file go together: set both or none");
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some("cert.pem"), Some("key.pem")), Ok(()));
        assert_eq!(check(Some("cert.pem"), None), Err(half.clone()));
        assert_eq!(check(None, Some("key.pem")), Err(half));
    }
}
