use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arrow::buffer::NullBuffer;

use keyloom_common::checksum::checksum;

use super::{
    StoredMap, Told, file,
    folder::{LEAST_ROWS, MapFolder, RETRY},
};
use crate::store::{
    StoreSettings,
    lance::{
        keys::{
            code_index::CodeIndex,
            coder::spread,
            key_map::KeyMap,
            run::{KeyFacts, Run, RunMap},
            runs::{KeyName, Runs},
        },
        name::FileColumn,
    },
};

const NAMES: &[u8] = b"of some files";

fn codes(integers: impl IntoIterator<Item = i64>) -> Vec<u64> {
    integers.into_iter().map(|integer| spread(integer as u64)).collect()
}

/// What is known of the keys of a map.
fn told(map: &KeyMap) -> Told {
    Told { bounds: map.bounds().unwrap(), is_unique: map.is_unique() }
}

/// A map in memory and the same in a file.
fn stored(map: KeyMap) -> (KeyMap, StoredMap) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map");
    let told = told(&map);
    file::write(&path, NAMES, &map, told).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), file::bytes(NAMES, &map));
    assert_eq!(file::outline(&path).unwrap(), (NAMES.to_vec(), told));
    let stored = file::open(&path, NAMES).unwrap();
    assert_eq!(stored.told(), told);
    // It stays open when it is removed.
    (map, stored)
}

fn check(map: KeyMap, wanted: impl IntoIterator<Item = i64>) {
    let (map, stored) = stored(map);
    let wanted = CodeIndex::new(&codes(wanted), None);
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    map.for_each_match(&wanted, |key, row| expected.push((key, row)));
    stored.for_each_match(&wanted, |key, row| found.push((key, row))).unwrap();
    // The rows of a key come in order.
    found.sort_by_key(|(key, _)| *key);
    expected.sort_unstable();
    assert_eq!(found, expected);
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    map.for_each(|code, row| expected.push((code, row)));
    stored.for_each(|code, row| found.push((code, row))).unwrap();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn what_is_stored_is_found_again() {
    // Tables of one page, of several, and with gaps.
    for held in [0..1, -700..700, 5000..9000] {
        check(KeyMap::new(codes(held.clone()), None, true), held.start - 10..held.end + 10);
        let nulls: NullBuffer = held.clone().map(|key| key % 3 != 0 || key == 0).collect();
        let gaps = KeyMap::new(codes(held.clone()), Some(&nulls), true);
        check(gaps, [i64::MIN, -1, 0, 1, 6000, 6001, 6002, i64::MAX]);
    }
    // Indices of one page and of many, of duplicates, and of pages that hold nothing.
    for count in [1, 100, 3000, 200_000] {
        let held = || (0..count).map(|key| key * 1_000_003);
        check(KeyMap::new(codes(held()), None, true), held().step_by(3).chain([5, -1]));
        check(KeyMap::new(codes(held()), None, true), held().take(2));
        let nulls: NullBuffer = (0..count).map(|row| row % 3 != 1).collect();
        check(KeyMap::new(codes(held()), Some(&nulls), true), held());
        let twice = held().chain(held());
        check(KeyMap::new(codes(twice), None, true), held().chain(held().take(5)));
        check(KeyMap::new(codes((0..count).map(|_| 77)), None, false), [77, 78]);
    }
}

#[test]
fn no_flipped_bit_is_passed_over() {
    let read = |path: &Path| file::open(path, NAMES)?.for_each(|_, _| ());
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    let sparse = KeyMap::new(codes((0..600).map(|key| key * 1_000_003)), None, true);
    let dense = KeyMap::new(codes(0..600), None, true);
    for map in [sparse, dense] {
        file::write(&good, NAMES, &map, told(&map)).unwrap();
        read(&good).unwrap();
        let bytes = fs::read(&good).unwrap();
        fs::write(&bad, &bytes).unwrap();
        let file = File::options().write(true).open(&bad).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            file.write_all_at(&[byte ^ (1 << (at % 8))], at as u64).unwrap();
            assert!(read(&bad).is_err(), "byte {at}");
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
        read(&bad).unwrap();
        for length in [0, 10, 100, bytes.len() - 1] {
            fs::write(&bad, &bytes[..length]).unwrap();
            assert!(read(&bad).is_err(), "{length} bytes");
        }
        fs::write(&bad, [bytes.as_slice(), &[0]].concat()).unwrap();
        assert!(read(&bad).is_err());
        assert!(file::open(&good, b"of other files").is_err());
        fs::remove_file(&good).unwrap();
    }
}

#[test]
fn a_header_of_another_format_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map");
    let map = KeyMap::new(codes(0..600), None, true);
    file::write(&path, NAMES, &map, told(&map)).unwrap();
    let good = fs::read(&path).unwrap();
    let own = file::HEADER_BYTES - 8;
    // The format before this one, and neither unique nor not.
    for (number_at, number) in [(1, file::FORMAT - 1), (11, 2)] {
        let mut bytes = good.clone();
        bytes[number_at * 8..][..8].copy_from_slice(&number.to_le_bytes());
        let sum = u64::from(checksum(&bytes[..own]));
        bytes[own..][..8].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        assert_eq!(file::outline(&path).unwrap_err().to_string(), "its header is damaged");
        assert_eq!(file::open(&path, NAMES).unwrap_err().to_string(), "its header is damaged");
    }
}

