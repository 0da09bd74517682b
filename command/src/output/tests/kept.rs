//! Parquet with Arrow's types, and Arrow.

use std::io::BufReader;

use datafusion::arrow::{
    array::{
        Date64Array, Decimal32Array, Decimal256Array, DictionaryArray, FixedSizeListArray,
        Int32Array, IntervalDayTimeArray, ListArray, StringArray, StringViewArray, StructArray,
        TimestampSecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Int8Type, Int32Type, IntervalDayTime, i256},
    ipc::reader::FileReader,
};

use super::*;

#[test]
fn arrow_types_are_kept_in_parquet() {
    let check = |given: RecordBatch| {
        let written = write("x.parquet", true, std::slice::from_ref(&given)).unwrap();
        let found = read(&written, true);
        assert_eq!(found.column(0).data_type(), given.column(0).data_type());
        assert_eq!(values(&found), values(&given));
    };
    let lists = [Some([Some(1), Some(2)]), None];
    check(column(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(lists, 2)));
    check(column(StringViewArray::from_iter_values(["a"])));
    check(column(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int8Type>>()));
    check(column(TimestampSecondArray::from(vec![Some(-1), None])));
    check(column(Date64Array::from(vec![Some(86_400_001), None])));
    check(column(IntervalDayTimeArray::from(vec![IntervalDayTime::new(1, -2)])));
    let decimals = Decimal32Array::from(vec![Some(-125), None]);
    check(column(decimals.with_precision_and_scale(9, 2).unwrap()));
    let decimals = Decimal256Array::from(vec![i256::from_i128(i128::MAX)]);
    check(column(decimals.with_precision_and_scale(76, 2).unwrap()));
}

/// A dictionary column, and one within structs within lists.
fn dictionaries(texts: [&str; 2]) -> RecordBatch {
    let dictionary: DictionaryArray<Int8Type> = texts.into_iter().collect();
    let field = Arc::new(Field::new("d", dictionary.data_type().clone(), true));
    let dictionary: ArrayRef = Arc::new(dictionary);
    let structs = StructArray::new(vec![field].into(), vec![Arc::clone(&dictionary)], None);
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), Arc::new(structs), None);
    batch([("d", dictionary), ("lists", Arc::new(lists) as ArrayRef)])
}

#[test]
fn an_arrow_file_has_plain_values_for_dictionaries_that_differ() {
    let batches = [dictionaries(["a", "b"]), dictionaries(["c", "a"])];
    let written = write("x.arrow", false, &batches).unwrap();
    let reader = FileReader::try_new(BufReader::new(File::open(&written.path).unwrap()), None);
    let found: Vec<_> = reader.unwrap().map(Result::unwrap).collect();
    let texts = found.iter().map(|batch| batch.column(0).as_ref());
    let expected = [StringArray::from(vec!["a", "b"]), StringArray::from(vec!["c", "a"])];
    assert!(texts.eq(expected.iter().map(|texts| texts as &dyn Array)), "{found:?}");
    let lists = |batch: &RecordBatch| values(&batch.project(&[1]).unwrap());
    assert_eq!(lists(&found[1]), ["[{d: c}]", "[{d: a}]"]);
}

#[test]
fn an_arrow_file_keeps_other_types() {
    let lists = [Some([Some(1), Some(2)]), None];
    let given = batch([
        (
            "v",
            Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(lists, 2))
                as ArrayRef,
        ),
        ("t", Arc::new(TimestampSecondArray::from(vec![Some(-1), None]))),
        ("n", Arc::new(Int32Array::from(vec![Some(1), None]))),
    ]);
    let written = write("x.arrow", false, std::slice::from_ref(&given)).unwrap();
    let reader = FileReader::try_new(BufReader::new(File::open(&written.path).unwrap()), None);
    let found: Vec<_> = reader.unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [given]);
    assert!(matches!(found[0].column(0).data_type(), DataType::FixedSizeList(..)));
}
