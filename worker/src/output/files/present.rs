//! What is in the folder of an output.
//!
//! Data files are those whose names end as those of outputs do, in any format, compressed or not,
//! and which are not hidden: no part of their path begins with `.` or `_`, unless it is called
//! `name=value`. Nothing else is ever removed but what commits of outputs write beside them.

use futures::TryStreamExt;
use keyloom_common::{Error, Result};

use super::{folder::Folder, staged::HIDDEN};
use crate::object_stores::{Tables, from_store, path::is_hidden};

/// The most names that are looked at.
const MAX_LISTED: usize = 1_000_000;

/// What stands beside the files when all of them are there.
pub(super) const SUCCESS: &str = "_SUCCESS";

/// The folder of manifests.
pub(super) const MANIFESTS: &str = "_keyloom";

/// How the names of data files end, compressed as they may be.
const ENDINGS: [&str; 4] = [".parquet", ".arrow", ".csv", ".json"];
const COMPRESSED: [&str; 3] = ["", ".gz", ".zst"];

/// What outputs left in a folder. Paths are from there on.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Data files, whoever wrote them.
    pub(super) data: Vec<String>,
    pub(super) manifests: Vec<String>,
    pub(super) has_success: bool,
}

impl Present {
    /// Looks at all names below a folder.
    ///
    /// # Errors
    /// `invalid` if a table of another kind is there, or too many names.
    pub(super) async fn look(folder: &Folder) -> Result<Self> {
        let mut present = Self::default();
        let mut tables = Tables::default();
        let mut listed = folder.store().list(Some(folder.base()));
        let mut count = 0;
        while let Some(file) = listed.try_next().await.map_err(from_store)? {
            count += 1;
            if count > MAX_LISTED {
                return Err(Error::invalid(format!(
                    "{} has more than {MAX_LISTED} files; choose another folder",
                    folder.given()
                )));
            }
            if let Some(path) = folder.below(&file.location) {
                tables.see(path);
                present.see(path);
            }
        }
        check_tables(folder, &tables)?;
        Ok(present)
    }

    /// Looks at what stands in the folder itself alone.
    ///
    /// # Errors
    /// `invalid` if it is a table of another kind.
    pub(super) async fn glance(folder: &Folder) -> Result<()> {
        let listed = folder.store().list_with_delimiter(Some(folder.base())).await;
        let mut tables = Tables::default();
        for below in &listed.map_err(from_store)?.common_prefixes {
            tables.see_folder(folder.base(), below);
        }
        check_tables(folder, &tables)
    }

    fn see(&mut self, path: &str) {
        if path == SUCCESS {
            self.has_success = true;
        } else if is_manifest(path) {
            self.manifests.push(path.to_owned());
        } else if is_data(path) {
            self.data.push(path.to_owned());
        }
    }

    /// Refuses a folder that is in use.
    ///
    /// # Errors
    /// `invalid`, naming the folder, what is there and the choices.
    pub(super) fn refuse_any(&self, folder: &Folder) -> Result<()> {
        let found = match (self.data.first(), self.manifests.first(), self.has_success) {
            (Some(file), ..) | (None, Some(file), _) => file.as_str(),
            (None, None, true) => SUCCESS,
            (None, None, false) => return Ok(()),
        };
        Err(Error::invalid(format!(
            "{} has files already ({found}), and if_exists is error; choose overwrite, append or \
             another path",
            folder.given()
        )))
    }
}

fn check_tables(folder: &Folder, tables: &Tables) -> Result<()> {
    match tables.any() {
        Some((within, kind)) => {
            let place =
                if within.is_empty() { folder.given().to_owned() } else { folder.shown(within) };
            Err(Error::invalid(format!(
                "{place} is {kind}: files that are written there would be none of its rows; choose \
                 another folder"
            )))
        }
        None => Ok(()),
    }
}

fn is_manifest(path: &str) -> bool {
    let name = path.strip_prefix(MANIFESTS).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| name.ends_with(".json") && !name.contains('/'))
}

fn is_data(path: &str) -> bool {
    let hidden = path.split('/').any(|name| is_hidden(name) || name == HIDDEN);
    let mut plain = COMPRESSED.iter().filter_map(|last| path.strip_suffix(*last));
    let is_one = plain.any(|path| ENDINGS.iter().any(|ending| path.ends_with(*ending)));
    is_one && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_files_are_those_that_outputs_write_and_that_are_not_hidden() {
        for path in ["a.parquet", "day=1/_k=2/b.csv.gz", "x/c.json.zst", "d.snappy.parquet"] {
            assert!(is_data(path), "{path}");
        }
        let others = ["README.md", "_a.csv", ".keyloom/j/a.parquet", "a.csv.bak", "_x/a.csv", "gz"];
        for path in others {
            assert!(!is_data(path), "{path}");
        }
        assert!(is_manifest("_keyloom/a.json") && !is_manifest("_keyloom/a/b.json"));
        assert!(!is_manifest("_keyloomy/a.json") && !is_manifest("x/_keyloom/a.json"));
    }
}
