//! Maps, and what is kept for jobs, where there is little memory for them.

use std::time::{Duration, Instant};

use keyloom_common::memory::MemoryBudget;

use super::*;
use crate::memory::Commons;

/// An environment with so many bytes for all that is kept.
fn env_within(bytes: u64) -> (StoreEnv, MemoryBudget) {
    let memory = MemoryBudget::new("memory_bytes", bytes);
    let commons = Commons::new(memory.clone());
    let settings = StoreSettings { take_chunk_rows: 100, ..Default::default() };
    (StoreEnv::within(&commons, settings, Arc::new(Blobs::default())), memory)
}

async fn open_in(env: &StoreEnv, spec: LanceSpec) -> Arc<dyn Store> {
    env.open(&describe(env, spec).await.unwrap()).await.unwrap()
}

/// Asks for keys that are there and one that is not.
async fn check(store: &Arc<dyn Store>) {
    assert_eq!(ids(store, Int64Array::from(vec![1, 30, 29])).await, [Some(1), None, Some(29)]);
}

#[tokio::test]
async fn a_map_that_there_is_no_memory_for_is_not_made() {
    let rows = three_fragments(false).await;
    let (env, memory) = env_within(389);
    check(&open_in(&env, rows.spec("id")).await).await;
    assert_eq!(caches(&env).maps.len(), 0);

    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: None };
    let forced = open_in(&env, LanceSpec { access, ..rows.spec("id") }).await;
    let error = ask(&forced, Int64Array::from(vec![1]), &[]).await.unwrap_err();
    let message = "KV store 'emb' cannot be read: the map of its 30 keys takes 390 bytes; \
                   memory_bytes allows 389: raise it, or set key_path to 'scan' or 'btree'";
    assert_eq!(error, Error::resource_exhausted(message));
    assert!(memory.used() <= 389);
}

#[tokio::test]
async fn a_map_that_finds_no_memory_for_now_is_made_later() {
    let rows = three_fragments(false).await;
    let (env, memory) = env_within(1000);
    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) };
    let store = open_in(&env, LanceSpec { access, ..rows.spec("id") }).await;
    let others = memory.try_take(611).unwrap();
    check(&store).await;
    assert_eq!(caches(&env).maps.len(), 0);
    drop(others);
    check(&store).await;
    assert_eq!(caches(&env).maps.len(), 1);
}

#[tokio::test]
async fn columns_give_way_to_maps() {
    let rows = three_fragments(false).await;
    let (env, memory) = env_within(20_000);
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let by_offset = open_in(&env, LanceSpec { access, ..rows.spec("_offset") }).await;
    let all = ids(&by_offset, UInt64Array::from_iter_values(0..30)).await;
    assert_eq!(all, (0..30).map(Some).collect::<Vec<_>>());
    let columns = caches(&env).blocks.len();
    let _others = memory.try_take(memory.free()).unwrap();
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Take) };
    check(&open_in(&env, LanceSpec { access, ..rows.spec("id") }).await).await;
    assert_eq!(caches(&env).maps.len(), 1);
    assert!(caches(&env).blocks.len() < columns);
    assert!(memory.used() <= 20_000);
}

/// The store, which has looked for twenty keys.
async fn knowing(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let keys = Known(Arc::new(Int64Array::from_iter_values(0..20)));
    store.knowing(&keys, &[0], Access::default()).await.unwrap().unwrap().0
}

#[tokio::test]
async fn rows_of_jobs_that_ended_give_way_to_maps() {
    let rows = three_fragments(false).await;
    let (env, memory) = env_within(20_000);
    drop(knowing(&open_in(&env, rows.spec("id")).await).await);
    assert_eq!(caches(&env).learned.len(), 1);
    let _others = memory.try_take(memory.free()).unwrap();
    let access = ForcedAccess { keys: Some(KeyPath::Map), rows: Some(RowPath::Take) };
    check(&open_in(&env, LanceSpec { access, ..rows.spec("id") }).await).await;
    assert_eq!((caches(&env).maps.len(), caches(&env).learned.len()), (1, 0));
    assert!(memory.used() <= 20_000);
}

#[tokio::test]
async fn rows_of_jobs_that_ended_give_way_to_blocks_in_a_while() {
    let rows = three_fragments(false).await;
    let (env, memory) = env_within(20_000);
    let known = knowing(&open_in(&env, rows.spec("id")).await).await;
    let (caches, column) = (caches(&env), (Arc::from(rows.uri.as_str()), Arc::from("word")));
    let start = Instant::now();
    let kept_after = |seconds| {
        caches.offer(&column, 100, start + Duration::from_secs(seconds));
        caches.learned.len()
    };
    // While there is memory for both, nothing goes.
    assert_eq!([0, 100, 200].map(kept_after), [1, 1, 1]);
    let _others = memory.try_take(memory.free()).unwrap();
    assert_eq!([300, 400, 500].map(kept_after), [1, 1, 1]);
    drop(known);
    assert_eq!([501, 559, 600, 659, 660].map(kept_after), [1, 1, 1, 1, 0]);
}
