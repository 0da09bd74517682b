use arrow::{
    array::{DictionaryArray, Int64Array, ListArray, StringArray, TimestampMicrosecondArray},
    datatypes::{Int32Type, Int64Type},
};
use datafusion::config::ConfigOptions;

use super::*;
use crate::error::ErrorKind;

fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// Nothing seen yet of values of this type.
fn seen(data_type: &DataType) -> Seen {
    let value = Arc::new(Field::new("z", data_type.clone(), false));
    let row = SingleRow::udaf().return_field(&[value]).unwrap();
    Seen::new(row_fields(row.data_type()).unwrap().clone())
}

/// What was seen of these values, in batches.
fn seen_of(batches: &[ArrayRef]) -> Seen {
    let mut seen = seen(batches[0].data_type());
    for batch in batches {
        seen.update_batch(&[Arc::clone(batch)]).unwrap();
    }
    seen
}

/// What has been seen where each of these has seen its part of values of this type.
fn merged_of(data_type: &DataType, mut parts: Vec<Seen>) -> Seen {
    let mut merged = seen(data_type);
    let states = parts.iter_mut().map(|part| part.state().unwrap().remove(0));
    let states = ScalarValue::iter_to_array(states).unwrap();
    merged.merge_batch(&[states]).unwrap();
    merged
}

/// The same of integers.
fn merged(parts: Vec<Seen>) -> Seen {
    merged_of(&DataType::Int64, parts)
}

fn value_of(rows: ColumnarValue, by_row: bool) -> Result<ColumnarValue> {
    let function = SingleValue::udf("z".to_owned(), by_row);
    let fields = row_fields(&rows.data_type())?.clone();
    function.invoke_with_args(ScalarFunctionArgs {
        number_rows: match &rows {
            ColumnarValue::Array(rows) => rows.len(),
            ColumnarValue::Scalar(_) => 1,
        },
        args: vec![rows],
        arg_fields: Vec::new(),
        return_field: Arc::new(Field::new("", fields[0].data_type().clone(), true)),
        config_options: Arc::new(ConfigOptions::default()),
    })
}

/// The one value that was seen.
fn value(mut seen: Seen) -> crate::Result<ArrayRef> {
    let row = ColumnarValue::Scalar(seen.evaluate()?);
    Ok(value_of(row, false)?.into_array(1)?)
}

#[test]
fn one_value_is_that_value_and_none_is_null() {
    for (batches, expected) in [
        (vec![ints([Some(7)])], Some(7)),
        (vec![ints([]), ints([Some(7)]), ints([])], Some(7)),
        (vec![ints([None])], None),
        (vec![ints([])], None),
    ] {
        assert_eq!(&value(seen_of(&batches)).unwrap(), &ints([expected]), "{batches:?}");
    }
}

#[test]
fn several_values_are_refused_wherever_they_are_seen() {
    let one = || seen_of(&[ints([Some(7)])]);
    let none = || seen_of(&[ints([])]);
    for several in [
        seen_of(&[ints([Some(7), Some(8)])]),
        seen_of(&[ints([Some(7)]), ints([Some(7)])]),
        seen_of(&[ints([None, None])]),
        merged(vec![one(), none(), one()]),
        merged(vec![none(), seen_of(&[ints([Some(7), Some(8)])])]),
        merged(vec![merged(vec![one(), one()]), none()]),
    ] {
        let error = value(several).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let expected = "the subquery of 'z' found several rows, and has to give one value; make \
                        one of them by an aggregate such as max(), or by LIMIT 1";
        assert_eq!(error.message(), expected);
    }
    assert_eq!(&value(merged(vec![none(), one(), none()])).unwrap(), &ints([Some(7)]));
    assert_eq!(&value(merged(vec![none(), none()])).unwrap(), &ints([None]));
}

#[test]
fn values_keep_their_types() {
    let words = DictionaryArray::<Int32Type>::from_iter([Some("a")]);
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    let times = TimestampMicrosecondArray::from(vec![1]).with_timezone("Europe/Berlin");
    let field = Arc::new(Field::new("w", DataType::Utf8, false));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let structs = StructArray::from(vec![(field, text)]);
    let arrays: [ArrayRef; 4] =
        [Arc::new(words), Arc::new(lists), Arc::new(times), Arc::new(structs)];
    for array in arrays {
        assert_eq!(&value(seen_of(&[Arc::clone(&array)])).unwrap(), &array);
        let found = [seen(array.data_type()), seen_of(&[Arc::clone(&array)])];
        let found = merged_of(array.data_type(), found.into());
        assert_eq!(&value(found).unwrap(), &array);
        let none = value(seen(array.data_type())).unwrap();
        assert_eq!((none.data_type(), none.is_null(0)), (array.data_type(), true));
    }
}

#[test]
fn several_rows_fail_only_where_they_are_read() {
    let groups = [&[Some(7)][..], &[Some(8), Some(9)], &[]];
    let rows = groups.map(|group| seen_of(&[ints(group.iter().copied())]).evaluate().unwrap());
    let rows = ScalarValue::iter_to_array(rows).unwrap();
    let read = |from, rows: &ArrayRef| {
        value_of(ColumnarValue::Array(rows.slice(from, 1)), true)?.into_array(1)
    };
    assert_eq!(&read(0, &rows).unwrap(), &ints([Some(7)]));
    assert_eq!(&read(2, &rows).unwrap(), &ints([None]));
    let error = Error::from(read(1, &rows).unwrap_err());
    let expected = "the subquery of 'z' found several rows for one row around it, and has to give \
                    one value; make one of them by an aggregate such as max()";
    assert_eq!(error.message(), expected);
}

#[test]
fn the_function_travels_with_what_it_says() {
    for (column, by_row) in [("z", false), ("größe", true), ("", false)] {
        let function = SingleValue::udf(column.to_owned(), by_row);
        let mut bytes = Vec::new();
        function.inner().downcast_ref::<SingleValue>().unwrap().encode(&mut bytes);
        assert_eq!(SingleValue::decode(&bytes), Some(function));
    }
    for bytes in [&[][..], &[2, b'z'], &[0, 0xff]] {
        assert_eq!(SingleValue::decode(bytes), None, "{bytes:?}");
    }
}
