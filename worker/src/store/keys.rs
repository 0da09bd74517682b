//! Keys of any type that keys may have, seen in the two ways that indexes need: what fits 64 bits
//! as integers, everything else as bytes.
//!
//! Two views can be compared only if they are of one class, which planning has made sure of.

use std::{hash::BuildHasher, hint::black_box, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, FixedSizeBinaryArray,
        LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, StructArray,
    },
    buffer::{Buffer, NullBuffer},
    compute::cast,
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
        Decimal256Type, Field, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
        Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    row::{RowConverter, SortField},
    util::display::array_value_to_string,
};
use keyloom_common::{Error, Result};

/// Pairs of keys that are compared together.
const PAIRS_AT_ONCE: usize = 64;

/// A column of keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    array: ArrayRef,
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// Signed integers are sign-extended, so that equal keys of one class have equal bits.
    /// Booleans, dates, times, timestamps and narrow decimals are the integers that they are stored
    /// as.
    Integers(Vec<u64>),
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    /// Wide decimals, too.
    FixedSizeBinary(FixedSizeBinaryArray),
}

/// The columns of a key as one column: structs, if there are several.
///
/// # Errors
/// `internal` if the columns differ in length.
pub(crate) fn key_column(columns: &[(&str, ArrayRef)]) -> Result<ArrayRef> {
    if let [(_, only)] = columns {
        return Ok(only.clone());
    }
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let fields = columns.iter().map(field).collect();
    let columns = columns.iter().map(|(_, column)| column.clone()).collect();
    Ok(Arc::new(StructArray::try_new(fields, columns, None)?))
}

/// Where keys are null: a key of several parts is, if any of them is.
pub(crate) fn key_nulls(keys: &ArrayRef) -> Option<NullBuffer> {
    let nulls = keys.logical_nulls();
    let Some(parts) = keys.as_struct_opt() else { return nulls };
    parts
        .columns()
        .iter()
        .fold(nulls, |nulls, part| NullBuffer::union(nulls.as_ref(), part.logical_nulls().as_ref()))
}

impl Keys {
    /// Views a column; dictionaries are unpacked.
    ///
    /// # Errors
    /// `internal` if keys cannot have the column's type: planning refuses such columns.
    pub(crate) fn try_new(array: &ArrayRef) -> Result<Self> {
        let array = match array.data_type() {
            DataType::Dictionary(_, value) => cast(array, value)?,
            _ => array.clone(),
        };
        let values = Values::try_new(&array)?;
        let nulls = match array.data_type() {
            DataType::Struct(_) => key_nulls(&array),
            _ => array.nulls().cloned(),
        };
        Ok(Self { nulls, array, values })
    }

    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    /// The keys, unpacked if they were a dictionary.
    pub(crate) fn array(&self) -> &ArrayRef {
        &self.array
    }

    pub(crate) fn is_null(&self, index: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index))
    }

    /// Whether [`Keys::code`] is the key itself, so that equal codes mean equal keys.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.values, Values::Integers(_))
    }

    /// A key of integers, as [`Keys::code`] gives it; 0 of any others.
    pub(crate) fn integer(&self, index: usize) -> u64 {
        match &self.values {
            Values::Integers(values) => values[index],
            _ => 0,
        }
    }

    /// Keys that are integers, as [`Keys::code`] gives them; null ones are `None`.
    pub(crate) fn integers(&self) -> Result<impl Iterator<Item = Option<u64>>> {
        let Values::Integers(values) = &self.values else {
            let given = self.array.data_type();
            return Err(Error::internal(format!("keys of type {given} where integers are due")));
        };
        let keys = values.iter().enumerate();
        Ok(keys.map(|(index, key)| (!self.is_null(index)).then_some(*key)))
    }

    /// The key in 64 bits: itself if it is an integer, else a hash.
    pub(crate) fn code(&self, index: usize, hasher: &impl BuildHasher) -> u64 {
        match &self.values {
            Values::Integers(values) => values[index],
            values => hasher.hash_one(values.bytes(index)),
        }
    }

    /// [`Keys::code`] of every key; null ones have any code.
    pub(crate) fn codes(&self, hasher: &impl BuildHasher) -> Vec<u64> {
        match &self.values {
            Values::Integers(values) => values.clone(),
            Values::Utf8(values) => (0..self.len())
                .map(|index| hasher.hash_one(values.value(index).as_bytes()))
                .collect(),
            values => (0..self.len()).map(|index| hasher.hash_one(values.bytes(index))).collect(),
        }
    }

    /// The keys that are null, if any is.
    pub(crate) fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// Whether a key of this column equals a key of the other. Nulls equal nothing.
    pub(crate) fn equal(&self, index: usize, other: &Self, other_index: usize) -> bool {
        if self.is_null(index) || other.is_null(other_index) {
            return false;
        }
        match (&self.values, &other.values) {
            (Values::Integers(left), Values::Integers(right)) => left[index] == right[other_index],
            (Values::Integers(_), _) | (_, Values::Integers(_)) => false,
            (left, right) => left.bytes(index) == right.bytes(other_index),
        }
    }

    /// For each pair of a key here and a key of another column, whether they are equal. None of
    /// them is null or an integer.
    pub(crate) fn equal_pairs<'a>(
        &'a self,
        pairs: impl ExactSizeIterator<Item = (usize, &'a Self, usize)>,
    ) -> Vec<bool> {
        let mut equal = Vec::with_capacity(pairs.len());
        let mut pairs = pairs.map(|(index, other, other_index)| {
            (self.values.bytes(index), other.values.bytes(other_index))
        });
        let mut some = Vec::with_capacity(PAIRS_AT_ONCE);
        loop {
            some.extend(pairs.by_ref().take(PAIRS_AT_ONCE));
            if some.is_empty() {
                return equal;
            }
            // They stand anywhere: so the processor waits for the memory of many at a time.
            black_box(some.iter().fold(0, |sum, (_, held)| sum ^ held.first().unwrap_or(&0)));
            equal.extend(some.drain(..).map(|(key, held)| key == held));
        }
    }

    /// The key as messages print it.
    pub(crate) fn display(&self, index: usize) -> String {
        array_value_to_string(&self.array, index).unwrap_or_else(|_| "?".to_owned())
    }
}

