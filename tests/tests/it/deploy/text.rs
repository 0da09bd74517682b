//! What the files of `deploy/` hold, as text: settings, words, flags and times.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

const PROGRAMS: [&str; 3] = ["keyloom", "keyloom-coordinator", "keyloom-worker"];

/// A file of the folder, and its path within it.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A file's text, by its path within the folder.
pub(super) fn read(path: &str) -> Result<String> {
    fs::read_to_string(folder().join(path)).with_context(|| format!("deploy/{path}"))
}

/// All files of the folder.
pub(super) fn files() -> Result<Vec<File>> {
    let (mut files, mut open) = (Vec::new(), vec![folder()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = fs::read_to_string(&path)?;
                let path = path.strip_prefix(folder())?.to_string_lossy().into_owned();
                files.push(File { path, text });
            }
        }
    }
    Ok(files)
}

/// A file within a manifest: the block below `NAME: |`.
pub(super) fn embedded(manifest: &str, name: &str) -> Option<String> {
    let start = format!("{name}: |");
    let mut lines = manifest.lines().skip_while(|line| line.trim() != start);
    let depth = indent(lines.next()?);
    let block = lines.take_while(|line| line.trim().is_empty() || indent(line) > depth);
    Some(block.map(|line| format!("{}\n", line.trim_start())).collect())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Settings with those that are commented out: `#NAME = VALUE` and `#[SECTION]`. What is said to
/// people has a space behind its sign.
pub(super) fn with_examples(settings: &str) -> String {
    let lines = settings.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => format!("{example}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The words of letters, digits and underscores that begin so.
pub(super) fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(start)).collect()
}

/// The flags that stand behind our programs, each with the program's name and its subcommands.
pub(super) fn flags(text: &str) -> BTreeSet<(Vec<String>, String)> {
    let (mut flags, mut command, mut is_named) = (BTreeSet::new(), Vec::new(), false);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for word in lines.flat_map(str::split_whitespace) {
        let word = word.trim_start_matches("ExecStart=");
        let word = word.trim_matches(|c: char| "[]\"',".contains(c));
        let name = word.rsplit('/').next().unwrap_or_default();
        if PROGRAMS.contains(&name) {
            (command, is_named) = (vec![name.to_owned()], true);
        } else if is_flag(word) && !command.is_empty() {
            flags.insert((command.clone(), word.to_owned()));
            is_named = false;
        } else if is_named && !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()) {
            command.push(word.to_owned());
        } else if word != "-" {
            is_named = false;
        }
    }
    flags
}

/// Whether a word is a flag, and not what stands between documents.
fn is_flag(word: &str) -> bool {
    word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// What stands behind a word, up to the end of its line.
pub(super) fn after<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let (_, rest) = text.split_once(start).with_context(|| format!("there is no '{start}'"))?;
    Ok(rest.lines().next().unwrap_or_default().trim())
}

/// A time in seconds, as TOML, systemd, compose and Kubernetes write it.
pub(super) fn seconds(time: &str) -> Result<u64> {
    let time = time.trim_matches('"');
    let digits = time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len());
    let (number, unit) = time.split_at(digits);
    let unit = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        _ => bail!("'{time}' is no time of seconds or minutes"),
    };
    Ok(number.parse::<u64>().with_context(|| time.to_owned())? * unit)
}

#[test]
fn flags_are_found_behind_programs_and_their_subcommands() {
    let text = "
        # keyloom --not-this
        ExecStart=/usr/local/bin/keyloom-worker --config /etc/keyloom/worker.toml
        command:
          - keyloom-coordinator
          - --listen
        run: keyloom certs create /tls --host a --host b
        entrypoint: [keyloom]
        command: [\"--help\"]
    ";
    let found: Vec<_> = flags(text)
        .into_iter()
        .map(|(words, flag)| format!("{} {flag}", words.join(" ")))
        .collect();
    let expected = [
        "keyloom --help",
        "keyloom certs create --host",
        "keyloom-coordinator --listen",
        "keyloom-worker --config",
    ];
    assert_eq!(found, expected);
}

#[test]
fn examples_and_what_is_embedded_are_found() -> Result<()> {
    let settings = "# Of a kind.\na = 1\n#b = 2\n#[c]\n";
    assert_eq!(with_examples(settings), "# Of a kind.\na = 1\nb = 2\n[c]\n");
    let manifest = "data:\n  a.toml: |\n    x = 1\n\n    [y]\n  b.toml: |\n    z = 2\n---\n";
    assert_eq!(embedded(manifest, "a.toml").as_deref(), Some("x = 1\n\n[y]\n"));
    assert_eq!(embedded(manifest, "b.toml").as_deref(), Some("z = 2\n"));
    assert_eq!(embedded(manifest, "c.toml"), None);
    assert_eq!([seconds("\"10min\"")?, seconds("90s")?, seconds("660")?], [600, 90, 660]);
    Ok(())
}
