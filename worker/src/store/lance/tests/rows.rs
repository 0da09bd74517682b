//! Which rows keys find: fragments, deletions, compaction, row ids, offsets, duplicates.

use super::*;

#[tokio::test]
async fn deleted_rows_are_missing_and_compaction_moves_rows() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 3 OR id BETWEEN 10 AND 19 OR id = 29").await;
    let wanted = || Int64Array::from(vec![29, 28, 3, 4, 15, 0, 20, 30]);
    let expected = [None, Some(28), None, Some(4), None, Some(0), Some(20), None];
    assert_eq!(ids(&rows.open("id").await, wanted()).await, expected);
    rows.append(super::rows(30..32)).await;
    rows.compact().await;
    assert_eq!(rows.dataset.get_fragments().len(), 1);
    let expected = [None, Some(28), None, Some(4), None, Some(0), Some(20), Some(30)];
    assert_eq!(ids(&rows.open("id").await, wanted()).await, expected);
}

#[tokio::test]
async fn row_ids_that_hold_no_row_are_missing() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 3 OR id BETWEEN 10 AND 19").await;
    assert_eq!(rows.dataset.get_fragments().len(), 2);
    let row = |fragment: u64, offset: u64| fragment << 32 | offset;
    let gone_deleted_or_never = [
        row(1, 0),
        row(0, 3),
        row(0, 10),
        row(2, 10),
        row(3, 0),
        u64::MAX,
        row(u32::MAX.into(), 0),
    ];
    let store = rows.open("_rowid").await;
    let missing = ids(&store, UInt64Array::from(gone_deleted_or_never.to_vec())).await;
    assert_eq!(missing, [None; 7]);
    let mixed = UInt64Array::from(vec![row(2, 9), row(1, 5), row(0, 4), row(2, 0), row(0, 3)]);
    assert_eq!(ids(&store, mixed).await, [Some(29), None, Some(4), Some(20), None]);
}

#[tokio::test]
async fn offsets_skip_deleted_rows() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 0 OR id = 3 OR id BETWEEN 12 AND 18 OR id = 20").await;
    let store = rows.open("_offset").await;
    let left: Vec<i64> =
        (0..30).filter(|id| ![0, 3, 20].contains(id) && !(12..=18).contains(id)).collect();
    let mut expected: Vec<_> = left.iter().copied().map(Some).collect();
    expected.extend([None, None]);
    // Backwards: the answer must not depend on the order of the keys.
    expected.reverse();
    let offsets = UInt64Array::from_iter_values((0..left.len() as u64 + 2).rev());
    assert_eq!(ids(&store, offsets).await, expected);
    assert_eq!(ids(&store, UInt64Array::from(vec![u64::MAX, 1 << 32])).await, [None, None]);
}

#[tokio::test]
async fn stable_row_ids_survive_compaction() {
    let mut rows = three_fragments(true).await;
    assert!(rows.dataset.manifest.uses_stable_row_ids());
    let before = rows.row_ids().await;
    rows.delete("id = 3 OR id BETWEEN 10 AND 19").await;
    rows.compact().await;
    rows.append(super::rows(30..32)).await;
    let now = rows.row_ids().await;
    assert_eq!(before[&25], now[&25]);
    let wanted = vec![now[&31], before[&3], before[&25], before[&15], before[&0], u64::MAX];
    let found = ids(&rows.open("_rowid").await, UInt64Array::from(wanted)).await;
    assert_eq!(found, [Some(31), None, Some(25), None, Some(0), None]);
    let by_column = ids(&rows.open("id").await, Int64Array::from(vec![31, 3, 25])).await;
    assert_eq!(by_column, [Some(31), None, Some(25)]);
}

#[tokio::test]
async fn duplicate_keys_follow_the_policy() {
    let keys = ["a", "b", "a", "c", "a", "b"];
    let rows = batch(vec![
        ("word", Arc::new(StringArray::from(keys.to_vec())) as ArrayRef),
        (
            "number",
            Arc::new(Int64Array::from(keys.map(|key| i64::from(key.as_bytes()[0])).to_vec()))
                as ArrayRef,
        ),
        ("row", Arc::new(Int64Array::from_iter_values(0..6)) as ArrayRef),
    ]);
    let mut rows = write(rows, WriteParams { max_rows_per_file: 2, ..Default::default() }).await;
    index(&mut rows.dataset, "word").await;
    index(&mut rows.dataset, "number").await;
    let strings = || Arc::new(StringArray::from(vec!["c", "b", "a", "d"])) as ArrayRef;
    let numbers = || Arc::new(Int64Array::from(vec![99, 98, 97, 100])) as ArrayRef;
    for (key, keys, shown) in [("word", strings(), "b"), ("number", numbers(), "98")] {
        for (policy, expected) in [
            (OnDuplicateKey::First, [Some(3), Some(1), Some(0), None]),
            (OnDuplicateKey::Last, [Some(3), Some(5), Some(4), None]),
        ] {
            let spec = LanceSpec { on_duplicate_key: policy, ..rows.spec(key) };
            let store: Arc<dyn Store> = Arc::new(EveryPath::open(&env(), &spec).await.unwrap().0);
            let found = ask(&store, keys.clone(), &[2]).await.unwrap();
            assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(expected.to_vec()));
        }
        let store = rows.open(key).await;
        for columns in [&[2][..], &[]] {
            let error = ask(&store, keys.clone(), columns).await.unwrap_err();
            let message = format!(
                "key {shown} stands in several rows of KV store 'emb'; set on_duplicate_key to \
                 'first' or 'last'"
            );
            assert_eq!(error, Error::invalid(message));
        }
        // Who does not ask for such a key does not mind.
        let found = ask(&store, keys.slice(0, 1), &[2]).await.unwrap();
        assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(vec![3]));
    }
}

