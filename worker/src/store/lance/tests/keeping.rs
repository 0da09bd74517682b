//! What is kept of columns that are larger than the room for them.

use keyloom_common::memory::MemoryBudget;

use super::*;
use crate::{
    memory::Commons,
    store::{OpenStores, ReadStats},
};

const BLOCKS: i64 = 40;
const BLOCK_ROWS: i64 = 1000;

/// Forty blocks of ids, and room for about half of them.
async fn forty_blocks() -> (StoredRows, StoreEnv) {
    let params = WriteParams { max_rows_per_file: 10_000, ..Default::default() };
    let rows = write(super::rows(0..BLOCKS * BLOCK_ROWS), params).await;
    let block_bytes = BLOCK_ROWS as u64 * 8;
    let settings = StoreSettings {
        column_cache_bytes: block_bytes * 27,
        read_bytes: block_bytes as usize,
        ..Default::default()
    };
    (rows, StoreEnv::new(settings, Arc::new(Blobs::default())))
}

async fn open_in(env: &StoreEnv, spec: LanceSpec) -> Arc<dyn Store> {
    env.open(&describe(env, spec).await.unwrap()).await.unwrap()
}

/// Asks for the ids of every so many rows, and checks them.
async fn ask_every(store: &Arc<dyn Store>, step: usize, rows: i64, path: RowPath) -> ReadStats {
    ask_column(store, 0, step, rows, path).await
}

/// Asks for every so many values of a column that holds ids, and checks them.
async fn ask_column(
    store: &Arc<dyn Store>,
    column: usize,
    step: usize,
    rows: i64,
    path: RowPath,
) -> ReadStats {
    let ids: Vec<_> = (0..rows).rev().step_by(step).collect();
    let keys = Arc::new(UInt64Array::from_iter_values(ids.iter().map(|id| *id as u64)));
    let access = LanceWay { keys: KeyPath::Direct, rows: path }.access(None, true);
    let found = store
        .lookup(Request { keys, columns: vec![column], access, rows: KeyRows::One })
        .await
        .unwrap();
    assert_eq!(values(&found, 0).as_ref(), &Int64Array::from(ids));
    found.stats
}

#[tokio::test]
async fn a_part_of_a_large_column_is_kept() {
    let (rows, env) = forty_blocks().await;
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let store = open_in(&env, LanceSpec { access, ..rows.spec("_offset") }).await;
    let first = ask_every(&store, 7, 40_000, RowPath::Take).await;
    assert_eq!((first.blocks, first.block_hits, first.rows_scanned), (40, 0, 40_000));
    let kept = caches(&env).blocks.len() as u64;
    assert!((18..=22).contains(&kept), "{kept}");
    for step in [7, 1, 100] {
        let later = ask_every(&store, step, 40_000, RowPath::Take).await;
        assert_eq!((later.blocks, later.block_hits), (40, kept), "every {step}");
        assert_eq!(later.rows_scanned, (40 - kept) * 1000, "every {step}");
    }
}

#[tokio::test]
async fn what_is_kept_gives_way_to_tasks_and_is_kept_again() {
    const MEMORY: u64 = 1 << 20;
    let (rows, env) = forty_blocks().await;
    let commons = Commons::new(MemoryBudget::new("memory_bytes", MEMORY));
    let env = StoreEnv::within(&commons, env.parts.settings.clone(), Arc::new(Blobs::default()));
    let _stores = OpenStores::new(env.clone());
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let store = open_in(&env, LanceSpec { access, ..rows.spec("_offset") }).await;
    for _ in 0..3 {
        ask_every(&store, 7, 40_000, RowPath::Take).await;
        let hits = ask_every(&store, 7, 40_000, RowPath::Take).await.block_hits;
        assert!((18..=22).contains(&hits), "{hits}");
        let task = commons.reserve();
        commons.grow(&task, MEMORY).unwrap();
        assert_eq!(caches(&env).blocks.len(), 0);
        let without = ask_every(&store, 7, 40_000, RowPath::Take).await;
        assert_eq!((without.blocks, without.block_hits), (40, 0));
        assert_eq!(commons.budget().used(), MEMORY);
    }
}

