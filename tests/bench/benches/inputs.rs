//! Inputs in each format: scanned with one lookup by a session of its own, and without any by
//! DataFusion alone; and the same rows in one file and in many.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampSecondArray},
    csv::WriterBuilder,
    json::LineDelimitedWriter,
};
use criterion::{Criterion, Throughput};
use datafusion::{
    dataframe::DataFrame,
    parquet::arrow::ArrowWriter,
    prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext},
};
use futures::StreamExt;
use keyloom_client::{MemoryOptions, Session, load_kv};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::runtime::Runtime;

/// Rows of each format's file.
const ROWS: usize = 3_000_000;
/// Rows of a batch of them.
const BATCH_ROWS: usize = 10_000;
/// Places between which flights go; there is a store of their names.
const PLACES: usize = 300;
/// How many files many are, and the rows of each.
const FILES: usize = 10_000;
const FILE_ROWS: usize = 100;
const SEED: u64 = 1;

const FORMATS: [Format; 3] = [Format::Csv, Format::Json, Format::Parquet];

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let session = runtime.block_on(session())?;
    let mut criterion = Criterion::default().configure_from_args();
    formats(&mut criterion, &runtime, &session, folder.path())?;
    many_files(&mut criterion, &runtime, &session, folder.path())?;
    criterion.final_summary();
    Ok(())
}

/// A session with the names of all places.
async fn session() -> Result<Session> {
    let session = Session::embedded().await?;
    let codes: ArrayRef = Arc::new(StringArray::from_iter_values((0..PLACES).map(code)));
    let names = (0..PLACES).map(|place| format!("Airport {place}"));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let airports = RecordBatch::try_from_iter([("code", codes), ("name", names)])?;
    let airports = load_kv("memory", MemoryOptions::batch(airports, "code"))?;
    session.attach(airports, "airports").await?;
    Ok(session)
}

fn formats(
    criterion: &mut Criterion,
    runtime: &Runtime,
    session: &Session,
    folder: &Path,
) -> Result<()> {
    let mut group = criterion.benchmark_group("formats");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.throughput(Throughput::Elements(ROWS as u64));
    for format in FORMATS {
        let path = folder.join(format!("flights.{}", format.name()));
        format.write(&path, flights(ROWS))?;
        let path = path.display().to_string();
        group.bench_function(format!("{}/keyloom", format.name()), |bencher| {
            bencher.iter(|| runtime.block_on(look_up(session, &path)).expect("rows"));
        });
        group.bench_function(format!("{}/datafusion", format.name()), |bencher| {
            bencher.iter(|| runtime.block_on(format.scan(&path)).expect("rows"));
        });
    }
    group.finish();
    Ok(())
}

fn many_files(
    criterion: &mut Criterion,
    runtime: &Runtime,
    session: &Session,
    folder: &Path,
) -> Result<()> {
    let mut group = criterion.benchmark_group("files");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements((FILES * FILE_ROWS) as u64));
    for format in [Format::Csv, Format::Parquet] {
        let one = folder.join(format!("one.{}", format.name()));
        format.write(&one, flights(FILES * FILE_ROWS))?;
        let many = folder.join(format!("many-{}", format.name()));
        fs::create_dir(&many)?;
        let batches = flights(FILES * FILE_ROWS).flat_map(|batch| match batch {
            Ok(batch) => pieces(&batch).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        for (index, batch) in batches.enumerate() {
            let path = many.join(format!("{index:05}.{}", format.name()));
            format.write(&path, [batch].into_iter())?;
        }
        for (name, path) in [("one", one), ("many", many)] {
            let path = path.display().to_string();
            group.bench_function(format!("{}/{name}", format.name()), |bencher| {
                bencher.iter(|| runtime.block_on(look_up(session, &path)).expect("rows"));
            });
        }
    }
    group.finish();
    Ok(())
}

/// A batch in the rows of single files.
fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(FILE_ROWS);
    starts.map(|start| batch.slice(start, FILE_ROWS.min(batch.num_rows() - start))).collect()
}

/// All columns of a file, and one that is looked up.
async fn look_up(session: &Session, path: &str) -> Result<usize> {
    session.register("flights", path).await?;
    let query = "SELECT *, kv_get(origin, source => 'airports')['name'] AS name FROM flights";
    let mut job = session.submit(session.sql(query).await?).await?;
    let mut rows = 0;
    while let Some(batch) = job.next_batch().await? {
        rows += batch.num_rows();
    }
    session.context().deregister_table("flights")?;
    Ok(rows)
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    Json,
    Parquet,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }

    fn write(self, path: &Path, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
        let mut batches = batches.peekable();
        let file = BufWriter::new(File::create(path)?);
        match self {
            Self::Csv => {
                let mut writer = WriterBuilder::new().with_header(true).build(file);
                batches.try_for_each(|batch| Ok(writer.write(&batch?)?))
            }
            Self::Json => {
                let mut writer = LineDelimitedWriter::new(file);
                batches.try_for_each(|batch| Ok::<_, anyhow::Error>(writer.write(&batch?)?))?;
                writer.finish()?;
                Ok(writer.into_inner().flush()?)
            }
            Self::Parquet => {
                let Some(Ok(first)) = batches.peek() else { return Ok(()) };
                let mut writer = ArrowWriter::try_new(file, first.schema(), None)?;
                batches.try_for_each(|batch| Ok::<_, anyhow::Error>(writer.write(&batch?)?))?;
                writer.close()?;
                Ok(())
            }
        }
    }

    /// All columns of a file, as DataFusion alone reads it.
    async fn scan(self, path: &str) -> Result<usize> {
        let context = SessionContext::new();
        let flights: DataFrame = match self {
            Self::Csv => context.read_csv(path, CsvReadOptions::new()).await?,
            Self::Json => context.read_json(path, JsonReadOptions::default()).await?,
            Self::Parquet => context.read_parquet(path, ParquetReadOptions::default()).await?,
        };
        let mut batches = flights.execute_stream().await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            rows += batch?.num_rows();
        }
        Ok(rows)
    }
}

/// Flights in batches: when, how late, how far, from where and to where.
fn flights(rows: usize) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut random = SmallRng::seed_from_u64(SEED);
    (0..rows).step_by(BATCH_ROWS).map(move |start| {
        let rows = start..rows.min(start + BATCH_ROWS);
        let mut numbers = |from: i64, to: i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                rows.clone().map(|_| random.random_range(from..to)),
            ))
        };
        let (delays, distances) = (numbers(-60, 600), numbers(20, 5000));
        let mut places = || -> ArrayRef {
            let places = rows.clone().map(|_| code(random.random_range(0..PLACES)));
            Arc::new(StringArray::from_iter_values(places))
        };
        let (origins, destinations) = (places(), places());
        let dates = rows.clone().map(|row| 978_307_200 + row as i64);
        let dates: ArrayRef = Arc::new(TimestampSecondArray::from_iter_values(dates));
        let columns = [
            ("date", dates),
            ("delay", delays),
            ("distance", distances),
            ("origin", origins),
            ("destination", destinations),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    })
}

/// The code of a place: three letters.
fn code(place: usize) -> String {
    let letter = |number: usize| char::from(b'A' + (number % 26) as u8);
    [letter(place / 26), letter(place), letter(place / 7)].iter().collect()
}
