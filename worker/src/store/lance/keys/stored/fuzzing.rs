//! How files of maps are read, for [`crate::fuzzing`].

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use keyloom_common::checksum::checksum;

use super::{Told, file};
use crate::store::lance::keys::{code_index::CodeIndex, coder::spread, key_map::KeyMap};

/// Rows of the fragments that maps are of.
const ROWS: u32 = 5_000;

/// Codes of a map that are looked for again.
const AGAIN: usize = 1_000;

/// Reads bytes as the file of a map: as they are, and with checksums that hold.
///
/// # Errors
/// If there is no room for a file.
pub(crate) fn read_map(bytes: &[u8]) -> io::Result<()> {
    read(bytes)?;
    summed(bytes).map_or(Ok(()), |bytes| read(&bytes))
}

/// The same file with checksums of what is in it, as if somebody had written it so.
fn summed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let number = |at: usize| -> Option<usize> {
        let number = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        usize::try_from(number).ok()
    };
    let [kind, pages, names] = [2, 4, 8].map(|number_at| number(number_at * 8));
    let (entry, pages) = (if kind? == 0 { 12 } else { 4 }, pages?);
    let directory = file::HEADER_BYTES.checked_add(names?)?;
    let sums = directory.checked_add(pages.checked_mul(8)?)?;
    let body = sums.checked_add(pages.checked_mul(4)?).filter(|body| *body <= bytes.len())?;
    let ends: Option<Vec<usize>> = (0..pages).map(|page| number(directory + page * 8)).collect();
    let mut start = 0;
    for (page, end) in ends?.into_iter().enumerate() {
        let end = end.checked_mul(entry)?;
        let sum = checksum(bytes.get(body.checked_add(start)?..body.checked_add(end)?)?);
        bytes[sums + page * 4..][..4].copy_from_slice(&sum.to_le_bytes());
        start = end;
    }
    let of_names = checksum(&bytes[file::HEADER_BYTES..directory]);
    let of_directory = checksum(&bytes[directory..body]);
    for (number_at, sum) in [(9, of_names), (10, of_directory)] {
        bytes[number_at * 8..][..8].copy_from_slice(&u64::from(sum).to_le_bytes());
    }
    let own = file::HEADER_BYTES - size_of::<u64>();
    let of_header = checksum(&bytes[..own]);
    bytes[own..][..8].copy_from_slice(&u64::from(of_header).to_le_bytes());
    Some(bytes)
}

fn read(bytes: &[u8]) -> io::Result<()> {
    let file = file_of(bytes)?;
    let Ok((names, _)) = file::outline_in(&file) else { return Ok(()) };
    let Ok(map) = file::open_in(file, &names) else { return Ok(()) };
    let map = map.within(ROWS);
    let head = file::head(&names, &map.pages, map.told);
    assert!(bytes.starts_with(&head), "a map is written as it was read");
    let mut entries = Vec::new();
    let read = map.for_each(|code, row| entries.push((code, row)));
    assert!(entries.iter().all(|(_, row)| *row < ROWS), "a row that there is not");
    let ends = [0, u64::MAX, spread(0), spread(i64::MAX as u64), spread(i64::MIN as u64)];
    let codes: Vec<u64> = entries.iter().map(|(code, _)| *code).take(AGAIN).chain(ends).collect();
    let mut found = Vec::new();
    let searched = map.for_each_match(&CodeIndex::new(&codes, None), |key, row| {
        found.push((codes[key as usize], row));
    });
    if read.is_ok() && searched.is_ok() {
        entries.sort_unstable();
        let known = |pair: &(u64, u32)| entries.binary_search(pair).is_ok();
        assert!(found.iter().all(known), "a search found what is not in the map");
    }
    Ok(())
}

/// A file of these bytes, which has no name any more.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let path = new_path();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    (&file).write_all(bytes)?;
    Ok(file)
}

fn new_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    env::temp_dir().join(format!("keyloom-fuzzing-{process}-{number}"))
}

/// The file of a map of the keys of so many rows, with gaps between them or without.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn map_file(rows: u32, gaps: bool) -> io::Result<Vec<u8>> {
    let step = if gaps { 1_000_003 } else { 1 };
    let codes = (0..i64::from(rows)).map(|row| spread((row * step) as u64)).collect();
    let map = KeyMap::new(codes, None, true);
    let path = new_path();
    let told = Told { bounds: map.bounds().unwrap_or_default(), is_unique: map.is_unique() };
    let written = file::write(&path, br#"{"key":"k","fragments":[["a",5]]}"#, &map, told);
    let bytes = written.and_then(|()| fs::read(&path));
    let _ = fs::remove_file(&path);
    bytes
}
