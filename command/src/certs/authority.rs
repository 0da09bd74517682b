//! Who signs certificates.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use ring::rand::{SecureRandom, SystemRandom};
use time::{Duration, OffsetDateTime};

use super::{
    files::{self, Made},
    read,
    wanted::Wanted,
};
use crate::error::Failure;

/// The authority's files in its folder.
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";

/// For how long an authority is valid, in days. To change it means to change it on all machines.
const AUTHORITY_DAYS: i64 = 3650;

/// Machines whose clocks are late by less than this take a new certificate, too.
const LATE: Duration = Duration::hours(1);

/// The authority of a folder.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

/// Where an authority's certificate and key are.
pub(super) fn files_in(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join(CERTIFICATE), folder.join(KEY))
}

impl Authority {
    /// Makes one, and what is to be written of it.
    pub(super) fn make() -> Result<(Self, Made), Failure> {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.not_before = now - LATE;
        // A certificate of as many days can be signed on the same day.
        params.not_after = now + Duration::days(AUTHORITY_DAYS + 1);
        params.distinguished_name = named(format!("keyloom CA {}", mark()?));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(unmade)?;
        let certificate = params.self_signed(&key).map_err(unmade)?.pem();
        let (not_after, made) = (params.not_after, Made { certificate, key: key.serialize_pem() });
        Ok((Self { issuer: Issuer::new(params, key), not_after }, made))
    }

    /// Opens the one that is in a folder, if there is one.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>, Failure> {
        let (certificate, key) = files_in(folder);
        match (certificate.exists(), key.exists()) {
            (false, false) => return Ok(None),
            (true, true) => {}
            (true, false) => return Err(half(&certificate, &key)),
            (false, true) => return Err(half(&key, &certificate)),
        }
        let pair = KeyPair::from_pem(&files::read(&key)?).map_err(|_| {
            Failure::mistake(format!("{} holds no private key as PKCS #8", key.display()))
        })?;
        let pem = read::certificates(&certificate, &files::read(&certificate)?)?.swap_remove(0);
        let parsed = read::parse(&certificate, &pem)?;
        let refused = |why: &str| Err(Failure::mistake(format!("{} {why}", certificate.display())));
        if !parsed.is_ca() {
            return refused("is of no certificate authority");
        }
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return refused("is not of the key in ca-key.pem");
        }
        let not_after = parsed.validity().not_after.to_datetime();
        let der = pem.contents.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|error| {
            let path = certificate.display();
            Failure::mistake(format!("{path} is of an authority that cannot sign here: {error}"))
        })?;
        Ok(Some(Self { issuer, not_after }))
    }

    /// Makes a certificate for so many days, with a key of its own.
    pub(super) fn sign(&self, wanted: &Wanted, days: u16) -> Result<Made, Failure> {
        let now = OffsetDateTime::now_utc();
        let not_after = now + Duration::days(i64::from(days));
        if not_after > self.not_after {
            let left = (self.not_after - now).whole_days().max(0);
            let message = format!("--days {days}: the authority itself is valid for {left} days");
            return Err(Failure::mistake(message));
        }
        let mut params = CertificateParams::new(wanted.hosts.clone()).map_err(unmade)?;
        if let Some(uri) = wanted.holder.uri()? {
            params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(unmade)?));
        }
        params.not_before = now - LATE;
        params.not_after = not_after;
        params.distinguished_name = named(wanted.holder.subject());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = wanted.holder.uses();
        params.use_authority_key_identifier_extension = true;
        // No serial number is set: it is the hash of the key then, and no two have the same.
        let key = KeyPair::generate().map_err(unmade)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unmade)?.pem();
        Ok(Made { certificate, key: key.serialize_pem() })
    }
}

fn named(name: String) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// What tells an authority from others: certificates of another one are of one that is unknown, and
/// not of this one and wrong.
fn mark() -> Result<String, Failure> {
    let mut bytes = [0; 4];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::failed("this machine draws no random numbers"))?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

fn unmade(error: rcgen::Error) -> Failure {
    Failure::failed(format!("a certificate cannot be made: {error}"))
}

fn half(there: &Path, missing: &Path) -> Failure {
    let (there, missing) = (there.display(), missing.display());
    Failure::mistake(format!("{there} is there, but {missing} is not: only both of them can sign"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &Path, made: &Made) {
        let (certificate, key) = files_in(folder);
        fs::write(certificate, &made.certificate).unwrap();
        fs::write(key, &made.key).unwrap();
    }

    fn refusal(folder: &Path) -> String {
        let refused = Authority::open(folder).err().unwrap();
        let message = refused.message.unwrap_or_default();
        message.replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn an_authority_is_opened_only_with_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(Authority::open(folder).unwrap().is_none());
        let (_, one) = Authority::make().unwrap();
        let (_, other) = Authority::make().unwrap();
        write(folder, &one);
        assert!(Authority::open(folder).unwrap().is_some());
        write(folder, &Made { certificate: one.certificate, key: other.key });
        assert_eq!(refusal(folder), "ca.pem is not of the key in ca-key.pem");
        fs::write(folder.join(KEY), "no key").unwrap();
        assert_eq!(refusal(folder), "ca-key.pem holds no private key as PKCS #8");
        fs::remove_file(folder.join(KEY)).unwrap();
        let half = "ca.pem is there, but ca-key.pem is not: only both of them can sign";
        assert_eq!(refusal(folder), half);
    }
}
