//! The file of a map: what is in it and where it stands, then the pages.
//!
//! ```text
//! header | the fragments' names | where pages end, and their checksums | pages
//! ```
//!
//! The header holds the checksums of the two parts behind it and its own, which are looked at when
//! the file is opened; those of pages when they are read, for to read them all would cost as much
//! as a map in memory. Numbers are little-endian.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use keyloom_common::checksum::checksum;

use super::{
    StoredMap, Told,
    pages::{BYTES_A_PAGE, Pages, Shape},
};
use crate::store::lance::keys::key_map::{KeyMap, NO_ROW};

const MAGIC: u64 = u64::from_le_bytes(*b"KLKEYMAP");

/// Changes with what a file holds. The names of files say it, too, so that none is taken for
/// another.
pub(super) const FORMAT: u64 = 2;

/// The numbers of a header, the last of which is the checksum of the others.
const NUMBERS: usize = 13;

pub(super) const HEADER_BYTES: usize = NUMBERS * size_of::<u64>();

/// The most bytes of the names of fragments: of more fragments than any dataset has.
const MAX_NAMES_BYTES: u64 = 64 << 20;

/// Keys are the owner's alone.
const MODE: u32 = 0o600;

struct Header {
    shape: Shape,
    pages: u64,
    entries: u64,
    told: Told,
    names_bytes: u64,
    names_checksum: u32,
    directory_checksum: u32,
}

/// An error that says what of the file is not as it was written.
pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"))
}

/// The bytes of the file of a map.
pub(super) fn bytes(names: &[u8], map: &KeyMap) -> u64 {
    let (pages, bytes) = Pages::size(map);
    body(names.len() as u64, pages).saturating_add(bytes)
}

/// Where the first page starts.
fn body(names_bytes: u64, pages: u64) -> u64 {
    (HEADER_BYTES as u64).saturating_add(names_bytes).saturating_add(pages * BYTES_A_PAGE)
}

/// Writes a map, of whose keys this is known, to a new file, and waits until the disk has it.
pub(super) fn write(path: &Path, names: &[u8], map: &KeyMap, told: Told) -> io::Result<()> {
    if names.len() as u64 > MAX_NAMES_BYTES {
        let text = format!("the names of its fragments take more than {MAX_NAMES_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    out.seek(SeekFrom::Start(body(names.len() as u64, Pages::size(map).0)))?;
    let pages = Pages::write(map, &mut out)?;
    out.flush()?;
    file.write_all_at(&head(names, &pages, told), 0)?;
    file.sync_all()
}

/// What stands before the pages.
pub(super) fn head(names: &[u8], pages: &Pages, told: Told) -> Vec<u8> {
    let directory = pages.directory();
    let header = Header {
        shape: pages.shape(),
        pages: pages.len() as u64,
        entries: pages.entries(),
        told,
        names_bytes: names.len() as u64,
        names_checksum: checksum(names),
        directory_checksum: checksum(&directory),
    };
    [header.encode().as_slice(), names, directory.as_slice()].concat()
}

/// The names of the fragments whose keys a file holds, and what it tells of these keys.
///
/// # Errors
/// If it cannot be read, or is damaged before its pages.
pub(super) fn outline(path: &Path) -> io::Result<(Vec<u8>, Told)> {
    outline_in(&File::open(path)?)
}

/// The same of a file that is open.
pub(super) fn outline_in(file: &File) -> io::Result<(Vec<u8>, Told)> {
    let header = Header::read(file)?;
    Ok((header.names(file)?, header.told))
}

/// Opens the map of the fragments with these names.
///
/// # Errors
/// If it cannot be read, or is damaged or another's.
pub(super) fn open(path: &Path, names: &[u8]) -> io::Result<StoredMap> {
    open_in(File::open(path)?, names)
}

/// The same in a file that is open.
pub(super) fn open_in(file: File, names: &[u8]) -> io::Result<StoredMap> {
    let header = Header::read(&file)?;
    // No more is read than is known.
    if header.names_bytes != names.len() as u64 || header.names(&file)? != names {
        return Err(damaged("its name"));
    }
    let directory = (HEADER_BYTES as u64) + header.names_bytes;
    let mut bytes = vec![0; (header.pages * BYTES_A_PAGE) as usize];
    file.read_exact_at(&mut bytes, directory)?;
    let sound = Some(bytes).filter(|bytes| checksum(bytes) == header.directory_checksum);
    let pages = sound.and_then(|bytes| Pages::read(header.shape, header.entries, &bytes));
    let pages = pages.ok_or_else(|| damaged("its directory"))?;
    let body = body(header.names_bytes, header.pages);
    Ok(StoredMap { file, body, pages, told: header.told, rows: NO_ROW })
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let (kind, of_kind) = match self.shape {
            Shape::Index { shift } => (0, u64::from(shift)),
            Shape::Table { first } => (1, first as u64),
        };
        let numbers = [
            MAGIC,
            FORMAT,
            kind,
            of_kind,
            self.pages,
            self.entries,
            self.told.bounds.0 as u64,
            self.told.bounds.1 as u64,
            self.names_bytes,
            self.names_checksum.into(),
            self.directory_checksum.into(),
            self.told.is_unique.into(),
        ];
        let mut bytes = [0; HEADER_BYTES];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        let (numbers, sum) = bytes.split_at_mut(HEADER_BYTES - size_of::<u64>());
        sum.copy_from_slice(&u64::from(checksum(numbers)).to_le_bytes());
        bytes
    }

    /// Reads and checks it. The lengths that it says are those of the file.
    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let mut numbers = [0; NUMBERS];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        let held = checksum(&bytes[..HEADER_BYTES - size_of::<u64>()]);
        let [magic, format, kind, of_kind, pages, entries, least, greatest, names, rest @ ..] =
            numbers;
        let [names_checksum, directory_checksum, unique, own_checksum] = rest;
        if own_checksum != u64::from(held) || (magic, format) != (MAGIC, FORMAT) {
            return Err(damaged("its header"));
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| damaged("its header"));
        let shape = match kind {
            0 => Shape::Index { shift: small(of_kind)? },
            1 => Shape::Table { first: of_kind as i64 },
            _ => return Err(damaged("its header")),
        };
        let is_unique = match unique {
            0 => false,
            1 => true,
            _ => return Err(damaged("its header")),
        };
        let header = Self {
            shape,
            pages,
            entries,
            told: Told { bounds: (least as i64, greatest as i64), is_unique },
            names_bytes: names,
            names_checksum: small(names_checksum)?,
            directory_checksum: small(directory_checksum)?,
        };
        let length = file.metadata()?.len();
        let is_whole = header.length() == Some(length) && names <= MAX_NAMES_BYTES;
        if is_whole { Ok(header) } else { Err(damaged("its length")) }
    }

    /// The bytes of the file, unless these are absurdly many.
    fn length(&self) -> Option<u64> {
        let directory = self.pages.checked_mul(BYTES_A_PAGE)?;
        let pages = self.entries.checked_mul(self.shape.entry_bytes())?;
        let head = (HEADER_BYTES as u64).checked_add(self.names_bytes)?;
        head.checked_add(directory)?.checked_add(pages)
    }

    fn names(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut names = vec![0; self.names_bytes as usize];
        file.read_exact_at(&mut names, HEADER_BYTES as u64)?;
        let is_sound = checksum(&names) == self.names_checksum;
        if is_sound { Ok(names) } else { Err(damaged("its list of fragments")) }
    }
}
