//! The folder of a process for what memory has no room for. Nothing stays of it: it goes with its
//! owner, and what a process left that was killed goes when another starts beside it.
//!
//! Its owner holds a lock in it that the system takes back however the process ends, in whatever
//! container it ran: whoever can take that lock may remove the folder. No folder has a lock by this
//! name that its owner does not hold yet, and the lock is the last that is removed.

use std::{
    env,
    ffi::OsStr,
    fs::{self, DirBuilder, DirEntry, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use uuid::Uuid;

use crate::error::{Error, Result};

const PREFIX: &str = "keyloom-spill-";

/// Held by the owner of a folder for as long as it lives.
const LOCK: &str = "lock";

/// What the lock is called until it is held.
const LOCK_TO_BE: &str = "lock-to-be";

/// How many folders a process removes when it starts: others are left to the next.
const MOST_REMOVED: usize = 64;

/// A folder, until this is dropped.
#[derive(Debug)]
pub struct SpillFolder {
    path: PathBuf,
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder within another, or within the system's folder for temporary files, and
    /// removes those of the same user there whose owners are gone.
    ///
    /// # Errors
    /// `invalid`, naming the folder, if nothing can be written there.
    pub fn create(within: Option<&Path>) -> Result<Self> {
        let within = within.map_or_else(env::temp_dir, Path::to_path_buf);
        let created = Self::create_in(&within).map_err(|error| {
            let within = within.display();
            Error::invalid(format!(
                "no temporary files can be written to {within}: {error}; setting spill_folder names \
                 another folder"
            ))
        })?;
        created.remove_unowned(&within);
        Ok(created)
    }

    fn create_in(within: &Path) -> io::Result<Self> {
        let path = within.join(format!("{PREFIX}{}", Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let to_be = path.join(LOCK_TO_BE);
        let lock = File::create(&to_be)?;
        lock.lock()?;
        fs::rename(to_be, path.join(LOCK))?;
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

    /// Removes the folders of the same user whose owners are gone. What cannot be looked at is
    /// left.
    fn remove_unowned(&self, within: &Path) {
        let Ok(own) = fs::symlink_metadata(&self.path) else { return };
        let entries = fs::read_dir(within).into_iter().flatten().flatten();
        let unowned = entries.filter_map(|entry| Unowned::find(&entry, own.uid()));
        unowned.take(MOST_REMOVED).for_each(Unowned::remove);
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // If that fails now, the next owner of such a folder tries again.
        let _ = remove(&self.path);
    }
}

/// A folder whose owner is gone. Its lock is held, for another may look for such folders, too.
struct Unowned {
    path: PathBuf,
    _lock: File,
}

impl Unowned {
    /// What stands there, if it is such a folder of this user.
    fn find(entry: &DirEntry, user: u32) -> Option<Self> {
        entry.file_name().to_str().filter(|name| name.starts_with(PREFIX))?;
        // This does not follow a link.
        let metadata = entry.metadata().ok()?;
        if !metadata.is_dir() || metadata.uid() != user {
            return None;
        }
        let path = entry.path();
        // One that has no lock is just being made.
        let lock = OpenOptions::new().write(true).open(path.join(LOCK)).ok()?;
        lock.try_lock().ok()?;
        Some(Self { path, _lock: lock })
    }

    fn remove(self) {
        let folder = self.path.display();
        match remove(&self.path) {
            Ok(()) => tracing::info!(%folder, "removed temporary files of a process that is gone"),
            // Another process was as quick.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                %folder, %error, "temporary files of a process that is gone cannot be removed"
            ),
        }
    }
}

/// Removes a folder, its lock last: without that, what is left of it would stay.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let removed = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false if entry.file_name() == OsStr::new(LOCK) => Ok(()),
            false => fs::remove_file(entry.path()),
        };
        // What the operators of its owner remove meanwhile is gone as well.
        removed.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    fs::remove_dir_all(folder)
}

/// Where DataFusion's operators put what memory has no room for.
pub fn disk_manager(folder: Option<&SpillFolder>) -> DiskManagerBuilder {
    let mode = match folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.path.clone()]),
        None => DiskManagerMode::Disabled,
    };
    DiskManagerBuilder::default().with_mode(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as a process that was killed leaves it.
    fn leave(within: &Path, name: &str) -> PathBuf {
        let left = within.join(format!("{PREFIX}{name}"));
        fs::create_dir_all(left.join("operators")).unwrap();
        fs::write(left.join("operators/rows"), "rows").unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        left
    }

    #[test]
    fn it_goes_with_its_owner_and_what_was_left_goes_with_the_next() {
        let base = SpillFolder::create(None).unwrap();
        let within = Some(base.path());
        let one = SpillFolder::create(within).unwrap();
        fs::write(one.path().join("rows"), "rows").unwrap();
        let left = leave(base.path(), "left");
        let two = SpillFolder::create(within).unwrap();
        assert!(one.path().exists() && two.path().exists() && !left.exists());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }

    #[test]
    fn what_is_no_folder_that_its_owner_left_stays() {
        let base = SpillFolder::create(None).unwrap();
        let being_made = base.path().join(format!("{PREFIX}being-made"));
        fs::create_dir(&being_made).unwrap();
        fs::write(being_made.join(LOCK_TO_BE), "").unwrap();
        let elsewhere = base.path().join("elsewhere");
        fs::rename(leave(base.path(), "moved"), &elsewhere).unwrap();
        let link = base.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let _next = SpillFolder::create(Some(base.path())).unwrap();
        assert!(being_made.exists() && link.exists());
        assert!(elsewhere.join("operators/rows").exists());
    }

    #[test]
    fn those_of_another_user_stay() {
        let base = SpillFolder::create(None).unwrap();
        leave(base.path(), "left");
        let user = fs::metadata(base.path()).unwrap().uid();
        let entries = || fs::read_dir(base.path()).unwrap().flatten();
        let found = |user| entries().filter_map(|entry| Unowned::find(&entry, user)).count();
        assert_eq!((found(user), found(user + 1)), (1, 0));
    }

    #[test]
    fn so_many_are_removed_at_once_and_others_are_left_to_the_next() {
        let base = SpillFolder::create(None).unwrap();
        for left in 0..=MOST_REMOVED {
            leave(base.path(), &left.to_string());
        }
        let folders = || {
            let entries = fs::read_dir(base.path()).unwrap().flatten();
            entries.filter(|entry| entry.path().is_dir()).count()
        };
        let _first = SpillFolder::create(Some(base.path())).unwrap();
        assert_eq!(folders(), 2);
        let _next = SpillFolder::create(Some(base.path())).unwrap();
        assert_eq!(folders(), 2);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = SpillFolder::create(Some(Path::new("/no/such/folder"))).unwrap_err();
        assert!(error.message().contains("written to /no/such/folder: "), "{error}");
        assert!(error.message().contains("spill_folder"), "{error}");
    }
}
