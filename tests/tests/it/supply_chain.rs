//! What else runs in our name: code that the compiler does not check, in modules that say why, and
//! crates with whose licences or advisories an exception is made, each with a reason and a date.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The lint that is off where unsafe code is allowed; in two pieces, for this file is read, too.
const LINT: &str = concat!("unsafe", "_code");

/// The modules that may be unsafe, and in how many places.
const UNSAFE: [(&str, usize); 2] =
    [("common/src/allocator.rs", 1), ("program/src/open_files.rs", 2)];

/// The folders of crates. (What fuzzes them is a workspace of its own, which nobody is given.)
const FOLDERS: [&str; 10] = [
    "client",
    "command",
    "common",
    "coordinator",
    "demo",
    "planner",
    "program",
    "python/src",
    "tests",
    "worker",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files below a folder with such a name, or such an ending of it.
fn find(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The attributes of a source that name the lint.
fn attributes(source: &str) -> Vec<&str> {
    let places = source.match_indices(LINT).map(|(place, _)| place);
    let attributes = places.map(|place| {
        let start = source[..place].rfind('#').unwrap_or_default();
        let end = source[place..].find(")]").map_or(source.len(), |length| place + length);
        &source[start..end]
    });
    attributes.collect()
}

#[test]
fn only_named_modules_are_unsafe_and_each_place_says_why() -> Result<()> {
    let root = root();
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for file in find(&root.join(folder), ".rs")? {
            let source = fs::read_to_string(&file)?;
            let attributes = attributes(&source);
            let path = file.strip_prefix(&root)?.to_string_lossy().into_owned();
            for attribute in &attributes {
                assert!(attribute.contains("reason = \""), "{path} does not say why: {attribute}");
            }
            if !attributes.is_empty() {
                found.insert(path, attributes.len());
            }
        }
    }
    let expected = UNSAFE.map(|(path, places)| (path.to_owned(), places));
    assert_eq!(found, BTreeMap::from(expected));
    Ok(())
}

/// Without that, a crate has no lints, and the test above does not see what is unsafe in it.
#[test]
fn each_crate_has_the_lints_of_the_workspace() -> Result<()> {
    let root = root();
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    assert!(workspace.contains(&format!("{LINT} = \"deny\"")));
    let members = workspace.split_once("members = [").context("members")?.1;
    let members = members.split_once(']').context("the end of the members")?.0;
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 12, "{members:?}");
    for member in members {
        let manifest = fs::read_to_string(root.join(member).join("Cargo.toml"))?;
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{member}");
    }
    Ok(())
}

/// Whether a text has a day in brackets, as `(2026-11-26)`.
fn is_dated(text: &str) -> bool {
    text.split('(').skip(1).any(|rest| {
        let day = rest.split(')').next().unwrap_or_default();
        let parts: Vec<_> = day.split('-').collect();
        parts.iter().map(|part| part.len()).eq([4, 2, 2])
            && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// A list of `deny.toml`: its entries, each with the comment that stands before it.
fn exceptions(deny: &str, list: &str) -> Result<Vec<String>> {
    let start = format!("\n{list} = [\n");
    let (_, rest) = deny.split_once(&start).with_context(|| format!("there is no {list}"))?;
    let (list, _) = rest.split_once("\n]").context("the list does not end")?;
    let (mut entries, mut comment) = (Vec::new(), String::new());
    for line in list.lines() {
        comment.push_str(line);
        if !line.trim_start().starts_with('#') {
            entries.push(std::mem::take(&mut comment));
        }
    }
    Ok(entries)
}

#[test]
fn each_exception_has_a_reason_and_a_date() -> Result<()> {
    let deny = fs::read_to_string(root().join("deny.toml"))?;
    let (advisories, licences) = (exceptions(&deny, "ignore")?, exceptions(&deny, "exceptions")?);
    for exception in &advisories {
        assert!(exception.contains("reason = \"") && is_dated(exception), "{exception}");
    }
    for exception in &licences {
        assert!(exception.trim_start().starts_with("# ") && is_dated(exception), "{exception}");
    }
    assert!(!licences.is_empty());
    Ok(())
}

#[test]
fn days_and_attributes_are_found() {
    assert!(is_dated("gone (again) since (2026-11-26)"));
    assert!(!is_dated("gone (in 2026-11) since 2026-11-26"));
    let source =
        format!("#[expect({LINT}, reason = \"it must\")]\nfn f() {{}}\n#![allow({LINT})]\n");
    let expected = [format!("#[expect({LINT}, reason = \"it must\""), format!("#![allow({LINT}")];
    assert_eq!(attributes(&source), expected);
}
