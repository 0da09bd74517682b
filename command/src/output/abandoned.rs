//! Files that were never finished because their writers were killed: the next writer in the folder
//! removes them. A writer that lives holds a lock on its file.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

pub(super) const PREFIX: &str = ".keyloom-";
pub(super) const SUFFIX: &str = ".partial";

/// A file is locked a moment after it is made. So long it is left alone.
const JUST_MADE: Duration = Duration::from_secs(2);

/// Removes the unfinished files of a folder whose writers are gone. What cannot be looked at is
/// left.
pub(super) fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let unfinished = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if name.to_str().is_some_and(unfinished) && is_abandoned(&entry.path()).unwrap_or(false) {
            // Another writer may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    Ok(age >= JUST_MADE && file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn files_of_writers_that_are_gone_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            file
        };
        drop(make(".keyloom-gone.partial", 10));
        drop(make(".keyloom-new.partial", 0));
        drop(make("rows.partial", 10));
        let written = make(".keyloom-written.partial", 10);
        written.lock().unwrap();
        remove(folder.path());
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        let names: Vec<_> = names.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [".keyloom-new.partial", ".keyloom-written.partial", "rows.partial"]);
    }
}
