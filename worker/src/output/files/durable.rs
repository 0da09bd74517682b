//! What outlives a loss of power. Tasks sync what their files hold; that the files are where they
//! are stands in folders, which are synced here, with the few files that the commit writes itself.
//! Of object stores, an answer says all of it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use keyloom_common::{Error, Result};
use tokio::task::spawn_blocking;

use super::folder::Folder;

/// Syncs a file below a folder, and that it is there.
///
/// # Errors
/// `store`, naming what cannot be synced.
pub(super) async fn file(folder: &Folder, path: &str) -> Result<()> {
    if !folder.is_local() {
        return Ok(());
    }
    let paths = [vec![folder.local(path)], folders_of(folder, &[path])].concat();
    all(paths).await
}

/// Syncs that files below a folder are there.
///
/// # Errors
/// As [`file`].
pub(super) async fn names(folder: &Folder, files: &[&str]) -> Result<()> {
    if !folder.is_local() {
        return Ok(());
    }
    all(folders_of(folder, files)).await
}

/// The folders in which files stand, up to the one that has the output's, the innermost first.
fn folders_of(folder: &Folder, files: &[&str]) -> Vec<PathBuf> {
    let mut within = BTreeSet::new();
    for file in files {
        let mut path = *file;
        while let Some((parent, _)) = path.rsplit_once('/') {
            within.insert(parent);
            path = parent;
        }
    }
    let own = folder.local("");
    let above = own.parent().map(Path::to_owned);
    let within = within.into_iter().rev().map(|parent| folder.local(parent));
    within.chain([own]).chain(above).collect()
}

async fn all(paths: Vec<PathBuf>) -> Result<()> {
    let syncing = move || paths.iter().try_for_each(|path| sync(path));
    spawn_blocking(syncing).await.map_err(Error::from_join)?
}

fn sync(path: &Path) -> Result<()> {
    match File::open(path).and_then(|opened| opened.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if is_unable(&error) => {
            tracing::debug!(path = %path.display(), %error, "this is left to the system to sync");
            Ok(())
        }
        Err(error) => Err(Error::store(format!("{} cannot be synced: {error}", path.display()))),
    }
}

/// Whether a file system syncs no folders, or not for us: who may write to a folder may perhaps not
/// list it.
fn is_unable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_synced_and_what_is_not_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(sync(&file), Ok(()));
        assert_eq!(sync(folder.path()), Ok(()));
        let gone = folder.path().join("gone");
        let error = sync(&gone).unwrap_err();
        let start = format!("{} cannot be synced: ", gone.display());
        assert!(error.message().starts_with(&start), "{error}");
    }
}
