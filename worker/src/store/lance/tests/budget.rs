//! What all reads of a worker may bring at once.

use futures::future::join_all;

use super::*;

/// A store whose columns are not kept, with a budget for reads.
async fn store(
    rows: &StoredRows,
    key: &str,
    path: RowPath,
    read_memory_bytes: u64,
) -> (StoreEnv, Arc<dyn Store>) {
    let settings =
        StoreSettings { read_memory_bytes, column_cache_bytes: 0, ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let access = ForcedAccess { keys: None, rows: Some(path) };
    let spec = LanceSpec { access, ..rows.spec(key) };
    let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
    (env, store)
}

#[tokio::test]
async fn reads_wait_while_others_bring_all_that_a_worker_may() {
    let rows = three_fragments(false).await;
    for path in [RowPath::Take, RowPath::Scan] {
        let (env, store) = store(&rows, "_offset", path, 1 << 20).await;
        let wanted = || UInt64Array::from(vec![1, 15]);
        // All is known but the values.
        assert_eq!(ids(&store, wanted()).await, [Some(1), Some(15)]);
        let others = env.parts.reads.take(u64::MAX).await;
        let asked = store.clone();
        let waiting = tokio::spawn(async move { ids(&asked, wanted()).await });
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished(), "{path:?}");
        drop(others);
        assert_eq!(waiting.await.unwrap(), [Some(1), Some(15)], "{path:?}");
    }
}

#[tokio::test]
async fn reads_that_are_each_larger_than_the_budget_all_come_to_an_end() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 3").await;
    for path in [RowPath::Take, RowPath::Scan] {
        let (_env, store) = store(&rows, "word", path, 1).await;
        let lookups = (0..30).map(|id| {
            let store = store.clone();
            async move {
                let keys = StringArray::from(vec![word(id), word(29 - id)]);
                let found = ask(&store, keys, &[0, 1]).await.unwrap();
                values(&found, 0)
            }
        });
        let held = |id: i64| (id != 3).then_some(id);
        for (id, found) in (0..).zip(join_all(lookups).await) {
            let expected = Int64Array::from(vec![held(id), held(29 - id)]);
            assert_eq!(found.as_ref(), &expected, "{path:?}");
        }
    }
}
