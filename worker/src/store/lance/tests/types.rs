//! Columns of every type that Lance writes, in files of every version, by both readers and both
//! ways to rows.

mod expected;

use std::fmt;

use arrow::{
    array::UInt32Array,
    compute::{cast, concat_batches, take},
};
use futures::{FutureExt, future::LocalBoxFuture};
use lance::datatypes::BlobHandling;

use super::*;
use crate::store::{
    contract::generate::{Dice, Mood, columns, plain, unknown_columns, values as generated},
    lance::{keys::coder::spread, tasks},
};

const VERSIONS: [&str; 5] = ["legacy", "2.0", "2.1", "2.2", "2.3"];

/// Rows of each mood, in a file of their own.
const ROWS: usize = 64;

const SEED: u64 = 20;

/// A batch of each mood, with ids.
fn batches(fields: &[Field]) -> Vec<RecordBatch> {
    let id = Field::new("id", DataType::Int64, true);
    let schema = Arc::new(Schema::new([&[id], fields].concat()));
    let batch = |(at, mood): (usize, &Mood)| {
        let first = (at * ROWS) as i64;
        let ids = Int64Array::from_iter_values(first..first + ROWS as i64);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids)];
        for field in fields {
            // Each column has its own numbers, whatever other columns there are.
            let name =
                field.name().bytes().fold(SEED, |seed, byte| seed * 31 % 997 + u64::from(byte));
            let mut dice = Dice::new((name << 32) + first as u64);
            columns.push(generated(field, ROWS, *mood, &mut dice));
        }
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    Mood::ALL.iter().enumerate().map(batch).collect()
}

