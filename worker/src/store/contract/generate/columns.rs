//! Columns of every type.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit, UnionFields, UnionMode};
use lance::arrow::{ARROW_EXT_META_KEY, ARROW_EXT_NAME_KEY};

/// All columns, each of another type.
pub(in crate::store) fn columns() -> Vec<Field> {
    let leaves = leaves();
    let mut columns = leaves.clone();
    for leaf in &leaves {
        columns.extend([list(leaf), structure(leaf), whole(structure(leaf))]);
    }
    let deep = ["int32", "string", "bool", "blob", "json", "dictionary"];
    for leaf in leaves.iter().filter(|leaf| deep.contains(&leaf.name().as_str())) {
        columns.extend([
            large_list(leaf),
            fixed_size_list(leaf),
            list(&list(leaf)),
            list(&structure(leaf)),
            structure(&list(leaf)),
            structure(&structure(leaf)),
            list(&whole(structure(leaf))),
            whole(structure(&list(leaf))),
            fixed_size_list(&structure(leaf)),
            structure(&fixed_size_list(leaf)),
            list(&fixed_size_list(leaf)),
            map(leaf),
            list(&map(leaf)),
            map(&structure(leaf)),
        ]);
    }
    columns
}

fn leaves() -> Vec<Field> {
    use DataType as T;
    let of = |name: &str, data_type| Field::new(name, data_type, true);
    let marked = |name: &str, data_type, key: &str, value: &str| {
        of(name, data_type).with_metadata([(key.to_owned(), value.to_owned())].into())
    };
    let dictionary = |key: DataType, value: DataType| T::Dictionary(Box::new(key), Box::new(value));
    let zone = |zone: &str| Some(zone.into());
    let bfloat16 = [
        (ARROW_EXT_NAME_KEY.to_owned(), "lance.bfloat16".to_owned()),
        (ARROW_EXT_META_KEY.to_owned(), String::new()),
    ];
    let bfloat16 = of("item", T::FixedSizeBinary(2)).with_metadata(bfloat16.into());
    vec![
        of("null", T::Null),
        of("bool", T::Boolean),
        of("int8", T::Int8),
        of("int16", T::Int16),
        of("int32", T::Int32),
        of("int64", T::Int64),
        of("uint8", T::UInt8),
        of("uint16", T::UInt16),
        of("uint32", T::UInt32),
        of("uint64", T::UInt64),
        of("float16", T::Float16),
        of("float32", T::Float32),
        of("float64", T::Float64),
        of("decimal128", T::Decimal128(20, 4)),
        of("decimal256", T::Decimal256(40, 5)),
        of("date32", T::Date32),
        of("date64", T::Date64),
        of("time32 s", T::Time32(TimeUnit::Second)),
        of("time32 ms", T::Time32(TimeUnit::Millisecond)),
        of("time64 us", T::Time64(TimeUnit::Microsecond)),
        of("time64 ns", T::Time64(TimeUnit::Nanosecond)),
        of("timestamp s", T::Timestamp(TimeUnit::Second, None)),
        of("timestamp ms", T::Timestamp(TimeUnit::Millisecond, zone("UTC"))),
        of("timestamp us", T::Timestamp(TimeUnit::Microsecond, zone("Europe/Berlin"))),
        of("timestamp ns", T::Timestamp(TimeUnit::Nanosecond, zone("+08:00"))),
        of("duration s", T::Duration(TimeUnit::Second)),
        of("duration ms", T::Duration(TimeUnit::Millisecond)),
        of("duration us", T::Duration(TimeUnit::Microsecond)),
        of("duration ns", T::Duration(TimeUnit::Nanosecond)),
        of("string", T::Utf8),
        of("large string", T::LargeUtf8),
        of("string view", T::Utf8View),
        of("binary", T::Binary),
        of("large binary", T::LargeBinary),
        of("binary view", T::BinaryView),
        of("fixed size binary", T::FixedSizeBinary(5)),
        of("dictionary", dictionary(T::Int32, T::Utf8)),
        of("dictionary u8", dictionary(T::UInt8, T::LargeUtf8)),
        of("dictionary of int64", dictionary(T::Int16, T::Int64)),
        of("vector", T::FixedSizeList(Arc::new(of("item", T::Float32)), 3)),
        of("vector16", T::FixedSizeList(Arc::new(of("item", T::Float16)), 3)),
        of("vector of bfloat16", T::FixedSizeList(Arc::new(bfloat16), 3)),
        marked("blob", T::LargeBinary, "lance-encoding:blob", "true"),
        marked("described blob", described_blob(), ARROW_EXT_NAME_KEY, DESCRIBED_BLOB),
        marked("json", T::Utf8, ARROW_EXT_NAME_KEY, "arrow.json"),
        marked("packed", T::Int32, "lance-encoding:compression", "none"),
    ]
}

