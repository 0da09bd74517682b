//! What is in a certificate.

use std::{net::IpAddr, path::Path};

use serde::Serialize;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::Pem, time::ASN1Time,
};

use crate::error::Failure;

/// What the URI begins with that says as whom the holder of a certificate connects.
const ROLE_URI: &str = "keyloom://role/";

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// The label of a certificate among the parts of a file.
const LABEL: &str = "CERTIFICATE";

/// A certificate, as `--format json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    /// Whether it signs others.
    pub(super) authority: bool,
    /// As whom its holder connects: `client/alice`.
    pub(super) roles: Vec<String>,
    pub(super) hosts: Vec<String>,
    /// `server` and `client`: at which end of connections it is shown.
    pub(super) uses: Vec<&'static str>,
    pub(super) not_before: String,
    pub(super) not_after: String,
    /// Below 0 once it is over.
    pub(super) days_left: i64,
    /// How many days pass before it is valid; 0 if it is, or was.
    pub(super) days_ahead: i64,
}

/// How the label of a private key ends, of whatever kind it is.
const KEY: &str = "PRIVATE KEY";

/// Whether a file holds private keys and nothing else.
pub(super) fn is_of_keys(pem: &str) -> bool {
    let parts = Pem::iter_from_buffer(pem.as_bytes());
    let mut are_keys = parts.map(|part| part.is_ok_and(|part| part.label.ends_with(KEY)));
    are_keys.next() == Some(true) && are_keys.all(|is_key| is_key)
}

/// The certificates of a file.
pub(super) fn certificates(path: &Path, pem: &str) -> Result<Vec<Pem>, Failure> {
    let mut certificates = Vec::new();
    for part in Pem::iter_from_buffer(pem.as_bytes()) {
        let part = part
            .map_err(|error| Failure::mistake(format!("{} is no PEM: {error}", path.display())))?;
        if part.label == LABEL {
            certificates.push(part);
        }
    }
    if certificates.is_empty() {
        return Err(Failure::mistake(format!("{} holds no certificate", path.display())));
    }
    Ok(certificates)
}

/// What a part of a file says.
pub(super) fn parse<'a>(path: &Path, pem: &'a Pem) -> Result<X509Certificate<'a>, Failure> {
    pem.parse_x509().map_err(|error| {
        let path = path.display();
        Failure::mistake(format!("{path} holds a certificate that cannot be read: {error}"))
    })
}

impl Facts {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let (mut roles, mut hosts) = (Vec::new(), Vec::new());
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
                GeneralName::URI(uri) => {
                    roles.extend(uri.strip_prefix(ROLE_URI).map(ToOwned::to_owned));
                }
                _ => {}
            }
        }
        let validity = certificate.validity();
        let now = ASN1Time::now().timestamp();
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            authority: certificate.is_ca(),
            roles,
            hosts,
            uses: uses(certificate),
            not_before: instant(validity.not_before),
            not_after: instant(validity.not_after),
            days_left: (validity.not_after.timestamp() - now).div_euclid(DAY),
            days_ahead: (validity.not_before.timestamp() - now + DAY - 1).div_euclid(DAY).max(0),
        }
    }
}

fn uses(certificate: &X509Certificate<'_>) -> Vec<&'static str> {
    let usage = certificate.extended_key_usage().ok().flatten();
    let usage = usage.map(|usage| (usage.value.server_auth, usage.value.client_auth));
    let (server, client) = usage.unwrap_or_default();
    [(server, "server"), (client, "client")]
        .into_iter()
        .filter_map(|(is_meant, name)| is_meant.then_some(name))
        .collect()
}

/// An IP address as certificates have it.
fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}

/// A time in UTC.
fn instant(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
