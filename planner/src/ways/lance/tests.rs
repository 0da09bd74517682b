//! Ways chosen, case by case.

use std::collections::BTreeMap;

use keyloom_common::store::KeyIndex;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The columns: a key, a vector of 128 floats, a name.
const VALUE_BYTES: [u64; 3] = [8, 512, 20];
const KEY: usize = 0;
const VECTOR: usize = 1;
const NAME: usize = 2;

fn figures(rows: u64) -> LanceFigures {
    LanceFigures {
        rows,
        fragments: 10,
        value_bytes: VALUE_BYTES.to_vec(),
        btrees: BTreeMap::new(),
        stable_row_ids: false,
        max_key_map_bytes: 4 * GIB,
        column_cache_bytes: GIB,
        ..LanceFigures::default()
    }
}

fn indexed(figures: LanceFigures, fragments: u64) -> LanceFigures {
    LanceFigures { btrees: [("id".to_owned(), KeyIndex { fragments })].into(), ..figures }
}

fn column() -> StoreKey {
    StoreKey::column("id")
}

/// A question about integer keys in a column, in batches of 8192.
pub(super) fn question<'a>(
    key: &'a StoreKey,
    figures: &'a LanceFigures,
    columns: &'a [usize],
    keys: Option<u64>,
) -> Question<'a> {
    Question {
        key,
        forced: ForcedAccess::default(),
        figures,
        storage: Storage::LOCAL,
        columns,
        compared: Vec::new(),
        keys,
        keys_at_once: 8192,
        has_key_set: false,
    }
}

/// The way and the reason, as EXPLAIN shows them.
fn shown(question: &Question<'_>) -> String {
    let (way, reason) = choose(question);
    format!("{way}: {reason}")
}

#[test]
fn row_ids_and_offsets_are_direct_unless_rows_move() {
    let (plain, stable) = (figures(100), LanceFigures { stable_row_ids: true, ..figures(100) });
    let cases = [
        (StoreKey::RowId, &plain, KeyPath::Direct),
        (StoreKey::RowId, &stable, KeyPath::Map),
        (StoreKey::Offset, &plain, KeyPath::Direct),
        (StoreKey::Offset, &stable, KeyPath::Direct),
    ];
    for (key, figures, expected) in cases {
        let (way, _) = choose(&question(&key, figures, &[NAME], None));
        assert_eq!(way.keys, expected, "{key:?}");
    }
}

#[test]
fn keys_are_mapped_unless_an_index_is_far_cheaper_or_the_map_too_large() {
    let large = 400_000_000;
    let cases = [
        (figures(5_000_000), Some(10), "map+take: 10 keys of 5000000 rows, 20 B a row"),
        (
            indexed(figures(5_000_000), 10),
            Some(10),
            "btree+take: 10 keys of 5000000 rows, 20 B a row",
        ),
        (
            indexed(figures(5_000_000), 10),
            Some(1_000),
            "map+take: 1000 keys of 5000000 rows, 20 B a row",
        ),
        (indexed(figures(5_000_000), 10), None, "map+take: 5000000 rows, 20 B a row"),
        // Half of the rows would be scanned.
        (indexed(figures(5_000_000), 5), Some(10), "map+take: 10 keys of 5000000 rows, 20 B a row"),
        (
            figures(large),
            Some(10),
            "scan+take: 10 keys of 400000000 rows, 20 B a row, key map of 4.8 GiB over 4.0 GiB",
        ),
        (
            indexed(figures(large), 10),
            None,
            "btree+take: 400000000 rows, 20 B a row, key map of 4.8 GiB over 4.0 GiB",
        ),
    ];
    for (figures, keys, expected) in cases {
        assert_eq!(shown(&question(&column(), &figures, &[NAME], keys)), expected);
    }
}

#[test]
fn keys_are_collected_for_stores_that_are_much_larger() {
    let (key, figures) = (column(), figures(20_000_000));
    let shown = |keys, has_key_set| {
        let question = question(&key, &figures, &[NAME], Some(keys));
        shown(&Question { has_key_set, ..question })
    };
    let few = "1000 keys of 20000000 rows, 20 B a row";
    assert_eq!(shown(1_000, true), format!("scan+take: {few}, keys collected first"));
    assert_eq!(shown(1_000, false), format!("map+take: {few}"));
    assert!(shown(400_000, true).starts_with("map+"));
}

