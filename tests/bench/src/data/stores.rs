//! The stores: what each holds, and its rows, made batch by batch from a seed.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanArray, FixedSizeListArray, Float32Array, Float64Array,
        Int64Array, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

use super::keys::{KeyKind, mixed};

/// The key column of every store.
pub(crate) const KEY: &str = "id";

/// Floats of an embedding.
const DIMENSIONS: i32 = 128;
/// Bytes of a large value.
const LARGE: usize = 100_000;
/// About how many bytes a batch of generated rows has.
const BATCH_BYTES: usize = 8 << 20;

/// A Lance dataset `NAME.lance` with rows numbered from 0, in this order.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) name: &'static str,
    /// Rows at scale 1.
    pub(crate) rows: u64,
    pub(crate) key: KeyKind,
    pub(crate) columns: Vec<Column>,
}

/// A column of values.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) values: Values,
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values {
    /// `FixedSizeList<Float32, 128>`.
    Embedding,
    /// Strings of 24 bytes, all different.
    Name,
    /// One of 100 strings.
    Category,
    /// `Float64`.
    Number,
    /// `Int64`.
    Count,
    /// `Boolean`.
    Flag,
    /// `Binary` values of 100 KB that do not compress.
    Large,
}

/// All stores.
pub(crate) fn all() -> Vec<Store> {
    use KeyKind::{Integer, Text};
    use Values::{Category, Count, Embedding, Flag, Large, Name, Number};
    let item: &[(&str, Values)] = &[("embedding", Embedding), ("name", Name)];
    let meta: &[(&str, Values)] = &[("category", Category), ("price", Number)];
    let user: &[(&str, Values)] =
        &[("embedding", Embedding), ("name", Name), ("country", Category), ("age", Count)];
    let behavior: &[(&str, Values)] =
        &[("clicks", Count), ("score", Number), ("last_category", Category)];
    let product: &[(&str, Values)] =
        &[("embedding", Embedding), ("title", Name), ("category", Category), ("price", Number)];
    let airport: &[(&str, Values)] =
        &[("name", Name), ("country", Category), ("latitude", Number), ("longitude", Number)];
    let wide = (0..50).map(|column| {
        let values = [Count, Number, Category, Flag, Name][column % 5];
        Column { name: format!("c{column:02}"), values }
    });
    vec![
        Store::new("items_5m", 5_000_000, Text, item),
        Store::new("meta_5m", 5_000_000, Text, meta),
        Store::new("items_1m", 1_000_000, Text, item),
        Store::new("meta_1m", 1_000_000, Text, meta),
        Store::new("items_int_1m", 1_000_000, Integer, item),
        Store { name: "wide_200k", rows: 200_000, key: Text, columns: wide.collect() },
        Store::new("values_5k", 5_000, Text, &[("content", Large)]),
        Store::new("users_250k", 250_000, Text, user),
        // Not every user has been seen.
        Store::new("behavior_200k", 200_000, Text, behavior),
        Store::new("products_250k", 250_000, Text, product),
        Store::new("airports", 3_400, Integer, airport),
    ]
}

impl Store {
    fn new(name: &'static str, rows: u64, key: KeyKind, columns: &[(&str, Values)]) -> Self {
        let column = |&(name, values): &(&str, Values)| Column { name: name.to_owned(), values };
        Self { name, rows, key, columns: columns.iter().map(column).collect() }
    }

    /// The columns, the key first.
    pub(crate) fn schema(&self) -> SchemaRef {
        let key = match self.key {
            KeyKind::Text => DataType::Utf8,
            KeyKind::Integer => DataType::Int64,
        };
        let values = self.columns.iter().map(|column| {
            // Like columns that came out of a table: nothing says that they hold no nulls.
            Field::new(&column.name, column.values.data_type(), true)
        });
        let fields = std::iter::once(Field::new(KEY, key, true)).chain(values);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The first `rows` rows.
    pub(crate) fn batches(
        &self,
        rows: u64,
        seed: u64,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + use<> {
        let store = self.clone();
        let schema = self.schema();
        let width: usize = self.columns.iter().map(|column| column.values.width()).sum();
        let step = (BATCH_BYTES / width.max(1)).clamp(64, 8192);
        let name = store.name.bytes().fold(seed, |seed, byte| mixed(seed ^ u64::from(byte)));
        (0..rows).step_by(step).map(move |start| {
            let numbers = start..rows.min(start + step as u64);
            let mut random = SmallRng::seed_from_u64(mixed(name ^ start));
            let mut columns = vec![store.key.array(count(&numbers).map(|row| start + row as u64))];
            for column in &store.columns {
                columns.push(column.values.array(count(&numbers).len(), start, &mut random)?);
            }
            RecordBatch::try_new(Arc::clone(&schema), columns)
        })
    }
}

/// Positions within a batch: ranges of `u64` do not know their length.
fn count(numbers: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    0..usize::try_from(numbers.end - numbers.start).unwrap_or(0)
}

impl Values {
    fn data_type(self) -> DataType {
        match self {
            Self::Embedding => DataType::FixedSizeList(element(), DIMENSIONS),
            Self::Name | Self::Category => DataType::Utf8,
            Self::Number => DataType::Float64,
            Self::Count => DataType::Int64,
            Self::Flag => DataType::Boolean,
            Self::Large => DataType::Binary,
        }
    }

    /// About how many bytes a value has.
    fn width(self) -> usize {
        match self {
            Self::Embedding => DIMENSIONS as usize * size_of::<f32>(),
            Self::Name | Self::Category => 24,
            Self::Number | Self::Count => 8,
            Self::Flag => 1,
            Self::Large => LARGE,
        }
    }

    fn array(self, rows: usize, start: u64, random: &mut SmallRng) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Embedding => {
                let floats = rows * DIMENSIONS as usize;
                let values = Float32Array::from_iter_values((0..floats).map(|_| random.random()));
                let values = Arc::new(values);
                Arc::new(FixedSizeListArray::try_new(element(), DIMENSIONS, values, None)?)
            }
            Self::Name => {
                let name = |row| format!("name {start:09}/{row:04} {:04x}", random.random::<u16>());
                Arc::new(StringArray::from_iter_values((0..rows).map(name)))
            }
            Self::Category => {
                let category = |_| format!("category {:02}", random.random_range(0..100));
                Arc::new(StringArray::from_iter_values((0..rows).map(category)))
            }
            Self::Number => {
                let number = |_| random.random_range(0.0..1000.0);
                Arc::new(Float64Array::from_iter_values((0..rows).map(number)))
            }
            Self::Count => {
                let count = |_| random.random_range(0..1_000_000);
                Arc::new(Int64Array::from_iter_values((0..rows).map(count)))
            }
            Self::Flag => {
                Arc::new((0..rows).map(|_| Some(random.random::<bool>())).collect::<BooleanArray>())
            }
            Self::Large => {
                let mut values = BinaryBuilder::with_capacity(rows, rows * LARGE);
                let mut value = vec![0; LARGE];
                for _ in 0..rows {
                    random.fill_bytes(&mut value);
                    values.append_value(&value);
                }
                Arc::new(values.finish())
            }
        })
    }
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, true))
}
