//! Small files, read whole before parts of them are asked for: on its own, each takes more time for
//! requests, or for changing threads, than for its bytes. Local ones are read many in one go.
//!
//! What is read is what was pinned: local files are looked at before and after, by the same handle.
//! Of one that is not, or cannot be read, nothing is kept: who asks for it then learns what is wrong.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use futures::future::join_all;
use object_store::{
    GetOptions, ObjectStoreExt, Result as StoreResult, local::LocalFileSystem, memory::InMemory,
    path::Path,
};
use tokio::sync::OnceCell;

use super::{Pin, Pinned};

/// Larger files are read as they are asked for.
const LARGEST: u64 = 256 << 10;

/// The most files that are read in one go.
const GROUP_FILES: usize = 64;

/// How many of them a thread reads: where each takes its time, some threads wait at once.
const THREAD_FILES: usize = 16;

/// The most bytes of them.
const GROUP_BYTES: u64 = 2 << 20;

/// The most bytes that are in memory at once: the last that were read.
const MEMORY_BYTES: u64 = 32 << 20;

/// The small ones of many files.
#[derive(Debug)]
pub(super) struct SmallFiles {
    groups: Vec<Group>,
    /// The place of a file's group.
    places: HashMap<Path, usize>,
    read: Mutex<VecDeque<Read>>,
}

/// Files that are read in one go.
#[derive(Debug)]
struct Group {
    paths: Vec<Path>,
    bytes: u64,
}

/// A group that was asked for, by its place.
#[derive(Debug)]
struct Read {
    group: usize,
    files: Arc<OnceCell<InMemory>>,
}

impl SmallFiles {
    /// Files that follow each other, with their sizes. One alone is not read before it is asked for.
    pub(super) fn new<'a>(
        files: impl ExactSizeIterator<Item = (&'a str, u64)>,
        are_local: bool,
    ) -> Self {
        let mut small = Self { groups: Vec::new(), places: HashMap::new(), read: Mutex::default() };
        let most = if are_local { GROUP_FILES } else { 1 };
        let is_one = files.len() == 1;
        for (path, size) in files.filter(|(_, size)| *size <= LARGEST && !is_one) {
            let Ok(path) = Path::parse(path) else { continue };
            match small.groups.last_mut() {
                Some(group) if group.paths.len() < most && group.bytes + size <= GROUP_BYTES => {
                    group.paths.push(path);
                    group.bytes += size;
                }
                _ => small.groups.push(Group { paths: vec![path], bytes: size }),
            }
        }
        for (place, group) in small.groups.iter().enumerate() {
            small.places.extend(group.paths.iter().map(|path| (path.clone(), place)));
        }
        small
    }

    /// The place of a file's group, if it is read whole.
    pub(super) fn group(&self, path: &Path) -> Option<usize> {
        self.places.get(path).copied()
    }

    /// A store that holds a file, read with its group if it is not in memory; none if the file is
    /// to be read as it is asked for.
    ///
    /// # Errors
    /// If a file that is not local cannot be read.
    pub(super) async fn get(&self, path: &Path, pinned: &Pinned) -> StoreResult<Option<InMemory>> {
        let Some(place) = self.group(path) else { return Ok(None) };
        let asked_for = self.asked_for(place);
        let files = asked_for.get_or_try_init(|| read(pinned, &self.groups[place].paths)).await?;
        Ok(files.head(path).await.is_ok().then(|| files.clone()))
    }

    /// A group, for which those are dropped that were asked for first if there is no room.
    fn asked_for(&self, group: usize) -> Arc<OnceCell<InMemory>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.iter().find(|known| known.group == group) {
            return Arc::clone(&known.files);
        }
        let bytes = |group: usize| self.groups[group].bytes;
        let mut held = bytes(group) + read.iter().map(|known| bytes(known.group)).sum::<u64>();
        while held > MEMORY_BYTES {
            let Some(first) = read.pop_front() else { break };
            held -= bytes(first.group);
        }
        let files = Arc::default();
        read.push_back(Read { group, files: Arc::clone(&files) });
        files
    }
}

async fn read(pinned: &Pinned, paths: &[Path]) -> StoreResult<InMemory> {
    let read = match pinned.is_local() {
        true => local(pinned, paths).await,
        false => remote(pinned, paths).await?,
    };
    let in_memory = InMemory::new();
    for (path, contents) in read {
        in_memory.put(&path, contents.into()).await?;
    }
    Ok(in_memory)
}

/// Local files, as far as they are what was pinned.
async fn local(pinned: &Pinned, paths: &[Path]) -> Vec<(Path, Bytes)> {
    let read = paths.chunks(THREAD_FILES).map(|paths| {
        let (pinned, paths) = (pinned.clone(), paths.to_vec());
        tokio::task::spawn_blocking(move || {
            let read = paths.into_iter().filter_map(|path| {
                let contents = whole(&path, pinned.pin(&path).ok()?).ok()??;
                Some((path, contents.into()))
            });
            read.collect::<Vec<_>>()
        })
    });
    join_all(read).await.into_iter().flat_map(Result::unwrap_or_default).collect()
}

/// The contents of a local file, if it is what was pinned.
fn whole(path: &Path, pin: &Pin) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(LocalFileSystem::new().path_to_filesystem(path)?)?;
    let is_pinned = |file: &File| Ok::<_, io::Error>(pin.is_local(&file.metadata()?));
    if !is_pinned(&file)? {
        return Ok(None);
    }
    let mut contents = Vec::with_capacity(pin.size as usize + 1);
    file.read_to_end(&mut contents)?;
    Ok((contents.len() as u64 == pin.size && is_pinned(&file)?).then_some(contents))
}

async fn remote(pinned: &Pinned, paths: &[Path]) -> StoreResult<Vec<(Path, Bytes)>> {
    let mut read = Vec::with_capacity(paths.len());
    for path in paths {
        let got = pinned.get_checked(path, GetOptions::new()).await?;
        read.push((path.clone(), got.bytes().await?));
    }
    Ok(read)
}

impl Pin {
    /// Whether a local file is surely what was pinned.
    fn is_local(&self, found: &Metadata) -> bool {
        found.len() == self.size && e_tag(found).is_some_and(|found| self.e_tag == Some(found))
    }
}

/// The e-tag that [`LocalFileSystem`] gives a file.
fn e_tag(metadata: &Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_micros();
    Some(format!("{:x}-{modified:x}-{:x}", metadata.ino(), metadata.len()))
}
