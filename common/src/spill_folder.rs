//! The folder of a process for what memory has no room for. Nothing stays of it: it goes with its
//! owner, and what a process left that was killed goes when another starts beside it.

use std::{
    env, fs,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use uuid::Uuid;

use crate::error::{Error, Result};

const PREFIX: &str = "keyloom-spill-";

/// Held by the owner of a folder for as long as it lives.
const LOCK: &str = "lock";

/// A folder, until this is dropped.
#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder within another, or within the system's folder for temporary files, and
    /// removes those there whose owners are gone.
    ///
    /// # Errors
    /// `invalid`, naming the folder, if nothing can be written there.
    pub fn create(within: Option<&Path>) -> Result<Self> {
        let within = within.map_or_else(env::temp_dir, Path::to_path_buf);
        remove_unowned(&within);
        Self::create_in(&within).map_err(|error| {
            let within = within.display();
            Error::invalid(format!(
                "no temporary files can be written to {within}: {error}; setting spill_folder names \
                 another folder"
            ))
        })
    }

    fn create_in(within: &Path) -> io::Result<Self> {
        let path = within.join(format!("{PREFIX}{}", Uuid::new_v4()));
        fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// As [`Self::create`], but where the system's folder for temporary files cannot be written to,
    /// there is none: much is done without.
    ///
    /// # Errors
    /// As [`Self::create`], if the other folder was named.
    pub fn create_if_possible(within: Option<&Path>) -> Result<Option<Self>> {
        match (Self::create(within), within) {
            (Err(_), None) => Ok(None),
            (created, _) => created.map(Some),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // If that fails now, the next owner of such a folder tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where DataFusion's operators put what memory has no room for.
pub fn disk_manager(folder: Option<&SpillFolder>) -> DiskManagerBuilder {
    let mode = match folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.path.clone()]),
        None => DiskManagerMode::Disabled,
    };
    DiskManagerBuilder::default().with_mode(mode)
}

/// Removes the folders whose owners are gone. What cannot be looked at is left.
fn remove_unowned(within: &Path) {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(PREFIX))
    });
    for folder in folders {
        let path = folder.path();
        // One that has no lock is just being made.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => drop(fs::remove_dir_all(&path)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_and_what_was_left_goes_with_the_next() {
        let base = SpillFolder::create(None).unwrap();
        let within = Some(base.path());
        let there = |path: &Path| path.exists();
        let one = SpillFolder::create(within).unwrap();
        fs::write(one.path().join("rows"), "rows").unwrap();
        // As a process that was killed leaves it.
        let left = one.path().with_file_name(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let two = SpillFolder::create(within).unwrap();
        assert!(there(one.path()) && there(two.path()) && !there(&left));
        let path = one.path().to_owned();
        drop(one);
        assert!(!there(&path) && there(two.path()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = SpillFolder::create(Some(Path::new("/no/such/folder"))).unwrap_err();
        assert!(error.message().contains("written to /no/such/folder: "), "{error}");
        assert!(error.message().contains("spill_folder"), "{error}");
    }
}