impl Values {
    fn try_new(array: &ArrayRef) -> Result<Self> {
        macro_rules! integers {
            ($native:ty) => {
                array.as_primitive::<$native>().values().iter().map(|key| *key as u64).collect()
            };
        }
        Ok(match array.data_type() {
            DataType::Int8 => Self::Integers(integers!(Int8Type)),
            DataType::Int16 => Self::Integers(integers!(Int16Type)),
            DataType::Int32 => Self::Integers(integers!(Int32Type)),
            DataType::Int64 => Self::Integers(integers!(Int64Type)),
            DataType::UInt8 => Self::Integers(integers!(UInt8Type)),
            DataType::UInt16 => Self::Integers(integers!(UInt16Type)),
            DataType::UInt32 => Self::Integers(integers!(UInt32Type)),
            DataType::UInt64 => {
                Self::Integers(array.as_primitive::<UInt64Type>().values().to_vec())
            }
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => {
                Self::FixedSizeBinary(array.as_fixed_size_binary().clone())
            }
            DataType::Boolean => {
                Self::Integers(array.as_boolean().values().iter().map(u64::from).collect())
            }
            DataType::Date32 => Self::Integers(integers!(Date32Type)),
            DataType::Date64 => Self::Integers(integers!(Date64Type)),
            DataType::Time32(TimeUnit::Second) => Self::Integers(integers!(Time32SecondType)),
            DataType::Time32(_) => Self::Integers(integers!(Time32MillisecondType)),
            DataType::Time64(TimeUnit::Microsecond) => {
                Self::Integers(integers!(Time64MicrosecondType))
            }
            DataType::Time64(_) => Self::Integers(integers!(Time64NanosecondType)),
            DataType::Timestamp(unit, _) => Self::Integers(match unit {
                TimeUnit::Second => integers!(TimestampSecondType),
                TimeUnit::Millisecond => integers!(TimestampMillisecondType),
                TimeUnit::Microsecond => integers!(TimestampMicrosecondType),
                TimeUnit::Nanosecond => integers!(TimestampNanosecondType),
            }),
            DataType::Decimal32(_, _) => Self::Integers(integers!(Decimal32Type)),
            DataType::Decimal64(_, _) => Self::Integers(integers!(Decimal64Type)),
            DataType::Decimal128(_, _) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                Self::wide(values.inner(), size_of::<i128>(), array)?
            }
            DataType::Decimal256(_, _) => {
                let values = array.as_primitive::<Decimal256Type>().values();
                Self::wide(values.inner(), 2 * size_of::<i128>(), array)?
            }
            DataType::Struct(_) => Self::LargeBinary(rows(array.as_struct())?),
            other => return Err(Error::internal(format!("keys cannot be of type {other}"))),
        })
    }

    /// Numbers of so many bytes, as these bytes.
    fn wide(numbers: &Buffer, bytes: usize, array: &ArrayRef) -> Result<Self> {
        let (bytes, nulls) = (bytes as i32, array.nulls().cloned());
        let values = FixedSizeBinaryArray::try_new(bytes, numbers.clone(), nulls)?;
        Ok(Self::FixedSizeBinary(values))
    }

    fn bytes(&self, index: usize) -> &[u8] {
        match self {
            // Integers are compared as integers: nobody asks for their bytes.
            Self::Integers(_) => &[],
            Self::Utf8(values) => values.value(index).as_bytes(),
            Self::LargeUtf8(values) => values.value(index).as_bytes(),
            Self::Utf8View(values) => values.value(index).as_bytes(),
            Self::Binary(values) => values.value(index),
            Self::LargeBinary(values) => values.value(index),
            Self::BinaryView(values) => values.value(index),
            Self::FixedSizeBinary(values) => values.value(index),
        }
    }
}

