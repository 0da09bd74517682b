//! Datasets that are removed and written anew in the same place, where versions count from 1 again.

use lance::index::prefilter::DatasetPreFilter;

use super::*;
use crate::store::OpenStores;

/// Rows that can be written anew in their place.
impl StoredRows {
    async fn rewrite(&mut self, rows: RecordBatch, params: WriteParams) {
        std::fs::remove_dir_all(&self.uri).unwrap();
        self.dataset = write_lance(&self.uri, rows, params).await;
    }
}

/// Ids of a range, each with a word that says which writing it is of.
fn written(ids: Range<i64>, of: &str) -> RecordBatch {
    let words = StringArray::from_iter_values(ids.clone().map(|id| format!("{of} {id}")));
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
    ])
}

fn stable() -> WriteParams {
    WriteParams { max_rows_per_file: 10, enable_stable_row_ids: true, ..Default::default() }
}

fn plain() -> WriteParams {
    WriteParams { max_rows_per_file: 10, ..Default::default() }
}

/// The words of the ids, as a job that is planned now finds them.
async fn words(stores: &OpenStores, spec: &LanceSpec, ids: &[i64]) -> Vec<Option<String>> {
    let spec = spec.clone().named("own_name");
    let description = stores.describe(&spec).await.unwrap();
    let resolved = ResolvedStore::try_new("emb", spec, description).unwrap();
    let store = stores.get(&resolved).await.unwrap();
    let found = ask(&store, Int64Array::from(ids.to_vec()), &[1]).await.unwrap();
    let words = values(&found, 0);
    words.as_string::<i32>().iter().map(|word| word.map(ToOwned::to_owned)).collect()
}

fn some<const N: usize>(words: [&str; N]) -> Vec<Option<String>> {
    words.into_iter().map(|word| (!word.is_empty()).then(|| word.to_owned())).collect()
}

/// A spec for each way to the keys and to the rows, read by us and by Lance.
fn every_way(rows: &StoredRows) -> Vec<LanceSpec> {
    let keys = [KeyPath::Map, KeyPath::Scan, KeyPath::Btree];
    let ways = keys.into_iter().flat_map(|keys| {
        [RowPath::Take, RowPath::Scan]
            .map(|rows| ForcedAccess { keys: Some(keys), rows: Some(rows) })
    });
    let local = ways.map(|access| LanceSpec { access, ..rows.spec("id") });
    local.flat_map(|spec| [as_remote(&spec), spec]).collect()
}

#[tokio::test]
async fn a_worker_that_knew_the_old_dataset_answers_the_new_rows() {
    for params in [plain, stable] {
        let mut rows = write(written(0..30, "first"), params()).await;
        let stores = OpenStores::new(env());
        for (of, count) in [("first", 30), ("second", 30), ("third", 12), ("fourth", 40)] {
            if of != "first" {
                rows.rewrite(written(0..count, of), params()).await;
            }
            index(&mut rows.dataset, "id").await;
            rows.delete("id = 7").await;
            assert_eq!(rows.dataset.version_id(), 3);
            for spec in every_way(&rows) {
                let found = words(&stores, &spec, &[29, 0, 7, 11]).await;
                let last = if count > 29 { format!("{of} 29") } else { String::new() };
                let expected = [last.as_str(), &format!("{of} 0"), "", &format!("{of} 11")];
                assert_eq!(found, some(expected), "{:?} of {}", spec.access, spec.uri);
            }
        }
    }
}

#[tokio::test]
async fn an_index_on_stable_row_ids_finds_rows_beyond_the_old_ones() {
    let mut rows = write(written(0..10, "first"), stable()).await;
    let env = env();
    let access = ForcedAccess { keys: Some(KeyPath::Btree), rows: None };
    for count in [10, 20] {
        if count == 20 {
            rows.rewrite(written(0..20, "second"), stable()).await;
        }
        index(&mut rows.dataset, "id").await;
        rows.delete(&format!("id = {}", count - 1)).await;
        let spec = LanceSpec { access, ..rows.spec("id") };
        let resolved = describe(&env, spec).await.unwrap();
        let store = env.open(&resolved).await.unwrap();
        let found = ask(&store, Int64Array::from_iter_values(0..25), &[]).await.unwrap();
        let live: Vec<bool> = (0..25).map(|id| id < count - 1).collect();
        assert_eq!(held(&found), live);
        // Lance keeps by the number of the version alone which row ids are live.
        let dataset = &open_handle(&env, &resolved).await.dataset;
        let fragments = dataset.fragment_bitmap().as_ref().clone();
        let mask = DatasetPreFilter::create_deletion_mask(dataset.clone(), fragments);
        let mask = mask.unwrap().await.unwrap();
        assert_eq!((0..25).map(|id| mask.selected(id)).collect::<Vec<_>>(), live);
    }
}

