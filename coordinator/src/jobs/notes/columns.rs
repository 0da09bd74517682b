//! How much of a store's columns is used and kept.

use keyloom_common::report::{Note, NoteKind, StoreRun, counter, words};

/// Of fewer columns it is no matter how many are used.
const LEAST_COLUMNS: u32 = 4;

/// So many columns or more are rarely all wanted.
const MANY_COLUMNS: u32 = 8;

/// Fewer bytes of values are fetched soon enough.
const LEAST_BYTES: u64 = 10_000_000;

/// From this share of blocks on, those that are not in memory are many.
const MANY_BLOCKS_PERCENT: u64 = 10;

/// Few of many columns were used, or all of very many.
pub(super) fn used(store: &StoreRun) -> Option<Note> {
    let StoreRun { columns, columns_used, .. } = *store;
    let fetched = store.counted(counter::BYTES_FETCHED);
    let text = if columns_used == columns && columns >= MANY_COLUMNS && fetched >= LEAST_BYTES {
        format!(
            "{}: all {columns} columns were used, {} of values; columns => ['…'] asks for fewer",
            store.store,
            words::bytes(fetched)
        )
    } else if columns >= LEAST_COLUMNS && columns_used > 0 && columns_used <= columns / 2 {
        format!("{}: {columns_used} of {columns} columns used", store.store)
    } else {
        return None;
    };
    Some(Note { kind: NoteKind::Columns, text })
}

/// Blocks of columns had to be read for want of room to keep them.
pub(super) fn small_cache(store: &StoreRun) -> Option<Note> {
    let (blocks, hits) = (store.counted(counter::BLOCKS), store.counted(counter::BLOCK_HITS));
    let (needed, room) = (store.row_bytes.saturating_mul(store.rows?), store.column_cache_bytes);
    let read = blocks.saturating_sub(hits);
    if blocks == 0 || needed <= room || read * 100 < blocks * MANY_BLOCKS_PERCENT {
        return None;
    }
    let text = format!(
        "{}: {} of {} of columns were not in memory; the columns need {}, and \
         store.column_cache_bytes = {}",
        store.store,
        words::count(read),
        words::plural(blocks, "block"),
        words::bytes(needed),
        words::bytes(room)
    );
    Some(Note { kind: NoteKind::SmallCache, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(columns: u32, columns_used: u32) -> StoreRun {
        StoreRun { store: "products".to_owned(), columns, columns_used, ..StoreRun::default() }
    }

    #[test]
    fn few_of_many_columns_are_noted() {
        let note = used(&store(40, 3)).unwrap();
        assert_eq!(note.kind, NoteKind::Columns);
        assert_eq!(note.text, "products: 3 of 40 columns used");
        for (columns, columns_used) in [(40, 21), (40, 0), (3, 1), (40, 40)] {
            assert_eq!(used(&store(columns, columns_used)), None, "{columns_used} of {columns}");
        }
    }

    #[test]
    fn very_many_columns_that_are_all_used_are_noted_if_that_costs_something() {
        let mut all = store(40, 40);
        all.count(counter::BYTES_FETCHED, 84_000_000);
        let expected = "products: all 40 columns were used, 84 MB of values; columns => ['…'] asks \
                        for fewer";
        assert_eq!(used(&all).map(|note| note.text).as_deref(), Some(expected));
        let narrow = StoreRun { columns: 5, columns_used: 5, ..all };
        assert_eq!(used(&narrow), None);
    }

    /// A store whose columns need 5 MB, of which so many blocks of a hundred were in memory.
    fn kept(hits: u64, column_cache_bytes: u64) -> StoreRun {
        let (rows, row_bytes) = (Some(10_000), 500);
        let mut store = StoreRun { rows, row_bytes, column_cache_bytes, ..store(2, 2) };
        store.count(counter::BLOCKS, 100);
        store.count(counter::BLOCK_HITS, hits);
        store
    }

    #[test]
    fn a_cache_that_is_too_small_says_what_it_needs() {
        let note = small_cache(&kept(30, 1_000_000)).unwrap();
        assert_eq!(note.kind, NoteKind::SmallCache);
        let expected = "products: 70 of 100 blocks of columns were not in memory; the columns need \
                        5.0 MB, and store.column_cache_bytes = 1.0 MB";
        assert_eq!(note.text, expected);
        assert_eq!(small_cache(&kept(95, 1_000_000)), None, "few were read");
        assert_eq!(small_cache(&kept(0, 5_000_000)), None, "they were read for the first time");
        assert_eq!(small_cache(&store(2, 2)), None);
    }
}
