//! Keys that are read again, and keys that are not found.

use keyloom_common::report::{Note, NoteKind, StoreRun, counter, words};

/// So many keys of a store are read soon enough, however often.
const LEAST_KEYS_READ: u64 = 10_000;

/// Of so few keys it is no matter how many are not found.
const LEAST_KEYS: u64 = 100;

/// From this share of keys on, those that are not found are many.
const MANY_MISSES_PERCENT: f64 = 20.0;

/// The word for maps of all keys, among ways to a store's rows.
const MAP: &str = "map";

/// All keys of a store were read more than once a worker.
pub(super) fn read_again(store: &StoreRun, workers: u32) -> Option<Note> {
    let (read, rows) = (store.counted(counter::KEYS_SCANNED), store.rows?);
    let times = read.checked_div(rows)?;
    if read < LEAST_KEYS_READ || times < 2 || times <= u64::from(workers) {
        return None;
    }
    let map = words::bytes(store.key_map_bytes);
    let remedy = if store.key_paths.iter().any(|path| path == MAP) {
        format!("a map of them needs {map} and was not kept")
    } else if store.key_map_bytes <= store.max_key_map_bytes {
        format!("key_path = map needs {map}")
    } else {
        let most = words::bytes(store.max_key_map_bytes);
        format!("a map of them needs {map}, over store.max_key_map_bytes = {most}")
    };
    let text = format!(
        "{}: its {} keys were read {} times; {remedy}",
        store.store,
        words::count(rows),
        words::count(times)
    );
    Some(Note { kind: NoteKind::KeysReadAgain, text })
}

/// Many of the keys that were asked for are not there.
pub(super) fn many_misses(store: &StoreRun) -> Option<Note> {
    let (distinct, misses) = (store.counted(counter::DISTINCT), store.counted(counter::MISSES));
    let percent = misses as f64 * 100.0 / distinct as f64;
    if distinct < LEAST_KEYS || percent < MANY_MISSES_PERCENT {
        return None;
    }
    let (alias, key) = (&store.store, &store.key);
    let text = if misses == distinct {
        format!(
            "{alias}: none of {} keys was found; are they meant to be compared with {key}?",
            words::count(distinct)
        )
    } else {
        format!(
            "{alias}: {} of the keys were not found ({} of {})",
            words::percent(percent),
            words::count(misses),
            words::count(distinct)
        )
    };
    Some(Note { kind: NoteKind::ManyMisses, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store of two million keys that were read so often.
    fn read(times: u64, key_path: &str) -> StoreRun {
        let mut store = StoreRun {
            store: "big".to_owned(),
            key_paths: vec![key_path.to_owned()],
            rows: Some(2_000_000),
            key_map_bytes: 26_000_000,
            max_key_map_bytes: 4 << 30,
            ..StoreRun::default()
        };
        store.count(counter::KEYS_SCANNED, times * 2_000_000);
        store
    }

    fn text(note: Option<Note>) -> Option<String> {
        note.map(|note| note.text)
    }

    #[test]
    fn keys_that_are_read_again_and_again_say_what_a_map_needs() {
        let note = read_again(&read(32, "scan"), 2).unwrap();
        assert_eq!(note.kind, NoteKind::KeysReadAgain);
        let expected = "big: its 2,000,000 keys were read 32 times; key_path = map needs 26 MB";
        assert_eq!(note.text, expected);

        let small = StoreRun { max_key_map_bytes: 1_000_000, ..read(32, "scan") };
        let expected = "big: its 2,000,000 keys were read 32 times; a map of them needs 26 MB, \
                        over store.max_key_map_bytes = 1.0 MB";
        assert_eq!(text(read_again(&small, 2)).as_deref(), Some(expected));

        let expected = "big: its 2,000,000 keys were read 5 times; a map of them needs 26 MB and \
                        was not kept";
        assert_eq!(text(read_again(&read(5, "map"), 2)).as_deref(), Some(expected));
    }

    #[test]
    fn keys_that_each_worker_reads_once_are_no_waste() {
        assert_eq!(read_again(&read(3, "map"), 3), None);
        assert_eq!(read_again(&read(1, "scan"), 0), None);
        let few = StoreRun { rows: Some(10), ..StoreRun::default() };
        assert_eq!(read_again(&few, 1), None);
        let unknown = StoreRun { rows: None, ..read(32, "scan") };
        assert_eq!(read_again(&unknown, 1), None);
        let empty = StoreRun { rows: Some(0), ..read(32, "scan") };
        assert_eq!(read_again(&empty, 1), None);
    }

    /// A store that was asked for a thousand keys, of which it has not so many.
    fn missed(misses: u64) -> StoreRun {
        let (store, key) = ("products".to_owned(), "product_id".to_owned());
        let mut store = StoreRun { store, key, ..StoreRun::default() };
        store.count(counter::DISTINCT, 1000);
        store.count(counter::MISSES, misses);
        store
    }

    #[test]
    fn many_keys_that_are_not_found_are_noted() {
        assert_eq!(many_misses(&missed(199)), None);
        let note = many_misses(&missed(450)).unwrap();
        assert_eq!(note.kind, NoteKind::ManyMisses);
        assert_eq!(note.text, "products: 45% of the keys were not found (450 of 1,000)");
        let all = "products: none of 1,000 keys was found; are they meant to be compared with \
                   product_id?";
        assert_eq!(text(many_misses(&missed(1000))).as_deref(), Some(all));
        assert_eq!(many_misses(&StoreRun::default()), None);
    }
}