#[test]
fn rows_that_there_are_not_are_damage() {
    let sparse = KeyMap::new(codes((0..600).map(|key| key * 1_000_003)), None, true);
    let dense = KeyMap::new(codes(0..600), None, true);
    for (map, step) in [(sparse, 1_000_003), (dense, 1)] {
        let stored = stored(map).1.within(500);
        let error = stored.for_each(|_, row| assert!(row < 500)).unwrap_err();
        assert_eq!(error.to_string(), "a row is damaged");
        let mut found = Vec::new();
        let mut find = |key: i64| {
            let wanted = CodeIndex::new(&codes([key * step]), None);
            stored.for_each_match(&wanted, |_, row| found.push(row))
        };
        find(499).unwrap();
        assert_eq!(find(500).unwrap_err().to_string(), "a row is damaged");
        assert_eq!(found, [499]);
    }
}

fn key(column: &str) -> KeyName {
    KeyName { dataset: Arc::from("dataset"), columns: Arc::from(column) }
}

/// A run of two fragments that has just so many rows that its map is stored.
fn run(key: &KeyName, name: &str) -> Arc<Run> {
    let file = |at: u32| FileColumn {
        dataset: key.dataset.clone(),
        file: format!("{name} {at}").into(),
        column: key.columns.clone(),
    };
    Run::new([(file(0), LEAST_ROWS - 10), (file(1), 10)])
}

/// The map of a run that holds the numbers of its rows, as integers or as hashes.
fn map(run: Arc<Run>, exact: bool) -> RunMap {
    let map = KeyMap::new(codes(0..i64::from(run.rows())), None, exact);
    RunMap::new(run, map, exact)
}

/// The map of a run of which one key stands in two rows.
fn map_of_duplicates(run: Arc<Run>) -> RunMap {
    let keys = (0..i64::from(run.rows())).map(|row| row.max(1));
    let map = KeyMap::new(codes(keys), None, true);
    RunMap::new(run, map, true)
}

/// A folder as a process has it.
fn folder(path: &Path, max_bytes: u64) -> MapFolder {
    let settings = StoreSettings {
        key_maps_dir: Some(path.to_path_buf()),
        max_key_maps_dir_bytes: max_bytes,
        ..StoreSettings::default()
    };
    MapFolder::new(&settings).unwrap()
}

/// The files of a folder and their bytes.
fn files(path: &Path) -> Vec<(String, u64)> {
    let files = fs::read_dir(path).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())
    });
    files.collect()
}

