//! What only the coordinator's user may read: statements and plans are its clients'. A folder that
//! somebody else has made stays as it is; the file in it is made private in any case.

use std::{
    fs::{self, DirBuilder, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Makes a folder that nobody else may look into, unless it is there.
///
/// # Errors
/// The system's.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // One that is there is no mistake.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if let Some(mode) = open_to_others(&fs::metadata(path)?) {
        tracing::warn!(
            folder = %path.display(), mode = %format_args!("{mode:o}"),
            "others may look into the state_folder; chmod 700 lets the coordinator alone in"
        );
    }
    Ok(())
}

/// Makes a file that nobody else may read, empty if it is not there.
///
/// # Errors
/// The system's.
pub(super) fn file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    if open_to_others(&file.metadata()?).is_some()
        && let Err(error) = file.set_permissions(Permissions::from_mode(0o600))
    {
        // It is somebody else's, who lets this user write it.
        tracing::warn!(path = %path.display(), %error, "others may read what is known of jobs");
    }
    Ok(())
}

/// The mode of what others than its owner may read, write or enter.
fn open_to_others(found: &Metadata) -> Option<u32> {
    let mode = found.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let own = above.path().join("a/state");
        folder(&own).unwrap();
        folder(&own).unwrap();
        let path = own.join("jobs");
        file(&path).unwrap();
        assert_eq!((mode(&own), mode(&path)), (0o700, 0o600));
    }

    #[test]
    fn a_folder_that_was_there_stays_and_a_file_in_it_becomes_private() {
        let given = tempfile::tempdir().unwrap();
        let path = given.path().join("jobs");
        fs::write(&path, "known").unwrap();
        for (path, mode) in [(given.path(), 0o755), (path.as_path(), 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        folder(given.path()).unwrap();
        file(&path).unwrap();
        assert_eq!((mode(given.path()), mode(&path)), (0o755, 0o600));
        assert_eq!(fs::read_to_string(&path).unwrap(), "known");
    }
}