#[test]
fn rows_are_scanned_if_that_is_cheaper_and_the_columns_fit() {
    let cases: [(u64, Option<u64>, &[usize], &str); 6] = [
        (
            5_000_000,
            Some(50_000),
            &[VECTOR, NAME],
            "map+take: 50000 keys of 5000000 rows, 532 B a row",
        ),
        (
            1_000_000,
            Some(1_000_000),
            &[VECTOR, NAME],
            "map+scan: 1000000 keys of 1000000 rows, 532 B a row",
        ),
        (1_000_000, None, &[VECTOR, NAME], "map+take: 1000000 rows, 532 B a row"),
        (
            3_000_000,
            Some(3_000_000),
            &[VECTOR],
            "map+take: 3000000 keys of 3000000 rows, 512 B a row, columns of 1.4 GiB over 1.0 GiB",
        ),
        (3_000_000, Some(3_000_000), &[NAME], "map+scan: 3000000 keys of 3000000 rows, 20 B a row"),
        (1_000_000, Some(1_000_000), &[], "map+take: 1000000 keys of 1000000 rows"),
    ];
    for (rows, keys, columns, expected) in cases {
        assert_eq!(shown(&question(&column(), &figures(rows), columns, keys)), expected);
    }
}

#[test]
fn what_does_not_fit_is_scanned_only_if_few_requests_read_it() {
    let (key, figures) = (column(), figures(3_000_000));
    let keys = Some(3_000_000);
    let all = Question { keys_at_once: 3_000_000, ..question(&key, &figures, &[VECTOR], keys) };
    assert_eq!(
        shown(&all),
        "map+scan: 3000000 keys of 3000000 rows, 512 B a row, columns of 1.4 GiB over 1.0 GiB"
    );
    let halves = Question { keys_at_once: 1_500_000, ..all };
    assert_eq!(choose(&halves).0.rows, RowPath::Scan);
    let tenths = Question { keys_at_once: 300_000, ..halves };
    assert_eq!(choose(&tenths).0.rows, RowPath::Take);
}

#[test]
fn compared_keys_are_read_too() {
    let (key, figures) = (column(), figures(100_000_000));
    let integers = question(&key, &figures, &[], Some(100_000_000));
    let exact = LanceFigures { column_cache_bytes: 20 * figures.rows, ..figures.clone() };
    let fits = Question { columns: &[NAME], figures: &exact, ..integers };
    assert_eq!(shown(&fits), "map+scan: 100000000 keys of 100000000 rows, 20 B a row");
    assert_eq!(
        shown(&Question { compared: vec![KEY], ..fits.clone() }),
        "map+take: 100000000 keys of 100000000 rows, 20 B a row, columns of 2.6 GiB over 1.9 GiB"
    );
    // A column that is wanted and compared is read once.
    let once = Question { columns: &[KEY], compared: vec![KEY], ..fits };
    assert_eq!(shown(&once), "map+scan: 100000000 keys of 100000000 rows, 8 B a row");
}

#[test]
fn what_is_forced_is_taken_whatever_it_costs() {
    let (key, dense) = (column(), indexed(figures(1_000_000), 10));
    let forced = |keys, rows| {
        let question = question(&key, &dense, &[NAME], Some(1_000_000));
        shown(&Question { forced: ForcedAccess { keys, rows }, ..question })
    };
    let figures = "1000000 keys of 1000000 rows, 20 B a row";
    for path in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
        let expected = format!("{path}+scan: {figures}, key path forced");
        assert_eq!(forced(Some(path), None), expected);
    }
    for path in [RowPath::Take, RowPath::Scan] {
        let expected = format!("map+{path}: {figures}, row path forced");
        assert_eq!(forced(None, Some(path)), expected);
    }
    assert_eq!(
        forced(Some(KeyPath::Scan), Some(RowPath::Take)),
        format!("scan+take: {figures}, key path forced, row path forced")
    );
}

#[test]
fn remote_reads_cost_more_than_remote_scans() {
    let (key, figures) = (column(), figures(100_000));
    let local = question(&key, &figures, &[VECTOR], Some(200));
    assert_eq!(shown(&local), "map+take: 200 keys of 100000 rows, 512 B a row");
    let remote = Question { storage: Storage::REMOTE, ..local };
    assert_eq!(shown(&remote), "map+scan: 200 keys of 100000 rows, 512 B a row");
}

#[test]
fn small_requests_make_scans_worthwhile_sooner() {
    let (key, figures) = (column(), figures(1_000_000));
    let keys = Some(200_000);
    let large = Question { keys_at_once: 200_000, ..question(&key, &figures, &[VECTOR], keys) };
    assert_eq!(choose(&large).0.rows, RowPath::Take);
    let small = Question { keys_at_once: 1000, ..large };
    assert_eq!(choose(&small).0.rows, RowPath::Scan);
}

#[test]
fn an_empty_store_has_a_way() {
    let (key, figures) = (column(), figures(0));
    assert_eq!(
        shown(&question(&key, &figures, &[NAME], Some(10))),
        "map+take: 10 keys of 0 rows, 20 B a row"
    );
}

#[test]
fn bytes_are_short() {
    let cases = [
        (0, "0 B"),
        (10_239, "10239 B"),
        (100_000, "97.7 KiB"),
        (62 * MIB, "62.0 MiB"),
        (4 * GIB, "4.0 GiB"),
        (5000 * GIB, "4.9 TiB"),
    ];
    for (count, text) in cases {
        assert_eq!(bytes(count), text);
    }
}