/// Writes the batches, unless Lance refuses them.
async fn try_write(batches: Vec<RecordBatch>, version: &str) -> Result<StoredRows> {
    let params = WriteParams {
        max_rows_per_file: ROWS,
        data_storage_version: Some(version.parse().unwrap()),
        ..Default::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("rows.lance").to_string_lossy().into_owned();
    let written = uri.clone();
    let dataset = tasks::run(async move {
        let schema = batches[0].schema();
        let rows = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        let written = Dataset::write(rows, &written, Some(params)).await;
        written.map_err(|error| Error::store(error.to_string()))
    });
    Ok(StoredRows { dataset: dataset.await?, uri, _dir: dir })
}

/// The fields that Lance writes, and the names of all others.
async fn writable(fields: Vec<Field>, version: &str) -> (Vec<Field>, Vec<String>) {
    let write = async |fields: &[Field]| {
        try_write(batches(fields), version).await.map(|_| vec![(); fields.len()])
    };
    let written = each(&fields, &write).await;
    let (mut writable, mut refused) = (Vec::new(), Vec::new());
    for (field, written) in fields.into_iter().zip(written) {
        match written {
            Ok(()) => writable.push(field),
            Err(error) => {
                println!("{version}: {} is refused: {}", field.name(), error.message());
                refused.push(field.name().clone());
            }
        }
    }
    (writable, refused)
}

/// Columns as Lance's own scan gives them, unless it cannot.
async fn scan(rows: &StoredRows, columns: &[&str]) -> Result<Vec<ArrayRef>> {
    let mut scan = rows.dataset.scan();
    scan.project(columns).unwrap().blob_handling(BlobHandling::AllBinary).scan_in_order(true);
    let scan = tasks::run(async move {
        scan.try_into_batch().await.map_err(|error| Error::store(error.to_string()))
    });
    Ok(scan.await?.columns().to_vec())
}

/// What becomes of each column where those that fail fail all others that are tried with them.
fn each<'a, C, T, F>(columns: &'a [C], work: &'a F) -> LocalBoxFuture<'a, Vec<Result<T>>>
where
    F: AsyncFn(&[C]) -> Result<Vec<T>>,
{
    async move {
        match work(columns).await {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err(error) if columns.len() == 1 => vec![Err(error)],
            Err(_) => {
                let (left, right) = columns.split_at(columns.len() / 2);
                let mut all = each(left, work).await;
                all.extend(each(right, work).await);
                all
            }
        }
    }
    .boxed_local()
}

/// The store read directly and as Lance reads it, taking rows and reading blocks.
async fn stores(rows: &StoredRows) -> Vec<(String, Arc<dyn Store>, Arc<Schema>)> {
    let (spec, env) = (rows.spec("id"), env());
    let mut stores = Vec::new();
    for (reader, spec) in [("direct", spec.clone()), ("Lance's", as_remote(&spec))] {
        for path in [RowPath::Take, RowPath::Scan] {
            let access = ForcedAccess { keys: None, rows: Some(path) };
            let resolved = describe(&env, LanceSpec { access, ..spec.clone() }).await.unwrap();
            let store = env.open(&resolved).await.unwrap();
            stores.push((format!("{reader} {path:?}"), store, resolved.schema().clone()));
        }
    }
    stores
}

/// What became of the columns of a version.
#[derive(Debug, Default)]
struct Seen {
    /// How many of the columns are read.
    read: usize,
    /// Lance does not write them.
    refused: Vec<String>,
    /// Lance does not read what it wrote.
    unreadable: Vec<String>,
    /// Lance reads something else than it wrote.
    changed: Vec<String>,
    /// Some way fails where Lance's scan does not.
    failing: Vec<String>,
}

/// Compares each column by each way with what Lance's scan gives, and that with what was written.
async fn check(fields: &[Field], version: &str, seen: &mut Seen) {
    let mut rows = try_write(batches(fields), version).await.unwrap();
    let written = batches(&fields.iter().map(plain).collect::<Vec<_>>());
    let written = concat_batches(&written[0].schema(), &written).unwrap();
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let scanned = each(&names, &async |names: &[&str]| scan(&rows, names).await).await;
    let deleted = 3;
    rows.delete(&format!("id = {deleted}")).await;

    let mut dice = Dice::new(SEED);
    let count = written.num_rows() as i64;
    let mut asked: Vec<i64> = (0..count).map(|_| dice.below(count as u64 + 9) as i64).collect();
    asked.push(deleted);
    asked.sort_by_key(|id| spread(*id as u64));
    asked.dedup();
    let place = |id: &i64| (*id != deleted && *id < count).then_some(*id as u32);
    let places: UInt32Array = asked.iter().map(place).collect();

    let indices: Vec<usize> = (1..=fields.len()).collect();
    let mut ways = Vec::new();
    let mut schema = Arc::new(Schema::empty());
    for (way, store, answered) in stores(&rows).await {
        schema = answered;
        let read = async |columns: &[usize]| {
            let found = ask(&store, Int64Array::from(asked.clone()), columns).await?;
            Ok((0..columns.len()).map(|column| values(&found, column)).collect())
        };
        ways.push((way, each(&indices, &read).await));
    }
    for (at, (name, scanned)) in names.into_iter().zip(scanned).enumerate() {
        let answered = schema.field(at + 1);
        assert_eq!(answered.name(), name);
        let as_answered = |values: &ArrayRef| cast(values, answered.data_type()).unwrap();
        let expected = scanned.map(|scanned| as_answered(&scanned));
        match &expected {
            Ok(scanned) => {
                seen.read += 1;
                if scanned != &as_answered(&written[name]) {
                    seen.changed.push(name.to_owned());
                }
            }
            Err(error) => {
                println!("{version}: {name} is unreadable: {}", error.message());
                seen.unreadable.push(name.to_owned());
            }
        }
        for (way, found) in &ways {
            match (&found[at], &expected) {
                (Ok(found), Ok(expected)) => {
                    let expected = take(expected, &places, None).unwrap();
                    assert_eq!(found, &expected, "{version}: {name} by {way}");
                }
                (Ok(found), Err(error)) => panic!("{version}: {name} by {way}: {found:?}, {error}"),
                (Err(error), Ok(_)) => {
                    println!("{version}: {name} by {way}: {}", error.message());
                    seen.failing.push(format!("{name} by {way}"));
                }
                (Err(_), Err(_)) => {}
            }
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |what: &str, names: &[String]| {
            let space = if names.is_empty() { "" } else { " " };
            format!("{what}:{space}{}", names.join(", "))
        };
        writeln!(f, "read: {}", self.read)?;
        writeln!(f, "{}", names("refused", &self.refused))?;
        writeln!(f, "{}", names("unreadable", &self.unreadable))?;
        writeln!(f, "changed: {}", self.changed.len())?;
        writeln!(f, "{}", names("failing", &self.failing))
    }
}

/// Checks all columns in files of a version, and that no fewer of them are read than before.
async fn check_all(version: &str, expected: &str) {
    println!("seed {SEED}");
    let (fields, refused) = writable(columns(), version).await;
    let mut seen = Seen { refused, ..Seen::default() };
    check(&fields, version, &mut seen).await;
    assert_eq!(seen.to_string(), expected, "{version}: {seen}");
}

#[tokio::test]
async fn types_that_lance_does_not_know_are_not_written() {
    for version in VERSIONS {
        let (written, _) = writable(unknown_columns(), version).await;
        assert_eq!(written, [], "{version}");
    }
}

#[tokio::test]
async fn every_type_is_read_from_files_of_the_first_version() {
    check_all("legacy", expected::FIRST).await;
}

#[tokio::test]
async fn every_type_is_read_from_files_of_version_2_0() {
    check_all("2.0", expected::V2_0).await;
}

#[tokio::test]
async fn every_type_is_read_from_files_of_version_2_1() {
    check_all("2.1", expected::V2_1).await;
}

#[tokio::test]
async fn every_type_is_read_from_files_of_version_2_2() {
    check_all("2.2", expected::V2_2).await;
}

#[tokio::test]
async fn every_type_is_read_from_files_of_version_2_3() {
    check_all("2.3", expected::V2_3).await;
}
