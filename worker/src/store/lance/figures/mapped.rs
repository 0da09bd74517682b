//! Keys of which the worker has maps, in memory or on disk, so that nobody needs to read a
//! snapshot's keys again; and those of which the maps show that none stands in several rows.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use keyloom_common::Result;
use lance::{Dataset, table::format::Fragment};

use crate::store::lance::{
    column::Column, files::direct::sole_file, identity::cache_name, kept::caches::Caches,
    keys::run::KeyFacts, tasks,
};

/// Keys, by their columns.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// Those whose maps hold all fragments.
    pub(super) keys: BTreeSet<Vec<String>>,
    /// Those of them that stand in one row each, as the maps show.
    pub(super) unique: BTreeSet<Vec<String>>,
}

/// What is known of the keys of a map, and the files that hold them.
type Map = (KeyFacts, HashSet<Arc<str>>);

/// The keys of which there are maps. The caches know the dataset by its URI.
///
/// # Errors
/// `cancelled` if the worker shuts down.
pub(super) async fn mapped(dataset: &Dataset, uri: &str, caches: &Arc<Caches>) -> Result<Mapped> {
    recall(dataset, uri, caches).await?;
    let kept = caches.runs.kept(uri, |id| {
        let of_kept = caches.maps.get(&id).map(|map| map.facts());
        of_kept.or_else(|| caches.stored.as_ref()?.facts(id))
    });
    let mut mapped = Mapped::default();
    if kept.is_empty() {
        return Ok(mapped);
    }
    let columns: Vec<_> = dataset.schema().fields.iter().map(Column::new).collect();
    let columns: HashMap<&str, &Column> =
        columns.iter().map(|column| (column.identity().as_ref(), column)).collect();
    for (key, maps) in kept {
        let key = key.split('\n').map(|column| columns.get(column).copied());
        let Some(key) = key.collect::<Option<Vec<_>>>() else { continue };
        let files = dataset.fragments().iter().map(|fragment| file_of(dataset, fragment, &key));
        let Some(files) = files.collect::<Option<HashSet<String>>>() else { continue };
        let Some(maps) = covering(maps, &files) else { continue };
        let names: Vec<String> = key.iter().map(|column| column.name().to_owned()).collect();
        // A file that stood in two fragments would have its keys twice.
        if files.len() == dataset.fragments().len() && are_unique(&maps) {
            mapped.unique.insert(names.clone());
        }
        mapped.keys.insert(names);
    }
    Ok(mapped)
}

/// Learns which maps of the dataset's columns are stored. Those of several columns never are.
async fn recall(dataset: &Dataset, uri: &str, caches: &Arc<Caches>) -> Result<()> {
    if caches.stored.is_none() {
        return Ok(());
    }
    let columns = dataset.schema().fields.iter().map(Column::new);
    let columns: Vec<_> = columns.map(|column| Arc::clone(column.identity())).collect();
    let (uri, caches): (Arc<str>, _) = (Arc::from(uri), Arc::clone(caches));
    tasks::run_blocking(move || {
        if let Some(folder) = &caches.stored {
            folder.recall_columns(&uri, columns, &caches.runs);
        }
    })
    .await
}

/// Some of the maps, which hold all these files; the largest first. None if they do not.
fn covering(mut maps: Vec<Map>, files: &HashSet<String>) -> Option<Vec<KeyFacts>> {
    let held = |map: &Map| map.1.iter().filter(|file| files.contains(file.as_ref())).count();
    maps.sort_by_key(|map| Reverse(held(map)));
    let (mut left, mut chosen) = (files.clone(), Vec::new());
    for (map, held) in maps {
        let before = left.len();
        held.iter().for_each(|file| {
            left.remove(file.as_ref());
        });
        if left.len() < before {
            chosen.push(map);
        }
    }
    left.is_empty().then_some(chosen)
}

/// Whether no key stands twice, in one map or in two. Rows that are deleted, or that other versions
/// have, count, too: what is said to be unique is.
fn are_unique(maps: &[KeyFacts]) -> bool {
    let are_apart = || {
        let bounds = maps.iter().map(|map| map.bounds);
        let Some(mut bounds) = bounds.collect::<Option<Vec<_>>>() else { return false };
        bounds.sort_unstable();
        bounds.windows(2).all(|pair| pair[0].1 < pair[1].0)
    };
    maps.iter().all(|map| map.is_unique) && (maps.len() < 2 || are_apart())
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
    use keyloom_common::store::{Access, LanceFigures, ResolvedStore};
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
        let figures = LanceFigures::of(store.description.figures.as_ref().unwrap()).unwrap();
        figures.mapped.into_iter().collect()
    }

    async fn unique(env: &StoreEnv, uri: &str) -> Vec<Vec<String>> {
        let store = described(env, uri, "id").await;
        store.description.figures.as_ref().unwrap().unique.iter().cloned().collect()
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

    #[tokio::test]
    async fn keys_are_unique_where_maps_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
        let mut dataset = write_lance(&uri, rows(), WriteParams::default()).await;
        let env = env();
        assert_eq!(unique(&env, &uri).await, [] as [Vec<String>; 0]);
        let key: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        ask(&env, &uri, "id", key.clone()).await;
        assert_eq!(unique(&env, &uri).await, [["id"]]);

        // In another map, in which each key stands once, too.
        let append = WriteParams { mode: WriteMode::Append, ..Default::default() };
        let more = RecordBatchIterator::new([Ok(rows().slice(7, 2))], rows().schema());
        dataset.append(more, Some(append)).await.unwrap();
        assert_eq!(unique(&env, &uri).await, [] as [Vec<String>; 0]);
        let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        ask(&env, &uri, "id", other).await;
        assert_eq!(mapped(&env, &uri).await, [["id"]]);
        assert_eq!(unique(&env, &uri).await, [] as [Vec<String>; 0]);
    }
}
