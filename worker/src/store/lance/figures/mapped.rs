//! Keys of which the worker has maps, in memory or on disk, so that nobody needs to read a
//! snapshot's keys again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lance::{Dataset, table::format::Fragment};

use crate::store::lance::{
    column::Column, files::direct::sole_file, identity::cache_name, kept::caches::Caches,
};

/// The keys whose maps hold all fragments, by their columns. The caches know the dataset by its
/// URI.
pub(super) fn mapped(dataset: &Dataset, uri: &str, caches: &Caches) -> BTreeSet<Vec<String>> {
    let is_stored = |id| caches.stored.as_ref().is_some_and(|folder| folder.holds(id));
    let kept = caches.runs.kept(uri, |id| caches.maps.get(&id).is_some() || is_stored(id));
    if kept.is_empty() {
        return BTreeSet::new();
    }
    let columns: Vec<_> = dataset.schema().fields.iter().map(Column::new).collect();
    let columns: HashMap<&str, &Column> =
        columns.iter().map(|column| (column.identity().as_ref(), column)).collect();
    let mapped = kept.into_iter().filter_map(|(key, files)| {
        let key = key.split('\n').map(|column| columns.get(column).copied());
        let key = key.collect::<Option<Vec<_>>>()?;
        let is_held = |fragment| {
            file_of(dataset, fragment, &key).is_some_and(|file| files.contains(file.as_str()))
        };
        let names = || key.iter().map(|column| column.name().to_owned()).collect();
        dataset.fragments().iter().all(is_held).then(names)
    });
    mapped.collect()
}

/// The file by which maps know a fragment's keys, or the files of several columns. A column that is
/// in no one file is not looked for.
fn file_of(dataset: &Dataset, fragment: &Fragment, key: &[&Column]) -> Option<String> {
    let files = key.iter().map(|column| {
        let file = sole_file(fragment, column.ids())?;
        Some(cache_name(&dataset.manifest, &file.path))
    });
    Some(files.collect::<Option<Vec<Arc<str>>>>()?.join("\n"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchIterator, StructArray};
    use keyloom_common::store::{Access, ResolvedStore};
    use lance::dataset::{WriteMode, WriteParams};

    use super::*;
    use crate::store::{
        KeyRows, Request, StoreEnv,
        contract::fixture::{batch, env, lance_spec, write_lance},
    };

    fn rows() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..30));
        batch(vec![("id", numbers.clone()), ("n", numbers)])
    }

    async fn described(env: &StoreEnv, uri: &str, key: &str) -> Arc<ResolvedStore> {
        let spec = lance_spec(uri, key).named("own_name");
        let description = env.describe(&spec).await.unwrap();
        ResolvedStore::try_new("alias", spec, description).unwrap()
    }

    async fn mapped(env: &StoreEnv, uri: &str) -> Vec<Vec<String>> {
        let store = described(env, uri, "id").await;
        store.description.figures.as_ref().unwrap().mapped.iter().cloned().collect()
    }

    /// Asks for a key through maps.
    async fn ask(env: &StoreEnv, uri: &str, key: &str, keys: ArrayRef) {
        let store = described(env, uri, key).await;
        let store = env.open(&store).await.unwrap();
        let (access, rows) = (Access::default(), KeyRows::One);
        let request = Request { keys, columns: Vec::new(), access, rows };
        assert_eq!(store.lookup(request).await.unwrap().held, [true]);
    }

    #[tokio::test]
    async fn keys_are_mapped_where_maps_hold_all_of_a_version() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        let params = WriteParams { max_rows_per_file: 10, ..Default::default() };
        let mut dataset = write_lance(&uri, rows(), params).await;
        let env = env();
        assert_eq!(mapped(&env, &uri).await, [] as [Vec<String>; 0]);

        let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        ask(&env, &uri, "id", key.clone()).await;
        assert_eq!(mapped(&env, &uri).await, [["id"]]);
        let pair = StructArray::try_from(vec![("id", key.clone()), ("n", key.clone())]).unwrap();
        ask(&env, &uri, "id,n", Arc::new(pair)).await;
        assert_eq!(mapped(&env, &uri).await, [vec!["id"], vec!["id", "n"]]);

        let more = RecordBatchIterator::new([Ok(rows().slice(0, 1))], rows().schema());
        let append = WriteParams { mode: WriteMode::Append, ..Default::default() };
        dataset.append(more, Some(append)).await.unwrap();
        assert_eq!(mapped(&env, &uri).await, [] as [Vec<String>; 0]);
    }
}
