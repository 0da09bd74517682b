//! Authorities, certificates and files for tests.

use std::{fs, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::{PeerSecurity, Role, ServerSecurity, TokenFiles, role_uri};

/// Whoever signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(super) struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A coordinator's.
    pub(super) fn server(&self, host: &str) -> Signed {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// That of whoever dials.
    pub(super) fn peer(&self, role: Role, name: &str) -> Signed {
        self.sign(&peer(&role_uri(role, name).unwrap()))
    }

    /// One that is for these uses.
    pub(super) fn peer_for(
        &self,
        role: Role,
        name: &str,
        uses: Vec<ExtendedKeyUsagePurpose>,
    ) -> Signed {
        let mut params = peer(&role_uri(role, name).unwrap());
        params.extended_key_usages = uses;
        self.sign(&params)
    }

    /// That of a worker whose HTTP port is at a host.
    pub(super) fn worker_at(&self, host: &str, name: &str) -> Signed {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        let uri = role_uri(Role::Worker, name).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        self.sign(&params)
    }

    /// One whose role is some URI.
    pub(super) fn peer_of(&self, uri: &str) -> Signed {
        self.sign(&peer(uri))
    }

    /// One that held long ago.
    pub(super) fn expired(&self, role: Role, name: &str) -> Signed {
        let mut params = peer(&role_uri(role, name).unwrap());
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    /// One that will hold in a long time.
    pub(super) fn early(&self, role: Role, name: &str) -> Signed {
        let mut params = peer(&role_uri(role, name).unwrap());
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
        self.sign(&params)
    }

    /// One that is known by a number.
    pub(super) fn numbered(&self, role: Role, name: &str, number: u64) -> Signed {
        let mut params = peer(&role_uri(role, name).unwrap());
        params.serial_number = Some(SerialNumber::from(number));
        self.sign(&params)
    }

    /// The list of those that are revoked.
    pub(super) fn revoked(&self, numbers: &[u64]) -> String {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn sign(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

fn peer(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A folder of files that settings name.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Option<PathBuf> {
        let path = self.0.path().join(name);
        // As tools that renew certificates do: so it is another file, however fast they are.
        let new = self.0.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
        Some(path)
    }

    /// A coordinator that shows a certificate, and takes those of an authority, if there is one.
    pub(super) fn server(&self, own: &Signed, ca: Option<&Authority>) -> ServerSecurity {
        ServerSecurity {
            ca_file: ca.and_then(|ca| self.write("server-ca.pem", &ca.pem)),
            cert_file: self.write("server.pem", &own.certificate),
            key_file: self.write("server-key.pem", &own.key),
            ..ServerSecurity::default()
        }
    }

    /// Somebody who trusts an authority, and shows a certificate, if there is one.
    pub(super) fn peer(&self, ca: &Authority, own: Option<&Signed>) -> PeerSecurity {
        PeerSecurity {
            ca_file: self.write("ca.pem", &ca.pem),
            cert_file: own.and_then(|own| self.write("own.pem", &own.certificate)),
            key_file: own.and_then(|own| self.write("own-key.pem", &own.key)),
            ..PeerSecurity::default()
        }
    }

    /// A token a role, `ROLE-0123456789abcdef`.
    pub(super) fn tokens(&self) -> TokenFiles {
        let token = |role: &str| self.write(role, &token(role));
        let (client, worker, operator) = (token("client"), token("worker"), token("operator"));
        TokenFiles { client, worker, operator }
    }
}

/// The token of a role.
pub(super) fn token(role: &str) -> String {
    format!("{role}-0123456789abcdef")
}
