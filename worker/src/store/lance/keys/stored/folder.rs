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

use super::{
    Told, file,
    known::{KEY_DIGITS, Names, StoredRun, stored_runs},
    warned::{Trouble, Warned},
};
use crate::store::{
    StoreSettings,
    lance::keys::{
        run::{KeyFacts, Run, RunMap},
        runs::{KeyName, Runs},
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
    pub(in crate::store::lance::keys) fn holds(&self, run: u64) -> bool {
        self.facts(run).is_some()
    }

    /// What is known of the keys of a run whose map it holds, as far as is known.
    pub(in crate::store::lance) fn facts(&self, run: u64) -> Option<KeyFacts> {
        let (known, damaged) = (lock(&self.known), lock(&self.damaged));
        let mut held = known.values().flatten().filter(|stored| stored.run.id == run);
        let held = held.find(|stored| !damaged.contains(&stored.path))?;
        Some(held.told.into())
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
        if !self.is_recalled(key) {
            self.learn(key, stored_runs(key, &self.maps()), learn);
        }
    }

    /// Looks through the folder for runs of columns of a dataset, each by itself, and lets them be
    /// known. Columns without any are looked for again when their keys are asked for.
    pub(in crate::store::lance) fn recall_columns(
        &self,
        dataset: &Arc<str>,
        columns: impl IntoIterator<Item = Arc<str>>,
        runs: &Runs,
    ) {
        let _alone = lock(&self.looking);
        let maps = self.maps();
        if maps.is_empty() {
            return;
        }
        for columns in columns {
            let key = KeyName { dataset: Arc::clone(dataset), columns };
            if self.is_recalled(&key) {
                continue;
            }
            let stored = stored_runs(&key, &maps);
            if !stored.is_empty() {
                self.learn(&key, stored, |stored| runs.learn(&key, stored));
            }
        }
    }

    /// Keeps the runs of a key alive, for others to learn of them.
    fn learn(&self, key: &KeyName, stored: Vec<StoredRun>, learn: impl FnOnce(&[Arc<Run>])) {
        learn(&stored.iter().map(|stored| Arc::clone(&stored.run)).collect::<Vec<_>>());
        lock(&self.known).insert(key.clone(), stored);
    }

    /// The files of maps, as far as the folder can be read.
    fn maps(&self) -> Vec<PathBuf> {
        let entries = self.entries().unwrap_or_else(|error| {
            self.warn_once(Trouble::Read, &error);
            Vec::new()
        });
        let maps = entries.into_iter().filter(|entry| entry.is(MAP));
        maps.map(|entry| entry.path).collect()
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
        let KeyFacts { bounds, is_unique } = map.facts();
        let (Some(held), Some(bounds), true) = (map.in_memory(), bounds, map.exact) else {
            return Ok(());
        };
        let told = Told { bounds, is_unique };
        let (path, names) = self.file(key, &map.run)?;
        let (bytes, most) = (file::bytes(&names, held), self.max_bytes);
        if bytes > most {
            let text = format!("a map takes {bytes} bytes; max_key_maps_dir_bytes allows {most}");
            self.warn_once(Trouble::HoldAMap, &io::Error::other(text));
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(MODE).create(&self.path)?;
        self.make_room(bytes)?;
        write_whole(&path, |path| file::write(path, &names, held, told))?;
        lock(&self.damaged).remove(&path);
        self.remember(key, path, &map.run, told);
        // Others may have written at the same time.
        self.make_room(0)
    }

    /// Keeps a run as long as its map is stored.
    fn remember(&self, key: &KeyName, path: PathBuf, run: &Arc<Run>, told: Told) {
        let mut known = lock(&self.known);
        let runs = known.entry(key.clone()).or_default();
        if !runs.iter().any(|known| Arc::ptr_eq(&known.run, run)) {
            runs.push(StoredRun { path, run: Arc::clone(run), told });
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
        lock(&self.known).values_mut().for_each(|runs| runs.retain(|stored| stored.path.exists()));
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
