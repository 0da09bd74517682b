//! A folder that is written beside the place that it is to have. Dropping it leaves nothing behind.
//!
//! What a process leaves that is killed stays: it cannot be told from what another machine or
//! another container, which may have the same process numbers, is writing at this moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use keyloom_common::{Error, Result};

/// A folder under another name, until it is whole.
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    /// A new folder in the folder of a place.
    pub(super) fn beside(place: &Path) -> Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
            let folder = place.with_file_name(format!(".keyloom-{process}-{made}.partial"));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(not_written(&folder, &error)),
            }
        }
    }

    /// Its path, as Lance takes it.
    pub(super) fn uri(&self) -> Result<&str> {
        self.0.to_str().ok_or_else(|| Error::invalid("the path is no UTF-8"))
    }

    /// Gives it its place, where there is nothing or an empty folder.
    pub(super) fn rename(self, place: &Path) -> Result<()> {
        fs::rename(&self.0, place).map_err(|error| not_written(place, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It has its place by now, or nobody wants it. If it cannot be removed, it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn not_written(path: &Path, error: &io::Error) -> Error {
    Error::store(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_there_are_others_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.lance");
        // As another process of this number would call those that it makes.
        let of_other = |made| format!(".keyloom-{}-{made}.partial", std::process::id());
        let others: Vec<_> = (0..64).map(|made| folder.path().join(of_other(made))).collect();
        for other in &others {
            fs::create_dir(other).unwrap();
            fs::write(other.join("rows"), "rows").unwrap();
        }
        let partial = Partial::beside(&place).unwrap();
        assert!(!others.contains(&partial.0), "{partial:?}");
        drop(partial);
        assert!(others.iter().all(|other| other.join("rows").is_file()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len());
    }
}
