//! What files are known by.

use blake3::Hasher;
use keyloom_common::input::Fingerprint;
use object_store::ObjectMeta;

/// Stands for the paths, sizes, e-tags and times of files, in their order.
pub(in crate::input) fn fingerprint(files: &[ObjectMeta]) -> Fingerprint {
    let mut hasher = Hasher::new();
    for file in files {
        text(&mut hasher, Some(file.location.as_ref()));
        text(&mut hasher, file.e_tag.as_deref());
        hasher.update(&file.size.to_le_bytes());
        let modified = &file.last_modified;
        hasher.update(&modified.timestamp().to_le_bytes());
        hasher.update(&modified.timestamp_subsec_nanos().to_le_bytes());
    }
    Fingerprint(*hasher.finalize().as_bytes())
}

/// A text with its length, so that no two lists of texts look alike.
fn text(hasher: &mut Hasher, text: Option<&str>) {
    let length = text.map_or(u64::MAX, |text| text.len() as u64);
    hasher.update(&length.to_le_bytes());
    hasher.update(text.unwrap_or_default().as_bytes());
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn file(path: &str, size: u64, e_tag: Option<&str>, modified_ns: i64) -> ObjectMeta {
        ObjectMeta {
            location: path.into(),
            last_modified: DateTime::from_timestamp_nanos(modified_ns),
            size,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        }
    }

    #[test]
    fn every_change_changes_the_fingerprint() {
        let known = fingerprint(&[file("a", 1, Some("t"), 5), file("b", 1, None, 5)]);
        assert_eq!(known, fingerprint(&[file("a", 1, Some("t"), 5), file("b", 1, None, 5)]));
        let others = [
            vec![],
            vec![file("a", 1, Some("t"), 5)],
            vec![file("b", 1, None, 5), file("a", 1, Some("t"), 5)],
            vec![file("a", 1, Some("t"), 5), file("c", 1, None, 5)],
            vec![file("a", 1, Some("t"), 5), file("b", 2, None, 5)],
            vec![file("a", 1, Some("u"), 5), file("b", 1, None, 5)],
            vec![file("a", 1, None, 5), file("b", 1, None, 5)],
            vec![file("a", 1, Some("t"), 5), file("b", 1, Some(""), 5)],
            vec![file("a", 1, Some("t"), 5), file("b", 1, None, 6)],
        ];
        for other in others {
            assert_ne!(known, fingerprint(&other), "{other:?}");
        }
    }
}
