//! Maps of keys that other processes find on disk.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::store::{ReadStats, lance::keys::stored::folder::LEAST_ROWS};

const ROWS: i64 = LEAST_ROWS as i64 + 10;

/// The ids of rows, too far apart for a table.
fn id(row: i64) -> i64 {
    row * 7
}

fn ids_of(rows: Range<i64>) -> RecordBatch {
    batch(vec![("id", Arc::new(Int64Array::from_iter_values(rows.map(id))) as ArrayRef)])
}

/// What a process of its own, with this folder, reads to find keys of all rows and some others.
async fn asked(rows: &StoredRows, folder: &Path) -> (ReadStats, u64) {
    let settings =
        StoreSettings { key_maps_dir: Some(folder.to_path_buf()), ..StoreSettings::default() };
    asked_of(&StoreEnv::new(settings, Arc::new(Blobs::default())), rows).await
}

/// The same of a process that is there.
async fn asked_of(env: &StoreEnv, rows: &StoredRows) -> (ReadStats, u64) {
    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) };
    let spec = LanceSpec { access, ..rows.spec("id") };
    let store = env.open(&describe(env, spec).await.unwrap()).await.unwrap();
    let wanted = (0..ROWS).step_by(9973).chain([ROWS - 1]);
    let keys = wanted.flat_map(|row| [id(row), id(row) + 1]).collect::<Vec<_>>();
    let expected: Int64Array = keys.iter().map(|key| (key % 7 == 0).then_some(*key)).collect();
    let found = ask(&store, Int64Array::from(keys), &[0]).await.unwrap();
    assert_eq!(values(&found, 0).as_ref(), &expected);
    (found.stats, caches(env).maps.bytes())
}

#[tokio::test]
async fn another_process_reads_no_keys_again() {
    let params = WriteParams { max_rows_per_file: ROWS as usize - 5, ..Default::default() };
    let mut rows = write(ids_of(0..ROWS), params).await;
    let (all, folder) = (ROWS as u64, tempfile::tempdir().unwrap());
    let (first, in_memory) = asked(&rows, folder.path()).await;
    assert_eq!(first.keys_scanned, all);
    let (second, of_stored) = asked(&rows, folder.path()).await;
    assert_eq!(second.keys_scanned, 0);
    assert!(of_stored < in_memory / 100, "{of_stored} of {in_memory}");

    // What is damaged is made again, and stored again.
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
    fs::write(&file, bytes).unwrap();
    assert_eq!(asked(&rows, folder.path()).await.0.keys_scanned, all);
    assert_eq!(asked(&rows, folder.path()).await.0.keys_scanned, 0);

    // A later version finds the maps of the files that it shares.
    rows.append(ids_of(ROWS..ROWS + 20)).await;
    assert_eq!(asked(&rows, folder.path()).await.0.keys_scanned, 20);

    // Without the folder, all is read.
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(asked(&rows, nothing.path()).await.0.keys_scanned, all + 20);
}

/// Whether a process of its own, with this folder, knows without reading a key that there are maps
/// of all, and that none stands in several rows.
async fn known(rows: &StoredRows, folder: &Path) -> (bool, bool) {
    let settings =
        StoreSettings { key_maps_dir: Some(folder.to_path_buf()), ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let described = describe(&env, rows.spec("id")).await.unwrap();
    let figures = described.description.figures.as_ref().unwrap();
    let mapped = LanceFigures::of(figures).unwrap().mapped;
    let is_of = |keys: &BTreeSet<Vec<String>>| keys.contains(["id".to_owned()].as_slice());
    (is_of(&mapped), is_of(&figures.unique))
}

#[tokio::test]
async fn another_process_knows_whether_stored_keys_are_unique() {
    let params = || WriteParams { max_rows_per_file: ROWS as usize, ..Default::default() };
    let mut rows = write(ids_of(0..ROWS), params()).await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(known(&rows, folder.path()).await, (false, false));
    asked(&rows, folder.path()).await;
    assert_eq!(known(&rows, folder.path()).await, (true, true));

    // Of two maps, if their keys are apart.
    rows.append(ids_of(ROWS..2 * ROWS)).await;
    assert_eq!(known(&rows, folder.path()).await, (false, false));
    asked(&rows, folder.path()).await;
    assert_eq!(known(&rows, folder.path()).await, (true, true));

    // Nobody reads their pages for that.
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(known(&rows, folder.path()).await, (true, true));

    // A key that nobody asks for here stands twice.
    let ids = (0..ROWS).map(|row| id(if row == 1 { 2 } else { row }));
    let ids = batch(vec![("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef)]);
    let twice = write(ids, params()).await;
    asked(&twice, folder.path()).await;
    assert_eq!(known(&twice, folder.path()).await, (true, false));
}

/// Nor is memory wanted for them: it has room for no map.
#[tokio::test]
async fn what_is_stored_is_asked_though_nothing_more_can_be_written() {
    let params = || WriteParams { max_rows_per_file: ROWS as usize, ..Default::default() };
    let rows = write(ids_of(0..ROWS), params()).await;
    let others = write(ids_of(0..ROWS), params()).await;
    let folder = tempfile::tempdir().unwrap();
    asked(&rows, folder.path()).await;
    // The longest unused, and no file: it cannot be removed.
    let unused = folder.path().join("a.keymap");
    fs::create_dir(&unused).unwrap();
    fs::File::open(unused).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let settings = StoreSettings {
        key_maps_dir: Some(folder.path().to_path_buf()),
        max_key_maps_dir_bytes: 13 * ROWS as u64 * 5 / 4,
        max_key_map_bytes: 0,
        ..StoreSettings::default()
    };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    assert_eq!(asked_of(&env, &others).await.0.keys_scanned, ROWS as u64);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(asked_of(&env, &rows).await.0.keys_scanned, 0);
    let described = describe(&env, rows.spec("id")).await.unwrap();
    let figures = described.description.figures.as_ref().unwrap();
    let figures = LanceFigures::of(figures).unwrap();
    assert!(!figures.maps_stay && figures.mapped.contains(["id".to_owned()].as_slice()));
}
