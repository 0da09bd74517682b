//! What a cluster needs that lets nobody in: certificates as `keyloom certs` makes them, tokens, and
//! the settings by which its processes use them, all in a folder.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use keyloom_common::rpc::{PeerSecurity, Role, role_uri};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::program;

/// Those who have tokens.
const ROLES: [&str; 3] = ["client", "worker", "operator"];

/// The certificates and tokens of a cluster. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: TempDir,
    has_certificates: bool,
    has_tokens: bool,
    /// What else stands in the settings of workers.
    of_workers: String,
}

impl Keys {
    /// Everybody has a certificate, and shows it.
    pub(crate) fn certificates() -> Result<Self> {
        Self::make(true, false)
    }

    /// Everybody has a token, and there is no TLS.
    pub(crate) fn tokens() -> Result<Self> {
        Self::make(false, true)
    }

    /// Everybody has both.
    pub(crate) fn both() -> Result<Self> {
        Self::make(true, true)
    }

    fn make(has_certificates: bool, has_tokens: bool) -> Result<Self> {
        let (folder, of_workers) = (tempfile::tempdir()?, String::new());
        let keys = Self { folder, has_certificates, has_tokens, of_workers };
        if has_certificates {
            keys.certify([""; 0])?;
        }
        if has_tokens {
            for role in ROLES {
                keys.write(&format!("{role}.token"), &format!("{}\n", Self::token(role)))?;
            }
        }
        Ok(keys)
    }

    /// The same, with sections more in the settings of workers.
    pub(crate) fn with_worker_settings(self, sections: &str) -> Self {
        Self { of_workers: sections.to_owned(), ..self }
    }

    /// The token of a role, which is found nowhere else.
    pub(crate) fn token(role: &str) -> String {
        format!("5ec2e7-70cen-0f-{role}-c0ffee")
    }

    /// Makes certificates by the command: one of each role, unless its arguments name some.
    pub(crate) fn certify(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<()> {
        let mut command = Command::new(program("keyloom")?);
        command.args(["certs", "create"]).arg(self.folder.path()).args(arguments);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Makes a client's certificate that the same authority has signed, but the command would not:
    /// it was or is valid from 2000 until a year, and names what it names.
    pub(crate) fn certify_by_hand(&self, name: &str, uri: Option<&str>, year: i32) -> Result<()> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(name, &params)
    }

    /// Makes a client's certificate that is known by a number, by which it can be revoked.
    pub(crate) fn certify_numbered(&self, name: &str, number: u64) -> Result<()> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(number));
        params.subject_alt_names.push(SanType::URI(role_uri(Role::Client, name)?.try_into()?));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(name, &params)
    }

    /// Writes the list of certificates that are revoked, by their numbers, as `crl.pem`.
    pub(crate) fn revoke(&self, numbers: &[u64]) -> Result<()> {
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
        self.write("crl.pem", &list.signed_by(&self.issuer()?)?.pem()?)
    }

    /// The authority that `keyloom certs` has made.
    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&fs::read_to_string(self.path("ca-key.pem"))?)?;
        let authority = fs::read_to_string(self.path("ca.pem"))?;
        Ok(Issuer::from_ca_cert_pem(&authority, key)?)
    }

    /// Writes a certificate and its key.
    fn sign(&self, name: &str, params: &CertificateParams) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer()?)?;
        self.write(&format!("{name}-key.pem"), &key.serialize_pem())?;
        self.write(&format!("{name}.pem"), &certificate.pem())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file for its owner's eyes alone. It appears whole.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        Ok(fs::rename(&new, self.path(name))?)
    }

    /// What a peer has to connect with: a certificate under this name, and the token of a role.
    pub(crate) fn peer(&self, certificate: &str, role: &str) -> PeerSecurity {
        let mut peer = PeerSecurity::default();
        if self.has_certificates {
            peer.ca_file = Some(self.path("ca.pem"));
            peer.cert_file = Some(self.path(&format!("{certificate}.pem")));
            peer.key_file = Some(self.path(&format!("{certificate}-key.pem")));
        }
        if self.has_tokens {
            peer.token_file = Some(self.path(&format!("{role}.token")));
        }
        peer
    }

    /// The same of a role whose certificate has no other name.
    pub(crate) fn role(&self, role: &str) -> PeerSecurity {
        self.peer(role, role)
    }

    /// How the coordinator announces itself.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.has_certificates { "tls://" } else { "tcp://" }
    }

    /// The settings of a coordinator, which soon sees that files have changed.
    pub(crate) fn coordinator_settings(&self) -> String {
        let mut settings = "[security]\nreload_ms = 100\n".to_owned();
        if self.has_certificates {
            settings += &self.files("coordinator");
        }
        if self.has_tokens {
            settings += "[security.tokens]\n";
            for role in ROLES {
                let file = self.path(&format!("{role}.token"));
                settings += &format!("{role} = '{}'\n", file.display());
            }
        }
        settings
    }

    /// The settings of a worker.
    pub(crate) fn worker_settings(&self) -> String {
        let mut settings = format!("{}[security]\n", self.of_workers);
        if self.has_certificates {
            settings += &self.files("worker");
        }
        if self.has_tokens {
            settings += &format!("token_file = '{}'\n", self.path("worker.token").display());
        }
        settings
    }

    fn files(&self, name: &str) -> String {
        let [ca, cert, key] = ["ca.pem", &format!("{name}.pem"), &format!("{name}-key.pem")]
            .map(|file| self.path(file).display().to_string());
        format!("ca_file = '{ca}'\ncert_file = '{cert}'\nkey_file = '{key}'\n")
    }
}
