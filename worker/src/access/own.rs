//! The worker's own files, which no job reads whatever the lists allow: its certificates, keys and
//! tokens, and credentials of storage.
//!
//! They are known by what they are and not by their names: no link is a way around, be it a hard
//! one.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Such files, by the paths that the settings have.
#[derive(Debug, Default)]
pub(super) struct OwnFiles(Vec<PathBuf>);

impl OwnFiles {
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self(files)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first of these paths that leads to one of them. It looks at the disk: they are renewed
    /// while the worker runs.
    pub(super) fn among<'a>(&self, paths: &'a [PathBuf]) -> Option<&'a PathBuf> {
        let own: HashSet<_> = self.0.iter().filter_map(|file| identity(file)).collect();
        paths.iter().find(|path| identity(path).is_some_and(|found| own.contains(&found)))
    }
}

/// The device and the number on it of what a path leads to, if there is something.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
