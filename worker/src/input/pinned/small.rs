//! Small local files, read whole and many at once before parts of them are asked for: on its own,
//! each takes more time for changing threads than for its bytes.
//!
//! What is read is what was pinned: files are looked at before and after, by the same handle. Of
//! one that is not, or cannot be read, nothing is kept: who asks for it then learns what is wrong.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    sync::{Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use object_store::{ObjectStoreExt, local::LocalFileSystem, memory::InMemory, path::Path};
use tokio::time::timeout;

use super::{Pin, Pinned, opaque};
use crate::input::LOCAL_READ;

/// Larger files are read as they are asked for.
const LARGEST: u64 = 256 << 10;

/// The most files that are read in one go.
const GROUP_FILES: usize = 64;

/// How many of them a thread reads: where each takes its time, some threads wait at once.
const THREAD_FILES: usize = 16;

/// The most bytes of files that are read in one go.
const GROUP_BYTES: u64 = 2 << 20;

/// The most bytes that a task keeps: of the groups that were asked for last.
const KEPT_BYTES: u64 = 32 << 20;

/// The small ones of many local files.
#[derive(Debug, Default)]
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
    /// Whoever waits for it makes it go on: who asked first may not be polled meanwhile.
    files: Shared<BoxFuture<'static, InMemory>>,
}

impl SmallFiles {
    /// Files that follow each other, with their sizes. One alone is not read before it is asked
    /// for.
    pub(super) fn new<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Self {
        let mut small = Self::default();
        let mut known = 0;
        for (path, size) in files {
            known += 1;
            let Some(path) = Path::parse(path).ok().filter(|_| size <= LARGEST) else { continue };
            if small.places.contains_key(&path) {
                continue;
            }
            match small.groups.last_mut() {
                Some(group)
                    if group.paths.len() < GROUP_FILES && group.bytes + size <= GROUP_BYTES =>
                {
                    group.paths.push(path.clone());
                    group.bytes += size;
                }
                _ => small.groups.push(Group { paths: vec![path.clone()], bytes: size }),
            }
            small.places.insert(path, small.groups.len() - 1);
        }
        if known > 1 { small } else { Self::default() }
    }

    /// The place of a file's group, if it is read whole.
    pub(super) fn group(&self, path: &Path) -> Option<usize> {
        self.places.get(path).copied()
    }

    /// A store that holds a file, read with its group if it is not in memory; none if the file is
    /// to be read as it is asked for.
    pub(super) async fn get(&self, path: &Path, pinned: &Pinned) -> Option<InMemory> {
        let files = self.asked_for(self.group(path)?, pinned).await;
        files.head(path).await.is_ok().then_some(files)
    }

    /// A group, for which those are dropped that were asked for first if there is no room.
    fn asked_for(&self, group: usize, pinned: &Pinned) -> Shared<BoxFuture<'static, InMemory>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.iter().find(|known| known.group == group) {
            return known.files.clone();
        }
        let bytes = |group: usize| self.groups[group].bytes;
        let mut held = bytes(group) + read.iter().map(|known| bytes(known.group)).sum::<u64>();
        while held > KEPT_BYTES {
            let Some(first) = read.pop_front() else { break };
            held -= bytes(first.group);
        }
        let paths = self.groups[group].paths.iter();
        let pins = paths.filter_map(|path| Some((path.clone(), pinned.pin(path).ok()?.clone())));
        let files = in_memory(pins.collect()).boxed().shared();
        read.push_back(Read { group, files: files.clone() });
        files
    }
}

/// The contents of files, as far as they are what was pinned.
async fn in_memory(paths: Vec<(Path, Pin)>) -> InMemory {
    let read = paths.chunks(THREAD_FILES).map(|paths| {
        let paths = paths.to_vec();
        tokio::task::spawn_blocking(move || {
            let read = paths.into_iter().filter_map(|(path, pin)| {
                let contents = whole(&path, &pin).ok()??;
                Some((path, Bytes::from(contents)))
            });
            read.collect::<Vec<_>>()
        })
    });
    // Those that take too long are asked for once more, and then said to take too long.
    let read = timeout(LOCAL_READ, join_all(read)).await.unwrap_or_default();
    let in_memory = InMemory::new();
    for (path, contents) in read.into_iter().flat_map(Result::unwrap_or_default) {
        // It takes everything; if it did not, the file would be read as it is asked for.
        let _ = in_memory.put(&path, contents.into()).await;
    }
    in_memory
}

/// The contents of a file, if it is what was pinned.
fn whole(path: &Path, pin: &Pin) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(LocalFileSystem::new().path_to_filesystem(path)?)?;
    let is_pinned = |file: &File| Ok::<_, io::Error>(pin.is_local(&file.metadata()?));
    if !is_pinned(&file)? {
        return Ok(None);
    }
    let mut contents = Vec::with_capacity(pin.size as usize + 1);
    // It may be longer by now.
    (&mut file).take(pin.size + 1).read_to_end(&mut contents)?;
    Ok((contents.len() as u64 == pin.size && is_pinned(&file)?).then_some(contents))
}

impl Pin {
    /// Whether a local file is surely what was pinned.
    fn is_local(&self, found: &Metadata) -> bool {
        let e_tag = self.e_tag.as_deref().map(opaque);
        found.len() == self.size && e_tag.is_some() && e_tag == e_tag_of(found).as_deref()
    }
}

/// The e-tag that [`LocalFileSystem`] gives a file.
fn e_tag_of(metadata: &Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_micros();
    Some(format!("{:x}-{modified:x}-{:x}", metadata.ino(), metadata.len()))
}
