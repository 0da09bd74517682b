//! Columns of every type, and values for them: from a seed, with nulls at every level.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeListArray,
        GenericListArray, MapArray, NullArray, OffsetSizeTrait, StringArray, StructArray,
        UInt32Array, make_array, new_null_array,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    compute::{cast, take},
    datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit, UnionFields, UnionMode},
};
use lance::{
    arrow::{ARROW_EXT_META_KEY, ARROW_EXT_NAME_KEY},
    blob::BlobArrayBuilder,
};

use crate::store::lance::coder::spread;

/// How values are made. Lance writes each kind in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// A quarter are null, at each level.
    Mixed,
    NoNulls,
    AllNull,
    /// All are alike, but for some nulls.
    Constant,
    /// Some are long.
    Long,
}

impl Mood {
    pub(super) const ALL: [Self; 5] =
        [Self::Mixed, Self::NoNulls, Self::AllNull, Self::Constant, Self::Long];
}

/// Numbers of a seed, one after the other.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 += 1;
        spread(self.0)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.roll() >> 16) % bound
    }

    fn nulls(&mut self, mood: Mood, rows: usize) -> Option<NullBuffer> {
        let valid = |dice: &mut Self| match mood {
            Mood::NoNulls => true,
            Mood::AllNull => false,
            Mood::Mixed | Mood::Constant | Mood::Long => dice.below(4) > 0,
        };
        let nulls: NullBuffer = (0..rows).map(|_| valid(self)).collect();
        (mood != Mood::NoNulls).then_some(nulls)
    }
}

