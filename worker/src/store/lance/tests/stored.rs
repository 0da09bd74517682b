//! Maps of keys that other processes find on disk.

use std::{fs, path::Path};

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
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) };
    let spec = LanceSpec { access, ..rows.spec("id") };
    let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
    let wanted = (0..ROWS).step_by(9973).chain([ROWS - 1]);
    let keys = wanted.flat_map(|row| [id(row), id(row) + 1]).collect::<Vec<_>>();
    let expected: Int64Array = keys.iter().map(|key| (key % 7 == 0).then_some(*key)).collect();
    let found = ask(&store, Int64Array::from(keys), &[0]).await.unwrap();
    assert_eq!(values(&found, 0).as_ref(), &expected);
    (found.stats, env.lance_caches.maps.bytes())
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
