//! The own certificate: how long it is valid, so that somebody hears of it before nobody takes it
//! any more, and which hosts it names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::{Identity, files::Named};
use crate::{
    error::{Error, Result},
    report::words::{moment, plural},
};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// How many days before its end a certificate is warned of.
const WARNED_DAYS: u64 = 14;

/// Of which files what was said last, and on which day: several ports show one certificate.
static SAID: Mutex<BTreeMap<PathBuf, (Validity, u64)>> = Mutex::new(BTreeMap::new());

/// A certificate as it was read, with those between it and its authority.
#[derive(Debug)]
pub(super) struct Own {
    path: PathBuf,
    certificate: CertificateDer<'static>,
    /// None of what cannot be read, which whoever is shown it says.
    validity: Option<Validity>,
}

/// When certificates begin and end to be valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: u64,
    until: u64,
}

impl Own {
    /// Reads it, and warns of it where there is reason to.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the file, if it holds none.
    pub(super) fn read(file: Named<'_>) -> Result<Self> {
        let mut certificates = file.certificates()?;
        let validity = Validity::of_all(&certificates);
        let own =
            Self { path: file.path.to_owned(), certificate: certificates.swap_remove(0), validity };
        own.warn();
        Ok(own)
    }

    /// Warns that nobody takes it, or soon nobody will: once a day.
    pub(super) fn warn(&self) {
        let (Some(doubt), Some(validity)) = (self.doubt(), self.validity) else { return };
        let said = (validity, now() / DAY);
        let mut all = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if all.insert(self.path.clone(), said) != Some(said) {
            tracing::warn!("{doubt}");
        }
    }

    /// Why nobody takes it, or soon nobody will.
    pub(super) fn doubt(&self) -> Option<String> {
        self.validity.and_then(|validity| validity.doubt(&self.path, now()))
    }

    /// That nobody takes it yet.
    pub(super) fn too_early(&self) -> Option<String> {
        let early = self.validity.is_some_and(|validity| now() < validity.from);
        self.doubt().filter(|_| early)
    }

    /// Why nobody takes it for a coordinator's: it is that of somebody who dials.
    pub(super) fn names_a_role(&self) -> Option<String> {
        let peer = Identity::certified(&self.certificate).ok()?;
        Some(format!(
            "the certificate in {} is that of {peer}: nobody takes it for a coordinator's, which \
             names no role",
            self.path.display()
        ))
    }

    /// When it ends to be valid, in seconds since 1970.
    pub(super) fn valid_until(&self) -> Option<u64> {
        self.validity.map(|validity| validity.until)
    }

    /// Whether it is for a host.
    ///
    /// # Errors
    /// `invalid`, naming the file and the host.
    pub(super) fn check_host(&self, host: &str) -> Result<()> {
        let name = ServerName::try_from(host).ok();
        let certificate = EndEntityCert::try_from(&self.certificate).ok();
        let fits = name.zip(certificate).is_some_and(|(name, certificate)| {
            certificate.verify_is_valid_for_subject_name(&name).is_ok()
        });
        match fits {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "the certificate in {} is not for the host '{host}'",
                self.path.display()
            ))),
        }
    }
}

impl Validity {
    /// When all certificates of a chain are valid that can be read.
    fn of_all(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let read = certificates.iter().filter_map(Self::of);
        read.reduce(|one, other| Self {
            from: one.from.max(other.from),
            until: one.until.min(other.until),
        })
    }

