//! What is said of a store that cannot be read, and of one that was asked amiss.

use super::*;

/// Overwrites the end of every data file, by which Lance knows its own files.
fn maim(rows: &StoredRows) {
    for file in std::fs::read_dir(format!("{}/data", rows.uri)).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(b"ECNA");
        std::fs::write(&path, bytes).unwrap();
    }
}

/// Lance calls a file that it cannot understand an invalid input.
#[tokio::test]
async fn a_store_whose_files_are_maimed_is_named() {
    let rows = three_fragments(false).await;
    let store = rows.open("id").await;
    maim(&rows);
    let asked = ask(&store, Int64Array::from(vec![1, 15]), &[1]).await.unwrap_err();
    let width = store.row_bytes(&[1]).await.unwrap_err();
    for error in [asked, width] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().starts_with("KV store 'emb' cannot be read: "), "{error}");
    }
}

/// What stood at their ends is still known.
#[tokio::test]
async fn more_files_than_may_be_open_are_opened_again_and_not_understood_anew() {
    let rows = three_fragments(false).await;
    let settings = StoreSettings { max_open_readers: 1, ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Take) };
    let spec = LanceSpec { access, ..rows.spec("id") };
    let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
    let wanted = || Int64Array::from(vec![1, 15, 25]);
    let expected = [Some(1), Some(15), Some(25)];
    assert_eq!(ids(&store, wanted()).await, expected);
    maim(&rows);
    assert_eq!(ids(&store, wanted()).await, expected);
}

#[tokio::test]
async fn a_store_that_is_asked_amiss_is_not_blamed() {
    let rows = write(super::rows(0..1), WriteParams::default()).await;
    let store = open(rows.spec("id")).await.unwrap();
    let no_such_column = Error::internal("columns [9] of a store with 2");
    let asked = ask(&store, Int64Array::from(vec![0]), &[9]).await.unwrap_err();
    assert_eq!(asked, no_such_column);
    assert_eq!(store.row_bytes(&[9]).await.unwrap_err(), no_such_column);
}