#[test]
fn another_process_finds_what_was_stored_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/when/needed");
    let (id, other) = (key("id"), key("other"));
    let first = folder(&path, u64::MAX);
    assert!(first.open(&id, &run(&id, "a")).is_none());
    first.save(&id, &map(run(&id, "a"), true));

    let second = folder(&path, u64::MAX);
    let mut known = Vec::new();
    second.recall(&id, |runs| known.extend_from_slice(runs));
    second.recall(&id, |_| unreachable!("once is enough"));
    second.recall(&other, |runs| assert!(runs.is_empty()));
    let [known] = known.as_slice() else { unreachable!("one run is stored") };
    assert_eq!(known.names(), run(&id, "a").names());
    assert_eq!((known.rows(), known.rows_of(1)), (LEAST_ROWS, 10));
    let opened = second.open(&id, known).unwrap();
    assert!(opened.in_memory().is_none() && opened.bytes() < u64::from(LEAST_ROWS) / 20);
    let (wanted, mut found) = (CodeIndex::new(&codes([7, -1, 9]), None), Vec::new());
    opened.for_each_match(&wanted, |key, row| found.push((key, row))).unwrap();
    found.sort_unstable();
    assert_eq!(found, [(0, 7), (2, 9)]);
    assert!(second.open(&id, &run(&id, "b")).is_none());
    assert!(second.open(&other, &run(&other, "a")).is_none());
}

#[test]
fn another_process_knows_of_all_keys_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let (id, twice, other) = (key("id"), key("twice"), key("other"));
    let first = folder(dir.path(), u64::MAX);
    first.save(&id, &map(run(&id, "a"), true));
    first.save(&twice, &map_of_duplicates(run(&twice, "a")));

    let second = folder(dir.path(), u64::MAX);
    let runs = Runs::default();
    let columns = || [&id, &twice, &other].map(|key| key.columns.clone());
    second.recall_columns(&id.dataset, columns(), &runs);
    let is_recalled = [&id, &twice, &other].map(|key| second.is_recalled(key));
    assert_eq!(is_recalled, [true, true, false], "there may be some of the third later");
    let last = i64::from(LEAST_ROWS) - 1;
    let expected = [(&id, (0, last), true), (&twice, (1, last), false)];
    for (key, bounds, is_unique) in expected {
        let expected = KeyFacts { bounds: Some(bounds), is_unique };
        let kept = runs.kept("dataset", |id| second.facts(id));
        let (_, maps) = kept.iter().find(|(columns, _)| *columns == key.columns).unwrap();
        let facts: Vec<KeyFacts> = maps.iter().map(|(facts, _)| *facts).collect();
        assert_eq!(facts, [expected], "it is known before the map is opened");
        assert_eq!(second.open(key, &run(key, "a")).unwrap().facts(), expected);
    }
    // Once is enough.
    second.recall_columns(&id.dataset, columns(), &runs);
    assert_eq!(runs.kept("dataset", |id| second.facts(id)).len(), 2);
}

#[test]
fn small_maps_hashes_and_row_ids_are_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, id, row_id) = (folder(dir.path(), u64::MAX), key("id"), key(""));
    folder.save(&row_id, &map(run(&row_id, "row ids"), true));
    folder.save(&id, &map(run(&id, "hashes"), false));
    let name = run(&id, "small").names()[0].clone();
    folder.save(&id, &map(Run::new([(name, LEAST_ROWS - 1)]), true));
    assert!(files(dir.path()).is_empty());
}

