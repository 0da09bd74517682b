//! Maps of keys that fragments share, while fragments come one by one, rows are deleted and files
//! are rewritten: each version answers by its own rows, whichever maps another one made or took the
//! place of.

use anyhow::{Context, Result};
use arrow::array::StringArray;
use keyloom_client::{ErrorKind, KeyPath, LanceOptions, OnDuplicateKey, load_kv};
use lance::{
    Dataset,
    dataset::{
        WriteMode, WriteParams,
        optimize::{CompactionOptions, compact_files},
    },
};

use super::by;
use crate::harness::{
    Deployment, TestSession, batch, column, ints, keys_scanned, on_all_deployments, rows, run,
    show_rows, strings, write_lance_with,
};

on_all_deployments! {
    versions_answer_by_their_own_rows_while_maps_become_one,
    a_running_job_keeps_its_rows_while_maps_become_one,
}

/// An id, which may be null or come again, and a word that no other row has.
type Row = (Option<i64>, String);

/// So many appends make more maps than stay beside each other.
const APPENDS: usize = 11;

/// The rows of an append, which are two fragments.
const APPENDED: usize = 4;

/// Ids from 0 that are asked for.
const KEYS: i64 = 26;

/// A dataset, and its rows in storage order.
struct Growing {
    uri: String,
    rows: Vec<Row>,
    appends: i64,
}

impl Growing {
    /// One that was written by so many appends.
    async fn new(uri: String, appends: usize) -> Result<Self> {
        let mut growing = Self { uri, rows: Vec::new(), appends: 0 };
        for _ in 0..appends {
            growing.append().await?;
        }
        Ok(growing)
    }

    /// Adds an id that every append has, some of which two have, and a null.
    async fn append(&mut self) -> Result<()> {
        let append = self.appends;
        let mode = if append == 0 { WriteMode::Create } else { WriteMode::Append };
        let ids: [_; APPENDED] = [Some(0), Some(10 + append), None, Some(10 + append / 2)];
        let words: Vec<_> = (0..APPENDED).map(|row| format!("{append}.{row}")).collect();
        let written = batch([
            ("id", ints(ids)),
            ("code", column(codes(ids))),
            ("word", strings(words.iter().map(String::as_str))),
        ]);
        let params = WriteParams { mode, max_rows_per_file: 2, ..WriteParams::default() };
        write_lance_with(&self.uri, &[written], params).await?;
        self.rows.extend(ids.into_iter().zip(words));
        self.appends += 1;
        Ok(())
    }

    /// Deletes the rows of some words.
    async fn delete(&mut self, words: &[&str]) -> Result<()> {
        let condition = format!("word IN ('{}')", words.join("', '"));
        Dataset::open(&self.uri).await?.delete(&condition).await?;
        self.rows.retain(|(_, word)| !words.contains(&word.as_str()));
        Ok(())
    }

    /// Makes one fragment of all.
    async fn compact(&self) -> Result<()> {
        let mut dataset = Dataset::open(&self.uri).await?;
        compact_files(&mut dataset, CompactionOptions::default(), None).await?;
        assert_eq!(dataset.get_fragments().len(), 1);
        Ok(())
    }

    async fn version(&self) -> Result<u64> {
        Ok(Dataset::open(&self.uri).await?.version_id())
    }

    /// Options of a store by a column, found through maps.
    fn by(&self, key: &str, policy: OnDuplicateKey) -> LanceOptions {
        by(&self.uri, key).on_duplicate_key(policy).key_path(KeyPath::Map)
    }
}

/// Keys of text.
fn codes(ids: impl IntoIterator<Item = Option<i64>>) -> StringArray {
    ids.into_iter().map(|id| id.map(|id| format!("code {id}"))).collect()
}

/// The word of an id, as rows show it.
fn answer(rows: &[Row], id: Option<i64>, policy: OnDuplicateKey) -> String {
    let mut words = rows.iter().filter(|(held, _)| held.is_some() && *held == id);
    let row = match policy {
        OnDuplicateKey::Last => words.next_back(),
        _ => words.next(),
    };
    row.map_or_else(|| "NULL".to_owned(), |(_, word)| word.clone())
}

/// Stores of the newest version and of an older one, by the column of `t` that asks them.
const NEWEST: [(&str, &str); 4] =
    [("id", "first"), ("id", "last"), ("code", "first_by_code"), ("code", "last_by_code")];
const OLDER: [(&str, &str); 4] = [
    ("id", "older_first"),
    ("id", "older_last"),
    ("code", "older_first_by_code"),
    ("code", "older_last_by_code"),
];

fn policy(alias: &str) -> OnDuplicateKey {
    if alias.contains("first") { OnDuplicateKey::First } else { OnDuplicateKey::Last }
}

/// Attaches stores of a dataset.
async fn attach(
    session: &TestSession,
    growing: &Growing,
    stores: &[(&str, &str)],
    version: Option<u64>,
) -> Result<()> {
    for &(key, alias) in stores {
        let options = LanceOptions { version, ..growing.by(key, policy(alias)) };
        session.attach(load_kv(alias, options)?, None).await?;
    }
    Ok(())
}

/// Registers the table `t` of all keys, and a null.
fn register_keys(session: &TestSession) -> Result<()> {
    let ids = || (0..KEYS).map(Some).chain([None]);
    let keys = batch([("id", ints(ids())), ("code", column(codes(ids())))]);
    Ok(session.register_batches("t", &[keys])?)
}

