//! Columns of every type, and values for them: from a seed, with nulls at every level.

mod columns;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeListArray,
        GenericListArray, MapArray, NullArray, OffsetSizeTrait, StringArray, StructArray,
        UInt32Array, make_array, new_null_array,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    compute::{cast, take},
    datatypes::{DataType, Field},
};
use lance::blob::BlobArrayBuilder;

use self::columns::{DESCRIBED_BLOB, is_marked};
pub(in crate::store) use self::columns::{columns, common_columns, plain, unknown_columns};

/// How values are made. Lance writes each kind in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Mood {
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
    pub(in crate::store) const ALL: [Self; 5] =
        [Self::Mixed, Self::NoNulls, Self::AllNull, Self::Constant, Self::Long];
}

/// Numbers of a seed, one after the other.
#[derive(Debug)]
pub(in crate::store) struct Dice(u64);

impl Dice {
    pub(in crate::store) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(in crate::store) fn below(&mut self, bound: u64) -> u64 {
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

/// Values of a field.
pub(in crate::store) fn values(
    field: &Field,
    rows: usize,
    mood: Mood,
    dice: &mut Dice,
) -> ArrayRef {
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
