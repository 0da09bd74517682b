//! `keyloom certs show`: whose certificates are, and how long they are valid.

use serde::Serialize;

use super::{
    files,
    read::{self, Facts},
};
use crate::{
    cli::{CertsShowArguments, Form},
    error::Failure,
    text,
};

/// A certificate and where it stands.
#[derive(Debug, Serialize)]
struct Found {
    file: String,
    #[serde(flatten)]
    facts: Facts,
}

/// Shows all certificates of files: as JSON, one a line. Among several files, those of keys are
/// passed over, for a pattern names them, too.
pub(super) fn show(arguments: &CertsShowArguments) -> Result<(), Failure> {
    let mut shown = Vec::new();
    let last = arguments.files.len().saturating_sub(1);
    for (at, path) in arguments.files.iter().enumerate() {
        let content = files::read(path)?;
        // If they are all of keys, the last one is an error.
        let is_beside_others = last > 0 && (at < last || !shown.is_empty());
        if is_beside_others && read::is_of_keys(&content) {
            continue;
        }
        for pem in read::certificates(path, &content)? {
            let facts = Facts::of(&read::parse(path, &pem)?);
            let found = Found { file: path.display().to_string(), facts };
            shown.push(match arguments.print.format {
                // A tree of numbers and strings can always be written.
                Form::Json => serde_json::to_string(&found).unwrap_or_default(),
                Form::Table => found.text(),
            });
        }
    }
    let between = match arguments.print.format {
        Form::Json => "\n",
        Form::Table => "\n\n",
    };
    text::print(&shown.join(between))
}

impl Found {
    fn text(&self) -> String {
        format!("{:9}{}\n{}", "file", self.file, self.facts.text())
    }
}

impl Facts {
    fn text(&self) -> String {
        let left = match (self.days_left, self.days_ahead) {
            (left @ ..0, _) => format!("expired {} days ago", -left),
            (left, ..=0) => format!("{left} days left"),
            (_, ahead) => format!("not valid yet, for {ahead} more days"),
        };
        let signs = if self.authority { "certificates of others" } else { "" };
        let lines = [
            ("subject", self.subject.clone()),
            ("issuer", self.issuer.clone()),
            ("signs", signs.to_owned()),
            ("role", self.roles.join(", ")),
            ("hosts", self.hosts.join(", ")),
            ("used as", self.uses.join(", ")),
            ("valid", format!("{} to {} ({left})", self.not_before, self.not_after)),
            ("serial", self.serial.clone()),
        ];
        let said = lines.iter().filter(|(_, value)| !value.is_empty());
        said.map(|(name, value)| format!("{name:9}{value}")).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        certs::{
            authority::Authority,
            wanted::{self, Wanted},
        },
        cli::{CertsCreateArguments, Print},
    };

    fn facts(pem: &str) -> Facts {
        let pem = read::certificates(Path::new("c.pem"), pem).unwrap().swap_remove(0);
        Facts::of(&read::parse(Path::new("c.pem"), &pem).unwrap())
    }

    #[test]
    fn what_is_signed_is_what_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted::all(&CertsCreateArguments {
            folder: folder.path().to_owned(),
            hosts: vec!["coordinator.internal".to_owned(), "10.0.0.5".to_owned()],
            workers: vec![wanted::worker("w1").unwrap()],
            clients: vec!["alice".to_owned()],
            operators: Vec::new(),
            days: 30,
            overwrite: false,
            print: Print { format: Form::Table },
        })
        .unwrap();
        let (authority, own) = Authority::make().unwrap();
        let ca = facts(&own.certificate);
        assert!(ca.authority && ca.subject.starts_with("CN=keyloom CA "), "{ca:?}");
        let signed: Vec<_> = wanted
            .iter()
            .map(|wanted| facts(&authority.sign(wanted, 30).unwrap().certificate))
            .collect();
        let all = [
            ("CN=keyloom coordinator", "", "coordinator.internal, 10.0.0.5", "server"),
            ("CN=keyloom worker w1", "worker/w1", "", "server, client"),
            ("CN=keyloom client alice", "client/alice", "", "client"),
        ];
        for (facts, (subject, role, hosts, uses)) in signed.iter().zip(all) {
            let said = (facts.roles.join(", "), facts.hosts.join(", "), facts.uses.join(", "));
            assert_eq!(facts.subject, subject);
            assert_eq!(said, (role.to_owned(), hosts.to_owned(), uses.to_owned()), "{subject}");
            assert_eq!((&facts.issuer, facts.authority), (&ca.subject, false));
            assert!((29..=30).contains(&facts.days_left), "{facts:?}");
        }
        assert_eq!(signed.len(), all.len());
        assert_ne!(signed[0].serial, signed[1].serial);
        let expired = Facts { days_left: -3, ..facts(&own.certificate) };
        assert!(expired.text().contains("(expired 3 days ago)"), "{}", expired.text());
        assert_eq!(ca.days_ahead, 0);
        let early = Facts { days_ahead: 2, ..facts(&own.certificate) };
        assert!(early.text().contains("(not valid yet, for 2 more days)"), "{}", early.text());
    }

    #[test]
    fn files_without_a_certificate_are_refused_by_name() {
        let (_, made) = Authority::make().unwrap();
        for pem in ["", "nothing", made.key.as_str()] {
            let refused = read::certificates(Path::new("c.pem"), pem).unwrap_err();
            assert_eq!(refused.message.as_deref(), Some("c.pem holds no certificate"));
        }
        let both = format!("{}{}", made.key, made.certificate);
        let texts = [made.key.as_str(), &both, &made.certificate, "", "nothing"];
        assert_eq!(texts.map(read::is_of_keys), [true, false, false, false, false]);
    }
}