/// Looks all keys up in some stores at once, each of which has these rows.
async fn check(session: &TestSession, stores: &[(&str, &str, &[Row])]) -> Result<()> {
    let get = |(key, alias, _): &(&str, &str, &[Row])| {
        format!("kv_get({key}, source => '{alias}', on_error => 'null')['word']")
    };
    let gets: Vec<_> = stores.iter().map(get).collect();
    let row = |id| {
        let answers = stores.iter().map(|(_, alias, rows)| answer(rows, id, policy(alias)));
        answers.collect::<Vec<_>>().join(" | ")
    };
    let expected: Vec<_> = (0..KEYS).map(Some).chain([None]).map(row).collect();
    assert_eq!(session.rows(&format!("SELECT {} FROM t", gets.join(", "))).await?, expected);
    Ok(())
}

/// Asks the store that refuses keys which stand in several rows: for all others, and for the first
/// of these.
async fn check_refused(session: &TestSession, held: &[Row]) -> Result<()> {
    let count = |id: i64| held.iter().filter(|(held, _)| *held == Some(id)).count();
    let (twice, others): (Vec<i64>, Vec<i64>) = (0..KEYS).partition(|id| count(*id) > 1);
    let listed = twice.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT kv_get(id, source => 'error', on_error => 'null')['word'] FROM t WHERE id NOT IN \
         ({listed})"
    );
    let answers = others.iter().map(|id| answer(held, Some(*id), OnDuplicateKey::First));
    assert_eq!(session.rows(&sql).await?, answers.collect::<Vec<_>>());
    let first = twice.first().context("no key stands in several rows")?;
    let message = format!(
        "key {first} stands in several rows of KV store 'error'; set on_duplicate_key to 'first' \
         or 'last'"
    );
    let sql = format!("SELECT kv_get({first}, source => 'error')");
    session.check_failure(&sql, ErrorKind::Invalid, &message).await
}

/// Checks the stores of the newest version, beside those of an older one.
async fn check_all(session: &TestSession, growing: &Growing, older: &[Row]) -> Result<()> {
    let newest = NEWEST.map(|(key, alias)| (key, alias, growing.rows.as_slice()));
    let older = OLDER.map(|(key, alias)| (key, alias, older));
    check(session, &[newest, older].concat()).await?;
    check_refused(session, &growing.rows).await
}

async fn versions_answer_by_their_own_rows_while_maps_become_one(
    session: &TestSession,
) -> Result<()> {
    let mut growing = Growing::new(session.path("words.lance"), 4).await?;
    register_keys(session)?;
    attach(session, &growing, &NEWEST, None).await?;
    let refusing = growing.by("id", OnDuplicateKey::Error);
    session.attach(load_kv("error", refusing)?, None).await?;
    attach(session, &growing, &OLDER, Some(growing.version().await?)).await?;
    let older = growing.rows.clone();
    check_all(session, &growing, &older).await?;
    for _ in 0..APPENDS {
        growing.append().await?;
        check_all(session, &growing, &older).await?;
    }
    // What stood first and last; then all rows of an append.
    growing.delete(&["0.0", "14.0"]).await?;
    check_all(session, &growing, &older).await?;
    growing.delete(&["5.0", "5.1", "5.2", "5.3"]).await?;
    check_all(session, &growing, &older).await?;
    growing.append().await?;
    check_all(session, &growing, &older).await?;
    growing.compact().await?;
    check_all(session, &growing, &older).await?;
    growing.append().await?;
    check_all(session, &growing, &older).await
}

async fn a_running_job_keeps_its_rows_while_maps_become_one(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 900;
    let mut growing = Growing::new(session.path("words.lance"), 4).await?;
    attach(session, &growing, &NEWEST, None).await?;
    session.register_batches("t", &[batch([("id", ints((0..ROWS).map(|row| row % KEYS)))])])?;
    let query = session
        .sql("SELECT kv_get(id, source => 'last', on_error => 'null')['word'] FROM t")
        .await?;
    let answers = |held: &[Row]| {
        let answer = |row: i64| answer(held, Some(row % KEYS), OnDuplicateKey::Last);
        (0..ROWS).map(answer).collect::<Vec<_>>()
    };
    let before = answers(&growing.rows);
    let mut job = session.submit(query.clone()).await?;
    let mut batches = vec![job.next_batch().await?.context("the first rows")?];
    // 300 tasks of which the client has seen one; each of these versions makes a map.
    for _ in 0..APPENDS {
        growing.append().await?;
        let last = answer(&growing.rows, Some(0), OnDuplicateKey::Last);
        session.check("SELECT kv_get(0, source => 'last')['word']", &[&last]).await?;
    }
    batches.extend(job.collect().await?);
    assert_eq!(show_rows(&batches)?, before);
    assert_eq!(rows(query).await?, answers(&growing.rows));
    Ok(())
}

/// Maps become one from those that are kept: the keys of these are not read again.
#[tokio::test]
async fn an_append_costs_its_own_keys_also_where_maps_become_one() -> Result<()> {
    let session = Deployment::Embedded.session().await?;
    let mut growing = Growing::new(session.path("words.lance"), 1).await?;
    attach(&session, &growing, &NEWEST, None).await?;
    register_keys(&session)?;
    let sql = "SELECT kv_get(id, source => 'first', on_error => 'null')['word'] FROM t";
    for append in 0..=APPENDS {
        let (found, job) = run(&session, sql).await?;
        let ids = (0..KEYS).map(Some).chain([None]);
        let answers = ids.map(|id| answer(&growing.rows, id, OnDuplicateKey::First));
        assert_eq!(found, answers.collect::<Vec<_>>());
        assert_eq!(keys_scanned(&job, "first")?, APPENDED as u64, "append {append}");
        growing.append().await?;
    }
    Ok(())
}
