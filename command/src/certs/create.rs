//! `keyloom certs create`: certificates into a folder, and what to write into settings.

use std::path::{Path, absolute};

use keyloom_common::rpc::Role;
use serde::Serialize;
use toml::Value;

use super::{
    authority::{Authority, files_in},
    files,
    wanted::{Holder, Wanted},
};
use crate::{
    cli::{CertsCreateArguments, Form},
    error::Failure,
    text,
};

/// What was made, as `-o json` shows it.
#[derive(Debug, Serialize)]
struct Created {
    authority: String,
    authority_is_new: bool,
    days: u16,
    certificates: Vec<Certificate>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    /// `coordinator`, `worker`, `client` or `operator`.
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    cert_file: String,
    key_file: String,
}

/// Makes certificates, after seeing that none is in their place.
pub(super) fn create(arguments: &CertsCreateArguments) -> Result<(), Failure> {
    let CertsCreateArguments { folder, days, overwrite, print, .. } = arguments;
    let folder = absolute(folder)
        .map_err(|error| Failure::mistake(format!("{} is no folder: {error}", folder.display())))?;
    let wanted = Wanted::all(arguments)?;
    files::make_folder(&folder)?;
    for wanted in wanted.iter().filter(|_| !overwrite) {
        let (certificate, key) = wanted.files(&folder);
        if let Some(there) = [certificate, key].iter().find(|file| file.exists()) {
            return Err(files::is_there(there));
        }
    }
    let (authority, authority_is_new) = authority_of(&folder)?;
    let mut certificates = Vec::new();
    for wanted in &wanted {
        let made = authority.sign(wanted, *days)?;
        let (certificate, key) = wanted.files(&folder);
        files::write_both((&certificate, &key), &made, *overwrite)?;
        certificates.push(Certificate::new(wanted, &certificate, &key));
    }
    let authority = shown(&files_in(&folder).0);
    let created = Created { authority, authority_is_new, days: *days, certificates };
    match print.format {
        // A tree of numbers and strings can always be written.
        Form::Json => text::print(&serde_json::to_string(&created).unwrap_or_default()),
        Form::Table => text::print(&created.text()),
    }
}

/// The authority of a folder, and whether it was made for this.
fn authority_of(folder: &Path) -> Result<(Authority, bool), Failure> {
    if let Some(authority) = Authority::open(folder)? {
        return Ok((authority, false));
    }
    let (authority, made) = Authority::make()?;
    let (certificate, key) = files_in(folder);
    files::write_both((&certificate, &key), &made, false)?;
    Ok((authority, true))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Certificate {
    fn new(wanted: &Wanted, certificate: &Path, key: &Path) -> Self {
        let (role, name) = match &wanted.holder {
            Holder::Coordinator => ("coordinator".to_owned(), None),
            Holder::Peer(role, name) => (role.to_string(), Some(name.clone())),
        };
        let hosts = wanted.hosts.clone();
        Self { role, name, hosts, cert_file: shown(certificate), key_file: shown(key) }
    }

    /// Whose it is, for people.
    fn holder(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" '{name}'")).unwrap_or_default();
        let hosts = match self.hosts.as_slice() {
            [] => String::new(),
            hosts => format!(" at {}", hosts.join(", ")),
        };
        format!("{}{name}{hosts}", self.role)
    }
}

impl Created {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if self.authority_is_new {
            lines.push(format!("{}: all processes trust what it signed", self.authority));
            lines.push("the key beside it signs: keep that where no daemon runs".to_owned());
        }
        for certificate in &self.certificates {
            lines.push(format!("{}: {}", certificate.cert_file, certificate.holder()));
        }
        let days = self.days;
        lines.push(format!("they are valid for {days} days; the key of each is in …-key.pem"));
        let roles = [Role::Worker, Role::Client, Role::Operator].map(Role::name);
        for role in ["coordinator"].into_iter().chain(roles) {
            let certificate = self.certificates.iter().find(|other| other.role == role);
            lines.extend(certificate.map(|certificate| self.settings(role, certificate)));
        }
        lines.join("\n")
    }

    /// What to write where, so that a certificate is used.
    fn settings(&self, role: &str, certificate: &Certificate) -> String {
        let (place, section) = match role {
            "coordinator" => ("keyloom-coordinator --config coordinator.toml", "security"),
            "worker" => {
                ("keyloom-worker --coordinator tls://HOST:PORT --config worker.toml", "security")
            }
            _ => ("keyloom … --cluster tls://HOST:PORT --config session.toml", "session.security"),
        };
        let [ca, cert, key] = [&self.authority, &certificate.cert_file, &certificate.key_file]
            .map(|path| quoted(path));
        let own = format!("cert_file = {cert}\nkey_file = {key}");
        // The coordinator's port shows the coordinator's certificate by itself.
        let http = match role == "worker" && !certificate.hosts.is_empty() {
            true => format!("\n[http]\n{own}"),
            false => String::new(),
        };
        format!("\n# {place}\n[{section}]\nca_file = {ca}\n{own}{http}")
    }
}

/// As TOML has it.
fn quoted(path: &str) -> String {
    Value::String(path.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_to_use_them() {
        let certificate = |role: &str, name: Option<&str>, hosts: &[&str]| Certificate {
            role: role.to_owned(),
            name: name.map(ToOwned::to_owned),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            cert_file: format!("/c/{role}.pem"),
            key_file: format!("/c/{role}-key.pem"),
        };
        let created = Created {
            authority: "/c/ca.pem".to_owned(),
            authority_is_new: false,
            days: 90,
            certificates: vec![
                certificate("coordinator", None, &["a", "::1"]),
                certificate("worker", Some("w"), &["10.0.0.2"]),
                certificate("client", Some("b"), &[]),
            ],
        };
        let expected = "\
/c/coordinator.pem: coordinator at a, ::1
/c/worker.pem: worker 'w' at 10.0.0.2
/c/client.pem: client 'b'
they are valid for 90 days; the key of each is in …-key.pem

# keyloom-coordinator --config coordinator.toml
[security]
ca_file = \"/c/ca.pem\"
cert_file = \"/c/coordinator.pem\"
key_file = \"/c/coordinator-key.pem\"

# keyloom-worker --coordinator tls://HOST:PORT --config worker.toml
[security]
ca_file = \"/c/ca.pem\"
cert_file = \"/c/worker.pem\"
key_file = \"/c/worker-key.pem\"
[http]
cert_file = \"/c/worker.pem\"
key_file = \"/c/worker-key.pem\"

# keyloom … --cluster tls://HOST:PORT --config session.toml
[session.security]
ca_file = \"/c/ca.pem\"
cert_file = \"/c/client.pem\"
key_file = \"/c/client-key.pem\"";
        assert_eq!(created.text(), expected);
    }
}
