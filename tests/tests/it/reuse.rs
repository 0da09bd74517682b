//! What workers keep of Lance stores from one job to the next, and bounds that change no answer.

use std::collections::HashMap;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{
    EmbeddedSettings, ErrorKind, KeyPath, LanceOptions, RowPath, Session, load_kv,
    report::JobSummary,
};
use keyloom_common::report::counter;
use keyloom_worker::LookupSettings;
use lance::{
    Dataset,
    dataset::{WriteMode, WriteParams},
};
use tempfile::TempDir;

use crate::harness::{batch, failure, index, ints, show_rows, strings, write_lance_with};

const FRAGMENT_ROWS: usize = 100;

/// Keys that are asked for.
const KEYS: i64 = 320;

/// Ids, each with a word and with its square.
fn words(ids: std::ops::Range<i64>) -> RecordBatch {
    let words: Vec<_> = ids.clone().map(|id| format!("word {id}")).collect();
    let words = strings(words.iter().map(String::as_str));
    batch([("id", ints(ids.clone())), ("word", words), ("square", ints(ids.map(|id| id * id)))])
}

/// A session of one worker over a dataset of three fragments, with an index on
/// the ids and without id 7. The store is called `words`; the table `t` has the keys `k` from 0 to
/// 319, of which the store lacks some.
struct World {
    session: Session,
    dir: TempDir,
}

impl World {
    async fn new(settings: EmbeddedSettings) -> Result<Self> {
        let settings = EmbeddedSettings { workers: Some(1), ..settings };
        let session = Session::embedded_with(settings).await?;
        session.register_batches("t", &[batch([("k", ints(0..KEYS))])])?;
        let world = Self { session, dir: tempfile::tempdir()? };
        let mut dataset = world.write(0..300, WriteMode::Create).await?;
        index(&mut dataset, "id").await?;
        dataset.delete("id = 7").await?;
        Ok(world)
    }

    async fn by(keys: KeyPath, rows: RowPath) -> Result<Self> {
        let world = Self::new(EmbeddedSettings::default()).await?;
        world.attach(world.options().key_path(keys).row_path(rows)).await?;
        Ok(world)
    }

    fn options(&self) -> LanceOptions {
        LanceOptions::new(self.dir.path().join("words.lance").to_string_lossy()).key("id")
    }

    async fn write(&self, ids: std::ops::Range<i64>, mode: WriteMode) -> Result<Dataset> {
        let params =
            WriteParams { mode, max_rows_per_file: FRAGMENT_ROWS, ..WriteParams::default() };
        write_lance_with(&self.options().uri, &[words(ids)], params).await
    }

    async fn attach(&self, options: LanceOptions) -> Result<()> {
        Ok(self.session.attach_or_replace(load_kv("words", options)?, None).await?)
    }

    /// What a query gives, and what it did.
    async fn run(&self, sql: &str) -> Result<(Vec<String>, JobSummary)> {
        let mut job = self.session.submit(self.session.sql(sql).await?).await?;
        let rows = show_rows(&job.collect().await?)?;
        Ok((rows, job.summary().cloned().context("the job is done")?))
    }

    /// Looks up the words of all keys, of which the store has those that `held` says, and tells
    /// what the plan counted.
    async fn counted<const N: usize>(
        &self,
        held: impl Fn(i64) -> bool,
        counters: [&str; N],
    ) -> Result<[u64; N]> {
        let sql = "SELECT kv_get(k, source => 'words', on_error => 'null')['word'] FROM t";
        let (rows, job) = self.run(sql).await?;
        let word = |id| if held(id) { format!("word {id}") } else { "NULL".to_owned() };
        assert_eq!(rows, (0..KEYS).map(word).collect::<Vec<_>>());
        counted(&job, counters)
    }
}

/// The ids that the store has at first.
fn at_first(id: i64) -> bool {
    id < 300 && id != 7
}

