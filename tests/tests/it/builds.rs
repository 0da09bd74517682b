//! What cargo builds for tests: no dependency a second time, and every test that is written.

use std::{collections::BTreeSet, fs, path::PathBuf};

use cargo_metadata::{MetadataCommand, Target};

use crate::layering::{built, sources};

/// The name and the version of a crate that is built, without its features.
fn named(line: &str) -> Vec<&str> {
    line.split(' ').take(2).collect()
}

#[test]
fn tests_build_no_dependency_a_second_time() {
    let (all, tested) = (built(&["--workspace"]), built(&["--workspace", "--edges", "dev"]));
    let known: BTreeSet<_> = all.iter().map(|line| named(line)).collect();
    let twice: Vec<_> =
        tested.difference(&all).filter(|line| known.contains(&named(line))).collect();
    assert!(
        twice.is_empty(),
        "what tests alone depend on has features of these that the workspace has not, and whatever \
         needs them is built twice; name them where they are used: {twice:#?}"
    );
}

/// All that the workspace's crates consist of for cargo.
fn targets() -> Vec<Target> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    metadata.packages.into_iter().flat_map(|package| package.targets).collect()
}

/// The sources of a library, which has its folder for itself but for the start of a program, or the
/// one of anything else.
fn files(target: &Target) -> Vec<PathBuf> {
    let source = target.src_path.as_std_path();
    match source.parent() {
        Some(folder) if source.ends_with("lib.rs") => sources(folder),
        _ => vec![source.to_owned()],
    }
}

fn has_tests(text: &str) -> bool {
    let starts = ["#[test]", "#[tokio::test", "proptest!"];
    text.lines().map(str::trim_start).any(|line| starts.iter().any(|start| line.starts_with(start)))
}

/// The words behind the marks that begin code in a source's documentation.
fn documented(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter_map(|line| line.strip_prefix("///").or(line.strip_prefix("//!")));
    lines.filter_map(|line| line.trim().strip_prefix("```")).step_by(2).collect()
}

/// A link of DataFusion and Lance takes its time, so that cargo is told where there are no tests.
#[test]
fn where_cargo_looks_for_no_tests_there_are_none() {
    let (mut untested, mut undocumented) = (0, 0);
    for target in targets() {
        let is_library = target.src_path.ends_with("lib.rs");
        for file in files(&target) {
            let text = fs::read_to_string(&file).unwrap();
            if !target.test && (is_library || target.is_bin()) {
                untested += 1;
                assert!(!has_tests(&text), "cargo runs no tests of {}", file.display());
                let is_alone = is_library || !text.lines().any(|line| line.starts_with("mod "));
                assert!(is_alone, "cargo runs no tests of the modules of {}", file.display());
            }
            if is_library && !target.doctest {
                undocumented += 1;
                let code = documented(&text);
                let is_text = code.iter().all(|language| *language == "text");
                assert!(is_text, "cargo runs no {code:?} of {}", file.display());
            }
        }
    }
    assert!(untested > 4 && undocumented > 100, "{untested} and {undocumented} files");
}
