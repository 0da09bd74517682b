//! Tokens that are shown as they are, by requests over HTTP.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    PortName, Token,
    files::{Named, Stamp},
    reloads::{ReloadCounts, Reloads},
};
use crate::error::Result;

/// The tokens of a file: one, or two of which one replaces the other.
///
/// The file is looked at whenever somebody shows one, so that a new token needs no restart. Where it
/// is not what it should be, what was read before stays, and a warning says so.
#[derive(Debug)]
pub struct BearerTokens {
    setting: &'static str,
    path: PathBuf,
    known: Mutex<(Stamp, Vec<Token>)>,
    reloads: ReloadCounts,
}

impl BearerTokens {
    /// Reads the file that a setting names.
    ///
    /// # Errors
    /// `invalid`, naming the setting, the file and the line, but nothing of what is in it.
    pub fn read(setting: &'static str, path: PathBuf) -> Result<Self> {
        let stamp = Stamp::of([&path]);
        let tokens = Named { setting, path: &path }.tokens()?;
        let known = Mutex::new((stamp, tokens));
        Ok(Self { setting, path, known, reloads: ReloadCounts::default() })
    }

    /// Whether a token is one of them. All are compared, in constant time: how long it takes does
    /// not tell how much of it is right.
    pub fn know(&self, token: &str) -> bool {
        let shown = Token::of(token);
        let mut known = self.lock();
        let stamp = Stamp::of([&self.path]);
        if known.0 != stamp {
            self.read_into(&mut known, stamp);
        }
        known.1.iter().fold(false, |is_known, token| is_known | (*token == shown))
    }

    /// Reads the file again, whether it has changed or not.
    pub fn reload(&self) {
        let stamp = Stamp::of([&self.path]);
        self.read_into(&mut self.lock(), stamp);
    }

    /// How often the file was read again.
    pub fn reloads(&self) -> Reloads {
        self.reloads.get()
    }

    fn read_into(&self, known: &mut (Stamp, Vec<Token>), stamp: Stamp) {
        // Wrong ones are not read again before they change.
        known.0 = stamp;
        match (Named { setting: self.setting, path: &self.path }).tokens() {
            Ok(tokens) => {
                known.1 = tokens;
                self.reloads.succeed();
            }
            Err(error) => {
                self.reloads.fail();
                let port = PortName::Http;
                tracing::warn!(%port, %error, "changed tokens cannot be used; the old ones stay");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Stamp, Vec<Token>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OLD: &str = "the-old-token-of-some-length";
    const NEW: &str = "the-new-token-of-some-length";

    #[test]
    fn tokens_change_with_their_file_and_stay_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, format!("{OLD}\n")).unwrap();
        let tokens = BearerTokens::read("http.token_file", path.clone()).unwrap();
        let known = || [OLD, NEW, ""].map(|token| tokens.know(token));
        assert_eq!(known(), [true, false, false]);
        fs::write(&path, format!("{OLD}\n{NEW}\n")).unwrap();
        assert_eq!(known(), [true, true, false]);
        fs::write(&path, "short\n").unwrap();
        assert_eq!(known(), [true, true, false]);
        fs::write(&path, NEW).unwrap();
        assert_eq!(known(), [false, true, false]);
        assert!(!format!("{tokens:?}").contains(NEW));
        fs::remove_file(&path).unwrap();
        assert_eq!(known(), [false, true, false]);
        fs::write(&path, OLD).unwrap();
        assert_eq!(tokens.reloads(), Reloads { succeeded: 2, failed: 2, valid_until: None });
        tokens.reload();
        assert_eq!(tokens.reloads(), Reloads { succeeded: 3, failed: 2, valid_until: None });
        assert_eq!(tokens.lock().1.len(), 1);
        assert_eq!(known(), [true, false, false]);
    }

    #[test]
    fn a_file_of_no_tokens_is_refused_by_the_name_of_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "secret\n").unwrap();
        let expected = format!(
            "http.token_file '{}' line 1 has 6 characters, and a token has at least 16",
            path.display()
        );
        let error = BearerTokens::read("http.token_file", path).unwrap_err();
        assert_eq!(error.message(), expected);
    }
}
