//! Stores that look at once for all keys of a job.

use futures::future::join_all;

use super::*;
use crate::store::{ReadStats, Values};

/// The store, which has looked for some keys, and what it read for them and their ids and words.
async fn knowing(store: &Arc<dyn Store>, keys: Vec<i64>) -> (Arc<dyn Store>, ReadStats) {
    let keys = Known(Arc::new(Int64Array::from(keys)));
    let known = store.knowing(&keys, &[0, 1], Access::default()).await.unwrap();
    known.unwrap()
}

/// A set of some keys under a name of its own.
#[derive(Debug)]
struct OfJob(&'static str);

#[async_trait]
impl KeySet for OfJob {
    fn name(&self) -> BlobId {
        BlobId::of(self.0.as_bytes())
    }

    async fn keys(&self) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(vec![1, 30, 29])))
    }
}

/// Whether the store looks at once for the keys of a job.
async fn looks(store: &Arc<dyn Store>, job: &'static str) -> bool {
    store.knowing(&OfJob(job), &[0], Access::default()).await.unwrap().is_some()
}

async fn open_in(env: &StoreEnv, spec: LanceSpec) -> Arc<dyn Store> {
    env.open(&describe(env, spec).await.unwrap()).await.unwrap()
}

/// The store by its ids, whose values are read in blocks.
fn in_blocks(rows: &StoredRows) -> LanceSpec {
    let access = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    LanceSpec { access, ..rows.spec("id") }
}

#[tokio::test]
async fn a_set_without_keys_reads_nothing() {
    let rows = three_fragments(false).await;
    let (store, read) = knowing(&open(in_blocks(&rows)).await.unwrap(), vec![]).await;
    assert_eq!(read, ReadStats::default());
    assert_eq!(ids(&store, Int64Array::from(vec![30, 4])).await, [None, Some(4)]);
}

#[tokio::test]
async fn keys_are_looked_for_once_also_where_there_is_no_room_for_maps() {
    let rows = three_fragments(false).await;
    let settings = StoreSettings { max_key_map_bytes: 0, ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let store = open_in(&env, in_blocks(&rows)).await;
    let asked = vec![1, 30, 29];
    let all = join_all([0; 4].map(|_| knowing(&store, asked.clone()))).await;
    assert_eq!(all.iter().map(|(_, read)| read.keys_scanned).sum::<u64>(), 30);
    let (known, read) = knowing(&store, asked.clone()).await;
    assert_eq!(read, ReadStats::default());
    assert_eq!(ids(&known, Int64Array::from(asked)).await, [Some(1), None, Some(29)]);
}

#[tokio::test]
async fn what_was_found_stays_while_a_task_has_it() {
    let rows = three_fragments(false).await;
    let env = env();
    let store = open_in(&env, in_blocks(&rows)).await;
    let (_task, first) = knowing(&store, vec![1, 2]).await;
    assert_eq!(first.keys_scanned, 30);
    caches(&env).learned.let_go(u64::MAX);
    caches(&env).known.let_go(u64::MAX);
    assert_eq!((caches(&env).learned.len(), caches(&env).known.len()), (0, 0));
    assert_eq!(knowing(&store, vec![1, 2]).await.1, ReadStats::default());
    assert_eq!((caches(&env).learned.len(), caches(&env).known.len()), (1, 1));
}

#[tokio::test]
async fn values_that_have_no_room_are_found_so_once() {
    let rows = three_fragments(false).await;
    let settings = StoreSettings { column_cache_bytes: 16, ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let store = open_in(&env, in_blocks(&rows)).await;
    let asked = vec![1, 30, 29];
    let (known, _) = knowing(&store, asked.clone()).await;
    // That there are none is known now.
    assert_eq!(caches(&env).known.len(), 1);
    assert_eq!(knowing(&store, asked.clone()).await.1, ReadStats::default());
    assert_eq!(ids(&known, Int64Array::from(asked)).await, [Some(1), None, Some(29)]);
}

#[tokio::test]
async fn values_of_several_fragments_are_one_piece() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 14").await;
    let store = open_in(&env(), in_blocks(&rows)).await;
    let asked = vec![29, 3, 14, 15, 8];
    let (store, _) = knowing(&store, vec![3, 8, 14, 15, 29]).await;
    let found = ask(&store, Int64Array::from(asked.clone()), &[0, 1]).await.unwrap();
    let pieces = |values: &Values| values.pieces.len();
    assert_eq!(found.columns.iter().map(pieces).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((found.stats.rows_scanned, found.stats.rows_taken), (0, 0));
    let expected = asked.iter().map(|id| (*id != 14).then_some(*id)).collect::<Vec<_>>();
    assert_eq!(ids(&store, Int64Array::from(asked)).await, expected);
}

#[tokio::test]
async fn blocks_that_others_keep_are_not_read_again() {
    let rows = three_fragments(false).await;
    let env = env();
    let all: Vec<_> = (0..30).map(Some).collect();
    let by_offset = open_in(&env, LanceSpec { key: rows.spec("_offset").key, ..in_blocks(&rows) });
    assert_eq!(ids(&by_offset.await, UInt64Array::from_iter_values(0..30)).await, all);
    let (_, read) = knowing(&open_in(&env, in_blocks(&rows)).await, vec![5, 25]).await;
    // Three of keys, and two of each column of their rows.
    assert_eq!((read.blocks, read.block_hits, read.rows_scanned), (7, 7, 0));
}

#[tokio::test]
async fn a_second_job_is_better_served_by_a_map() {
    let mut rows = three_fragments(false).await;
    let env = env();
    let store = open_in(&env, rows.spec("id")).await;
    // Also where another task of the job finds nothing kept.
    for _ in 0..2 {
        assert!(looks(&store, "first").await);
        caches(&env).learned.let_go(u64::MAX);
    }
    assert!(!looks(&store, "second").await);
    // So is a job on a later version, of which nobody has read the keys.
    rows.append(super::rows(30..32)).await;
    assert!(!looks(&open_in(&env, rows.spec("id")).await, "third").await);
    // Not where that is forced, or has no room.
    let access = ForcedAccess { keys: Some(KeyPath::Scan), rows: None };
    let forced = open_in(&env, LanceSpec { access, ..rows.spec("id") }).await;
    assert!(looks(&forced, "fourth").await);
    let settings = StoreSettings { max_key_map_bytes: 0, ..StoreSettings::default() };
    let env = StoreEnv::new(settings, Arc::new(Blobs::default()));
    let store = open_in(&env, rows.spec("id")).await;
    assert!(looks(&store, "first").await && looks(&store, "second").await);
}

#[tokio::test]
async fn a_map_that_lacks_few_rows_is_completed() {
    let mut rows = three_fragments(false).await;
    let env = env();
    let store = open_in(&env, rows.spec("id")).await;
    assert_eq!(ids(&store, Int64Array::from(vec![1, 30])).await, [Some(1), None]);
    assert!(!looks(&store, "first").await);
    rows.append(super::rows(30..40)).await;
    assert!(!looks(&open_in(&env, rows.spec("id")).await, "first").await);
    rows.append(super::rows(40..80)).await;
    assert!(looks(&open_in(&env, rows.spec("id")).await, "first").await);
}
