//! What the documents say. The commands of the README are run, in their order and in one folder,
//! and print what stands below them; its Rust is an example, which runs. (Its Python is run by
//! `python/tests/test_readme.py`.)

mod blocks;
mod compare;
mod console;
mod documents;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use self::{
    blocks::{Block, Typed, blocks, typed},
    compare::is_like,
    console::Console,
};
use crate::harness::program;

/// Fewer commands are not all of them.
const LEAST_COMMANDS: usize = 20;

/// What the example prints.
const ENRICHED: &str = "\
+----------+------------+--------+--------------+
| order_id | product_id | pieces | product      |
+----------+------------+--------+--------------+
| 100      | 3          | 4      | {name: mug}  |
| 101      | 1          | 1      | {name: desk} |
| 102      | 7          | 2      |              |
| 103      | 3          | 1      | {name: mug}  |
+----------+------------+--------+--------------+
";

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A document, by its path in the workspace.
fn document(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// The blocks of the README in a language.
fn of_readme(language: &str) -> Result<Vec<Block>> {
    let blocks = blocks(&document("README.md")?);
    Ok(blocks.into_iter().filter(|block| block.language == language).collect())
}

/// Runs a command; what is wrong with it, if anything is. Below a command that fails stands its
/// error.
async fn check(console: &mut Console, typed: &Typed) -> Result<Option<String>> {
    let Typed { line, command, printed: shown } = typed;
    let ended = console.run(command).await;
    let ended = ended.with_context(|| format!("README.md:{line}: {command}"))?;
    let is_right = is_like(&ended.printed, shown) && ended.is_done != shown.starts_with("error: ");
    Ok((!is_right).then(|| {
        let end = if ended.is_done { "" } else { " (it failed)" };
        format!("README.md:{line}: {command}\nprints{end}:\n{}instead of:\n{shown}", ended.printed)
    }))
}

#[tokio::test]
async fn commands_print_what_the_readme_says() -> Result<()> {
    let mut console = Console::open()?;
    let (mut commands, mut wrong) = (0, Vec::new());
    for block in of_readme("console")? {
        for typed in typed(&block)? {
            wrong.extend(check(&mut console, &typed).await?);
            commands += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(commands >= LEAST_COMMANDS, "{commands} commands");
    Ok(())
}

#[tokio::test]
async fn the_rust_of_the_readme_runs() -> Result<()> {
    let rust = of_readme("rust")?;
    let [block] = rust.as_slice() else { panic!("{} blocks of Rust", rust.len()) };
    assert_eq!(block.text, document("tests/examples/orders.rs")?);
    // What it reads is made by the first commands.
    let mut console = Console::open()?;
    let consoles = of_readme("console")?;
    for typed in typed(consoles.first().context("a console")?)? {
        console.run(&typed.command).await?;
    }
    let example = program("examples/orders").context("cargo test without --test builds it")?;
    let ended = console.run(&example.to_string_lossy()).await?;
    assert!(ended.is_done && is_like(&ended.printed, ENRICHED), "{}", ended.printed);
    Ok(())
}
