//! Certificates and keys as files: each appears whole, and takes the place of another one only if
//! that is wanted.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::Builder;

use crate::error::Failure;

/// Anybody may see a certificate.
const PUBLIC: u32 = 0o644;
/// A key is for its owner alone.
const SECRET: u32 = 0o600;

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Makes the folder for them, if it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::mistake(format!("{} is no folder: {error}", folder.display())))
}

/// What stands in a file.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::mistake(format!("{} cannot be read: {error}", path.display())))
}

/// Writes a certificate and its key, the key first: whoever reads them meanwhile finds that they do
/// not fit, and not that one is missing.
pub(super) fn write_both(
    (certificate, key): (&Path, &Path),
    made: &Made,
    overwrite: bool,
) -> Result<(), Failure> {
    write(key, &made.key, SECRET, overwrite)?;
    write(certificate, &made.certificate, PUBLIC, overwrite)
}

/// Writes a file. Its mode is that from its first byte on.
fn write(path: &Path, text: &str, mode: u32, overwrite: bool) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = Builder::new()
        .prefix(".keyloom-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder);
    let written = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match overwrite {
            true => file.persist(path).map_err(|refused| refused.error)?,
            false => file.persist_noclobber(path).map_err(|refused| refused.error)?,
        };
        Ok(())
    });
    written.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(path),
        _ => Failure::failed(format!("{} cannot be written: {error}", path.display())),
    })
}

/// A file is there that was to be made.
pub(super) fn is_there(path: &Path) -> Failure {
    Failure::mistake(format!("{} is there, and is not overwritten", path.display()))
        .help("--overwrite makes certificates anew that are there; name others to add them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_for_their_owner_and_nothing_is_overwritten_unless_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("c-key.pem"));
        let made = |text: &str| Made { certificate: text.to_owned(), key: format!("{text} key") };
        let write = |text, overwrite| write_both((&certificate, &key), &made(text), overwrite);
        write("one", false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&certificate) & 0o600), (0o600, 0o600));
        let refused = write("two", false).unwrap_err();
        let message = format!("{} is there, and is not overwritten", key.display());
        assert_eq!(refused.message.as_deref(), Some(message.as_str()));
        assert_eq!(read(&certificate).unwrap(), "one");
        write("two", true).unwrap();
        assert_eq!((read(&certificate).unwrap(), mode(&key)), ("two".to_owned(), 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
