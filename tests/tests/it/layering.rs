//! The layers of the workspace: who may depend on whom, read from what cargo resolved, and which
//! modules import which, read from the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
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

    fn id(&self, name: &str) -> &PackageId {
        self.names.iter().find(|(_, other)| *other == name).unwrap().0
    }

    /// Those of the workspace's crates that one of them names, without what all names begin with.
    fn named_by(&self, name: &str) -> Vec<&str> {
        let direct = &self.direct[self.id(&format!("keyloom-{name}"))];
        let names = direct.iter().filter_map(|id| self.names[id].strip_prefix("keyloom-"));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The names of all crates below one of the workspace's.
    fn below(&self, name: &str) -> BTreeSet<&str> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![self.id(name)]);
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
fn each_crate_names_only_those_below_it() {
    let expected: [(&str, &[&str]); 10] = [
        ("common", &[]),
        ("planner", &["common"]),
        ("program", &["common"]),
        ("coordinator", &["common", "planner"]),
        ("coordinator-daemon", &["client", "common", "coordinator", "program"]),
        ("worker", &["common"]),
        ("worker-daemon", &["common", "program", "worker"]),
        ("client", &["common", "coordinator", "planner", "worker"]),
        ("command", &["client", "common", "program"]),
        ("python", &["client", "command", "common", "coordinator-daemon", "worker-daemon"]),
    ];
    let layers = Layers::read();
    for (name, below) in expected {
        assert_eq!(layers.named_by(name), below, "{name}");
    }
}

#[test]
fn no_library_depends_on_what_only_programs_need() {
    let of_programs = ["keyloom-program", "clap", "figment", "indicatif"];
    for library in ["common", "planner", "coordinator", "worker", "client"] {
        assert_eq!(breaches(&format!("keyloom-{library}"), &of_programs), [""; 0], "{library}");
    }
}

#[test]
fn common_depends_on_no_side_and_not_on_lance() {
    let sides =
        ["keyloom-planner", "keyloom-coordinator", "keyloom-worker", "keyloom-client", "lance"];
    assert_eq!(breaches("keyloom-common", &sides), [""; 0]);
}

#[test]
fn the_planner_depends_on_no_side_and_not_on_lance() {
    let sides = ["keyloom-coordinator", "keyloom-worker", "keyloom-client", "lance"];
    assert_eq!(breaches("keyloom-planner", &sides), [""; 0]);
}

#[test]
fn the_coordinator_depends_neither_on_the_worker_nor_on_lance() {
    let forbidden = ["keyloom-worker", "keyloom-client", "keyloom-tests", "lance"];
    assert_eq!(breaches("keyloom-coordinator", &forbidden), [""; 0]);
}

#[test]
fn the_worker_depends_neither_on_the_coordinator_nor_on_the_client() {
    let forbidden = ["keyloom-planner", "keyloom-coordinator", "keyloom-client", "keyloom-tests"];
    assert_eq!(breaches("keyloom-worker", &forbidden), [""; 0]);
}

#[test]
fn the_worker_is_where_lance_is() {
    assert!(Layers::read().below("keyloom-worker").contains("lance"));
}

/// The modules at the top of a folder, and which of the others each imports by a path that starts
/// so.
fn imports(folder: &str, start: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(folder);
    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for file in sources(&root) {
        let top = file.strip_prefix(&root).unwrap().iter().next().unwrap();
        let module = Path::new(top).file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        imports.entry(module).or_default().extend(named_in(&text, start));
    }
    let modules: BTreeSet<_> = imports.keys().cloned().collect();
    for (module, others) in &mut imports {
        others.retain(|other| other != module && modules.contains(other));
    }
    imports
}

pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// What follows the start of a path in a source: a name, or the first names of a list in braces.
fn named_in(text: &str, start: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let after = text.split(start).skip(1);
    let names = after.flat_map(|after| match after.strip_prefix('{') {
        Some(list) => outermost(list).split(',').map(word).collect::<Vec<_>>(),
        None => vec![word(after)],
    });
    names.collect()
}

/// A list up to the brace that closes it, without the lists within.
fn outermost(list: &str) -> String {
    let depths = list.chars().scan(0, |depth, c| {
        *depth += i32::from(c == '{') - i32::from(c == '}');
        (*depth >= 0).then_some((*depth, c))
    });
    depths.filter(|(depth, _)| *depth == 0).map(|(_, c)| c).collect()
}

#[test]
fn imports_are_read_from_sources() {
    let text = "use crate::{a::{b, c::{d}, e}, f,\n    g::h,\n};\nuse crate::i;\ncrate::j::k()";
    assert_eq!(named_in(text, "crate::"), ["a", "f", "g", "", "i", "j"]);
}