#[tokio::test]
async fn keys_whose_hashes_collide_are_told_apart() {
    // One row, so that a missing key finds exactly one candidate; many, so that it finds several.
    for ids in [0..1, 0..30] {
        let rows = write(super::rows(ids.clone()), WriteParams::default()).await;
        for mask in [0, 1, 0xf] {
            let store = with_hashes(&rows, mask).await;
            let keys: Vec<_> = (0..40).rev().map(word).collect();
            let found = ask(&store, StringArray::from(keys.clone()), &[0]).await.unwrap();
            let expected: Int64Array =
                (0..40).rev().map(|id| ids.contains(&id).then_some(id)).collect();
            assert_eq!(values(&found, 0).as_ref(), &expected, "mask {mask}");
            let found = ask(&store, StringArray::from(keys), &[]).await.unwrap();
            let expected: Vec<_> = (0..40).rev().map(|id| ids.contains(&id)).collect();
            assert_eq!(held(&found), expected, "mask {mask}");
        }
    }
}

/// The rows by their words, whose hashes differ in some bits only.
async fn with_hashes(rows: &StoredRows, mask: u64) -> Arc<dyn Store> {
    let env = env();
    let resolved = describe(&env, rows.spec("word")).await.unwrap();
    let mut handle = Arc::into_inner(open_handle(&env, &resolved).await).unwrap();
    handle.coder = Coder::masked(mask);
    Arc::new(Arc::new(handle).bound(&resolved).unwrap())
}

#[tokio::test]
async fn null_keys_of_the_store_match_nothing() {
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(0), None, Some(2), None])) as ArrayRef),
        ("word", Arc::new(StringArray::from(vec![None, Some(""), None, Some("x")])) as ArrayRef),
    ]);
    let rows = write(rows, WriteParams::default()).await;
    let found = ask(&rows.open("id").await, Int64Array::from(vec![0, 1, 2]), &[0]).await.unwrap();
    assert_eq!(held(&found), [true, false, true]);
    let store = rows.open("word").await;
    let found = ask(&store, StringArray::from(vec!["x", "y", ""]), &[]).await.unwrap();
    assert_eq!(held(&found), [true, false, true]);
}

#[tokio::test]
async fn every_file_version_is_read() {
    for version in ["legacy", "2.0", "2.1", "2.2"] {
        let params = WriteParams {
            max_rows_per_file: 10,
            data_storage_version: Some(version.parse().unwrap()),
            ..Default::default()
        };
        let mut rows = write(super::rows(0..30), params).await;
        rows.delete("id = 3").await;
        let found = ids(&rows.open("id").await, Int64Array::from(vec![29, 3, 4])).await;
        assert_eq!(found, [Some(29), None, Some(4)], "{version}");
        let found = ids(&rows.open("_offset").await, UInt64Array::from(vec![29, 28, 3])).await;
        assert_eq!(found, [None, Some(29), Some(4)], "{version}");
        let store = rows.open("word").await;
        let found = ask(&store, StringArray::from(vec!["word 3", "word 20"]), &[0]).await.unwrap();
        assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(vec![None, Some(20)]));
    }
}

#[tokio::test]
async fn a_dataset_without_rows_holds_no_key() {
    let mut rows = three_fragments(false).await;
    rows.delete("true").await;
    assert_eq!(ids(&rows.open("id").await, Int64Array::from(vec![1])).await, [None]);
    for key in ["_rowid", "_offset"] {
        assert_eq!(ids(&rows.open(key).await, UInt64Array::from(vec![0, 1])).await, [None, None]);
    }
}

#[tokio::test]
async fn columns_and_maps_that_may_not_be_kept_give_the_same_rows() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 3 OR id BETWEEN 10 AND 19").await;
    let settings = StoreSettings {
        column_cache_bytes: 0,
        max_key_map_bytes: 0,
        read_bytes: 16,
        ..Default::default()
    };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    for access in [RowPath::Take, RowPath::Scan] {
        let access = ForcedAccess { keys: None, rows: Some(access) };
        let spec = LanceSpec { access, ..rows.spec("word") };
        let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
        let keys = StringArray::from(vec!["word 29", "word 3", "word 20", "word 21", "word 0"]);
        for _ in 0..2 {
            let found = ask(&store, keys.clone(), &[0, 1]).await.unwrap();
            let expected = Int64Array::from(vec![Some(29), None, Some(20), Some(21), Some(0)]);
            assert_eq!(values(&found, 0).as_ref(), &expected, "{access:?}");
            assert_eq!(found.stats.block_hits, 0);
        }
        assert_eq!((caches(&env).blocks.len(), caches(&env).maps.len()), (0, 0));
    }
}

#[tokio::test]
async fn an_index_that_does_not_cover_all_rows_finds_them_all() {
    let mut rows = three_fragments(false).await;
    index(&mut rows.dataset, "id").await;
    rows.delete("id = 3 OR id BETWEEN 10 AND 19").await;
    rows.append(super::rows(30..35)).await;
    let wanted = Int64Array::from(vec![34, 29, 3, 4, 15, 0, 35]);
    let expected = [Some(34), Some(29), None, Some(4), None, Some(0), None];
    assert_eq!(ids(&rows.open("id").await, wanted).await, expected);
}
