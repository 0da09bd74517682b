//! Names that are types, and names that are none.

use super::*;

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(data_type, true))
}

#[test]
fn names_of_sql_and_arrow_are_types() {
    use DataType::*;
    use TimeUnit::*;
    let cases = [
        ("text", Utf8),
        (" VarChar ", Utf8),
        ("character  varying", Utf8),
        ("Utf8", Utf8),
        ("large_string", LargeUtf8),
        ("LargeUtf8", LargeUtf8),
        ("bool", Boolean),
        ("INTEGER", Int32),
        ("bigint", Int64),
        ("int8", Int8),
        ("Int64", Int64),
        ("unsigned int", UInt32),
        ("BIGINT UNSIGNED", UInt64),
        ("float", Float32),
        ("double precision", Float64),
        ("date", Date32),
        ("date32[day]", Date32),
        ("date64[ms]", Date64),
        ("time", Time64(Microsecond)),
        ("time32[s]", Time32(Second)),
        ("time64[ns]", Time64(Nanosecond)),
        ("timestamp", Timestamp(Microsecond, None)),
        ("timestamp(3)", Timestamp(Millisecond, None)),
        ("timestamp(9) with time zone", Timestamp(Nanosecond, Some("UTC".into()))),
        ("timestamptz", Timestamp(Microsecond, Some("UTC".into()))),
        ("timestamp[ns]", Timestamp(Nanosecond, None)),
        ("timestamp[ns, tz=Europe/Berlin]", Timestamp(Nanosecond, Some("Europe/Berlin".into()))),
        ("timestamp_ms", Timestamp(Millisecond, None)),
        ("Timestamp(Nanosecond, None)", Timestamp(Nanosecond, None)),
        ("duration[us]", Duration(Microsecond)),
        ("decimal(18, 2)", Decimal128(18, 2)),
        ("NUMERIC(5)", Decimal128(5, 0)),
        ("decimal128(38, 38)", Decimal128(38, 38)),
        ("decimal(40,1)", Decimal256(40, 1)),
        ("bytea", Binary),
        ("fixed_size_binary[16]", FixedSizeBinary(16)),
        ("text[]", List(item(Utf8))),
        ("int64[][]", List(item(List(item(Int64))))),
        ("list<item: int64>", List(item(Int64))),
        ("list<double>", List(item(Float64))),
        ("large_list<item: list<element: date32[day]>>", LargeList(item(List(item(Date32))))),
        ("fixed_size_list<item: float>[3]", FixedSizeList(item(Float32), 3)),
        (
            "struct<Name: string not null, paid: decimal128(9, 2)>",
            Struct(
                vec![Field::new("Name", Utf8, true), Field::new("paid", Decimal128(9, 2), true)]
                    .into(),
            ),
        ),
        ("Dictionary(Int32, Utf8)", Dictionary(Box::new(Int32), Box::new(Utf8))),
    ];
    for (name, expected) in cases {
        assert_eq!(parse_type(name), Ok(expected), "{name}");
    }
    let entries = match parse_type("map<string, int64>").unwrap() {
        Map(entries, false) => entries,
        other => panic!("{other}"),
    };
    assert!(matches!(entries.data_type(), Struct(fields) if fields.len() == 2));
}

#[test]
fn what_is_no_type_is_refused_with_the_choices() {
    for name in ["", "strnig", "text)", "list<", "timestamp[us", "decimal(x)", "text not null"] {
        let error = parse_type(name).unwrap_err().message().to_owned();
        assert!(error.starts_with(&format!("unknown type '{name}'; types are text,")), "{error}");
    }
    let cases = [
        ("decimal", "a decimal needs its digits, as in decimal(18, 2)"),
        ("decimal(77, 1)", "a decimal has 1 to 76 digits"),
        ("decimal(2, 3)", "more digits behind the point than there are digits"),
        ("varchar(10)", "lengths of text are not checked; leave the length out"),
        ("timestamp[min]", "units of time are s, ms, us and ns"),
        ("time32[ns]", "time32 counts s or ms, time64 us or ns"),
        ("json", "JSON is read as text; write text"),
        ("uuid", "UUIDs are read as text, or as fixed_size_binary[16] if they are binary"),
    ];
    for (name, why) in cases {
        let error = parse_type(name).unwrap_err().message().to_owned();
        assert_eq!(error, format!("type '{name}': {why}"));
    }
    let deep = format!("{}text{}", "list<".repeat(100), ">".repeat(100));
    let error = parse_type(&deep).unwrap_err();
    assert!(error.message().ends_with("too many types within each other"), "{error}");
}