/// Keys of several parts as bytes, which are equal for equal keys and for no others.
fn rows(keys: &StructArray) -> Result<LargeBinaryArray> {
    let plain = |part: &ArrayRef| match part.data_type() {
        DataType::Dictionary(_, value) => cast(part, value),
        _ => Ok(part.clone()),
    };
    let parts = keys.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let fields = parts.iter().map(|part| SortField::new(part.data_type().clone()));
    let rows = RowConverter::new(fields.collect())?.convert_columns(&parts)?;
    Ok(LargeBinaryArray::from_iter_values(rows.iter()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int8Array, Int64Array, TimestampSecondArray,
    };
    use hashbrown::DefaultHashBuilder;

    use super::*;

    #[test]
    fn every_layout_of_a_string_has_the_same_code() {
        let hasher = DefaultHashBuilder::default();
        let plain: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), None, Some("longer than twelve")]));
        let keys = Keys::try_new(&plain).unwrap();
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for layout in [
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::BinaryView,
            dictionary,
        ] {
            let other = Keys::try_new(&cast(&plain, &layout).unwrap()).unwrap();
            assert!(!other.is_exact());
            assert!(other.is_null(1) && !keys.equal(1, &other, 1), "{layout}");
            for row in [0, 2] {
                assert_eq!(keys.code(row, &hasher), other.code(row, &hasher), "{layout}");
                assert!(keys.equal(row, &other, row), "{layout}");
            }
        }
    }

    #[test]
    fn many_pairs_are_each_compared() {
        let words = |count: usize, every: usize| -> ArrayRef {
            let word = |row: usize| format!("word {}", row / every);
            Arc::new(StringArray::from_iter_values((0..count).map(word)))
        };
        let (keys, held) = (words(2 * PAIRS_AT_ONCE + 1, 1), words(2 * PAIRS_AT_ONCE + 1, 2));
        let (keys, held) = (Keys::try_new(&keys).unwrap(), Keys::try_new(&held).unwrap());
        let rows = 0..keys.len();
        let equal = keys.equal_pairs(rows.clone().map(|row| (row / 2 + row % 3 / 2, &held, row)));
        assert_eq!(equal, rows.map(|row| row % 3 != 2).collect::<Vec<_>>());
        assert_eq!(keys.equal_pairs(std::iter::empty()), [false; 0]);
    }

    #[test]
    fn negative_keys_of_any_width_agree() {
        let hasher = DefaultHashBuilder::default();
        let narrow = Keys::try_new(&(Arc::new(Int8Array::from(vec![-1])) as ArrayRef)).unwrap();
        let wide = Keys::try_new(&(Arc::new(Int64Array::from(vec![-1])) as ArrayRef)).unwrap();
        assert!(narrow.is_exact() && narrow.equal(0, &wide, 0));
        assert_eq!(narrow.code(0, &hasher), wide.code(0, &hasher));
    }
    #[test]
    fn what_fits_sixty_four_bits_is_compared_so() {
        let columns: [ArrayRef; 3] = [
            Arc::new(BooleanArray::from(vec![true, false, true])),
            Arc::new(Date32Array::from(vec![-1, 0, -1])),
            Arc::new(TimestampSecondArray::from(vec![i64::MIN, 7, i64::MIN])),
        ];
        for column in columns {
            let keys = Keys::try_new(&column).unwrap();
            assert!(keys.is_exact() && keyloom_common::store::is_exact(column.data_type()));
            assert!(keys.equal(0, &keys, 2) && !keys.equal(0, &keys, 1), "{}", column.data_type());
        }
    }

    #[test]
    fn wide_decimals_are_compared_by_all_their_bits() {
        let numbers = vec![Some(1), Some(1 + (1 << 64)), None, Some(-1), Some(1)];
        let column: ArrayRef = Arc::new(Decimal128Array::from(numbers));
        let keys = Keys::try_new(&column.slice(1, 4)).unwrap();
        let whole = Keys::try_new(&column).unwrap();
        assert!(!keys.is_exact() && keys.is_null(1) && !keys.equal(1, &keys, 1));
        assert!(keys.equal(3, &whole, 0) && keys.equal(2, &whole, 3));
        assert!(!keys.equal(0, &whole, 0));
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        let words =
            |words: [Option<&str>; 4]| -> ArrayRef { Arc::new(StringArray::from(words.to_vec())) };
        let left = words([Some("a"), Some("ab"), Some("a"), None]);
        let right = words([Some("bc"), Some("c"), Some("bc"), Some("c")]);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let packed = cast(&right, &dictionary).unwrap();
        let keys = key_column(&[("x", left.clone()), ("y", right)]).unwrap();
        let held = key_column(&[("x", left), ("y", packed)]).unwrap();
        let (keys, held) = (Keys::try_new(&keys).unwrap(), Keys::try_new(&held).unwrap());
        assert!(keys.equal(0, &held, 2) && !keys.equal(0, &held, 1));
        assert!(keys.is_null(3) && !keys.equal(3, &held, 3));
        assert_eq!(keys.display(1), "{x: ab, y: c}");
    }
}
