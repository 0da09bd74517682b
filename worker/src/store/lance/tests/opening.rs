//! Which snapshot and which columns are read, and what is said of those that cannot be.

use super::*;

#[tokio::test]
async fn a_pinned_version_does_not_see_later_writes() {
    let mut rows = three_fragments(false).await;
    let env = env();
    let planned = describe(&env, rows.spec("id")).await.unwrap();
    let first = rows.dataset.version_id();
    let number = |snapshot| match snapshot {
        Snapshot::Version { number, .. } => Some(number),
        Snapshot::Immutable | Snapshot::Live => None,
    };
    assert_eq!(number(planned.description.snapshot), Some(first));
    rows.dataset.tags().create("release", first).await.unwrap();
    rows.append(super::rows(30..31)).await;
    rows.delete("id = 5").await;

    let wanted = || Int64Array::from(vec![5, 30]);
    assert_eq!(ids(&env.open(&planned).await.unwrap(), wanted()).await, [Some(5), None]);
    assert_eq!(ids(&rows.open("id").await, wanted()).await, [None, Some(30)]);
    for pin in [Pin::Version(first), Pin::Tag("release".to_owned())] {
        let store = open(LanceSpec { pin: Some(pin), ..rows.spec("id") }).await.unwrap();
        assert_eq!(ids(&store, wanted()).await, [Some(5), None]);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let rows = three_fragments(false).await;
    let uri = rows.uri.clone();
    let nowhere = format!("{uri}-not");
    let pinned = |pin| LanceSpec { pin: Some(pin), ..rows.spec("id") };
    let cases = [
        (lance_spec(&nowhere, "id"), format!("no Lance dataset at {nowhere}")),
        (
            pinned(Pin::Version(9)),
            format!("no version 9 of the Lance dataset at {uri}, whose newest is 1"),
        ),
        (pinned(Pin::Tag("x".to_owned())), format!("no tag 'x' on the Lance dataset at {uri}")),
        (
            LanceSpec { pin: Some(Pin::Version(1)), ..lance_spec(&nowhere, "id") },
            format!("no Lance dataset at {nowhere}"),
        ),
        (
            LanceSpec { pin: Some(Pin::Tag("x".to_owned())), ..lance_spec(&nowhere, "id") },
            format!("no Lance dataset at {nowhere}"),
        ),
    ];
    for (spec, cause) in cases {
        let error = open_error(spec).await;
        assert_eq!(error.message(), format!("store 'own_name' cannot be opened: {cause}"));
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert!(!std::path::Path::new(&nowhere).exists());
}

#[tokio::test]
async fn an_unknown_profile_names_the_known_ones() {
    let rows = three_fragments(false).await;
    let spec = LanceSpec { storage_profile: Some("prod".to_owned()), ..rows.spec("id") };
    let profiles = ["b", "a"].map(|name| (name.to_owned(), StorageProfile::default()));
    let settings =
        StoreSettings { storage_profiles: HashMap::from(profiles), ..Default::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let error = describe(&env, spec).await.unwrap_err();
    let message = "store 'own_name' cannot be opened: storage profile 'prod' not found; the worker \
                   has 'a', 'b'";
    assert_eq!(error, Error::invalid(message));
}

#[tokio::test]
async fn a_map_beyond_its_bound_is_not_made() {
    let rows = three_fragments(false).await;
    let settings = StoreSettings { max_key_map_bytes: 389, ..Default::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let store = env.open(&describe(&env, rows.spec("id")).await.unwrap()).await.unwrap();
    assert_eq!(ids(&store, Int64Array::from(vec![1, 30, 29])).await, [Some(1), None, Some(29)]);
    assert_eq!(caches(&env).maps.len(), 0);

    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: None };
    let forced = describe(&env, LanceSpec { access, ..rows.spec("id") }).await.unwrap();
    let error = ask(&env.open(&forced).await.unwrap(), Int64Array::from(vec![1]), &[]).await;
    let message = "KV store 'emb' cannot be read: the map of its 30 keys takes 390 bytes; \
                   max_key_map_bytes allows 389: raise it, or set key_path to 'scan' or 'btree'";
    assert_eq!(error.unwrap_err(), Error::resource_exhausted(message));
}

#[tokio::test]
async fn a_later_version_scans_the_keys_of_new_fragments_only() {
    let mut rows = three_fragments(false).await;
    let env = env();
    let scanned = async |rows: &StoredRows, key: i64| {
        let store = env.open(&describe(&env, rows.spec("id")).await.unwrap()).await.unwrap();
        let found = ask(&store, Int64Array::from(vec![key]), &[]).await.unwrap();
        (held(&found), found.stats.keys_scanned)
    };
    assert_eq!(scanned(&rows, 7).await, (vec![true], 30));
    assert_eq!(scanned(&rows, 7).await, (vec![true], 0));
    rows.append(super::rows(30..35)).await;
    rows.delete("id = 7").await;
    assert_eq!(scanned(&rows, 34).await, (vec![true], 5));
    assert_eq!(scanned(&rows, 7).await, (vec![false], 0));
}

/// By row ids, whose map is of a version and of no file.
#[tokio::test]
async fn a_dataset_written_anew_in_its_place_is_read_anew() {
    let params = WriteParams { enable_stable_row_ids: true, ..Default::default() };
    let mut old = write(rows(0..3), params.clone()).await;
    let env = env();
    let spec = old.spec("_rowid");
    let held_ids = async |name: &str| {
        let spec = spec.clone().named(name);
        let resolved = ResolvedStore::try_new("emb", spec.clone(), env.describe(&spec).await?)?;
        let store = env.open(&resolved).await?;
        let found = ask(&store, UInt64Array::from(vec![0, 2, 4]), &[]).await?;
        Ok::<_, Error>(held(&found))
    };
    assert_eq!(held_ids("old").await.unwrap(), [true, true, false]);
    std::fs::remove_dir_all(&old.uri).unwrap();
    old.dataset = write_lance(&old.uri, rows(0..5), params).await;
    assert_eq!(held_ids("new").await.unwrap(), [true, true, true]);
}

#[tokio::test]
async fn a_store_whose_files_are_gone_is_an_error_not_a_miss() {
    let rows = three_fragments(false).await;
    let store = rows.open("id").await;
    std::fs::remove_dir_all(format!("{}/data", rows.uri)).unwrap();
    let error = ask(&store, Int64Array::from(vec![1, 15]), &[1]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Store | ErrorKind::NotFound), "{error:?}");
    assert!(error.message().starts_with("KV store 'emb' cannot be read: "), "{error}");
    assert!(!error.message().contains(".rs:"), "{error}");
}

/// A local data file stays open, so a compaction with cleanup does not take a running job's
/// snapshot away.
#[tokio::test]
async fn files_that_are_open_outlive_their_removal() {
    for path in [RowPath::Take, RowPath::Scan] {
        let rows = three_fragments(false).await;
        let access = ForcedAccess { keys: None, rows: Some(path) };
        let store = open(LanceSpec { access, ..rows.spec("id") }).await.unwrap();
        let mapped = ask(&store, Int64Array::from(vec![1]), &[]).await.unwrap();
        assert_eq!(held(&mapped), [true]);
        std::fs::remove_dir_all(format!("{}/data", rows.uri)).unwrap();
        assert_eq!(ids(&store, Int64Array::from(vec![1, 15])).await, [Some(1), Some(15)]);
    }
}

#[tokio::test]
async fn other_columns_than_planned_are_refused() {
    let rows = three_fragments(false).await;
    let env = env();
    let planned = describe(&env, rows.spec("id")).await.unwrap();
    let with = |fields: Vec<Field>| {
        let schema = Arc::new(Schema::new(fields));
        let description = StoreDescription { schema, ..planned.description.clone() };
        ResolvedStore::try_new("emb", planned.spec.clone(), description).unwrap()
    };
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let id = || field("id", DataType::Int64);
    for other in [field("word", DataType::Int64), field("other", DataType::Utf8)] {
        let error = env.open(&with(vec![id(), other])).await.unwrap_err();
        let message = "KV store 'emb' at v1 has other columns than when the query was planned";
        assert_eq!(error, Error::invalid(message));
    }
    // Those that are not asked for may be any.
    env.open(&with(vec![id()])).await.unwrap();
}
