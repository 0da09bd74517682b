use arrow::{
    array::{
        DictionaryArray, Int32Array, Int64Array, MapArray, StringArray, StructArray, UnionArray,
    },
    buffer::OffsetBuffer,
    datatypes::{Field, Fields, UnionFields},
};
use datafusion::config::ConfigOptions;

use super::*;

fn structs(fields: &[(&str, ArrayRef)], valid: &[bool]) -> StructArray {
    // No field may be null by its type: a struct may.
    let field = |(name, array): &(&str, ArrayRef)| {
        Field::new(*name, array.data_type().clone(), array.null_count() > 0)
    };
    StructArray::new(
        fields.iter().map(field).collect::<Fields>(),
        fields.iter().map(|(_, array)| Arc::clone(array)).collect(),
        Some(NullBuffer::from(valid)),
    )
}

/// `{n, t: {w}}`: 1 and a; 2 and b under a null; 3 with a null that hides c; 4 and d.
fn hiding() -> ArrayRef {
    let words = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    let inner = structs(&[("w", words)], &[true, true, false, true]);
    let numbers = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    Arc::new(structs(&[("n", numbers), ("t", Arc::new(inner))], &[true, false, true, true]))
}

fn get(base: ColumnarValue, path: &[ScalarValue]) -> Result<ColumnarValue> {
    let path = path.iter().cloned().map(ColumnarValue::Scalar);
    let number_rows = match &base {
        ColumnarValue::Array(array) => array.len(),
        ColumnarValue::Scalar(_) => 1,
    };
    GetField::default().invoke_with_args(ScalarFunctionArgs {
        args: std::iter::once(base).chain(path).collect(),
        arg_fields: Vec::new(),
        number_rows,
        return_field: Arc::new(Field::new("", DataType::Null, true)),
        config_options: Arc::new(ConfigOptions::default()),
    })
}

fn get_all(base: &ArrayRef, path: &[ScalarValue]) -> ArrayRef {
    get(ColumnarValue::Array(Arc::clone(base)), path).unwrap().into_array(base.len()).unwrap()
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

#[test]
fn a_field_of_a_null_struct_is_null_at_every_depth() {
    let rows = hiding();
    let (n, t, w) = (ScalarValue::from("n"), ScalarValue::from("t"), ScalarValue::from("w"));
    assert_eq!(&get_all(&rows, &[n]), &ints([Some(1), None, Some(3), Some(4)]));
    let expected = texts([Some("a"), None, None, Some("d")]);
    assert_eq!(&get_all(&rows, &[t.clone(), w.clone()]), &expected);
    let inner = get_all(&rows, &[t]);
    assert_eq!(inner.logical_nulls().unwrap().null_count(), 2);
    assert_eq!(&get_all(&inner, &[w]), &expected);
}

#[test]
fn slices_keep_their_own_nulls() {
    let rows = hiding().slice(1, 2);
    let path = [ScalarValue::from("t"), ScalarValue::from("w")];
    assert_eq!(&get_all(&rows, &path), &texts([None, None]));
    assert_eq!(&get_all(&rows, &[ScalarValue::from("n")]), &ints([None, Some(3)]));
}

#[test]
fn a_field_of_a_dictionary_of_structs_is_null_where_the_struct_is() {
    let keys = Int32Array::from(vec![Some(3), Some(1), None, Some(0)]);
    let rows: ArrayRef = Arc::new(DictionaryArray::new(keys, hiding()));
    let numbers = get_all(&rows, &[ScalarValue::from("n")]);
    let numbers = arrow::compute::cast(&numbers, &DataType::Int64).unwrap();
    assert_eq!(&numbers, &ints([Some(4), None, None, Some(1)]));
}

#[test]
fn a_value_of_a_null_map_or_under_a_null_key_is_null() {
    let keys = texts([Some("x"), Some("x"), Some("y")]);
    let values = ints([Some(1), Some(2), Some(3)]);
    let entries = structs(&[("key", keys), ("value", values)], &[true, true, true]);
    let entries = StructArray::new(entries.fields().clone(), entries.columns().to_vec(), None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::new(vec![0, 1, 2, 3].into());
    let valid = Some(NullBuffer::from(vec![true, false, true]));
    let maps: ArrayRef = Arc::new(MapArray::new(field, offsets, entries, valid, false));
    assert_eq!(&get_all(&maps, &[ScalarValue::from("x")]), &ints([Some(1), None, None]));
    let null = ScalarValue::Utf8(None);
    assert_eq!(&get_all(&maps, &[null]), &ints([None, None, None]));
}

#[test]
fn a_field_of_a_single_null_struct_is_a_single_null() {
    let value = |row| ScalarValue::try_from_array(&hiding(), row).unwrap();
    for (row, expected) in [(0, Some(1)), (1, None)] {
        let field = get(ColumnarValue::Scalar(value(row)), &[ScalarValue::from("n")]).unwrap();
        let ColumnarValue::Scalar(field) = field else { panic!("one value for one value") };
        assert_eq!(field, ScalarValue::Int64(expected));
    }
}

#[test]
fn a_field_that_cannot_be_null_is_refused_where_its_struct_is() {
    let fields = UnionFields::from_fields([Field::new("i", DataType::Int64, true)]);
    let values = vec![ints([Some(1), Some(2)])];
    let union = UnionArray::try_new(fields, vec![0, 0].into(), None, values).unwrap();
    let get_union = |valid: &[bool]| {
        let rows = structs(&[("u", Arc::new(union.clone()))], valid);
        get(ColumnarValue::Array(Arc::new(rows)), &[ScalarValue::from("u")])
    };
    assert!(get_union(&[true, true]).is_ok());
    let error = Error::from(get_union(&[true, false]).unwrap_err());
    assert!(error.message().starts_with("a field of type Union("), "{error}");
}

#[test]
fn a_field_that_is_not_there_is_refused_with_those_that_are() {
    let rows = hiding();
    let base = Arc::new(Field::new("s", rows.data_type().clone(), true));
    let name = Arc::new(Field::new("", DataType::Utf8, false));
    let read = |path: &[&str]| {
        let path: Vec<_> = path.iter().map(|name| ScalarValue::from(*name)).collect();
        let names = path.iter().map(Some);
        let scalar_arguments: Vec<_> = std::iter::once(None).chain(names).collect();
        let names = path.iter().map(|_| Arc::clone(&name));
        let arg_fields: Vec<_> = std::iter::once(Arc::clone(&base)).chain(names).collect();
        let args = ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments };
        let field = GetField::default().return_field_from_args(args);
        field.map(|field| field.data_type().clone()).map_err(Error::from)
    };
    assert_eq!(read(&["n"]), Ok(DataType::Int64));
    assert_eq!(read(&["t", "w"]), Ok(DataType::Utf8));
    for (path, message) in [
        (&["nme"][..], "the struct has no field 'nme'; it has 'n', 't'"),
        (&["t", "n"], "the struct has no field 'n'; it has 'w'"),
    ] {
        assert_eq!(read(path), Err(Error::invalid(message)));
    }
}
