//! Which runs the files of a folder hold the maps of, and what the files tell of their keys. Nothing
//! of a map itself is read.

use std::{path::PathBuf, sync::Arc};

use keyloom_common::BUILD;
use serde::{Deserialize, Serialize};

use super::{
    Told,
    file::{self, FORMAT},
};
use crate::store::lance::{
    keys::{coder::spread, run::Run, runs::KeyName},
    name::FileColumn,
};

/// The digits of a key's digest in the names of files.
pub(super) const KEY_DIGITS: usize = 16;

/// A file, and the run whose map it holds.
#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) path: PathBuf,
    pub(super) run: Arc<Run>,
    pub(super) told: Told,
}

/// What a map was made of. Datasets and columns are told by a digest: addresses may hold secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) key: String,
    /// The file of each fragment, and its rows.
    fragments: Vec<(Arc<str>, u32)>,
}

/// The runs of a key whose maps are in some of these files. What is damaged is said, and goes, when
/// its map is wanted.
pub(super) fn stored_runs(key: &KeyName, files: &[PathBuf]) -> Vec<StoredRun> {
    let digest = digest(key);
    let is_of_key = |path: &&PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&digest[..KEY_DIGITS]))
    };
    let of_key = |path: &PathBuf| {
        let (names, told) = file::outline(path).ok()?;
        let names: Names = serde_json::from_slice(&names).ok()?;
        let run = (names.key == digest).then(|| names.run(key)).flatten()?;
        Some(StoredRun { path: path.clone(), run, told })
    };
    files.iter().filter(is_of_key).filter_map(of_key).collect()
}

impl Names {
    pub(super) fn of(key: &KeyName, run: &Run) -> Self {
        let names = run.names().iter().enumerate();
        let fragments = names.map(|(at, name)| (name.file.clone(), run.rows_of(at)));
        Self { key: digest(key), fragments: fragments.collect() }
    }

    /// The run that has these fragments.
    fn run(self, key: &KeyName) -> Option<Arc<Run>> {
        let rows: u64 = self.fragments.iter().map(|(_, rows)| u64::from(*rows)).sum();
        u32::try_from(rows).ok()?;
        let fragments = self.fragments.into_iter().map(|(file, rows)| {
            let (dataset, column) = (key.dataset.clone(), key.columns.clone());
            (FileColumn { dataset, file, column }, rows)
        });
        Some(Run::new(fragments))
    }
}

/// What tells a key from others, and its codes from those that another build may make of it.
fn digest(key: &KeyName) -> String {
    let KeyName { dataset, columns } = key;
    let code = spread(1);
    let named = format!("{BUILD}\n{FORMAT}\n{code}\n{dataset}\n{columns}");
    blake3::hash(named.as_bytes()).to_hex().to_string()
}