#[tokio::test]
async fn a_planned_snapshot_of_a_dataset_that_was_written_anew_is_gone() {
    let mut rows = write(written(0..30, "first"), plain()).await;
    let env = env();
    let planned = describe(&env, rows.spec("id")).await.unwrap();
    rows.rewrite(written(0..30, "second"), plain()).await;
    let now = describe(&env, rows.spec("id")).await.unwrap();
    assert_ne!(planned.description.snapshot, now.description.snapshot);
    assert_eq!(planned.description.snapshot.to_string(), now.description.snapshot.to_string());
    let expected = Error::not_found(format!(
        "store 'emb' cannot be opened: the Lance dataset at {} was written anew since the job was \
         planned, and its version 1 is another one now; run the job again",
        rows.uri
    ));
    // By the worker that described it, and by one that never saw it.
    for env in [&env, &super::env()] {
        assert_eq!(env.open(&planned).await.unwrap_err(), expected);
        let store = env.open(&now).await.unwrap();
        let found = ask(&store, Int64Array::from(vec![3]), &[1]).await.unwrap();
        assert_eq!(values(&found, 0).as_string::<i32>().value(0), "second 3");
    }
}

#[tokio::test]
async fn a_planned_version_that_is_missing_is_gone() {
    let mut rows = write(written(0..30, "first"), plain()).await;
    rows.delete("id = 7").await;
    let env = env();
    let planned = describe(&env, rows.spec("id")).await.unwrap();
    rows.rewrite(written(0..30, "second"), plain()).await;
    let gone = |why: &str| {
        Error::not_found(format!(
            "store 'emb' cannot be opened: version 2 is gone since the job was planned: {why}; run \
             the job again"
        ))
    };
    let error = env.open(&planned).await.unwrap_err();
    let why = format!("no version 2 of the Lance dataset at {}, whose newest is 1", rows.uri);
    assert_eq!(error, gone(&why));
    std::fs::remove_dir_all(&rows.uri).unwrap();
    let error = env.open(&planned).await.unwrap_err();
    assert_eq!(error, gone(&format!("no Lance dataset at {}", rows.uri)));
}

#[tokio::test]
async fn a_store_that_is_open_says_that_its_snapshot_is_gone() {
    let mut rows = write(written(0..30, "first"), plain()).await;
    let store = open(rows.spec("id")).await.unwrap();
    let expected = Error::not_found(format!(
        "KV store 'emb' cannot be read: version 1 of the Lance dataset at {} was removed or written \
         anew while the job ran; run the job again",
        rows.uri
    ));
    rows.rewrite(written(0..30, "second"), plain()).await;
    let error = ask(&store, Int64Array::from(vec![3]), &[1]).await.unwrap_err();
    assert_eq!(error, expected);
    std::fs::remove_dir_all(&rows.uri).unwrap();
    let error = ask(&store, Int64Array::from(vec![3]), &[1]).await.unwrap_err();
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_store_that_is_open_finds_its_own_index_or_none() {
    let mut rows = write(written(0..30, "first"), stable()).await;
    index(&mut rows.dataset, "id").await;
    let env = env();
    let access = ForcedAccess { keys: Some(KeyPath::Btree), rows: None };
    let spec = LanceSpec { access, ..rows.spec("id") };
    let old = env.open(&describe(&env, spec.clone()).await.unwrap()).await.unwrap();
    rows.rewrite(written(30..60, "second"), stable()).await;
    index(&mut rows.dataset, "id").await;
    let new = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
    let keys = || Int64Array::from(vec![3, 33]);
    assert_eq!(held(&ask(&new, keys(), &[]).await.unwrap()), [false, true]);
    let error = ask(&old, keys(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_copy_of_a_dataset_is_the_same_dataset() {
    let rows = write(written(0..30, "first"), plain()).await;
    let planned = describe(&env(), rows.spec("id")).await.unwrap();
    let away = format!("{}-away", rows.uri);
    std::fs::rename(&rows.uri, &away).unwrap();
    copy(away.as_ref(), rows.uri.as_ref());
    let store = env().open(&planned).await.unwrap();
    let found = ask(&store, Int64Array::from(vec![3]), &[1]).await.unwrap();
    assert_eq!(values(&found, 0).as_string::<i32>().value(0), "first 3");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Some writers name data files by themselves, and give the same names again.
#[tokio::test]
async fn data_files_of_one_name_are_told_apart() {
    let mut rows = write(written(0..10, "first"), plain()).await;
    let stores = OpenStores::new(env());
    for of in ["first", "second", "third"] {
        if of != "first" {
            rows.rewrite(written(0..10, of), plain()).await;
        }
        name_the_file(&mut rows).await;
        for spec in every_way(&rows).into_iter().filter(|s| s.access.keys != Some(KeyPath::Btree)) {
            let found = words(&stores, &spec, &[3]).await;
            assert_eq!(found, some([&format!("{of} 3")]), "{:?} of {}", spec.access, spec.uri);
        }
    }
}

/// Gives the only data file a name that is not drawn, in a second version.
async fn name_the_file(rows: &mut StoredRows) {
    let mut fragment = rows.dataset.get_fragments()[0].metadata().clone();
    let drawn = std::mem::replace(&mut fragment.files[0].path, "part-0.lance".to_owned());
    let data = std::path::Path::new(&rows.uri).join("data");
    std::fs::rename(data.join(drawn), data.join("part-0.lance")).unwrap();
    let overwrite = Operation::Overwrite {
        fragments: vec![fragment],
        schema: rows.dataset.schema().clone(),
        config_upsert_values: None,
        initial_bases: None,
    };
    rows.commit(overwrite).await;
    let files = rows.dataset.get_fragments()[0].metadata().files.clone();
    assert_eq!(files[0].path, "part-0.lance");
}
