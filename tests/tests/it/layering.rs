//! The layers of the workspace: who may depend on whom, read from what cargo resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use cargo_metadata::{DependencyKind, MetadataCommand, PackageId};

/// Crates by name, and the crates that they are built with (transitively, without those that only
/// their tests or build scripts need).
struct Layers {
    names: BTreeMap<PackageId, String>,
    direct: BTreeMap<PackageId, Vec<PackageId>>,
}

impl Layers {
    fn read() -> Self {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .other_options(["--locked".to_owned(), "--offline".to_owned()])
            .exec()
            .unwrap();
        let packages = metadata.packages.iter();
        let names = packages.map(|p| (p.id.clone(), p.name.to_string())).collect();
        let nodes = metadata.resolve.unwrap().nodes.into_iter();
        let direct = nodes.map(|node| {
            let normal = node.deps.into_iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            (node.id, normal.map(|dependency| dependency.pkg).collect())
        });
        Self { names, direct: direct.collect() }
    }

    /// The names of all crates below one of the workspace's.
    fn below(&self, name: &str) -> BTreeSet<&str> {
        let (root, _) = self.names.iter().find(|(_, other)| *other == name).unwrap();
        let (mut seen, mut open) = (BTreeSet::new(), vec![root]);
        while let Some(package) = open.pop() {
            for dependency in &self.direct[package] {
                if seen.insert(dependency) {
                    open.push(dependency);
                }
            }
        }
        seen.into_iter().map(|package| self.names[package].as_str()).collect()
    }
}

/// The forbidden among the crates below one of the workspace's.
fn breaches(name: &str, forbidden: &[&str]) -> Vec<String> {
    let layers = Layers::read();
    let below = layers.below(name).into_iter().filter(|dependency| {
        forbidden.contains(dependency)
            || (forbidden.contains(&"lance") && dependency.starts_with("lance-"))
    });
    below.map(ToOwned::to_owned).collect()
}

#[test]
fn common_depends_on_no_side_and_not_on_lance() {
    let sides = ["keyloom-coordinator", "keyloom-worker", "keyloom-client", "lance"];
    assert_eq!(breaches("keyloom-common", &sides), [""; 0]);
}

#[test]
fn the_coordinator_depends_neither_on_the_worker_nor_on_lance() {
    let forbidden = ["keyloom-worker", "keyloom-client", "keyloom-tests", "lance"];
    assert_eq!(breaches("keyloom-coordinator", &forbidden), [""; 0]);
}

#[test]
fn the_worker_depends_neither_on_the_coordinator_nor_on_the_client() {
    let forbidden = ["keyloom-coordinator", "keyloom-client", "keyloom-tests"];
    assert_eq!(breaches("keyloom-worker", &forbidden), [""; 0]);
}

#[test]
fn the_worker_is_where_lance_is() {
    assert!(Layers::read().below("keyloom-worker").contains("lance"));
}

/// Crates with the features that they are built with, for one member or for all.
fn built(of: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,no-proc-macro"])
        .args(["--format", "{p} {f}", "--prefix", "none"])
        .args(of)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    // A crate that was shown before is marked.
    lines.lines().map(|line| line.trim_end_matches(" (*)").trim().to_owned()).collect()
}

#[test]
fn packaging_for_python_builds_nothing_a_second_time() {
    let (alone, all) = (built(&["--package", "keyloom-python"]), built(&["--workspace"]));
    let others: Vec<_> = alone.difference(&all).collect();
    assert!(
        others.is_empty(),
        "python/Cargo.toml does not name all features that the workspace has: {others:#?}"
    );
}