/// The modules that import each other in circles, and whoever stands above them: what stays when
/// those that import nothing of the rest are taken out again and again.
fn knots(mut imports: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        imports.retain(|_, others| !others.is_disjoint(&left));
        if imports.len() == left.len() {
            return imports;
        }
    }
}

#[test]
fn no_module_of_the_coordinator_imports_one_that_imports_it() {
    let imports = imports("coordinator/src", "crate::");
    let below: Vec<_> = imports["dispatch"].iter().cloned().collect();
    assert_eq!(below, ["metrics", "scheduler", "spool", "supervise"]);
    assert_eq!(knots(imports), BTreeMap::new());
}

#[test]
fn no_module_of_the_planner_or_of_gather_imports_one_that_imports_it() {
    for (folder, start) in [("planner/src", "crate::"), ("coordinator/src/gather", "super::")] {
        assert_eq!(knots(imports(folder, start)), BTreeMap::new(), "{folder}");
    }
}

#[test]
fn the_rooms_of_lance_lean_on_each_other_one_way() {
    let imports = imports("worker/src/store/lance", "lance::");
    let rooms = ["files", "values", "keys", "kept"];
    for (at, room) in rooms.iter().enumerate() {
        let above = rooms[at..].iter().copied().filter(|above| imports[*room].contains(*above));
        assert_eq!(above.collect::<Vec<_>>(), [""; 0], "{room}");
    }
}

/// What others carry of the ways to a dataset's rows, they cannot read.
#[test]
fn only_its_own_modules_name_the_ways_of_lance() {
    let words = ["LanceWay", "LanceFigures", "KeyPath", "RowPath", "ForcedAccess"];
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let folders = ["common/src", "planner/src", "coordinator/src"];
    let files = folders.iter().flat_map(|folder| sources(&root.join(folder)));
    let naming = files.filter(|file| {
        let text = fs::read_to_string(file).unwrap();
        words.iter().any(|word| text.contains(word))
    });
    let naming: BTreeSet<_> =
        naming.map(|file| file.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect();
    let expected = [
        "common/src/described/lance.rs",
        "common/src/store/lance.rs",
        "common/src/store/lance/access.rs",
        "common/src/store/lance/figures.rs",
        "common/src/store/mod.rs",
        "planner/src/samples.rs",
        "planner/src/ways/lance.rs",
        "planner/src/ways/lance/price.rs",
        "planner/src/ways/lance/tests.rs",
    ];
    assert_eq!(naming, BTreeSet::from(expected.map(ToOwned::to_owned)));
}

/// Crates with the features that they are built with, by cargo's words for one member or for all, and
/// for tests where these name such edges, too.
pub(crate) fn built(of: &[&str]) -> BTreeSet<String> {
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

/// The crates that a client is built with, by cargo's words for its features.
fn below_a_client(features: &[&str]) -> BTreeSet<String> {
    let built = built(&[&["--package", "keyloom-client"][..], features].concat());
    built.iter().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect()
}

#[test]
fn a_client_for_clusters_alone_has_no_worker_no_coordinator_and_no_lance() {
    let (whole, thin) = (below_a_client(&[]), below_a_client(&["--no-default-features"]));
    let embedded = |name: &&String| {
        ["keyloom-coordinator", "keyloom-worker", "lance"].contains(&name.as_str())
            || name.starts_with("lance-")
    };
    assert!(whole.iter().filter(embedded).count() > 3, "{whole:#?}");
    assert!(thin.contains("keyloom-common") && thin.contains("keyloom-planner"), "{thin:#?}");
    assert_eq!(thin.iter().find(embedded), None);
}

#[test]
fn a_coordinator_as_a_program_plans_without_a_worker_and_without_lance() {
    let built = built(&["--package", "keyloom-coordinator-daemon"]);
    let names: BTreeSet<_> = built.iter().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("keyloom-client") && names.contains("keyloom-coordinator"));
    let is_workers = |name: &&&str| **name == "keyloom-worker" || name.starts_with("lance");
    assert_eq!(names.iter().find(is_workers), None);
}

/// What is left out with the feature is one room, which nothing else in the client leans on.
#[test]
fn only_the_embedded_room_of_the_client_names_a_worker_a_coordinator_or_lance() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../client/src"));
    let outside = sources(root).into_iter().filter(|file| !file.starts_with(root.join("embedded")));
    let mut checked = 0;
    for file in outside {
        let text = fs::read_to_string(&file).unwrap();
        for name in ["keyloom_coordinator", "keyloom_worker", "lance::", "crate::embedded"] {
            assert!(!text.contains(name), "{} names {name}", file.display());
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} files");
}
