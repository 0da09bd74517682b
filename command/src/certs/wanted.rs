//! Which certificates are meant, and what each is for.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use keyloom_common::rpc::{Role, role_uri};
use rcgen::ExtendedKeyUsagePurpose;

use crate::{cli::CertsCreateArguments, error::Failure};

/// Where the coordinator of a cluster on one machine is reached.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What its files are called, without their ends.
    file: String,
    pub(super) holder: Holder,
    /// Where those who connect to the holder reach it. Nobody connects to clients and operators.
    pub(super) hosts: Vec<String>,
}

/// Whose a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The coordinator.
    Coordinator,
    /// Somebody who connects to it.
    Peer(Role, String),
}

impl Holder {
    /// The URI that says it, if it is somebody who connects.
    pub(super) fn uri(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Coordinator => Ok(None),
            Self::Peer(role, name) => role_uri(*role, name).map(Some).map_err(Failure::before),
        }
    }

    /// The subject of the certificate, for people.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Coordinator => "keyloom coordinator".to_owned(),
            Self::Peer(role, name) => format!("keyloom {role} {name}"),
        }
    }

    /// What connections it is for. Workers are both ends of theirs.
    pub(super) fn uses(&self) -> Vec<ExtendedKeyUsagePurpose> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        match self {
            Self::Coordinator => vec![ServerAuth],
            Self::Peer(Role::Worker, _) => vec![ClientAuth, ServerAuth],
            Self::Peer(Role::Client | Role::Operator, _) => vec![ClientAuth],
        }
    }
}

impl Wanted {
    /// The files of its certificate and its key.
    pub(super) fn files(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let file = &self.file;
        (folder.join(format!("{file}.pem")), folder.join(format!("{file}-key.pem")))
    }

    fn coordinator(hosts: Vec<String>) -> Self {
        Self { file: "coordinator".to_owned(), holder: Holder::Coordinator, hosts }
    }

    /// Somebody without a name has the name of the role.
    fn unnamed(role: Role) -> Self {
        let name = role.to_string();
        Self { file: name.clone(), holder: Holder::Peer(role, name), hosts: Vec::new() }
    }

    fn named(role: Role, name: &str, hosts: &[String]) -> Self {
        let holder = Holder::Peer(role, name.to_owned());
        Self { file: format!("{role}-{name}"), holder, hosts: hosts.to_vec() }
    }

    /// All that are meant: those who are named, and the coordinator if its hosts are, or if it has
    /// no certificate. If nobody is named, it and one of each role.
    pub(super) fn all(arguments: &CertsCreateArguments) -> Result<Vec<Self>, Failure> {
        let CertsCreateArguments { folder, hosts, workers, clients, operators, .. } = arguments;
        let nowhere: &[String] = &[];
        let workers = workers.iter().map(|worker| (Role::Worker, &worker.name, &*worker.hosts));
        let clients = clients.iter().map(|name| (Role::Client, name, nowhere));
        let operators = operators.iter().map(|name| (Role::Operator, name, nowhere));
        let (mut known, mut peers) = (BTreeSet::new(), Vec::new());
        for (role, name, hosts) in workers.chain(clients).chain(operators) {
            if !known.insert((role, name)) {
                return Err(Failure::mistake(format!("--{role} {name} is given twice")));
            }
            peers.push(Self::named(role, name, hosts));
        }
        let local = || LOCAL.map(ToOwned::to_owned).to_vec();
        let coordinator = Self::coordinator(if hosts.is_empty() { local() } else { hosts.clone() });
        let is_there = coordinator.files(folder).0.exists();
        let is_meant = peers.is_empty() || !hosts.is_empty() || !is_there;
        if peers.is_empty() && (hosts.is_empty() || !is_there) {
            peers.extend([Role::Worker, Role::Client, Role::Operator].map(Self::unnamed));
        }
        Ok(is_meant.then_some(coordinator).into_iter().chain(peers).collect())
    }
}

/// Reads a host: a name or an IP address, without a port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() || is_dns_name(text) {
        return Ok(text.to_owned());
    }
    Err("a host is a name (coordinator.internal) or an IP address, without a port".to_owned())
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Reads the name of a worker, client or operator: it becomes part of a URI and of files' names.
pub(crate) fn name(text: &str) -> Result<String, String> {
    // Names of all roles are alike.
    if role_uri(Role::Client, text).is_err() {
        return Err("a name takes 1 to 64 letters, digits, '.', '_' and '-'".to_owned());
    }
    if text == "key" || text.ends_with("-key") {
        return Err("a name does not end in 'key', as files of keys do".to_owned());
    }
    Ok(text.to_owned())
}

/// A worker that is to have a certificate, and where its HTTP port is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedWorker {
    name: String,
    hosts: Vec<String>,
}

