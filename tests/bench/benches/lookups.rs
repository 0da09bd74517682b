//! The parts of a lookup, without a store: distinct keys, probing, gather, and the realignment of
//! what was found with the rows that asked.

use std::{hint::black_box, sync::Arc};

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
};
use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, Throughput};
use datafusion::physical_expr::expressions::Column;
use futures::executor::block_on;
use keyloom_common::{
    Result,
    functions::OnError,
    lookup::{Answer, Call, Fetch},
    store::{Access, LANCE, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};
use keyloom_worker::{
    micro::{self, Index, Window},
    store::{Found, Place, ReadStats, Request, Store, Values},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Rows that are looked up together.
const ROWS: usize = 1 << 16;
/// Rows of a store.
const STORE_ROWS: u64 = 1_000_000;
/// Arrays that values were read into, and rows of each.
const PIECES: u32 = 64;
const PIECE_ROWS: u32 = 1024;
/// Floats of an embedding.
const DIMENSIONS: i32 = 128;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    dedup(&mut criterion);
    probe(&mut criterion);
    gather(&mut criterion);
    realign(&mut criterion);
    criterion.final_summary();
}

/// The distinct ones of a window's keys, most of which are distinct, or few of which are.
fn dedup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, of) in [("uniform", STORE_ROWS), ("hot", 1_000)] {
        let numbers = numbers(ROWS, of);
        for (kind, keys) in [("strings", strings(&numbers)), ("integers", integers(&numbers))] {
            group.bench_function(BenchmarkId::new(kind, name), |bencher| {
                bencher.iter(|| {
                    micro::count_distinct(black_box(&keys), keys.data_type()).expect("keys")
                });
            });
        }
    }
    group.finish();
}

/// Wanted keys found in the map of a store's keys, one by one and map against map.
fn probe(criterion: &mut Criterion) {
    let stored: Vec<_> = (0..STORE_ROWS).map(mixed).collect();
    let index = Index::new(&stored);
    let mut group = criterion.benchmark_group("probe");
    group.sample_size(20);
    group.throughput(Throughput::Elements(STORE_ROWS));
    group.bench_function("build", |bencher| bencher.iter(|| Index::new(black_box(&stored))));
    for (name, wanted) in [("sparse", 10_000), ("dense", 640_000)] {
        let wanted: Vec<_> = numbers(wanted, STORE_ROWS).into_iter().map(mixed).collect();
        let wanted_index = Index::new(&wanted);
        group.throughput(Throughput::Elements(wanted.len() as u64));
        group.bench_function(BenchmarkId::new("find", name), |bencher| {
            bencher.iter(|| index.count(black_box(&wanted)));
        });
        group.bench_function(BenchmarkId::new("match", name), |bencher| {
            bencher.iter(|| black_box(&wanted_index).count_matches(&index));
        });
    }
    group.finish();
}

/// Values copied from many arrays into the order of rows.
fn gather(criterion: &mut Criterion) {
    let mut random = random();
    let places: Vec<_> = (0..ROWS)
        .map(|_| Place {
            piece: random.random_range(0..PIECES),
            row: random.random_range(0..PIECE_ROWS),
        })
        .collect();
    let mut group = criterion.benchmark_group("gather");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, pieces) in [("embeddings", embeddings()), ("strings", names())] {
        let data_type = pieces[0].data_type().clone();
        let values = Values { pieces, places: [].into() };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                micro::gather(black_box(&values), &places, &data_type).expect("values of the type")
            });
        });
    }
    group.finish();
}

/// What was found for distinct keys made into a column of structs for the rows that asked.
fn realign(criterion: &mut Criterion) {
    let found: Arc<dyn Store> = Arc::new(Ready { columns: vec![embeddings(), names()] });
    let fetch = fetch().expect("a fetch of two columns");
    let mut group = criterion.benchmark_group("realign");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, of) in [("uniform", STORE_ROWS), ("hot", 1_000)] {
        let keys = strings(&numbers(ROWS, of));
        let window = block_on(Window::try_new(&fetch, &found, keys)).expect("all keys are found");
        group.bench_function(name, |bencher| {
            bencher.iter(|| window.answers(black_box(&fetch)).expect("values of the type"));
        });
    }
    group.finish();
}

