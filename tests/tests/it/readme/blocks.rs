//! Fenced blocks of a document, and the commands of those that show a console.

use anyhow::{Context, Result};

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of the document where its text begins, from 1.
    pub(super) line: usize,
    pub(super) language: String,
    pub(super) text: String,
}

/// A command of a console, and what stands below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// The line of the document, from 1.
    pub(super) line: usize,
    pub(super) command: String,
    pub(super) printed: String,
}

/// The blocks of a document.
pub(super) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (text, line) in document.lines().zip(1..) {
        match (open.take(), text.strip_prefix("```")) {
            (None, None) => {}
            (None, Some(language)) => {
                let (line, language) = (line + 1, language.to_owned());
                open = Some(Block { line, language, text: String::new() });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text.push_str(text);
                block.text.push('\n');
                open = Some(block);
            }
        }
    }
    blocks
}

/// The commands of a console: what follows `$ `, as far as a shell reads on.
pub(super) fn typed(console: &Block) -> Result<Vec<Typed>> {
    let mut all: Vec<Typed> = Vec::new();
    let mut lines = console.text.lines().zip(console.line..);
    while let Some((text, line)) = lines.next() {
        let Some(first) = text.strip_prefix("$ ") else {
            let last = all.last_mut().with_context(|| format!("line {line} is of no command"))?;
            last.printed.push_str(text);
            last.printed.push('\n');
            continue;
        };
        let mut command = first.to_owned();
        while !is_whole(&command) {
            let more = lines.next();
            let (more, _) = more.with_context(|| format!("the command of line {line} goes on"))?;
            command.push('\n');
            command.push_str(more);
        }
        all.push(Typed { line, command, printed: String::new() });
    }
    Ok(all)
}

/// Whether a shell runs this and does not read on: in quotes, after a backslash, or up to the word
/// that ends the text of `<<`.
fn is_whole(command: &str) -> bool {
    let first = command.lines().next().unwrap_or_default();
    if let Some((_, end)) = first.split_once("<<") {
        return command.lines().skip(1).any(|line| line == end);
    }
    let mut quote = None;
    for character in command.chars() {
        match quote {
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
    }
    quote.is_none() && !command.ends_with('\\')
}

#[test]
fn commands_are_read_as_a_shell_reads_them() -> Result<()> {
    let document = "\
Text.

```console
$ cat > a.csv <<END
n
END
$ keyloom sql \"SELECT 'a'
    FROM t\" \\
    -o csv
one
two
```

```toml
a = 1
```
";
    let blocks = blocks(document);
    let languages: Vec<_> = blocks.iter().map(|block| (block.line, &*block.language)).collect();
    assert_eq!(languages, [(4, "console"), (15, "toml")]);
    let command = |line, command: &str, printed: &str| Typed {
        line,
        command: command.to_owned(),
        printed: printed.to_owned(),
    };
    assert_eq!(
        typed(&blocks[0])?,
        [
            command(4, "cat > a.csv <<END\nn\nEND", ""),
            command(7, "keyloom sql \"SELECT 'a'\n    FROM t\" \\\n    -o csv", "one\ntwo\n"),
        ]
    );
    assert!(typed(&blocks[1]).is_err());
    Ok(())
}
