//! The folder in which maps of keys stay from one process to the next, within a bound in bytes.
//!
//! A map is known by what it was made of: the dataset, its key, and the files of its fragments,
//! which never change. Any number of processes share a folder: a file is written beside the others,
//! and has its name only when the disk has all of it. Those that were not opened for the longest go
//! first; who has one open may go on reading it.
//!
//! Where the folder cannot be written to, those maps are used that are there; others are made in
//! memory, as without it, and only if they fit there.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use keyloom_common::BUILD;
use serde::{Deserialize, Serialize};

use super::{
    file::{self, FORMAT},
    warned::{Trouble, Warned},
};
use crate::store::{
    StoreSettings,
    lance::{
        keys::{
            coder::spread,
            run::{Run, RunMap},
            runs::KeyName,
        },
        name::FileColumn,
    },
};

/// Rows from which on a map is stored: a smaller one is made about as fast as it is found.
pub(in crate::store::lance) const LEAST_ROWS: u32 = 1 << 20;

/// How long a file may be in the making without a byte. Then its process is taken to be gone.
const WRITING: Duration = Duration::from_secs(3600);

/// How long nothing is written to a folder that could not be written to: each time a map was made
/// for nothing.
pub(super) const RETRY: Duration = Duration::from_secs(600);

/// What the names of files end with: of maps, and of those that are being written.
const MAP: &str = "keymap";
const UNFINISHED: &str = "unfinished";

/// Keys are the owner's alone.
const MODE: u32 = 0o700;

/// The digits of a key's digest in the names of files.
const KEY_DIGITS: usize = 16;

/// A file, and the run whose map it holds.
type StoredRun = (PathBuf, Arc<Run>);

/// A folder of maps.
#[derive(Debug)]
pub(in crate::store::lance) struct MapFolder {
    path: PathBuf,
    max_bytes: u64,
    /// By key the runs whose maps were stored when it was first asked for, or are since, and their
    /// files.
    known: Mutex<HashMap<KeyName, Vec<StoredRun>>>,
    /// Held while the folder is looked through.
    looking: Mutex<()>,
    /// Held while a map is made that memory has no room for beside others.
    pub(in crate::store::lance::keys) making: tokio::sync::Mutex<()>,
    /// Files that were found to be damaged.
    damaged: Mutex<HashSet<PathBuf>>,
    /// When it could not be written to, if that was the last time.
    failed: Mutex<Option<Instant>>,
    warned: Warned,
}

