//! A folder that is written beside the place that it is to have. Dropping it leaves nothing behind.

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
        let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let folder = place.with_file_name(format!(".keyloom-{process}-{made}.partial"));
        // One that is there was left by a process that was killed.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(not_written(&folder, &error))
            }
            _ => match fs::create_dir(&folder) {
                Ok(()) => Ok(Self(folder)),
                Err(error) => Err(not_written(&folder, &error)),
            },
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
