//! Keys in the type of a store's keys.
//!
//! A key is never changed to fit: one that the store's type cannot hold as it is, no row has.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeBinaryArray, StringArray, StructArray, new_null_array,
    },
    compute::{CastOptions, cast, cast_with_options, kernels::cmp::distinct, nullif},
    datatypes::{DataType, Field, Fields},
};
use keyloom_common::{Error, Result, store::uuid_of};

use crate::store::key_nulls;

/// Casts that give null where a value does not fit.
const SAFE: CastOptions<'static> =
    CastOptions { safe: true, format_options: arrow::util::display::FormatOptions::new() };

/// Keys in the store's key type; null where it does not hold them.
pub(super) fn convert(keys: &ArrayRef, key_type: &DataType) -> Result<ArrayRef> {
    let key_type = plain(key_type);
    if keys.data_type() == &DataType::Null {
        return Ok(new_null_array(key_type, keys.len()));
    }
    match key_type {
        DataType::Struct(fields) => parts(keys, fields),
        DataType::FixedSizeBinary(size) if keys.data_type() != key_type => sized(keys, *size),
        // Widths and layouts, in which Arrow's casts are exact: what does not fit is null.
        integer if integer.is_integer() && plain(keys.data_type()).is_integer() => {
            Ok(cast_with_options(keys, key_type, &SAFE)?)
        }
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => Ok(cast_with_options(keys, key_type, &SAFE)?),
        _ => exact(keys, key_type),
    }
}

/// The type of a dictionary's values; any other as it is.
fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// Keys of several parts, by the names of the parts.
fn parts(keys: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
    let missing = |name: &str| Error::internal(format!("keys without a part '{name}'"));
    let given = keys.as_struct_opt().ok_or_else(|| Error::internal("keys that have no parts"))?;
    let part = |field: &Arc<Field>| {
        let part = given.column_by_name(field.name()).ok_or_else(|| missing(field.name()))?;
        convert(part, field.data_type())
    };
    let parts = fields.iter().map(part).collect::<Result<Vec<_>>>()?;
    let typed = fields
        .iter()
        .zip(&parts)
        .map(|(field, part)| Field::new(field.name(), part.data_type().clone(), true));
    let fields = typed.collect();
    let nulls = key_nulls(keys);
    Ok(Arc::new(StructArray::try_new(fields, parts, nulls)?))
}

/// Binary keys of one size. Text is there only if the store's are UUIDs.
fn sized(keys: &ArrayRef, size: i32) -> Result<ArrayRef> {
    let text = matches!(
        plain(keys.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    if text {
        return uuids(cast(keys, &DataType::Utf8)?.as_string());
    }
    // Arrow casts nothing but plain binary to a fixed size.
    let plain = cast(keys, &DataType::LargeBinary)?;
    Ok(cast_with_options(&plain, &DataType::FixedSizeBinary(size), &SAFE)?)
}

/// UUIDs of their text; null for other text.
fn uuids(texts: &StringArray) -> Result<ArrayRef> {
    const BYTES: i32 = 16;
    let uuids = texts.iter().map(|text| text.and_then(uuid_of));
    Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, BYTES)?))
}

