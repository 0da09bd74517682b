//! What formats cannot hold.

use datafusion::arrow::{
    array::{
        Date64Array, Decimal128Array, Decimal256Array, DictionaryArray, Int32Array,
        IntervalDayTimeArray, IntervalMonthDayNanoArray, IntervalYearMonthArray, ListArray,
        StructArray, TimestampSecondArray, UnionArray, new_empty_array,
    },
    datatypes::{DataType, Int32Type, UnionFields, UnionMode},
};

use super::*;

/// Refuses a column of Parquet, with Arrow's types or without, with words of help.
fn check(array: &ArrayRef, arrow_types: bool, message: &str, help: &str) {
    let given = batch([("x", Arc::clone(array))]);
    let refused = refusal(write("x.parquet", arrow_types, &[given]).err());
    assert_eq!(refused.0, message);
    assert!(refused.1.contains(help), "{refused:?}");
}

/// Refuses a column unless Arrow's types are kept.
fn check_unreadable(array: impl Array + 'static, help: &str) {
    let array: ArrayRef = Arc::new(array);
    let data_type = array.data_type();
    let message =
        format!("column 'x' holds {data_type}, which not all readers of Parquet can read");
    check(&array, false, &message, help);
    let given = batch([("x", Arc::clone(&array))]);
    assert_eq!(read(&write("x.parquet", true, std::slice::from_ref(&given)).unwrap(), true), given);
}

/// Refuses a column either way.
fn check_impossible(array: impl Array + 'static, help: &str) {
    let array: ArrayRef = Arc::new(array);
    let message = format!("column 'x' holds {}, which Parquet cannot hold", array.data_type());
    check(&array, false, &message, help);
    check(&array, true, &message, help);
}

#[test]
fn parquet_names_the_column_that_readers_cannot_read() {
    let decimals = Decimal256Array::from(vec![None, Some(1.into())]);
    let decimals = decimals.with_precision_and_scale(60, 2).unwrap();
    check_unreadable(decimals, "take CAST(x AS DECIMAL(38, 2)) if the values fit");
    check_unreadable(IntervalYearMonthArray::from(vec![1]), "CAST(x AS VARCHAR)");
    check_unreadable(
        IntervalDayTimeArray::from(vec![None]),
        "with arrow_types = true or --arrow-types",
    );
}

#[test]
fn parquet_names_the_column_that_it_cannot_hold() {
    check_impossible(IntervalMonthDayNanoArray::from(vec![None]), "CAST(x AS VARCHAR)");
    let decimals = Decimal128Array::from(vec![3]).with_precision_and_scale(5, -2).unwrap();
    check_impossible(decimals, "CAST(x AS DECIMAL(7, 0))");
    check_impossible(StructArray::new_empty_fields(1, None), "leave it out");
    let fields = UnionFields::from_fields([Field::new("a", DataType::Int32, true)]);
    let union = new_empty_array(&DataType::Union(fields, UnionMode::Dense));
    let union = union.as_any().downcast_ref::<UnionArray>().unwrap().clone();
    check_impossible(union, "write .arrow");
    let inner = IntervalMonthDayNanoArray::from(vec![None]);
    let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
    let lists = ListArray::new(
        field,
        datafusion::arrow::buffer::OffsetBuffer::from_lengths([1]),
        Arc::new(inner),
        None,
    );
    let given = batch([("x", Arc::new(lists) as ArrayRef)]);
    let (message, _) = refusal(write("x.parquet", false, &[given]).err());
    assert_eq!(message, "column 'x' holds Interval(MonthDayNano), which Parquet cannot hold");
}

#[test]
fn dictionaries_of_lists_are_plain_or_refused() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let keys = Int32Array::from(vec![0, 0]);
    let array: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(lists)));
    let message = format!("column 'x' holds {}, which Parquet cannot hold", array.data_type());
    check(&array, true, &message, "leave out arrow_types");
    let written = write("x.parquet", false, &[batch([("x", array)])]).unwrap();
    assert_eq!(values(&read(&written, true)), ["[1]", "[1]"]);
}

#[test]
fn values_that_would_change_fail_the_job() {
    let check = |given: RecordBatch, words: &str| {
        let (message, _) = refusal(write("x.parquet", false, &[given]).err());
        assert!(message.starts_with("column 'x' cannot be written: "), "{message}");
        assert!(message.contains(words), "{message}");
    };
    check(column(Date64Array::from(vec![86_400_001])), "have a time of day");
    check(column(TimestampSecondArray::from(vec![i64::MAX])), "overflow");
}