    /// Whoever verifies a certificate looks at its times first, and tells the one that is in the
    /// way: so both are known without reading the certificate here once more.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let refused = |seconds| {
            let (time, usage) = (Duration::from_secs(seconds), KeyUsage::server_auth());
            let time = UnixTime::since_unix_epoch(time);
            certificate.verify_for_usage(&[], &[], &[], time, usage, None, None).err()
        };
        let until = match refused(u64::MAX) {
            Some(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs(),
            _ => return None,
        };
        let from = match refused(0) {
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
            _ => 0,
        };
        Some(Self { from, until })
    }

    fn doubt(self, path: &Path, now: u64) -> Option<String> {
        let path = path.display();
        let [from, until] = [self.from, self.until].map(|at| moment(at.saturating_mul(1000)));
        if now > self.until {
            return Some(format!(
                "the certificate in {path} has expired, at {until}: nobody takes it; renew it"
            ));
        }
        if now < self.from {
            return Some(format!(
                "the certificate in {path} is not valid before {from}: nobody takes it until then"
            ));
        }
        let left = match (self.until - now) / DAY {
            WARNED_DAYS.. => return None,
            0 => "less than a day".to_owned(),
            days => plural(days, "day"),
        };
        Some(format!(
            "the certificate in {path} expires in {left}, at {until}: nobody takes it then; renew"
        ))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{
        Role,
        security::testing::{Authority, Files},
    };

    fn own(path: &Path) -> Own {
        Own::read(Named { setting: "security.cert_file", path }).unwrap()
    }

    #[test]
    fn the_times_of_certificates_are_read_as_they_were_written() {
        let (files, ca) = (Files::new(), Authority::new("a"));
        let expired = files.peer(&ca, Some(&ca.expired(Role::Client, "late")));
        let expired = own(&expired.cert_file.unwrap());
        // The first days of 2001 and of 2002.
        let validity = Validity { from: 978_307_200, until: 1_009_843_200 };
        assert_eq!(
            (expired.validity, expired.valid_until()),
            (Some(validity), Some(validity.until))
        );
        assert!(expired.doubt().unwrap().contains(" has expired, at 2002-01-01T00:00:00.000Z"));
        let valid = files.peer(&ca, Some(&ca.peer(Role::Client, "alice")));
        let valid = own(&valid.cert_file.unwrap());
        assert_eq!(valid.doubt(), None);
        assert!(valid.valid_until().is_some_and(|until| until > now()));
    }

    #[test]
    fn who_dials_has_a_certificate_that_is_none_of_a_coordinator() {
        let (files, ca) = (Files::new(), Authority::new("a"));
        let security = files.server(&ca.worker_at("10.0.0.7", "w-1"), None);
        let doubt = own(&security.cert_file.unwrap()).names_a_role().unwrap();
        assert!(doubt.contains("is that of worker 'w-1': nobody takes it"), "{doubt}");
        let security = files.server(&ca.server("10.0.0.7"), None);
        assert_eq!(own(&security.cert_file.unwrap()).names_a_role(), None);
    }

    #[test]
    fn a_certificate_is_warned_of_when_it_does_not_hold_and_two_weeks_before() {
        let validity = Validity { from: 100, until: 100 * DAY };
        let doubt = |now| validity.doubt(Path::new("/c.pem"), now);
        for (now, expected) in [
            (99, Some(" is not valid before 1970-01-01T00:01:40.000Z: nobody takes it until then")),
            (100, None),
            (86 * DAY, None),
            (86 * DAY + 1, Some(" expires in 13 days, at 1970-04-11T00:00:00.000Z: ")),
            (99 * DAY, Some(" expires in 1 day, at ")),
            (100 * DAY, Some(" expires in less than a day, at ")),
            (100 * DAY + 1, Some(" has expired, at 1970-04-11T00:00:00.000Z: ")),
        ] {
            let said = doubt(now);
            let fits = match (&said, expected) {
                (Some(said), Some(expected)) => {
                    said.starts_with(&format!("the certificate in /c.pem{expected}"))
                }
                (said, expected) => said.is_none() && expected.is_none(),
            };
            assert!(fits, "{now}: {said:?}");
        }
    }

    #[test]
    fn a_certificate_is_for_the_hosts_that_it_names() {
        let (files, ca) = (Files::new(), Authority::new("a"));
        let own_at = |host: &str| {
            let security = files.server(&ca.server(host), None);
            own(&security.cert_file.unwrap())
        };
        assert_eq!(own_at("w.internal").check_host("w.internal"), Ok(()));
        assert_eq!(own_at("10.0.0.7").check_host("10.0.0.7"), Ok(()));
        let error = own_at("w.internal").check_host("10.0.0.7").unwrap_err();
        assert!(error.message().ends_with("is not for the host '10.0.0.7'"), "{error}");
        let without = files.peer(&ca, Some(&ca.peer(Role::Worker, "w")));
        assert!(own(&without.cert_file.unwrap()).check_host("w.internal").is_err());
    }
}