/// Keys that become the same again when they are cast back: Arrow's casts round.
fn exact(keys: &ArrayRef, key_type: &DataType) -> Result<ArrayRef> {
    let keys = cast(keys, plain(keys.data_type()))?;
    if keys.data_type() == key_type {
        return Ok(keys);
    }
    let typed = cast_with_options(&keys, key_type, &SAFE)?;
    let back = cast_with_options(&typed, keys.data_type(), &SAFE)?;
    Ok(nullif(&typed, &distinct(&back, &keys)?)?)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            BinaryArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, Int8Array,
            Int32Array, Int64Array, Time32SecondArray, Time64MicrosecondArray,
            TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
        },
        datatypes::{TimeUnit, i256},
    };

    use super::*;

    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    fn check(keys: ArrayRef, expected: ArrayRef) {
        let key_type = expected.data_type();
        let converted = convert(&keys, key_type).unwrap();
        assert_eq!(&converted, &expected, "{} in {key_type}", keys.data_type());
    }

    fn decimals(values: impl Into<Vec<Option<i128>>>, precision: u8, scale: i8) -> ArrayRef {
        let values = Decimal128Array::from(values.into());
        array(values.with_precision_and_scale(precision, scale).unwrap())
    }

    #[test]
    fn integers_out_of_range_are_null() {
        check(
            array(Int64Array::from(vec![Some(300), Some(-1), None, Some(i64::MIN)])),
            array(Int8Array::from(vec![None, Some(-1), None, None])),
        );
    }

    #[test]
    fn decimals_are_compared_by_value() {
        // 1.50, 1.25, 1.00 and what has too many digits.
        let wide = [Some(150), Some(125), Some(100), None, Some(10_i128.pow(20))];
        check(decimals(wide, 38, 2), decimals([Some(15), None, Some(10), None, None], 5, 1));
        check(decimals([Some(15), Some(-10)], 5, 1), decimals([Some(1500), Some(-1000)], 10, 3));
        check(
            decimals(wide, 38, 2),
            array(Int32Array::from(vec![None, None, Some(1), None, None])),
        );
        check(
            array(Int64Array::from(vec![Some(7), None, Some(1000), Some(-999)])),
            decimals([Some(70), None, None, Some(-9990)], 4, 1),
        );
        let widest = Decimal256Array::from(vec![i256::from(150), i256::MAX]);
        check(
            array(widest.with_precision_and_scale(76, 2).unwrap()),
            decimals([Some(15), None], 5, 1),
        );
    }

    #[test]
    fn timestamps_are_compared_by_what_they_say() {
        let nanoseconds =
            vec![Some(1_000), Some(1_001), None, Some(-1_000), Some(-1), Some(i64::MIN)];
        check(
            array(TimestampNanosecondArray::from(nanoseconds)),
            array(TimestampMicrosecondArray::from(vec![Some(1), None, None, Some(-1), None, None])),
        );
        check(
            array(TimestampSecondArray::from(vec![1, i64::MAX, -9_223_372_036])),
            array(TimestampNanosecondArray::from(vec![
                Some(1_000_000_000),
                None,
                Some(-9_223_372_036_000_000_000),
            ])),
        );
        let tokyo = TimestampSecondArray::from(vec![7]).with_timezone("Asia/Tokyo");
        let utc = TimestampMicrosecondArray::from(vec![7_000_000]).with_timezone("UTC");
        check(array(tokyo), array(utc));
    }

    #[test]
    fn dates_and_times_are_compared_whatever_their_units() {
        const DAY: i64 = 86_400_000;
        check(
            array(Date64Array::from(vec![
                Some(DAY),
                Some(DAY + 1),
                None,
                Some(-DAY),
                Some(i64::MAX),
            ])),
            array(Date32Array::from(vec![Some(1), None, None, Some(-1), None])),
        );
        check(array(Date32Array::from(vec![-3])), array(Date64Array::from(vec![-3 * DAY])));
        check(
            array(Time64MicrosecondArray::from(vec![2_000_000, 2_000_001])),
            array(Time32SecondArray::from(vec![Some(2), None])),
        );
    }

    #[test]
    fn dictionaries_are_unpacked() {
        let days = array(Date32Array::from(vec![Some(1), None, Some(1)]));
        let packed = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Date32));
        check(cast(&days, &packed).unwrap(), days.clone());
        let to_packed = convert(&days, &packed).unwrap();
        assert_eq!(&to_packed, &days);
    }

    #[test]
    fn the_usual_text_of_a_uuid_is_one() {
        let texts = [
            Some("00112233-4455-6677-8899-AABBccddeeff"),
            Some("00112233445566778899aabbccddeeff"),
            Some("{00112233-4455-6677-8899-aabbccddeeff}"),
            None,
            Some("00112233-4455-6677-8899-aabbccddeefg"),
        ];
        let bytes = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        let uuids = [Some(bytes), None, None, None, None].into_iter();
        let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap();
        check(array(StringArray::from(texts.to_vec())), array(uuids.clone()));
        let plain =
            BinaryArray::from_opt_vec(vec![Some(&bytes[..]), None, Some(b"short"), None, None]);
        check(array(plain), array(uuids));
    }

    #[test]
    fn parts_are_found_by_their_names() {
        let part = |name: &str, part: ArrayRef| {
            (Arc::new(Field::new(name, part.data_type().clone(), true)), part)
        };
        let (a, b) = (Int64Array::from(vec![Some(1), Some(2), None]), vec!["x", "y", "z"]);
        let keys = StructArray::from(vec![
            part("b", array(StringArray::from(b.clone()))),
            part("a", array(a)),
        ]);
        let fields =
            [Field::new("a", DataType::Int8, false), Field::new("b", DataType::LargeUtf8, false)];
        let typed = convert(&array(keys), &DataType::Struct(fields.to_vec().into())).unwrap();
        let typed = typed.as_struct();
        assert_eq!(typed.column_names(), ["a", "b"]);
        assert_eq!(typed.column(0).as_ref(), &Int8Array::from(vec![Some(1), Some(2), None]));
        assert_eq!(typed.column(1).data_type(), &DataType::LargeUtf8);
        assert!(typed.is_valid(1) && typed.is_null(2));
    }

    #[test]
    fn keys_of_no_type_are_null() {
        let nulls = convert(&new_null_array(&DataType::Null, 2), &DataType::Date32).unwrap();
        assert_eq!((nulls.data_type(), nulls.null_count()), (&DataType::Date32, 2));
        let zoned = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
        assert_eq!(convert(&nulls.slice(0, 0), &zoned).unwrap().data_type(), &zoned);
    }
}
