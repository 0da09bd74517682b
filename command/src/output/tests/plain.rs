//! Parquet in the types that all readers know.

use std::{collections::HashMap, fs::File};

use datafusion::{
    arrow::{
        array::{
            BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array,
            Decimal64Array, Decimal128Array, Decimal256Array, DictionaryArray,
            DurationMillisecondArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
            Int32Array, ListArray, ListViewArray, MapArray, NullArray, RunArray, StringArray,
            StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray,
            TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
        },
        buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
        compute::cast,
        datatypes::{DataType, Field, Fields, Int32Type, Schema, TimeUnit, i256},
    },
    parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, schema::printer},
};

use super::*;

/// Lists of one size with a null among them.
fn vectors() -> FixedSizeListArray {
    let lists = [Some([Some(1), Some(2)]), None, Some([None, Some(4)])];
    FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(lists, 2)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

/// Writes a column and reads it back in another type, with the values that it had. By Parquet's
/// own types, too, there are these values.
fn check(array: impl Array + 'static, read_as: &DataType) {
    let given = column(array);
    let written = write("x.parquet", false, std::slice::from_ref(&given)).unwrap();
    let found = read(&written, true);
    assert_eq!(found.column(0).data_type(), read_as);
    assert_eq!(values(&found), values(&given), "{read_as}");
    assert_eq!(values(&read(&written, false)), values(&given), "{read_as}");
}

#[test]
fn lists_of_one_size_are_lists() {
    check(vectors(), &list(DataType::Int32));
    let field = Field::new("v", vectors().data_type().clone(), true);
    let nulls = NullBuffer::from(vec![true, true, false]);
    let structs = StructArray::new(vec![field].into(), vec![Arc::new(vectors())], Some(nulls));
    let fields: Fields = vec![Field::new("v", list(DataType::Int32), true)].into();
    check(structs, &DataType::Struct(fields));
    let item = Arc::new(Field::new_list_field(vectors().data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let lists = ListArray::new(item, offsets, Arc::new(vectors()), None);
    check(lists, &list(list(DataType::Int32)));
    let none = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [None::<[Option<i32>; 2]>, None],
        2,
    );
    check(none, &list(DataType::Int32));
}

/// A map from texts to lists of one size.
fn map() -> MapArray {
    let keys = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let fields: Fields = vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", vectors().data_type().clone(), true),
    ]
    .into();
    let entries = StructArray::new(fields.clone(), vec![keys, Arc::new(vectors())], None);
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    MapArray::new(field, OffsetBuffer::from_lengths([2, 1]), entries, None, false)
}

#[test]
fn lists_and_maps_have_the_parts_that_parquet_names() {
    let given = batch([("m", Arc::new(map()) as ArrayRef)]);
    let written = write("x.parquet", false, std::slice::from_ref(&given)).unwrap();
    assert_eq!(values(&read(&written, true)), ["{a: [1, 2], b: }", "{c: [, 4]}"]);
    let file = File::open(&written.path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mut schema = Vec::new();
    printer::print_schema(&mut schema, reader.parquet_schema().root_schema());
    assert_eq!(
        String::from_utf8(schema).unwrap(),
        "message arrow_schema {
  OPTIONAL group m (MAP) {
    REPEATED group key_value {
      REQUIRED BYTE_ARRAY key (STRING);
      OPTIONAL group value (LIST) {
        REPEATED group list {
          OPTIONAL INT32 element;
        }
      }
    }
  }
}
"
    );
    assert!(!format!("{:?}", reader.schema()).contains("FixedSizeList"), "{:?}", reader.schema());
}

#[test]
fn dates_and_times_are_in_units_of_parquet() {
    let zone = Some("Europe/Berlin".into());
    check(Date32Array::from(vec![Some(-1), None, Some(19_724)]), &DataType::Date32);
    let days = Date32Array::from(vec![Some(-1), None, Some(19_724)]);
    let given = column(Date64Array::from(vec![Some(-86_400_000), None, Some(1_704_153_600_000)]));
    let written = write("x.parquet", false, &[given]).unwrap();
    assert_eq!(read(&written, true), column(days));
    let seconds = || TimestampSecondArray::from(vec![Some(-10_098_172_800), None, Some(1)]);
    check(seconds(), &DataType::Timestamp(TimeUnit::Millisecond, None));
    let micros = TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1)]);
    check(micros, &DataType::Timestamp(TimeUnit::Microsecond, None));
    let nanos = TimestampNanosecondArray::from(vec![i64::MIN + 1, i64::MAX]);
    check(nanos, &DataType::Timestamp(TimeUnit::Nanosecond, None));
    check(
        Time32SecondArray::from(vec![Some(3_661), None]),
        &DataType::Time32(TimeUnit::Millisecond),
    );
    check(
        Time64NanosecondArray::from(vec![3_661_000_001_002]),
        &DataType::Time64(TimeUnit::Nanosecond),
    );

    // Parquet knows that times are in a zone, and the embedded schema, in which.
    let given = column(seconds().with_timezone_opt(zone.clone()));
    let written = write("x.parquet", false, std::slice::from_ref(&given)).unwrap();
    let found = read(&written, true);
    assert_eq!(found.column(0).data_type(), &DataType::Timestamp(TimeUnit::Millisecond, zone));
    assert_eq!(values(&found), values(&given));
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    assert_eq!(read(&written, false).column(0).data_type(), &utc);
    // It has no durations: numbers, of which the embedded schema knows the unit.
    let given = column(DurationMillisecondArray::from(vec![Some(-5), None]));
    let written = write("x.parquet", false, std::slice::from_ref(&given)).unwrap();
    assert_eq!(read(&written, true), given);
    assert_eq!(values(&read(&written, false)), ["-5", "null"]);
}

