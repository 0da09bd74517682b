//! How often all keys of a store were read for those of a job, over all versions of it: whoever
//! comes again is better served by a map.

use keyloom_common::BlobId;
use quick_cache::sync::Cache;

use super::runs::KeyName;

/// Scans of keys, of those stores that were asked for last.
#[derive(Debug)]
pub(in crate::store::lance) struct Scans(Cache<KeyName, Scanned>);

/// How often keys were read, and for which set the last time.
#[derive(Clone, Copy, Debug)]
struct Scanned {
    times: u32,
    set: BlobId,
}

impl Scans {
    /// None yet. Of about so many keys it is known.
    pub(in crate::store::lance) fn new(keys: usize) -> Self {
        Self(Cache::new(keys))
    }

    /// How often the keys were read for other sets: stores that differ in their options share one.
    pub(super) fn before(&self, key: &KeyName, set: BlobId) -> u32 {
        let scanned = self.0.get(key);
        scanned.map_or(0, |scanned| scanned.times - u32::from(scanned.set == set))
    }

    /// Counts a scan for a set.
    pub(super) fn add(&self, key: KeyName, set: BlobId) {
        let times = self.before(&key, set).saturating_add(1);
        self.0.insert(key, Scanned { times, set });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_for_one_set_count_once() {
        let key = |column: &str| KeyName { dataset: "dataset".into(), columns: column.into() };
        let (one, two) = (BlobId::of(b"one"), BlobId::of(b"two"));
        let scans = Scans::new(1 << 10);
        assert_eq!(scans.before(&key("id"), one), 0);
        scans.add(key("id"), one);
        scans.add(key("id"), one);
        assert_eq!((scans.before(&key("id"), one), scans.before(&key("id"), two)), (0, 1));
        scans.add(key("id"), two);
        assert_eq!((scans.before(&key("id"), one), scans.before(&key("id"), two)), (2, 1));
        assert_eq!(scans.before(&key("word"), one), 0);
    }
}
