//! Reading certificates, keys and tokens from files that somebody renews now and then.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject,
};

use super::Token;
use crate::error::{Error, Result};

/// The most bytes of a file of certificates: some systems' list of all authorities has a quarter.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What some editors write before a text. It is in no certificate and no token.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// A file, and the setting that names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) setting: &'static str,
    pub(super) path: &'a Path,
}

/// How files looked when they were read: once that changes, they are read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<Look>)>);

/// When a file was written, how long it is, and which one it is. A file that is replaced by another
/// may be as old and as long.
type Look = (SystemTime, u64, u64);

impl Stamp {
    /// How they look now.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let look = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        Self(files.into_iter().map(|path| (path.clone(), look(path))).collect())
    }
}

impl<'a> Named<'a> {
    /// The file of a setting that is set.
    pub(super) fn of(setting: &'static str, path: Option<&'a PathBuf>) -> Option<Self> {
        path.map(|path| Self { setting, path })
    }

    /// The certificates in it, of which there is one at least.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the file.
    pub(super) fn certificates(self) -> Result<Vec<CertificateDer<'static>>> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes()?).collect();
        let read = read.map_err(|error| self.wrong(format_args!("is no PEM: {error}")))?;
        if read.is_empty() {
            return Err(self.wrong("holds no certificate in PEM"));
        }
        Ok(read)
    }

    /// The first private key in it.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the file, but nothing of what is in it.
    pub(super) fn key(self) -> Result<PrivateKeyDer<'static>> {
        let read = PrivateKeyDer::from_pem_slice(&self.bytes()?);
        read.map_err(|_| self.wrong("holds no private key in PEM"))
    }

    /// The lists of certificates that are revoked, of which there is one at least.
    ///
    /// # Errors
    /// `invalid`, naming the setting and the file.
    pub(super) fn revoked(self) -> Result<Vec<CertificateRevocationListDer<'static>>> {
        let bytes = self.bytes()?;
        let read: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        let read = read.map_err(|error| self.wrong(format_args!("is no PEM: {error}")))?;
        if read.is_empty() {
            return Err(self.wrong("holds no list of revoked certificates (X509 CRL) in PEM"));
        }
        Ok(read)
    }

    /// The token in it, or the two of which one replaces the other.
    ///
    /// # Errors
    /// `invalid`, naming the setting, the file and the line, but nothing of what is in it.
    pub(super) fn tokens(self) -> Result<Vec<Token>> {
        let text = String::from_utf8(self.bytes()?).map_err(|_| self.wrong("is no text"))?;
        let lines: Vec<&str> = text.lines().collect();
        if !(1..=2).contains(&lines.len()) {
            let lines = lines.len();
            return Err(self.wrong(format_args!("has {lines} lines, and takes one or two tokens")));
        }
        let read = |(index, line): (usize, &&str)| {
            let wrong = |why: String| self.wrong(format_args!("line {} {why}", index + 1));
            Token::read(line).map_err(wrong)
        };
        lines.iter().enumerate().map(read).collect()
    }

    fn bytes(self) -> Result<Vec<u8>> {
        // Whoever opens a pipe waits for somebody who writes, and with it all that runs.
        if std::fs::metadata(self.path).is_ok_and(|file| file.file_type().is_fifo()) {
            return Err(self.wrong("is a pipe, and must be a file that can be read again"));
        }
        let mut bytes = Vec::new();
        let read = File::open(self.path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| self.wrong(format_args!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(self.wrong(format_args!("is longer than {MAX_FILE_BYTES} bytes")));
        }
        if bytes.starts_with(MARK) {
            bytes.drain(..MARK.len());
        }
        Ok(bytes)
    }

    fn wrong(self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{} '{}' {what}", self.setting, self.path.display()))
    }
}

/// A token that stands in the settings themselves.
///
/// # Errors
/// `invalid`, naming the setting, but not showing the token.
pub(super) fn own_token(setting: &str, text: &str) -> Result<Token> {
    Token::read(text).map_err(|why| Error::invalid(format!("{setting} {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8]) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, text).unwrap();
        let file = Named { setting: "security.token_file", path: &path };
        let shown = format!("security.token_file '{}' ", path.display());
        let read = file.tokens().map(|tokens| tokens.len());
        read.map_err(|error| error.message().strip_prefix(&shown).unwrap().to_owned())
    }

    #[test]
    fn a_file_holds_one_token_or_two() {
        assert_eq!(tokens(b"0123456789abcdef"), Ok(1));
        assert_eq!(tokens(b"0123456789abcdef\r\nfedcba9876543210\n"), Ok(2));
    }

    #[test]
    fn how_an_editor_writes_texts_makes_no_other_token_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = Named { setting: "security.token_file", path: &path };
        for text in ["0123456789abcdef", "\u{feff}0123456789abcdef\r\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(file.tokens() == Ok(vec![Token::of("0123456789abcdef")]), "{text:?}");
        }
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let three = b"0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n";
        let cases: [(&[u8], &str); 5] = [
            (b"", "has 0 lines, and takes one or two tokens"),
            (three, "has 3 lines, and takes one or two tokens"),
            (b"0123456789abcdef\n\n", "line 2 has 0 characters, and a token has at least 16"),
            (b"0123456789abcdef ", "line 1 holds a blank or a control character"),
            (b"\xff", "is no text"),
        ];
        for (text, expected) in cases {
            assert_eq!(tokens(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_file_that_is_missing_or_endless_is_refused_by_name() {
        let missing = Named { setting: "security.ca_file", path: Path::new("/no/such/file") };
        let error = missing.certificates().unwrap_err();
        let expected = "security.ca_file '/no/such/file' cannot be read: No such file";
        assert!(error.message().starts_with(expected), "{error}");
        let endless = Named { setting: "security.key_file", path: Path::new("/dev/zero") };
        let error = endless.key().unwrap_err();
        let expected = "security.key_file '/dev/zero' is longer than 1048576 bytes";
        assert_eq!(error.message(), expected);
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let pipe = Named { setting: "security.token_file", path: &path };
        let shown = path.display();
        let expected = format!(
            "security.token_file '{shown}' is a pipe, and must be a file that can be read again"
        );
        assert_eq!(pipe.tokens().err().unwrap().message(), expected);
    }
}