/// A store that holds every key, with values that are in memory.
#[derive(Debug)]
struct Ready {
    columns: Vec<Vec<ArrayRef>>,
}

#[async_trait]
impl Store for Ready {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let keys = request.keys.len();
        let rows = (0..PIECES * PIECE_ROWS).cycle().take(keys);
        let places = rows.map(|row| Place { piece: row % PIECES, row: row / PIECES });
        let places: Arc<[Place]> = places.collect();
        let values =
            |pieces: &Vec<ArrayRef>| Values { pieces: pieces.clone(), places: places.clone() };
        Ok(Found {
            counts: None,
            is_cut: false,
            held: vec![true; keys],
            columns: self.columns.iter().map(values).collect(),
            stats: ReadStats::default(),
        })
    }

    async fn row_bytes(&self, _columns: &[usize]) -> Result<u64> {
        Ok(0)
    }
}

/// Both value columns of a store.
fn fetch() -> Result<Fetch> {
    let fields = [
        Field::new("id", DataType::Utf8, false),
        Field::new("embedding", embeddings()[0].data_type().clone(), true),
        Field::new("name", DataType::Utf8, true),
    ];
    let key = Some(StoreKey::column("id"));
    let spec = StoreSpec { key, ..StoreSpec::new("items", LANCE, "items.lance") };
    let description = StoreDescription {
        schema: Arc::new(Schema::new(fields.to_vec())),
        snapshot: Snapshot::Immutable,
        figures: None,
        primary_key: None,
        repeats_keys: true,
    };
    let call = Call {
        name: "item".to_owned(),
        answer: Answer::Row { columns: vec![1, 2], on_error: OnError::Null },
        guard: None,
    };
    Ok(Fetch {
        store: ResolvedStore::try_new("items", spec, description)?,
        key: Arc::new(Column::new("id", 0)),
        calls: vec![call],
        batch_size: None,
        access: Access::default(),
        reason: None,
        joined: None,
        key_set: None,
    })
}

fn embeddings() -> Vec<ArrayRef> {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let mut random = random();
    let piece = |_| -> ArrayRef {
        let floats = (0..PIECE_ROWS * DIMENSIONS.cast_unsigned()).map(|_| random.random());
        let floats = Arc::new(Float32Array::from_iter_values(floats));
        Arc::new(FixedSizeListArray::new(Arc::clone(&item), DIMENSIONS, floats, None))
    };
    (0..PIECES).map(piece).collect()
}

fn names() -> Vec<ArrayRef> {
    let piece = |piece| -> ArrayRef {
        let names = (0..PIECE_ROWS).map(|row| format!("name {piece:09}/{row:09}"));
        Arc::new(StringArray::from_iter_values(names))
    };
    (0..PIECES).map(piece).collect()
}

/// So many numbers below `of`.
fn numbers(count: usize, of: u64) -> Vec<u64> {
    let mut random = random();
    (0..count).map(|_| random.random_range(0..of)).collect()
}

fn strings(numbers: &[u64]) -> ArrayRef {
    let keys = numbers.iter().map(|number| format!("item-{:016x}", mixed(*number)));
    Arc::new(StringArray::from_iter_values(keys))
}

fn integers(numbers: &[u64]) -> ArrayRef {
    let keys = numbers.iter().map(|number| mixed(*number).cast_signed());
    Arc::new(Int64Array::from_iter_values(keys))
}

/// Mixes the bits of a number, one to one.
fn mixed(number: u64) -> u64 {
    let bits = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

fn random() -> SmallRng {
    SmallRng::seed_from_u64(1)
}
