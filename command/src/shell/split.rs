//! Typed text as statements and commands: statements end with `;` outside of quotes and comments,
//! and commands are lines that begin with a dot.

use std::{iter::Peekable, str::CharIndices};

/// What can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A statement, without its semicolon.
    Statement(String),
    /// A command, its dot included.
    Command(String),
}

/// The pieces of a text, and what is left of it: a statement that has not ended.
pub(super) fn split(text: &str) -> (Vec<Piece>, &str) {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.starts_with('.') {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            pieces.push(Piece::Command(line.trim_end().to_owned()));
            rest = after;
            continue;
        }
        let statement = Statement::read(rest);
        match statement.end {
            Some(end) => {
                if statement.says_anything {
                    pieces.push(Piece::Statement(rest[..end].trim_end().to_owned()));
                }
                rest = &rest[end + 1..];
            }
            None => return (pieces, if statement.says_anything { rest } else { "" }),
        }
    }
}

/// What begins a text.
struct Statement {
    /// Where its semicolon is.
    end: Option<usize>,
    /// Whether it is more than spaces and comments.
    says_anything: bool,
}

impl Statement {
    fn read(text: &str) -> Self {
        let mut says_anything = false;
        let mut characters = text.char_indices().peekable();
        // What stands before: a dollar in a name begins no text, and the name E changes the next.
        let mut word = String::new();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if is_of_word(character) || (character == '$' && !word.is_empty()) {
                word.push(character);
                says_anything = true;
                continue;
            }
            let is_escaping = word.eq_ignore_ascii_case("e");
            word.clear();
            match (character, next) {
                (';', _) => return Self { end: Some(at), says_anything },
                ('-', Some('-')) => skip_line(&mut characters),
                // One that has no end goes on.
                ('/', Some('*')) => says_anything |= !skip_comment(&mut characters),
                ('\'', _) if is_escaping => skip_escaped(&mut characters),
                ('$', _) => {
                    says_anything = true;
                    skip_dollars(text, at, &mut characters);
                }
                ('\'' | '"' | '`', _) => {
                    says_anything = true;
                    // Two quotes within quotes end one text and begin the next.
                    characters.by_ref().find(|(_, end)| *end == character);
                }
                (character, _) => says_anything |= !character.is_whitespace(),
            }
        }
        Self { end: None, says_anything }
    }
}

/// Whether it may stand in a name; a dollar may, too, but begins none.
fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '@' | '#')
}

/// The rest of a text in which a backslash takes its meaning from the next character.
fn skip_escaped(characters: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, character)) = characters.next() {
        let is_quote = |next: &(usize, char)| next.1 == '\'';
        match character {
            '\\' => {
                characters.next();
            }
            // Two quotes are one that is meant.
            '\'' if characters.next_if(is_quote).is_none() => return,
            _ => {}
        }
    }
}

/// The rest of a text between two tags, `$$` or `$name$`, if the dollar there begins one and is no
/// placeholder's.
fn skip_dollars(text: &str, at: usize, characters: &mut Peekable<CharIndices<'_>>) {
    let after = &text[at + 1..];
    let name = after.find(|character: char| !(character.is_alphanumeric() || character == '_'));
    let Some(name) = name.filter(|end| after[*end..].starts_with('$')) else { return };
    let begin = at + name + 2;
    let tag = &text[at..begin];
    // One that has no end goes on.
    let end = text[begin..].find(tag).map_or(text.len(), |end| begin + end + tag.len());
    while characters.next_if(|(place, _)| *place < end).is_some() {}
}

fn skip_line(characters: &mut Peekable<CharIndices<'_>>) {
    characters.find(|(_, character)| *character == '\n');
}

/// Whether the comment has an end. Comments may hold others.
fn skip_comment(characters: &mut Peekable<CharIndices<'_>>) -> bool {
    characters.next();
    let mut depth = 1;
    while let Some((_, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match (character, next) {
            ('*', Some('/')) => depth -= 1,
            ('/', Some('*')) => depth += 1,
            _ => continue,
        }
        characters.next();
        if depth == 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str], rest: &str) {
        let (pieces, left) = split(text);
        let texts = pieces.iter().map(|piece| match piece {
            Piece::Statement(text) | Piece::Command(text) => text.as_str(),
        });
        assert_eq!((texts.collect::<Vec<_>>(), left), (expected.to_vec(), rest), "{text}");
    }

    #[test]
    fn statements_end_with_semicolons() {
        check("SELECT 1;", &["SELECT 1"], "");
        check("SELECT 1; SELECT\n2 ;", &["SELECT 1", "SELECT\n2"], "");
        check(" ;; SELECT 1", &[], "SELECT 1");
        check("", &[], "");
    }

    #[test]
    fn quotes_and_comments_hold_no_ends() {
        check("SELECT ';', \"a;b\", 'it''s;';", &["SELECT ';', \"a;b\", 'it''s;'"], "");
        check("SELECT 1 -- no; 'end\n;", &["SELECT 1 -- no; 'end"], "");
        check("SELECT /* a; /* b; */ c; */ 1;", &["SELECT /* a; /* b; */ c; */ 1"], "");
        check("SELECT 'a;", &[], "SELECT 'a;");
        check("/* a;", &[], "/* a;");
        check("SELECT $$a;b'$$, $t$c;$$;$t$;", &["SELECT $$a;b'$$, $t$c;$$;$t$"], "");
        check("SELECT $1; SELECT a$b; SELECT '$$;", &["SELECT $1", "SELECT a$b"], "SELECT '$$;");
        check("SELECT $$a;", &[], "SELECT $$a;");
        check(r"SELECT E'\';', e'\\'; SELECT 2;", &[r"SELECT E'\';', e'\\'", "SELECT 2"], "");
        check(r"SELECT 'a\'; SELECT e'''\';';", &[r"SELECT 'a\'", r"SELECT e'''\';'"], "");
        check(r"SELECT E'\';", &[], r"SELECT E'\';");
        check("-- nothing;\n/* at all */ ;", &[], "");
    }

    #[test]
    fn commands_are_lines() {
        let (pieces, rest) = split(".tables \nSELECT 1;\n.quit");
        let expected = [
            Piece::Command(".tables".to_owned()),
            Piece::Statement("SELECT 1".to_owned()),
            Piece::Command(".quit".to_owned()),
        ];
        assert_eq!((pieces.as_slice(), rest), (&expected[..], ""));
        check("SELECT 1\n.5;", &["SELECT 1\n.5"], "");
    }
}
