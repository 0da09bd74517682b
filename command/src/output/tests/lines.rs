//! CSV and JSON.

use std::fs;

use datafusion::arrow::{
    array::{
        BinaryArray, Decimal256Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
        Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray, StringArray, StructArray,
        TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Int32Type, IntervalMonthDayNano, i256},
};

use super::*;

fn text(name: &str, batches: &[RecordBatch]) -> String {
    fs::read_to_string(write(name, false, batches).unwrap().path).unwrap()
}

fn texts<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<StringArray>())
}

/// Flat columns of the types that text writes in a way of its own.
fn flat() -> RecordBatch {
    let decimals = Decimal256Array::from(vec![Some(i256::from_i128(-125)), None]);
    let moments = TimestampNanosecondArray::from(vec![Some(1_704_164_645_000_000_001), None]);
    let interval = IntervalMonthDayNano::new(1, -2, 3_000_000_000);
    batch([
        ("decimal", Arc::new(decimals.with_precision_and_scale(50, 2).unwrap()) as ArrayRef),
        ("binary", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None]))),
        ("moment", Arc::new(moments.with_timezone("Europe/Berlin"))),
        ("interval", Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None]))),
        ("large", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("small", Arc::new(Float32Array::from(vec![Some(1e-7), None]))),
        (
            "dictionary",
            Arc::new([Some("a"), None].into_iter().collect::<DictionaryArray<Int32Type>>()),
        ),
    ])
}

#[test]
fn csv_tells_nulls_from_empty_texts() {
    let given = batch([
        ("a,b", texts([Some(""), None, Some("a \"b\",\nc"), Some(" d ")])),
        ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(1)]))),
    ]);
    assert_eq!(
        text("x.csv", &[given.clone(), given.slice(1, 1)]),
        "\"a,b\",n\n\"\",-9223372036854775808\n,\n\"a \"\"b\"\",\nc\",0\n d ,1\n,\n"
    );
    assert_eq!(text("x.csv", &[batch([("a", texts([None, Some("b")]))])]), "a\n\"\"\nb\n");
    assert_eq!(text("x.csv", &[batch([("a", texts([]))])]), "a\n");
}

#[test]
fn csv_has_each_type_in_full() {
    assert_eq!(
        text("x.csv", &[flat()]),
        "decimal,binary,moment,interval,large,small,dictionary\n\
         -1.25,00ff,2024-01-02T04:04:05.000000001+01:00,1 mons -2 days 3.000000000 secs,\
         18446744073709551615,1e-7,a\n,,,,,,\n"
    );
    let numbers = Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY, 0.1]);
    assert_eq!(text("x.csv", &[column(numbers)]), "x\nNaN\n-inf\n0.1\n");
}

#[test]
fn json_has_each_type_in_full() {
    assert_eq!(
        text("x.json", &[flat()]),
        concat!(
            "{\"decimal\":-1.25,\"binary\":\"00ff\",",
            "\"moment\":\"2024-01-02T04:04:05.000000001+01:00\",",
            "\"interval\":\"1 mons -2 days 3.000000000 secs\",",
            "\"large\":18446744073709551615,\"small\":1e-7,\"dictionary\":\"a\"}\n",
            "{\"decimal\":null,\"binary\":null,\"moment\":null,\"interval\":null,",
            "\"large\":null,\"small\":null,\"dictionary\":null}\n",
        )
    );
}

#[test]
fn json_nests() {
    let field = Arc::new(Field::new("f", DataType::Float64, true));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None, Some(f64::NAN)]));
    // What stands under a null is no value.
    let nulls = Some(NullBuffer::from(vec![true, true, false]));
    let structs = StructArray::new(vec![field].into(), vec![floats], nulls);
    let lists = [Some(vec![Some(1), None]), Some(vec![]), None];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let given = batch([("s", Arc::new(structs) as ArrayRef), ("l", Arc::new(lists))]);
    assert_eq!(
        text("x.json", &[given]),
        "{\"s\":{\"f\":0.5},\"l\":[1,null]}\n{\"s\":{\"f\":null},\"l\":[]}\n{\"s\":null,\"l\":null}\n"
    );
}

#[test]
fn json_refuses_values_that_it_has_no_word_for() {
    let check = |array: ArrayRef, words: &str| {
        let good: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let given = batch([("good", good), ("bad", array)]);
        let (message, help) = refusal(write("x.json", false, &[given]).err());
        assert!(message.starts_with("column 'bad' cannot be written as JSON: "), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(help.contains("write .parquet"), "{help}");
    };
    check(Arc::new(Float64Array::from(vec![f64::NAN])), "no number NaN");
    check(Arc::new(Float32Array::from(vec![f32::INFINITY])), "no number inf");
    check(Arc::new(TimestampMillisecondArray::from(vec![i64::MAX])), "Failed to convert");
    let inner = [Some(vec![Some(1.0), Some(f64::NAN)])];
    let lists =
        ListArray::from_iter_primitive::<datafusion::arrow::datatypes::Float64Type, _, _>(inner);
    check(Arc::new(lists), "no number NaN");
}

#[test]
fn csv_refuses_values_that_it_cannot_name() {
    let given = column(TimestampMillisecondArray::from(vec![i64::MAX]));
    let (message, _) = refusal(write("x.csv", false, &[given]).err());
    assert!(message.starts_with("column 'x' cannot be written as CSV: "), "{message}");
}

#[test]
fn nested_columns_of_csv_are_refused_with_what_to_do() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let (message, help) = refusal(write("x.csv", false, &[column(lists)]).err());
    assert!(message.starts_with("column 'x' holds List(Int32"), "{message}");
    assert!(message.ends_with("which CSV cannot hold"), "{message}");
    assert!(help.contains("x['field']"), "{help}");
}

#[test]
fn maps_of_json_have_texts_for_keys() {
    let map = |keys: ArrayRef| {
        let fields = vec![
            Field::new("keys", keys.data_type().clone(), false),
            Field::new("values", DataType::Int32, true),
        ];
        let values = Arc::new(Int32Array::from(vec![Some(1), None]));
        let entries = StructArray::new(fields.into(), vec![keys, values], None);
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        column(MapArray::new(field, OffsetBuffer::from_lengths([2]), entries, None, false))
    };
    let named = map(texts([Some("a"), Some("b")]));
    assert_eq!(text("x.json", &[named]), "{\"x\":{\"a\":1,\"b\":null}}\n");
    let numbered = map(Arc::new(Int32Array::from(vec![1, 2])));
    let (message, help) = refusal(write("x.json", false, &[numbered]).err());
    assert!(message.ends_with("which JSON cannot hold"), "{message}");
    assert_eq!(help, "write .parquet or .arrow");
}