/// What the plan of a job counted for the store.
fn counted<const N: usize>(job: &JobSummary, counters: [&str; N]) -> Result<[u64; N]> {
    let (_, counts) = job.plan.split_once("words: {").context("the store was asked")?;
    let (counts, _) = counts.split_once('}').context("a list ends")?;
    let counts: HashMap<_, _> =
        counts.split(", ").filter_map(|count| count.split_once('=')).collect();
    let mut values = [0; N];
    for (value, counter) in values.iter_mut().zip(counters) {
        // What is 0 may not be shown.
        *value = counts.get(counter).map_or(Ok(0), |count| count.parse())?;
    }
    Ok(values)
}

const READ: [&str; 4] =
    [counter::KEYS_SCANNED, counter::ROWS_TAKEN, counter::ROWS_SCANNED, counter::BYTES_FETCHED];

#[tokio::test]
async fn a_second_job_reads_no_keys_and_no_blocks_again() -> Result<()> {
    let world = World::by(KeyPath::Map, RowPath::Scan).await?;
    let counters =
        [counter::KEYS_SCANNED, counter::ROWS_SCANNED, counter::BLOCKS, counter::BLOCK_HITS];
    // Three fragments are three blocks of keys and three of words.
    assert_eq!(world.counted(at_first, counters).await?, [300, 300, 6, 0]);
    assert_eq!(world.counted(at_first, counters).await?, [0, 0, 3, 3]);
    assert_eq!(world.counted(at_first, READ).await?, [0; 4]);
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_attached_again_is_in_memory_already() -> Result<()> {
    let world = World::by(KeyPath::Map, RowPath::Scan).await?;
    world.counted(at_first, READ).await?;
    world.session.detach_kv("words")?;
    world.attach(world.options().key_path(KeyPath::Map).row_path(RowPath::Scan)).await?;
    assert_eq!(world.counted(at_first, READ).await?, [0; 4]);
    Ok(())
}

#[tokio::test]
async fn takes_read_the_wanted_rows_of_every_job() -> Result<()> {
    let world = World::by(KeyPath::Map, RowPath::Take).await?;
    let counters = [counter::KEYS_SCANNED, counter::ROWS_TAKEN, counter::ROWS_SCANNED];
    assert_eq!(world.counted(at_first, counters).await?, [300, 299, 0]);
    assert_eq!(world.counted(at_first, counters).await?, [0, 299, 0]);
    Ok(())
}

#[tokio::test]
async fn scans_for_keys_keep_no_map() -> Result<()> {
    let world = World::by(KeyPath::Scan, RowPath::Take).await?;
    let counters = [counter::KEYS_SCANNED, counter::ROWS_TAKEN, counter::ROWS_SCANNED];
    for _ in 0..2 {
        assert_eq!(world.counted(at_first, counters).await?, [300, 299, 0]);
    }
    Ok(())
}

/// Counts of two jobs that ask which words there are.
async fn counted_by_word<const N: usize>(
    world: &World,
    counters: [&str; N],
) -> Result<[[u64; N]; 2]> {
    let sql = "SELECT kv_exists(concat('word ', CAST(k AS VARCHAR)), source => 'words') FROM t";
    let mut counts = [[0; N]; 2];
    for counts in &mut counts {
        let (known, job) = world.run(sql).await?;
        assert_eq!(known, (0..KEYS).map(|id| at_first(id).to_string()).collect::<Vec<_>>());
        *counts = counted(&job, counters)?;
    }
    Ok(counts)
}

#[tokio::test]
async fn strings_are_verified_after_a_hash_found_them() -> Result<()> {
    let counters = [
        counter::KEYS_SCANNED,
        counter::KEYS_VERIFIED,
        counter::BLOCKS,
        counter::BLOCK_HITS,
        counter::ROWS_TAKEN,
        counter::ROWS_SCANNED,
    ];
    let by_word = async |keys, rows, column_cache_bytes| {
        let mut settings = EmbeddedSettings::default();
        settings.worker.store.column_cache_bytes = column_cache_bytes;
        let world = World::new(settings).await?;
        world.attach(world.options().key("word").key_path(keys).row_path(rows)).await?;
        counted_by_word(&world, counters).await
    };
    // The keys are in blocks that were read to find the rows, and are read again if none is kept.
    let expected = [[300, 0, 6, 3, 0, 0], [0, 0, 3, 3, 0, 0]];
    assert_eq!(by_word(KeyPath::Map, RowPath::Scan, 1 << 20).await?, expected);
    let expected = [[300, 300, 6, 0, 0, 0], [0, 300, 3, 0, 0, 0]];
    assert_eq!(by_word(KeyPath::Map, RowPath::Scan, 0).await?, expected);
    // Of those that were found, 7 is deleted.
    let expected = [[300, 299, 3, 0, 0, 0], [0, 299, 0, 0, 0, 0]];
    assert_eq!(by_word(KeyPath::Map, RowPath::Take, 1 << 20).await?, expected);
    let expected = [[300, 299, 3, 0, 0, 0], [300, 299, 3, 3, 0, 0]];
    assert_eq!(by_word(KeyPath::Scan, RowPath::Take, 1 << 20).await?, expected);
    Ok(())
}

#[tokio::test]
async fn numbers_need_not_be_verified() -> Result<()> {
    for keys in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
        let world = World::by(keys, RowPath::Take).await?;
        assert_eq!(world.counted(at_first, [counter::KEYS_VERIFIED]).await?, [0], "{keys}");
    }
    Ok(())
}

