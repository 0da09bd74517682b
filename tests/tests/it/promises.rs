//! What is promised, and the tests that show it: those that the table of `tests/README.md` names
//! are there, and run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const PROMISES: usize = 52;

/// The crates whose own tests the table may name, by the first part of their names. All others are
/// of this binary.
const CRATES: [&str; 5] = ["client", "common", "coordinator", "program", "worker"];

/// A row of the table.
struct Promise {
    number: usize,
    tests: Vec<String>,
}

impl Promise {
    /// `| number | promise | tests |`; none if the line is none of these.
    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
        let [number, _, tests] = cells[..] else { return None };
        let number = number.trim().parse().ok()?;
        let names = tests.split('`').skip(1).step_by(2);
        Some(Self { number, tests: names.map(str::to_owned).collect() })
    }
}

/// The sources of a crate, or of this binary.
struct Sources {
    folder: PathBuf,
    root: &'static str,
}

impl Sources {
    /// Where a test is, and the modules and the name that it has there.
    fn of(test: &str) -> (Self, Vec<&str>) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let parts: Vec<_> = test.split("::").collect();
        match parts.split_first() {
            Some((first, rest)) if CRATES.contains(first) => {
                let folder = workspace.join(first).join("src");
                (Self { folder, root: "lib.rs" }, rest.to_vec())
            }
            _ => (Self { folder: workspace.join("tests/tests/it"), root: "main.rs" }, parts),
        }
    }

    /// The source of a module, which may stand in the file of the one around it.
    fn read(&self, modules: &[&str]) -> Result<String> {
        let Some((last, outer)) = modules.split_last() else {
            let root = self.folder.join(self.root);
            return fs::read_to_string(&root).with_context(|| root.display().to_string());
        };
        let source = self.read(outer)?;
        let declared = |line: &str, end: &str| line.trim().ends_with(&format!("mod {last}{end}"));
        if source.lines().any(|line| declared(line, " {")) {
            return Ok(source);
        }
        source.lines().find(|line| declared(line, ";")).context("a module that is not there")?;
        let path = self.folder.join(modules.join("/"));
        let mut files = [path.with_extension("rs"), path.join("mod.rs")].into_iter();
        let file = files.find(|file| file.exists()).context("a module without a file")?;
        Ok(fs::read_to_string(file)?)
    }
}

/// Whether a source has a test of this name, which is not ignored.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let is_it = |line: &&str| {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let after = function.and_then(|function| function.strip_prefix(name));
        after.is_some_and(|after| after.starts_with('('))
    };
    let Some(place) = lines.iter().position(is_it) else { return false };
    let before = lines[..place].iter().rev();
    let attributes = before.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let attributes: Vec<_> = attributes.filter(|line| line.starts_with("#[")).collect();
    let is_test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    attributes.iter().any(is_test) && !attributes.iter().any(|line| line.contains("ignore"))
}

/// Whether a source makes tests of a case of this name, one for each deployment.
fn has_case(source: &str, name: &str) -> bool {
    let starts = |line: &str| line.starts_with("on_all_deployments") && line.ends_with("! {");
    let mut is_list = false;
    source.lines().map(str::trim).any(|line| {
        is_list = starts(line) || (is_list && line != "}");
        is_list && line.strip_suffix(',') == Some(name)
    })
}

/// Fails unless the test is there and runs.
fn check(test: &str) -> Result<()> {
    let (sources, parts) = Sources::of(test);
    let (name, modules) = parts.split_last().context("a test without a name")?;
    let source = sources.read(modules)?;
    let runs = has_test(&source, name) || has_case(&source, name);
    runs.then_some(()).context("no such test, or one that does not run")
}

#[test]
fn each_promise_names_tests_that_are_there_and_run() -> Result<()> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let table = fs::read_to_string(&table).with_context(|| table.display().to_string())?;
    let promises: Vec<_> = table.lines().filter_map(Promise::parse).collect();
    let numbers: Vec<_> = promises.iter().map(|promise| promise.number).collect();
    assert_eq!(numbers, (1..=PROMISES).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for Promise { number, tests } in &promises {
        if tests.is_empty() {
            wrong.push(format!("promise {number} names no test"));
        }
        let broken = tests.iter().filter_map(|test| Some((test, check(test).err()?)));
        wrong.extend(broken.map(|(test, error)| format!("promise {number}: {test}: {error:#}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn only_tests_that_run_are_found() {
    let source = "
        #[test]
        fn runs() {}

        /// It waits.
        #[tokio::test]
        // Not for long.
        async fn runs_and_waits() -> Result<()> {}

        #[test]
        #[ignore = \"it takes long\"]
        fn is_ignored() {}

        fn is_no_test() {}
    ";
    for (name, expected) in [
        ("runs", true),
        ("runs_and_waits", true),
        ("runs_and", false),
        ("is_ignored", false),
        ("is_no_test", false),
        ("is_not_there", false),
    ] {
        assert_eq!(has_test(source, name), expected, "{name}");
    }
}

#[test]
fn only_cases_of_which_tests_are_made_are_found() {
    let source = "
        use crate::harness::{
            on_all_deployments, other,
        };

        on_all_deployments! {
            first,
        }

        on_all_deployments_and_ways! {
            second,
            third_of_all,
        }

        const LIST: [&str; 1] = [
            no_case,
        ];
    ";
    for (name, expected) in [
        ("first", true),
        ("second", true),
        ("third_of_all", true),
        ("third", false),
        ("other", false),
        ("no_case", false),
    ] {
        assert_eq!(has_case(source, name), expected, "{name}");
    }
}
