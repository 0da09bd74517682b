//! All rows of keys: a store that has looked for these before has the same as one that has not.

use super::{duplicates::with_hashes, *};
use crate::store::{MostRows, keys::key_column};

/// Keys, and in how many rows each stands. Of those with eight rows and more not all are known.
const STORED: [(i64, usize); 6] = [(1, 1), (2, 2), (7, 7), (8, 9), (30, 29), (5, 1)];

/// Keys as they are asked for. Nine is in no row.
const ASKED: [i64; 7] = [2, 9, 8, 1, 30, 7, 5];

/// Those of which all rows are known.
const KNOWN: [i64; 5] = [2, 9, 1, 7, 5];

/// Rows that are deleted, by their numbers: one of an eight, and two of a thirty.
const DELETED: [i64; 3] = [2, 21, 33];

const KEYS: [&str; 3] = ["id", "word", "id,word"];

/// The keys of all rows, those of one key far apart. The last ones have none.
fn stored() -> Vec<Option<i64>> {
    let all: Vec<i64> = STORED.iter().flat_map(|(id, rows)| vec![*id; *rows]).collect();
    let apart = (0..all.len()).map(|at| Some(all[at * 10 % all.len()]));
    apart.chain([None; 3]).collect()
}

/// Three fragments of these rows.
async fn write_stored() -> StoredRows {
    let ids = stored();
    let words: StringArray = ids.iter().map(|id| id.map(word)).collect();
    let numbers = Int64Array::from_iter_values(0..ids.len() as i64);
    let all = batch(vec![
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
        ("number", Arc::new(numbers) as ArrayRef),
    ]);
    let params = WriteParams { max_rows_per_file: 20, ..Default::default() };
    let mut rows = write(all, params).await;
    let deleted = DELETED.map(|number| format!("number = {number}"));
    rows.delete(&deleted.join(" OR ")).await;
    rows
}

/// The numbers of the rows of each key.
fn expected(asked: &[i64]) -> Vec<Vec<i64>> {
    let live = |key: i64| {
        let rows = (0..).zip(stored()).filter(move |(_, id)| *id == Some(key));
        rows.map(|(number, _)| number).filter(|number| !DELETED.contains(number))
    };
    asked.iter().map(|key| live(*key).collect()).collect()
}

/// What is asked, by a key of the store.
fn keys(key: &str, asked: &[i64]) -> ArrayRef {
    let ids = Arc::new(Int64Array::from(asked.to_vec())) as ArrayRef;
    let words = Arc::new(StringArray::from_iter_values(asked.iter().copied().map(word)));
    let words = words as ArrayRef;
    match key {
        "id" => ids,
        "word" => words,
        _ => key_column(&[("id", ids), ("word", words)]).unwrap(),
    }
}

async fn all(store: &Arc<dyn Store>, keys: ArrayRef, most: MostRows) -> Result<Found> {
    let (access, rows) = (Access::default(), KeyRows::All(most));
    store.lookup(Request { keys, columns: vec![2], access, rows }).await
}

/// The numbers of the rows that were found of each key.
fn numbers(found: &Found) -> Vec<Vec<i64>> {
    let all = values(found, 0);
    let mut all = all.as_primitive::<Int64Type>().values().iter().copied();
    let counts = found.counts.iter().flatten();
    counts.map(|count| all.by_ref().take(*count as usize).collect()).collect()
}

/// The store, which has looked for all keys that are asked for.
async fn knowing(store: &Arc<dyn Store>, key: &str) -> Arc<dyn Store> {
    let set = Known(keys(key, &ASKED));
    store.knowing(&set, &[2], Access::default()).await.unwrap().unwrap().0
}

async fn open_in(env: &StoreEnv, spec: LanceSpec) -> Arc<dyn Store> {
    env.open(&describe(env, spec).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn keys_that_were_looked_for_have_all_their_rows() {
    let rows = write_stored().await;
    for key in KEYS {
        for policy in [OnDuplicateKey::First, OnDuplicateKey::Last, OnDuplicateKey::Error] {
            let env = env();
            let spec = LanceSpec { on_duplicate_key: policy, ..rows.spec(key) };
            let store = knowing(&open_in(&env, spec).await, key).await;
            let found = all(&store, keys(key, &KNOWN), MostRows::ANY).await.unwrap();
            assert_eq!(numbers(&found), expected(&KNOWN), "{key}, {policy:?}");
            // Nothing was read for that, nor for those that are asked again.
            assert_eq!((found.stats.keys_scanned, caches(&env).maps.len()), (0, 0), "{key}");
            let found = all(&store, keys(key, &ASKED), MostRows::ANY).await.unwrap();
            assert_eq!(numbers(&found), expected(&ASKED), "{key}, {policy:?}");
            assert_eq!((found.stats.keys_scanned, caches(&env).maps.len()), (52, 1), "{key}");
        }
    }
}

#[tokio::test]
async fn keys_that_nobody_looked_for_have_all_their_rows() {
    let rows = write_stored().await;
    for key in KEYS {
        let store = open_in(&env(), rows.spec(key)).await;
        let set = Known(keys(key, &[2, 7, 9]));
        let known = store.knowing(&set, &[2], Access::default()).await.unwrap().unwrap().0;
        let found = all(&known, keys(key, &ASKED), MostRows::ANY).await.unwrap();
        assert_eq!(numbers(&found), expected(&ASKED), "{key}");
    }
}

#[tokio::test]
async fn keys_of_one_hash_have_their_own_rows() {
    let rows = write_stored().await;
    for mask in [0, 1] {
        let store = with_hashes(rows.spec("word"), mask).await;
        for store in [knowing(&store, "word").await, store] {
            let found = all(&store, keys("word", &ASKED), MostRows::ANY).await.unwrap();
            assert_eq!(numbers(&found), expected(&ASKED), "{mask}");
        }
    }
}

#[tokio::test]
async fn of_more_rows_than_may_be_held_the_first_keys_have_theirs() {
    let rows = write_stored().await;
    let store = open_in(&env(), rows.spec("id")).await;
    let known = knowing(&store, "id").await;
    for at_once in [1, 2, 3, 9, 10, 11, 12, 37, 38, 45, 46] {
        let most = MostRows { at_once, of_a_key: 100 };
        let found = all(&known, keys("id", &ASKED), most).await.unwrap();
        let plain = all(&store, keys("id", &ASKED), most).await.unwrap();
        assert_eq!(numbers(&found), numbers(&plain), "{at_once}");
        assert_eq!(found.is_cut, plain.is_cut, "{at_once}");
    }
    let most = MostRows { at_once: 100, of_a_key: 20 };
    let found = all(&known, keys("id", &ASKED), most).await.unwrap_err();
    assert_eq!(found, all(&store, keys("id", &ASKED), most).await.unwrap_err());
    assert_eq!(found.kind(), ErrorKind::ResourceExhausted);
}