#[tokio::test]
async fn an_append_costs_its_own_fragment_and_a_deletion_nothing() -> Result<()> {
    let world = World::by(KeyPath::Map, RowPath::Scan).await?;
    let counters = [counter::KEYS_SCANNED, counter::ROWS_SCANNED];
    assert_eq!(world.counted(at_first, counters).await?, [300, 300]);
    let mut dataset = world.write(300..315, WriteMode::Append).await?;
    let appended = |id| id < 315 && id != 7;
    assert_eq!(world.counted(appended, counters).await?, [15, 15]);
    dataset.delete("id IN (8, 310)").await?;
    let left = |id| appended(id) && id != 8 && id != 310;
    assert_eq!(world.counted(left, counters).await?, [0, 0]);
    Ok(())
}

#[tokio::test]
async fn an_index_finds_rows_that_it_does_not_cover() -> Result<()> {
    let world = World::by(KeyPath::Btree, RowPath::Take).await?;
    assert_eq!(world.counted(at_first, [counter::ROWS_TAKEN]).await?, [299]);
    let mut dataset = world.write(300..315, WriteMode::Append).await?;
    dataset.delete("id IN (8, 310)").await?;
    let left = |id| id < 315 && ![7, 8, 310].contains(&id);
    assert_eq!(world.counted(left, [counter::ROWS_TAKEN]).await?, [312]);
    Ok(())
}

#[tokio::test]
async fn existence_reads_no_values() -> Result<()> {
    for keys in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
        for rows in [RowPath::Take, RowPath::Scan] {
            let world = World::by(keys, rows).await?;
            let sql = "SELECT kv_exists(k, source => 'words') FROM t";
            let (known, job) = world.run(sql).await?;
            assert_eq!(known, (0..KEYS).map(|id| at_first(id).to_string()).collect::<Vec<_>>());
            let counters = [
                counter::HITS,
                counter::MISSES,
                counter::ROWS_TAKEN,
                counter::ROWS_SCANNED,
                counter::BYTES_FETCHED,
            ];
            assert_eq!(counted(&job, counters)?, [299, 21, 0, 0, 0], "{keys} {rows}");
        }
    }
    Ok(())
}

/// Settings under which a window has room for the answers of very few keys.
fn narrow() -> EmbeddedSettings {
    let mut settings = EmbeddedSettings::default();
    settings.worker.lookup = LookupSettings { window_bytes: 200, ..LookupSettings::default() };
    settings
}