/// Each of them has more than half of what there is room for.
#[tokio::test]
async fn large_columns_that_take_turns_do_not_push_each_other_out() {
    let ids = || Arc::new(Int64Array::from_iter_values(0..BLOCKS * BLOCK_ROWS)) as ArrayRef;
    let twins = batch(vec![("id", ids()), ("twin", ids())]);
    let params = WriteParams { max_rows_per_file: 10_000, ..Default::default() };
    let rows = write(twins, params).await;
    let (_, env) = forty_blocks().await;
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let store = open_in(&env, LanceSpec { access, ..rows.spec("_offset") }).await;
    let take_turns = async || {
        let mut hits = Vec::new();
        for column in [0, 1] {
            let stats = ask_column(&store, column, 7, 40_000, RowPath::Take).await;
            assert_eq!(stats.rows_scanned, (40 - stats.block_hits) * 1000);
            hits.push(stats.block_hits);
        }
        hits
    };
    // The first one had more room before the other one came.
    for _ in 0..10 {
        take_turns().await;
    }
    let hits = take_turns().await;
    assert!(hits.iter().all(|hits| (10..=14).contains(hits)), "{hits:?}");
    for _ in 0..5 {
        assert_eq!(take_turns().await, hits);
    }
}

#[tokio::test]
async fn a_column_that_grows_beyond_its_room_keeps_less_of_the_same() {
    let (mut rows, env) = forty_blocks().await;
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let spec = LanceSpec { access, ..rows.spec("_offset") };
    ask_every(&open_in(&env, spec.clone()).await, 7, 40_000, RowPath::Take).await;
    let before = caches(&env).blocks.len() as u64;
    rows.append(super::rows(40_000..60_000)).await;
    let grown = open_in(&env, spec).await;
    let hits = ask_every(&grown, 7, 40_000, RowPath::Take).await.block_hits;
    assert!((before / 2..before).contains(&hits), "{hits} of {before}");
    let all = ask_every(&grown, 7, 60_000, RowPath::Take).await;
    assert_eq!((all.blocks, all.block_hits), (60, hits));
    let again = ask_every(&grown, 7, 60_000, RowPath::Take).await.block_hits;
    assert!((18..=22).contains(&again), "{again}");
}

#[tokio::test]
async fn a_large_column_is_scanned_only_where_reading_the_rest_pays() {
    let (rows, env) = forty_blocks().await;
    let store = open_in(&env, rows.spec("_offset")).await;
    // A row of each block is not worth the blocks that are not kept, whatever the plan says.
    for path in [RowPath::Take, RowPath::Scan] {
        for _ in 0..50 {
            let sparse = ask_every(&store, 1000, 40_000, path).await;
            assert_eq!((sparse.rows_taken, sparse.blocks), (40, 0));
        }
    }
    // Twenty are, but not those that are kept as well, unless that pays in time.
    let first = ask_every(&store, 50, 40_000, RowPath::Take).await;
    assert_eq!((first.rows_taken, first.blocks), (800, 0));
    for _ in 0..10 {
        ask_every(&store, 50, 40_000, RowPath::Take).await;
    }
    let kept = caches(&env).blocks.len() as u64;
    let later = ask_every(&store, 50, 40_000, RowPath::Take).await;
    assert_eq!((later.blocks, later.block_hits, later.rows_taken), (40, kept, 0));
    // A plan that says so pays at once.
    let (rows, env) = forty_blocks().await;
    let store = open_in(&env, rows.spec("_offset")).await;
    let planned = ask_every(&store, 50, 40_000, RowPath::Scan).await;
    assert_eq!((planned.blocks, planned.rows_taken), (40, 0));
}