#[test]
fn numbers_are_widened_to_types_that_all_know() {
    let half = cast(&Float32Array::from(vec![Some(0.1), None]), &DataType::Float16).unwrap();
    check(half, &DataType::Float32);
    check(UInt64Array::from(vec![u64::MAX]), &DataType::UInt64);
    check(BooleanArray::from(vec![Some(true), None]), &DataType::Boolean);
    check(NullArray::new(2), &DataType::Null);
    let decimals = Decimal32Array::from(vec![Some(-125), None]);
    check(decimals.with_precision_and_scale(9, 2).unwrap(), &DataType::Decimal128(9, 2));
    let decimals = Decimal64Array::from(vec![Some(-125), None]);
    check(decimals.with_precision_and_scale(18, 2).unwrap(), &DataType::Decimal128(18, 2));
    let decimals = Decimal128Array::from(vec![10_i128.pow(38) - 1, -1]);
    check(decimals.with_precision_and_scale(38, 0).unwrap(), &DataType::Decimal128(38, 0));
    let decimals = Decimal256Array::from(vec![Some(i256::from_i128(-125)), None]);
    check(decimals.with_precision_and_scale(30, 2).unwrap(), &DataType::Decimal128(30, 2));
}

#[test]
fn encodings_are_left_to_parquet() {
    let texts = ["a", "a text of more than twelve characters"];
    check(StringViewArray::from_iter_values(texts), &DataType::Utf8);
    check(BinaryViewArray::from_iter_values(texts), &DataType::Binary);
    check(texts.into_iter().collect::<DictionaryArray<Int32Type>>(), &DataType::Utf8);
    let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
    let numbers = DictionaryArray::new(keys, Arc::new(TimestampSecondArray::from(vec![5, 6])));
    check(numbers, &DataType::Timestamp(TimeUnit::Millisecond, None));
    let runs = RunArray::<Int32Type>::from_iter([Some("a"), Some("a"), Some("b")]);
    check(runs, &DataType::Utf8);
    let fixed = FixedSizeBinaryArray::try_from_iter([[0_u8, 255]].into_iter()).unwrap();
    check(fixed, &DataType::FixedSizeBinary(2));
    let item = Arc::new(Field::new_list_field(DataType::Int32, true));
    let (offsets, sizes) = (ScalarBuffer::from(vec![1, 0]), ScalarBuffer::from(vec![1, 2]));
    let values = Arc::new(Int32Array::from(vec![Some(7), None]));
    check(ListViewArray::new(item, offsets, sizes, values, None), &list(DataType::Int32));
}

#[test]
fn an_extension_of_a_type_goes_with_the_type() {
    let extended = |data_type: &DataType| {
        let name = "ARROW:extension:name".to_owned();
        let metadata = HashMap::from([(name, "example".to_owned()), ("note".into(), "n".into())]);
        Arc::new(Schema::new(vec![
            Field::new("x", data_type.clone(), true).with_metadata(metadata),
        ]))
    };
    let metadata = |array: ArrayRef| {
        let given = RecordBatch::try_new(extended(array.data_type()), vec![array]).unwrap();
        let written = write("x.parquet", false, &[given]).unwrap();
        let mut keys: Vec<_> =
            read(&written, true).schema().field(0).metadata().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(metadata(Arc::new(vectors())), ["note"]);
    assert_eq!(metadata(Arc::new(Int32Array::from(vec![1]))), ["ARROW:extension:name", "note"]);
}