#[tokio::test]
async fn answers_beyond_a_window_are_looked_up_in_several() -> Result<()> {
    let ways = [
        (None, None),
        (Some(KeyPath::Map), Some(RowPath::Take)),
        (Some(KeyPath::Scan), Some(RowPath::Scan)),
        (Some(KeyPath::Btree), Some(RowPath::Take)),
    ];
    for (key_path, row_path) in ways {
        let world = World::new(narrow()).await?;
        world.attach(LanceOptions { key_path, row_path, ..world.options() }).await?;
        let counters = [counter::KEYS, counter::DISTINCT, counter::HITS, counter::MISSES];
        assert_eq!(world.counted(at_first, counters).await?, [320, 320, 299, 21]);
        // A word takes 11 bytes with its offset, so that a window has room for 18 of them.
        assert_eq!(world.counted(at_first, [counter::REQUESTS]).await?, [18]);
    }
    Ok(())
}

#[tokio::test]
async fn lists_beyond_a_window_keep_their_elements() -> Result<()> {
    let world = World::new(narrow()).await?;
    world.attach(world.options()).await?;
    // One list alone is too much, too.
    let sql = "SELECT count(*), count(word), sum(id), sum(square) FROM (SELECT a['id'] AS id, \
               a['square'] AS square, a['word'] AS word FROM (SELECT unnest(kv_batch_get(ks, \
               source => 'words', on_error => 'null')) AS a FROM (SELECT k % 3 AS r, \
               array_agg(k) AS ks FROM t GROUP BY k % 3)))";
    let live = || (0..300_i64).filter(|id| *id != 7);
    let (sum, squares) = (live().sum::<i64>(), live().map(|id| id * id).sum::<i64>());
    assert_eq!(world.run(sql).await?.0, [format!("320 | 299 | {sum} | {squares}")]);
    Ok(())
}

#[tokio::test]
async fn rows_are_the_same_when_nothing_can_be_kept() -> Result<()> {
    let mut settings = EmbeddedSettings::default();
    settings.worker.store.column_cache_bytes = 0;
    settings.worker.store.max_key_map_bytes = 0;
    let world = World::new(settings).await?;
    for row_path in [None, Some(RowPath::Take), Some(RowPath::Scan)] {
        for key_path in [None, Some(KeyPath::Scan), Some(KeyPath::Btree)] {
            world.attach(LanceOptions { key_path, row_path, ..world.options() }).await?;
            let counters = [counter::KEYS_SCANNED, counter::BLOCK_HITS];
            // An index is searched for the keys that it holds, if nothing says otherwise.
            let expected = if key_path == Some(KeyPath::Scan) { [300, 0] } else { [299, 0] };
            for _ in 0..2 {
                assert_eq!(world.counted(at_first, counters).await?, expected);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_forced_map_that_does_not_fit_fails_the_job() -> Result<()> {
    let mut settings = EmbeddedSettings::default();
    settings.worker.store.max_key_map_bytes = 0;
    let world = World::new(settings).await?;
    world.attach(world.options().key_path(KeyPath::Map)).await?;
    let query = world.session.sql("SELECT kv_get(k, source => 'words') FROM t").await?;
    let error = failure(query).await?;
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(
        error.message(),
        "KV store 'words' cannot be read: the map of its 300 keys takes 3900 bytes; \
         max_key_map_bytes allows 0: raise it, or set key_path to 'scan' or 'btree'"
    );
    Ok(())
}

/// As many keys as a map has at least that is stored.
const MANY: i64 = 1 << 20;

#[tokio::test]
async fn a_second_process_finds_the_map_of_the_first_on_disk() -> Result<()> {
    let (dir, maps) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let uri = dir.path().join("many.lance").to_string_lossy().into_owned();
    write_lance_with(&uri, &[words(0..MANY)], WriteParams::default()).await?;
    let mut settings = EmbeddedSettings::default();
    settings.worker.store.key_maps_dir = Some(maps.path().to_path_buf());
    for scanned in [MANY as u64, 0] {
        let world = World::new(settings.clone()).await?;
        let options = LanceOptions::new(uri.as_str()).key("id");
        world.attach(options.key_path(KeyPath::Map).row_path(RowPath::Take)).await?;
        let counters = [counter::KEYS_SCANNED, counter::ROWS_TAKEN];
        assert_eq!(world.counted(|_| true, counters).await?, [scanned, KEYS as u64]);
    }
    Ok(())
}