/// What a map was made of. Datasets and columns are told by a digest: addresses may hold secrets.
#[derive(Serialize, Deserialize)]
struct Names {
    key: String,
    /// The file of each fragment, and its rows.
    fragments: Vec<(Arc<str>, u32)>,
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl MapFolder {
    /// The folder that the settings name, if they do.
    pub(in crate::store::lance) fn new(settings: &StoreSettings) -> Option<Self> {
        Some(Self {
            path: settings.key_maps_dir.clone()?,
            max_bytes: settings.max_key_maps_dir_bytes,
            known: Mutex::default(),
            looking: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            damaged: Mutex::default(),
            failed: Mutex::default(),
            warned: Warned::default(),
        })
    }

    /// The most bytes of maps that it takes: none in a while after it could not be written to.
    pub(in crate::store::lance) fn max_bytes(&self, now: Instant) -> u64 {
        let is_failing = |failed: Instant| now.saturating_duration_since(failed) < RETRY;
        if lock(&self.failed).is_some_and(is_failing) { 0 } else { self.max_bytes }
    }

    /// Whether it holds the map of a run, as far as is known: another process may have removed it.
    pub(in crate::store::lance) fn holds(&self, run: u64) -> bool {
        let (known, damaged) = (lock(&self.known), lock(&self.damaged));
        let mut held = known.values().flatten().filter(|(_, known)| known.id == run);
        held.any(|(path, _)| !damaged.contains(path))
    }

    /// Whether the folder was looked through for this key.
    pub(in crate::store::lance::keys) fn is_recalled(&self, key: &KeyName) -> bool {
        lock(&self.known).contains_key(key)
    }

    /// Looks through the folder for runs of this key, once, and says which there are.
    pub(in crate::store::lance::keys) fn recall(
        &self,
        key: &KeyName,
        learn: impl FnOnce(&[Arc<Run>]),
    ) {
        let _alone = lock(&self.looking);
        if self.is_recalled(key) {
            return;
        }
        let digest = digest(key);
        let entries = self.entries().unwrap_or_else(|error| {
            self.warn_once(Trouble::Read, &error);
            Vec::new()
        });
        let of_key = |entry: &Entry| {
            let names = file::names(&entry.path).ok()?;
            let names: Names = serde_json::from_slice(&names).ok()?;
            let run = (names.key == digest).then(|| names.run(key)).flatten()?;
            Some((entry.path.clone(), run))
        };
        let is_of_key = |entry: &&Entry| {
            let name = entry.path.file_name().and_then(|name| name.to_str());
            entry.is(MAP) && name.is_some_and(|name| name.starts_with(&digest[..KEY_DIGITS]))
        };
        // What is damaged is said, and goes, when its map is wanted.
        let stored: Vec<_> = entries.iter().filter(is_of_key).filter_map(of_key).collect();
        learn(&stored.iter().map(|(_, run)| Arc::clone(run)).collect::<Vec<_>>());
        lock(&self.known).insert(key.clone(), stored);
    }

    /// The map of a run, if it is stored.
    pub(in crate::store::lance::keys) fn open(
        &self,
        key: &KeyName,
        run: &Arc<Run>,
    ) -> Option<RunMap> {
        let (path, names) = self.file(key, run).ok()?;
        if run.rows() < LEAST_ROWS || lock(&self.damaged).contains(&path) {
            return None;
        }
        match file::open(&path, &names) {
            Ok(map) => {
                // Who may not say that it was used may still use it.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(RunMap::stored(run.clone(), map))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.remove(path, &error);
                None
            }
        }
    }

    /// Stores a map that was made, unless it is not worth it.
    pub(in crate::store::lance::keys) fn save(&self, key: &KeyName, map: &RunMap) {
        // Row ids are kept by the version, which no other one shares: they have no columns.
        let is_of_columns = !key.columns.is_empty();
        let is_worth_it = is_of_columns && map.run.rows() >= LEAST_ROWS;
        if !is_worth_it || self.max_bytes(Instant::now()) == 0 {
            return;
        }
        let saved = self.try_save(key, map);
        *lock(&self.failed) = saved.is_err().then(Instant::now);
        if let Err(error) = saved {
            self.warn_once(Trouble::Write, &error);
        }
    }

    /// Stores a map, if it may be stored and is not larger than all that there may be.
    fn try_save(&self, key: &KeyName, map: &RunMap) -> io::Result<()> {
        // The hashes of other keys mean nothing to other processes.
        let (Some(held), Some(bounds), true) = (map.in_memory(), map.bounds(), map.exact) else {
            return Ok(());
        };
        let (path, names) = self.file(key, &map.run)?;
        let (bytes, most) = (file::bytes(&names, held), self.max_bytes);
        if bytes > most {
            let text = format!("a map takes {bytes} bytes; max_key_maps_dir_bytes allows {most}");
            self.warn_once(Trouble::HoldAMap, &io::Error::other(text));
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(MODE).create(&self.path)?;
        self.make_room(bytes)?;
        write_whole(&path, |path| file::write(path, &names, held, bounds))?;
        lock(&self.damaged).remove(&path);
        self.remember(key, path, &map.run);
        // Others may have written at the same time.
        self.make_room(0)
    }

    /// Keeps a run as long as its map is stored.
    fn remember(&self, key: &KeyName, path: PathBuf, run: &Arc<Run>) {
        let mut known = lock(&self.known);
        let runs = known.entry(key.clone()).or_default();
        if !runs.iter().any(|(_, known)| Arc::ptr_eq(known, run)) {
            runs.push((path, Arc::clone(run)));
        }
    }

    /// Forgets the map of a run that cannot be read.
    pub(in crate::store::lance::keys) fn discard(
        &self,
        key: &KeyName,
        run: &Run,
        error: &io::Error,
    ) {
        if let Ok((path, _)) = self.file(key, run) {
            self.remove(path, error);
        }
    }

    fn remove(&self, path: PathBuf, error: &io::Error) {
        let file = path.display();
        tracing::warn!(%file, %error, "a stored map of keys cannot be read and is made again");
        let _ = fs::remove_file(&path);
        lock(&self.damaged).insert(path);
    }

    /// The file of a run's map, and what it is to say of it.
    fn file(&self, key: &KeyName, run: &Run) -> io::Result<(PathBuf, Vec<u8>)> {
        let names = Names::of(key, run);
        let bytes = serde_json::to_vec(&names)?;
        let (key, run) = (&names.key[..KEY_DIGITS], blake3::hash(&bytes).to_hex());
        Ok((self.path.join(format!("{key}-{run}.{MAP}")), bytes))
    }

    /// Removes files until so many bytes have room, and forgets the runs of those that are gone.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let long_ago = SystemTime::now().checked_sub(WRITING);
        for entry in &entries {
            let is_left = entry.is(UNFINISHED) && long_ago.is_some_and(|then| entry.used < then);
            let is_too_much = entry.is(MAP) && left.saturating_add(bytes) > self.max_bytes;
            if !is_left && !is_too_much {
                continue;
            }
            match fs::remove_file(&entry.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => left -= entry.bytes,
            }
        }
        // Other processes remove some, too.
        lock(&self.known).values_mut().for_each(|runs| runs.retain(|(path, _)| path.exists()));
        Ok(())
    }

    /// Its files, as far as they are maps.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let folder = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut entries = Vec::new();
        for file in folder {
            let file = file?;
            // Others may have removed it meanwhile.
            let Ok(known) = file.metadata() else { continue };
            let used = known.modified()?;
            let entry = Entry { path: file.path(), bytes: known.len(), used };
            if entry.is(MAP) || entry.is(UNFINISHED) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Says once what the folder cannot do. A map that memory has room for stays there.
    fn warn_once(&self, trouble: Trouble, error: &io::Error) {
        if self.warned.is_new(trouble) {
            let (folder, what) = (self.path.display(), trouble.name());
            tracing::warn!(
                %folder,
                %error,
                "the folder for maps of keys (store.key_maps_dir) cannot {what}; maps that are not \
                 there are made anew by each process"
            );
        }
    }
}

impl Entry {
    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|held| held == extension)
    }
}

impl Names {
    fn of(key: &KeyName, run: &Run) -> Self {
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

/// Writes a file so that it is there as a whole or not at all.
fn write_whole(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Processes of several machines may have the same numbers.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (process, now) = (process::id(), now.as_nanos());
    let unfinished = path.with_extension(format!("{process}-{now}-{number}.{UNFINISHED}"));
    let written = write(&unfinished).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change leaves them half-done, so a poisoned lock guards sound contents.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
