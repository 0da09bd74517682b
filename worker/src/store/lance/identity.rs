//! What tells datasets apart that stood in one place, one after the other.

use std::sync::Arc;

use keyloom_common::{input::FragmentMark, store::ManifestId};
use lance_table::format::{Fragment, Manifest};

/// The id of a snapshot's manifest.
pub(super) fn manifest_id(manifest: &Manifest) -> ManifestId {
    ManifestId::of(manifest.timestamp_nanos, manifest.transaction_file.as_deref())
}

/// The name by which caches know a data file.
///
/// Lance draws the names of files, and all versions that have a file share what is kept of it. One
/// that somebody else named may be another file after the dataset is written anew, so it is known
/// as a file of its snapshot.
pub(super) fn cache_name(manifest: &Manifest, path: &str) -> Arc<str> {
    if is_drawn(path) {
        return path.into();
    }
    format!("{path} of {}", manifest_id(manifest)).into()
}

/// What a fragment is known by in all versions that have it as it is.
pub(super) fn fragment_mark(manifest: &Manifest, fragment: &Fragment) -> FragmentMark {
    let mut hasher = blake3::Hasher::new();
    let mut number = |number: u64| {
        hasher.update(&number.to_le_bytes());
    };
    number(fragment.id);
    number(fragment.files.len() as u64);
    number(fragment.overlays.len() as u64);
    let deletions = fragment.deletion_file.as_ref();
    number(deletions.map_or(0, |deletions| deletions.read_version));
    number(deletions.map_or(0, |deletions| deletions.id));
    let overlays = fragment.overlays.iter().map(|overlay| &overlay.data_file);
    for file in fragment.files.iter().chain(overlays) {
        let name = cache_name(manifest, &file.path);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(file.fields.len() as u64).to_le_bytes());
        for field in file.fields.iter() {
            hasher.update(&field.to_le_bytes());
        }
    }
    let mut mark = [0; 16];
    hasher.finalize_xof().fill(&mut mark);
    FragmentMark(mark)
}

/// Whether Lance drew the names of all data files.
pub(super) fn files_are_drawn(manifest: &Manifest) -> bool {
    let mut files = manifest.fragments.iter().flat_map(|fragment| &fragment.files);
    files.all(|file| is_drawn(&file.path))
}

/// Whether a file's name holds as many random bits as a UUID: its digits, however they are written.
fn is_drawn(path: &str) -> bool {
    const LEAST_DIGITS: usize = 32;
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_suffix(".lance").unwrap_or(name);
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    stem.bytes().filter(|byte| digit(*byte)).count() >= LEAST_DIGITS
        && stem.bytes().all(|byte| digit(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lance_draws_are_known() {
        let cases = [
            ("data/110101101010111000110101b76fdd4c3f9e1f1e6bdf2a8d33.lance", true),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8.lance", true),
            ("part-0.lance", false),
            ("0000000000000001.lance", false),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8-part.lance", false),
            ("", false),
        ];
        for (path, drawn) in cases {
            assert_eq!(is_drawn(path), drawn, "{path}");
        }
    }
}