/// All columns, each of another type.
pub(super) fn columns() -> Vec<Field> {
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

/// Columns of types that Lance has no name for.
pub(super) fn unknown_columns() -> Vec<Field> {
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

const DESCRIBED_BLOB: &str = "lance.blob.v2";

fn described_blob() -> DataType {
    lance::blob_field("", true).data_type().clone()
}

fn is_marked(field: &Field, name: &str) -> bool {
    field.metadata().values().any(|value| value == name)
}

/// The field with bytes in the place of blobs, whose values roll the same numbers.
pub(super) fn plain(field: &Field) -> Field {
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

/// Values of a field.
pub(super) fn values(field: &Field, rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    match field.data_type() {
        DataType::Null => Arc::new(NullArray::new(rows)),
        DataType::Boolean => {
            let bits = (0..rows).map(|_| dice.below(2) == 0 || mood == Mood::Constant);
            let bits = bits.collect::<Vec<_>>().into();
            Arc::new(BooleanArray::new(bits, dice.nulls(mood, rows)))
        }
        DataType::Struct(_) if is_marked(field, DESCRIBED_BLOB) => described(rows, mood, dice),
        DataType::Utf8 if is_marked(field, "arrow.json") => json(rows, mood, dice),
        DataType::Utf8 => texts(rows, mood, dice),
        text @ (DataType::LargeUtf8 | DataType::Utf8View) => {
            cast(&texts(rows, mood, dice), text).unwrap()
        }
        DataType::Binary => bytes(rows, mood, dice),
        binary @ (DataType::LargeBinary | DataType::BinaryView) => {
            cast(&bytes(rows, mood, dice), binary).unwrap()
        }
        dictionary @ DataType::Dictionary(_, value) => {
            let few = Field::new("few", value.as_ref().clone(), true);
            let few = values(&few, rows, if mood == Mood::Long { Mood::Mixed } else { mood }, dice);
            // As many as a key of eight bits tells apart, however many rows there are.
            let some = (0..rows).map(|_| dice.below(rows.min(100) as u64) as u32);
            let some = take(&few, &some.collect::<UInt32Array>(), None);
            cast(&some.unwrap(), dictionary).unwrap()
        }
        DataType::Struct(fields) => {
            let children = fields.iter().map(|field| values(field, rows, mood, dice)).collect();
            let nulls = field.is_nullable().then(|| dice.nulls(mood, rows)).flatten();
            Arc::new(StructArray::new(fields.clone(), children, nulls))
        }
        DataType::List(item) => lists::<i32>(item, rows, mood, dice),
        DataType::LargeList(item) => lists::<i64>(item, rows, mood, dice),
        DataType::FixedSizeList(item, size) => {
            let items = values(item, rows * *size as usize, mood, dice);
            let nulls = dice.nulls(mood, rows);
            Arc::new(FixedSizeListArray::new(item.clone(), *size, items, nulls))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
            let (offsets, nulls) = offsets::<i32>(rows, mood, dice);
            let inner = *offsets.last().unwrap() as usize;
            let keys = StringArray::from_iter_values((0..inner).map(|key| format!("key {key}")));
            let held = values(&fields[1], inner, mood, dice);
            let pairs = StructArray::new(fields.clone(), vec![Arc::new(keys), held], None);
            Arc::new(MapArray::new(entries.clone(), offsets, pairs, nulls, *sorted))
        }
        other => match width(other) {
            Some(width) => fixed(other, width, rows, mood, dice),
            None => new_null_array(other, rows),
        },
    }
}

fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(size) => Some(*size as usize),
        other => other.primitive_width(),
    }
}

/// Small numbers as each type has them: their lowest bytes first, and their sign in all others.
fn fixed(data_type: &DataType, width: usize, rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    let mut buffer = Vec::with_capacity(rows * width);
    for _ in 0..rows {
        let small = dice.below(80_000) as i64;
        let number = match (mood, data_type) {
            (Mood::Constant, _) => 7,
            (_, DataType::Time32(_) | DataType::Time64(_)) => small,
            _ => small - 40_000,
        };
        let sign = if number < 0 { 0xff } else { 0 };
        buffer.extend(number.to_le_bytes().into_iter().chain(std::iter::repeat(sign)).take(width));
    }
    let data = ArrayData::builder(data_type.clone()).len(rows).nulls(dice.nulls(mood, rows));
    make_array(data.add_buffer(Buffer::from(buffer)).align_buffers(true).build().unwrap())
}

/// A length: often none at all.
fn length(mood: Mood, dice: &mut Dice) -> usize {
    match mood {
        Mood::Constant => 3,
        Mood::Long if dice.below(20) == 0 => 5000,
        _ => dice.below(12) as usize,
    }
}

fn texts(rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    let text = |dice: &mut Dice| -> String {
        let length = length(mood, dice);
        let constant = mood == Mood::Constant;
        let letter = |_| if constant { 'ü' } else { char::from(b'a' + dice.below(26) as u8) };
        (0..length).map(letter).collect()
    };
    let texts: Vec<String> = (0..rows).map(|_| text(dice)).collect();
    let nulls = dice.nulls(mood, rows);
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let texts = texts.into_iter().enumerate().map(|(row, text)| valid(row).then_some(text));
    Arc::new(texts.collect::<StringArray>())
}

fn bytes(rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    let bytes = |dice: &mut Dice| -> Vec<u8> {
        let length = length(mood, dice);
        (0..length).map(|_| if mood == Mood::Constant { 255 } else { dice.roll() as u8 }).collect()
    };
    let bytes: Vec<Vec<u8>> = (0..rows).map(|_| bytes(dice)).collect();
    let nulls = dice.nulls(mood, rows);
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let bytes = bytes.into_iter().enumerate().map(|(row, bytes)| valid(row).then_some(bytes));
    Arc::new(bytes.collect::<BinaryArray>())
}

fn described(rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    let bytes = bytes(rows, mood, dice);
    let mut blobs = BlobArrayBuilder::new(rows);
    for blob in bytes.as_binary::<i32>() {
        match blob {
            Some(blob) => blobs.push_bytes(blob).unwrap(),
            None => blobs.push_null().unwrap(),
        }
    }
    blobs.finish().unwrap()
}

/// Documents as Lance spells them.
fn json(rows: usize, mood: Mood, dice: &mut Dice) -> ArrayRef {
    let texts = texts(rows, mood, dice);
    let texts = texts.as_string::<i32>();
    let mut document = |text: &str| match dice.below(4) {
        0 => format!(r#"{{"n":[1,{}],"text":"{text}"}}"#, dice.below(1000)),
        1 => format!(r#"["{text}",null,true,-1.5]"#),
        2 => format!(r#""{text}""#),
        _ => "{}".to_owned(),
    };
    let documents = texts.iter().map(|text| text.map(&mut document));
    Arc::new(documents.collect::<StringArray>())
}

fn offsets<O: OffsetSizeTrait>(
    rows: usize,
    mood: Mood,
    dice: &mut Dice,
) -> (OffsetBuffer<O>, Option<NullBuffer>) {
    let nulls = dice.nulls(mood, rows);
    let mut offsets = vec![O::usize_as(0)];
    let mut end = 0;
    for row in 0..rows {
        // Nothing stands under a null.
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            end += dice.below(4) as usize;
        }
        offsets.push(O::usize_as(end));
    }
    (OffsetBuffer::new(ScalarBuffer::from(offsets)), nulls)
}

fn lists<O: OffsetSizeTrait>(
    item: &Arc<Field>,
    rows: usize,
    mood: Mood,
    dice: &mut Dice,
) -> ArrayRef {
    let (offsets, nulls) = offsets::<O>(rows, mood, dice);
    let inner = offsets.last().unwrap().as_usize();
    let items = values(item, inner, mood, dice);
    Arc::new(GenericListArray::<O>::new(item.clone(), offsets, items, nulls))
}