/// Columns that every store holds as they are.
pub(in crate::store) fn common_columns() -> Vec<Field> {
    let common = leaves().into_iter().filter(|leaf| leaf.metadata().is_empty());
    common.flat_map(|leaf| [list(&leaf), leaf]).collect()
}

/// Columns of types that Lance has no name for.
pub(in crate::store) fn unknown_columns() -> Vec<Field> {
    use DataType as T;
    let of = |name: &str, data_type| Field::new(name, data_type, true);
    let run_ends = Arc::new(Field::new("run_ends", T::Int32, false));
    let item = Arc::new(of("item", T::Int32));
    let union = UnionFields::from_fields([of("a", T::Int32), of("b", T::Utf8)]);
    vec![
        of("decimal32", T::Decimal32(9, 2)),
        of("decimal64", T::Decimal64(18, 3)),
        of("interval months", T::Interval(IntervalUnit::YearMonth)),
        of("interval days", T::Interval(IntervalUnit::DayTime)),
        of("interval ns", T::Interval(IntervalUnit::MonthDayNano)),
        of("run ends", T::RunEndEncoded(run_ends, Arc::new(of("values", T::Int32)))),
        of("list view", T::ListView(item.clone())),
        of("large list view", T::LargeListView(item)),
        of("union", T::Union(union, UnionMode::Sparse)),
    ]
}

pub(super) const DESCRIBED_BLOB: &str = "lance.blob.v2";

fn described_blob() -> DataType {
    lance::blob_field("", true).data_type().clone()
}

/// Whether the field's metadata says this of it.
pub(super) fn is_marked(field: &Field, name: &str) -> bool {
    field.metadata().values().any(|value| value == name)
}

/// The field with bytes in the place of blobs, whose values roll the same numbers.
pub(in crate::store) fn plain(field: &Field) -> Field {
    let child = |child: &Arc<Field>| Arc::new(plain(child));
    let data_type = match field.data_type() {
        _ if is_marked(field, DESCRIBED_BLOB) => DataType::LargeBinary,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        DataType::List(item) => DataType::List(child(item)),
        DataType::LargeList(item) => DataType::LargeList(child(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(child(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.retain(|_, value| value != DESCRIBED_BLOB);
    field.clone().with_data_type(data_type).with_metadata(metadata)
}

/// The field within another that is named for it.
fn within(leaf: &Field, name: &str) -> Arc<Field> {
    Arc::new(leaf.clone().with_name(name))
}

fn of(what: &str, leaf: &Field, data_type: DataType) -> Field {
    Field::new(format!("{what} of {}", leaf.name()), data_type, true)
}

fn list(leaf: &Field) -> Field {
    of("list", leaf, DataType::List(within(leaf, "item")))
}

fn large_list(leaf: &Field) -> Field {
    of("large list", leaf, DataType::LargeList(within(leaf, "item")))
}

fn fixed_size_list(leaf: &Field) -> Field {
    of("fixed size list", leaf, DataType::FixedSizeList(within(leaf, "item"), 2))
}

fn structure(leaf: &Field) -> Field {
    let other = Arc::new(Field::new("other", DataType::Int16, true));
    of("struct", leaf, DataType::Struct(Fields::from(vec![within(leaf, "inner"), other])))
}

/// The same, but never null itself.
fn whole(structure: Field) -> Field {
    let name = format!("whole {}", structure.name());
    structure.with_name(name).with_nullable(false)
}

fn map(leaf: &Field) -> Field {
    let key = Arc::new(Field::new("key", DataType::Utf8, false));
    let entries = DataType::Struct(Fields::from(vec![key, within(leaf, "value")]));
    of("map", leaf, DataType::Map(Arc::new(Field::new("entries", entries, false)), false))
}