/// Reads the name of a worker, and its hosts, if they stand behind it: `NAME@HOST,HOST`.
pub(crate) fn worker(text: &str) -> Result<NamedWorker, String> {
    let Some((worker, hosts)) = text.split_once('@') else {
        return Ok(NamedWorker { name: name(text)?, hosts: Vec::new() });
    };
    let hosts = hosts.split(',').map(host).collect::<Result<_, _>>()?;
    Ok(NamedWorker { name: name(worker)?, hosts })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{CertsCommand, Cli, Command, Form, Once, Print};

    fn arguments(folder: &Path, hosts: &[&str], clients: &[&str]) -> CertsCreateArguments {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        CertsCreateArguments {
            folder: folder.to_owned(),
            hosts: owned(hosts),
            workers: Vec::new(),
            clients: owned(clients),
            operators: Vec::new(),
            days: 1,
            overwrite: false,
            print: Print { format: Form::Table },
        }
    }

    #[test]
    fn those_are_meant_who_are_named_or_else_one_of_each_role() {
        let folder = tempfile::tempdir().unwrap();
        let files = |hosts: &[&str], clients: &[&str]| -> Vec<String> {
            let wanted = Wanted::all(&arguments(folder.path(), hosts, clients)).unwrap();
            wanted.into_iter().map(|wanted| wanted.file).collect()
        };
        assert_eq!(files(&[], &[]), ["coordinator", "worker", "client", "operator"]);
        assert_eq!(files(&["h"], &[]), ["coordinator", "worker", "client", "operator"]);
        assert_eq!(files(&[], &["a"]), ["coordinator", "client-a"]);
        std::fs::write(folder.path().join("coordinator.pem"), "").unwrap();
        assert_eq!(files(&[], &["a", "b"]), ["client-a", "client-b"]);
        assert_eq!(files(&["h"], &["a"]), ["coordinator", "client-a"]);
        assert_eq!(files(&["h"], &[]), ["coordinator"]);
        let twice = Wanted::all(&arguments(folder.path(), &[], &["a", "a"])).unwrap_err();
        assert_eq!(twice.message.as_deref(), Some("--client a is given twice"));
    }

    #[test]
    fn a_worker_has_the_hosts_that_stand_behind_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let of = |workers: &[&str]| {
            let workers = workers.iter().map(|text| worker(text).unwrap()).collect();
            let none = arguments(folder.path(), &[], &["one"]);
            Wanted::all(&CertsCreateArguments { workers, ..none })
        };
        let wanted = of(&["one", "two@10.0.0.2,two.internal,::1"]).unwrap();
        let found = |file: &str| {
            let wanted = wanted.iter().find(|wanted| wanted.file == file).unwrap();
            wanted.hosts.iter().map(String::as_str).collect::<Vec<_>>()
        };
        assert_eq!(found("worker-one"), [""; 0]);
        assert_eq!(found("worker-two"), ["10.0.0.2", "two.internal", "::1"]);
        assert_eq!(found("client-one"), [""; 0]);
        let twice = of(&["one", "one@10.0.0.2"]).unwrap_err();
        assert_eq!(twice.message.as_deref(), Some("--worker one is given twice"));
        for bad in ["one@", "@10.0.0.2", "one@10.0.0.2:9701", "one@a,,b", "one@a@b"] {
            assert!(worker(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_of_the_coordinator_stand_in_one_flag_or_in_several() {
        let hosts = |flags: &[&str]| -> Option<Vec<String>> {
            let cli = [&["keyloom", "certs", "create", "d"][..], flags].concat();
            match Cli::try_parse_from(cli).ok()?.command {
                Command::Once(Once::Certs(CertsCommand::Create(arguments))) => {
                    Some(arguments.hosts)
                }
                other => panic!("{other:?}"),
            }
        };
        let three = ["a.internal", "10.0.0.5", "::1"].map(ToOwned::to_owned).to_vec();
        assert_eq!(hosts(&["--host", "a.internal,10.0.0.5,::1"]), Some(three.clone()));
        assert_eq!(hosts(&["--host", "a.internal", "--host=10.0.0.5,::1"]), Some(three));
        for bad in ["a,", ",a", "a,,b", "a, b", "a,b:7700"] {
            assert_eq!(hosts(&["--host", bad]), None, "{bad}");
        }
    }

    #[test]
    fn hosts_and_names_are_checked() {
        for good in ["localhost", "a-1.internal", "10.0.0.5", "::1"] {
            assert_eq!(host(good), Ok(good.to_owned()));
        }
        for bad in ["", "localhost:7700", "10.0.0.5:7700", "tcp://a", "a..b", "-a", "a b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert_eq!(name("gpu-1.a_b"), Ok("gpu-1.a_b".to_owned()));
        for bad in ["", "a/b", "a b", "key", "alice-key", &"a".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
