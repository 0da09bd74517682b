//! The tokens for what is counted: one or two, of which one may be on its way out.
//!
//! The file is looked at for each request, so that a new token needs no restart. Of one that cannot
//! be read any more the tokens stay as they were, with a warning.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use keyloom_common::{Error, Result};

/// The fewest characters of a token.
const LEAST_CHARACTERS: usize = 16;

/// The most tokens at a time.
const MOST: usize = 2;

/// The tokens of a file.
pub(super) struct Tokens {
    path: PathBuf,
    known: Mutex<Vec<blake3::Hash>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// `invalid`, naming the setting, if it cannot be read or is none of tokens.
    pub(super) fn read(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), known: Mutex::new(hashes(path)?) })
    }

    /// Whether it is one of them. How long that takes does not tell how much of it is right: hashes
    /// are compared in constant time.
    pub(super) fn know(&self, token: &str) -> bool {
        let hash = blake3::hash(token.as_bytes());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match hashes(&self.path) {
            Ok(hashes) => *known = hashes,
            Err(error) => tracing::warn!(%error, "the tokens stay as they were"),
        }
        known.iter().fold(false, |is_known, other| is_known | (*other == hash))
    }
}

/// The hashes of the tokens in a file. What is wrong is said without them.
fn hashes(path: &Path) -> Result<Vec<blake3::Hash>> {
    let wrong = |what: String| {
        Error::invalid(format!("setting http.token_file: {}: {what}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // Some editors write a mark before a text.
    let text = text.trim_start_matches('\u{feff}');
    let tokens: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if tokens.is_empty() || tokens.len() > MOST {
        let lines = tokens.len();
        return Err(wrong(format!("one or two lines are wanted, each a token, not {lines}")));
    }
    if tokens.iter().any(|token| token.chars().count() < LEAST_CHARACTERS) {
        return Err(wrong(format!("a token has at least {LEAST_CHARACTERS} characters")));
    }
    Ok(tokens.into_iter().map(|token| blake3::hash(token.as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "the-old-token-of-some-length";
    const NEW: &str = "the-new-token-of-some-length";

    #[test]
    fn tokens_change_with_their_file_and_stay_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, format!("{OLD}\n")).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        let known = || [OLD, NEW, ""].map(|token| tokens.know(token));
        assert_eq!(known(), [true, false, false]);
        fs::write(&path, format!("{OLD}\n{NEW}\n")).unwrap();
        assert_eq!(known(), [true, true, false]);
        fs::write(&path, "short\n").unwrap();
        assert_eq!(known(), [true, true, false]);
        fs::write(&path, format!("\u{feff}{NEW}\r\n")).unwrap();
        assert_eq!(known(), [false, true, false]);
        assert!(!format!("{tokens:?}").contains(NEW));
    }

    #[test]
    fn a_file_of_no_tokens_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let name = path.display().to_string();
        for (text, expected) in [
            ("", "one or two lines are wanted, each a token, not 0"),
            ("a\nb\nc\n", "one or two lines are wanted, each a token, not 3"),
            ("secret\n", "a token has at least 16 characters"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Tokens::read(&path).unwrap_err();
            assert_eq!(error.message(), format!("setting http.token_file: {name}: {expected}"));
        }
        fs::remove_file(&path).unwrap();
        let error = Tokens::read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("setting http.token_file: {name}: ")), "{error}");
    }
}