#[test]
fn what_was_not_opened_for_the_longest_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let id = key("id");
    let bytes = {
        let folder = folder(dir.path(), u64::MAX);
        for name in ["a", "b", "c"] {
            folder.save(&id, &map(run(&id, name), true));
        }
        let files = files(dir.path());
        assert_eq!(files.len(), 3);
        files[0].1
    };
    // All were last used long ago, then one is opened.
    for (name, _) in files(dir.path()) {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let file = File::options().write(true).open(dir.path().join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
    }
    let small = folder(dir.path(), bytes * 5 / 2);
    assert!(small.open(&id, &run(&id, "b")).is_some());
    small.save(&id, &map(run(&id, "d"), true));
    let held = ["a", "b", "c", "d"].map(|name| small.open(&id, &run(&id, name)).is_some());
    assert_eq!(held, [false, true, false, true]);
    // One that is larger than the bound pushes nothing out.
    let smaller = folder(dir.path(), bytes - 1);
    smaller.save(&id, &map(run(&id, "e"), true));
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(smaller.max_bytes(Instant::now()), bytes - 1);
}

#[test]
fn a_run_is_kept_as_long_as_its_map_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, id) = (folder(dir.path(), u64::MAX), key("id"));
    let save = |name: &str| {
        let run = run(&id, name);
        folder.save(&id, &map(run.clone(), true));
        Arc::downgrade(&run)
    };
    let first = save("a");
    assert!(first.upgrade().is_some());
    // Another process removes its file.
    fs::remove_file(dir.path().join(&files(dir.path())[0].0)).unwrap();
    let second = save("b");
    assert!(first.upgrade().is_none() && second.upgrade().is_some());
}

#[test]
fn what_a_process_left_unfinished_goes() {
    let dir = tempfile::tempdir().unwrap();
    let id = key("id");
    let (left, written) = (dir.path().join("a.unfinished"), dir.path().join("b.unfinished"));
    let others = dir.path().join("others.txt");
    for path in [&left, &written, &others] {
        fs::write(path, "some").unwrap();
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    for path in [&left, &others] {
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(then)).unwrap();
    }
    folder(dir.path(), u64::MAX).save(&id, &map(run(&id, "a"), true));
    assert_eq!([&left, &written, &others].map(|path| path.exists()), [false, true, true]);
}

#[test]
fn a_folder_that_cannot_be_used_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let (folder, id) = (folder(&file.join("maps"), u64::MAX), key("id"));
    folder.recall(&id, |runs| assert!(runs.is_empty()));
    folder.save(&id, &map(run(&id, "a"), true));
    assert!(folder.open(&id, &run(&id, "a")).is_none());
}

#[test]
fn what_is_stored_is_held_though_nothing_more_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let id = key("id");
    folder(dir.path(), u64::MAX).save(&id, &map(run(&id, "a"), true));
    let bytes = files(dir.path())[0].1;
    // The longest unused, and no file: it cannot be removed.
    let unused = dir.path().join("a.keymap");
    fs::create_dir(&unused).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    File::open(unused).unwrap().set_modified(then).unwrap();
    let full = folder(dir.path(), bytes * 3 / 2);
    let mut known = Vec::new();
    full.recall(&id, |runs| known.extend_from_slice(runs));
    let [known] = known.as_slice() else { unreachable!("one run is stored") };
    let second = run(&id, "b");
    full.save(&id, &map(second.clone(), true));
    assert_eq!(full.max_bytes(Instant::now()), 0);
    assert_eq!([known, &second].map(|run| full.holds(run.id)), [true, false]);
    assert!(full.open(&id, known).is_some());
}

#[test]
fn a_folder_that_cannot_be_written_to_holds_nothing_until_it_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("maps");
    fs::write(&path, "no folder").unwrap();
    let (folder, id) = (folder(&path, 1 << 30), key("id"));
    assert_eq!(folder.max_bytes(Instant::now()), 1 << 30);
    folder.save(&id, &map(run(&id, "a"), true));
    let now = Instant::now();
    assert_eq!([now, now + RETRY].map(|now| folder.max_bytes(now)), [0, 1 << 30]);
    // Nobody writes to it meanwhile.
    fs::remove_file(&path).unwrap();
    folder.save(&id, &map(run(&id, "a"), true));
    assert!(!path.exists());
}
