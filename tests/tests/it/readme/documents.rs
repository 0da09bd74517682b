//! The documents: their links, their lines, and the names of settings.

use std::fs;

use anyhow::{Context, Result};
use keyloom_client::EmbeddedSettings;

use super::{blocks::blocks, document, root};

/// More lines are no page.
const PAGE_LINES: usize = 350;

/// The most characters of a line that is neither of a table nor of a block.
const LINE_CHARACTERS: usize = 100;

/// The documents for people, by their paths.
fn documents() -> Result<Vec<String>> {
    let beside = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"];
    let mut documents: Vec<_> = beside.map(ToOwned::to_owned).into();
    documents.extend(in_docs()?);
    Ok(documents)
}

/// The documents in `docs`, sorted.
fn in_docs() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("docs"))? {
        names.push(format!("docs/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// The lines of a document that are not in blocks, with their numbers from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut prose = Vec::new();
    let mut is_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            prose.push((number, line));
        }
    }
    prose
}

/// Where a line links to, but for the web.
fn links(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let links = after.map(|(link, _)| link);
    links.filter(|link| !link.starts_with("https://") && !link.starts_with("http://")).collect()
}

/// What a heading is called in links: its letters, digits, dashes and underscores in lower case,
/// dashes for its spaces.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim();
    let kept = heading.chars().filter_map(|character| match character {
        ' ' => Some('-'),
        '-' | '_' => Some(character),
        other => other.is_alphanumeric().then_some(other),
    });
    kept.collect::<String>().to_lowercase()
}

fn anchors(text: &str) -> Vec<String> {
    let lines = prose(text).into_iter().map(|(_, line)| line);
    lines.filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// Why a link of a document leads nowhere, if it does.
fn broken(from: &str, link: &str) -> Result<Option<String>> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, at)| (path, Some(at)));
    let folder = root().join(from).parent().context("documents are in folders")?.to_owned();
    let target = if path.is_empty() { root().join(from) } else { folder.join(path) };
    if !target.exists() {
        return Ok(Some(format!("there is no {path}")));
    }
    let Some(anchor) = anchor else { return Ok(None) };
    let there = anchors(&fs::read_to_string(&target)?);
    let is_there = there.iter().any(|name| name == anchor);
    Ok((!is_there).then(|| format!("there is no heading '{anchor}'")))
}

#[test]
fn documents_link_to_what_is_there() -> Result<()> {
    let mut wrong = Vec::new();
    for name in documents()? {
        let text = document(&name)?;
        for (line, text) in prose(&text) {
            for link in links(text) {
                let broken = broken(&name, link)?;
                wrong.extend(broken.map(|why| format!("{name}:{line}: {link}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn the_readme_is_a_page_that_leads_to_all_documents() -> Result<()> {
    let readme = document("README.md")?;
    let lines = readme.lines().count();
    assert!(lines <= PAGE_LINES, "README.md has {lines} lines; a page has {PAGE_LINES}");
    for name in in_docs()? {
        assert!(readme.contains(&format!("]({name})")), "README.md does not link to {name}");
    }
    Ok(())
}

#[test]
fn no_line_of_text_is_too_long() -> Result<()> {
    let mut long = Vec::new();
    for name in documents()? {
        let text = document(&name)?;
        let lines = prose(&text).into_iter().filter(|(_, line)| !line.starts_with('|'));
        let lines = lines.filter(|(_, line)| line.chars().count() > LINE_CHARACTERS);
        long.extend(lines.map(|(number, _)| format!("{name}:{number}")));
    }
    assert!(long.is_empty(), "over {LINE_CHARACTERS} characters: {long:?}");
    Ok(())
}

#[test]
fn what_builds_is_a_script_that_is_there() -> Result<()> {
    let readme = document("README.md")?;
    let shells = blocks(&readme).into_iter().filter(|block| block.language == "bash");
    let commands = shells.map(|block| block.text).collect::<String>();
    let words = commands.lines().filter_map(|command| command.split_whitespace().next());
    let scripts: Vec<_> = words.filter(|word| *word != "export").collect();
    assert_eq!(scripts, ["scripts/demo", "scripts/python"]);
    for script in scripts {
        assert!(root().join(script).is_file(), "there is no {script}");
    }
    Ok(())
}

/// The settings that a row of the table names: whose they are, and their names.
fn row(line: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let (first, _) = line.strip_prefix("| ")?.split_once(" |")?;
    let (owners, _) = first.split_once('`')?;
    let owners = match owners.trim() {
        "all" => vec!["worker", "coordinator", "session"],
        owners => owners.split(", ").collect(),
    };
    Some((owners, first.split('`').skip(1).step_by(2).collect()))
}

#[test]
fn settings_are_called_as_the_table_says() -> Result<()> {
    let settings = serde_json::to_value(EmbeddedSettings::default())?;
    let text = document("docs/settings.md")?;
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    assert!(rows.len() > 40, "the table has {} rows", rows.len());
    for (owners, names) in &rows {
        for (owner, name) in
            owners.iter().flat_map(|owner| names.iter().map(move |name| (owner, name)))
        {
            let pointer = format!("/{owner}/{}", name.replace('.', "/"));
            assert!(settings.pointer(&pointer).is_some(), "the {owner} has no setting {name}");
        }
    }
    Ok(())
}
