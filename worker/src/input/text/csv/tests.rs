//! CSV, from what files say to rows.

use std::{io::Write, sync::Arc};

use arrow::datatypes::{DataType, Schema, TimeUnit};
use keyloom_common::{
    ErrorKind, Result,
    input::{CsvOptions, Piece},
};
use object_store::{ObjectStore, local::LocalFileSystem};

use super::{columns::Learnt, infer, open, pieces};
use crate::input::text::testing::{Random, files, invalid, list, rows, schema, slice, types};

const ENOUGH: u64 = 1 << 20;

fn options() -> CsvOptions {
    CsvOptions::default()
}

/// What is learnt from files, and all their rows.
async fn read_files(
    given: &[(&str, &[u8])],
    options: &CsvOptions,
    columns: &Schema,
    infer_bytes: u64,
) -> Result<(String, Vec<String>)> {
    let mut answers = Vec::new();
    for chunk in [0, 1, 7] {
        let store = files(given, chunk).await;
        let files = list(&store).await;
        let Learnt { schema: learnt, unproven } =
            infer(&*store, &files, options, columns, infer_bytes).await?;
        let options = CsvOptions { unproven, ..options.clone() };
        let mut all = Vec::new();
        for file in &files {
            let projection = (0..learnt.fields().len()).collect();
            let slice = slice(file, 0..file.size, 0);
            let (store, options) = (Arc::clone(&store), options.clone());
            all.extend(
                rows(open(store, slice, options, learnt.clone(), projection, 3).await).await?,
            );
        }
        answers.push((types(&learnt), all));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    Ok(answers.swap_remove(0))
}

async fn read(text: &str) -> (String, Vec<String>) {
    let empty = Schema::empty();
    read_files(&[("a.csv", text.as_bytes())], &options(), &empty, ENOUGH).await.unwrap()
}

/// The type of a column of values, which come back as they are.
async fn check_type(values: &[&str], expected: &str) {
    let text = format!("n,x\n{}", values.iter().map(|v| format!("1,{v}\n")).collect::<String>());
    let (types, _) = read(&text).await;
    assert_eq!(types, format!("n: Int64, x: {expected}"), "{values:?}");
}

#[tokio::test]
async fn types_are_guessed_where_no_value_changes() {
    check_type(&["true", "FALSE", ""], "Boolean").await;
    check_type(&["1", "-2", "0", "9223372036854775807"], "Int64").await;
    check_type(&["1", "2.5", "-.5", "1e3", "0.5E-2"], "Float64").await;
    check_type(&["", ""], "Utf8").await;
    check_type(&["2001-02-03", "9999-12-31"], "Date32").await;
    check_type(&["2001-02-03T04:05:06", "2001-02-03 04:05:06"], "Timestamp(s)").await;
    check_type(&["2001-02-03", "2001-02-03 04:05:06"], "Timestamp(s)").await;
    check_type(&["2001-02-03 04:05:06.1", "2001-02-03 04:05:06"], "Timestamp(ms)").await;
    check_type(&["2001-02-03 04:05:06.1234"], "Timestamp(µs)").await;
    check_type(&["2001-02-03 04:05:06.1234567"], "Timestamp(ns)").await;
    check_type(&["2001-02-03T04:05:06Z", "2001-02-03 04:05:06+02:00"], "Timestamp(s, \"UTC\")")
        .await;
}

#[tokio::test]
async fn values_that_would_change_are_text() {
    for values in [
        &["00700", "1"][..],
        &["-007", "1"],
        &["00.5"],
        &["+5"],
        &["9223372036854775808"],
        &["9007199254740993", "1.5"],
        &["1e999"],
        &["NaN", "1.5"],
        &[" 5"],
        &["1", "true"],
        &["1", "2001-02-03"],
        &["2001-02-30"],
        &["2001-02-03T25:05:06"],
        &["2001-02-03 04:05:06Z", "2001-02-03 04:05:06"],
        &["2001-02-03 04:05:06Z", "2001-02-03"],
        &["2001-02-03 04:05:06.1234567", "2900-01-01"],
        &["2001-02-03 04:05:06.1234567891"],
        &["12:30:00"],
        &["-"],
        &["."],
        &["1e"],
    ] {
        check_type(values, "Utf8").await;
    }
}

#[tokio::test]
async fn what_is_guessed_is_read_back() {
    let (types, rows) = read(
        "b,i,f,d,t,z,c\ntrue,-9223372036854775808,1.5,0001-01-01,2900-01-01 00:00:00,\
         2001-02-03T00:00:00.250+02:00,00700\n,,,,,,\nFALSE,0,-2e3,9999-12-31,2001-02-03,\
         2001-02-03 00:00:00Z,7\n",
    )
    .await;
    assert_eq!(
        types,
        "b: Boolean, i: Int64, f: Float64, d: Date32, t: Timestamp(s), z: Timestamp(ms, \"UTC\"), \
         c: Utf8"
    );
    assert_eq!(
        rows,
        [
            "true|-9223372036854775808|1.5|0001-01-01|2900-01-01T00:00:00|2001-02-02T22:00:00.250Z|\
             00700",
            "∅|∅|∅|∅|∅|∅|∅",
            "false|0|-2000.0|9999-12-31|2001-02-03T00:00:00|2001-02-03T00:00:00Z|7",
        ]
    );
}

/// Random values of all shapes: whatever type is guessed, they are all read as it.
#[tokio::test]
async fn guesses_hold_for_random_values() {
    let kinds = [
        "1",
        "-3",
        "0",
        "007",
        "1.5",
        ".5",
        "5.",
        "1e5",
        "1E-400",
        "-",
        "true",
        "False",
        "",
        "2001-01-01",
        "2001-1-1",
        "2001-01-01 00:00:00",
        "2001-01-01T23:59:60",
        "1600-01-01 00:00:00.123456789",
        "2001-01-01 00:00:00.5Z",
        "2001-01-01 00:00:00 UTC",
        "2001-01-01 00:00:00-0800",
        "20010101",
        "9007199254740993",
        "18446744073709551616",
        "x",
        "2001-01-01 24:00:00",
        "2001-01-01 000000",
    ];
    for seed in 0..300 {
        let mut random = Random(seed);
        let few: Vec<_> = (0..2 + random.below(2)).map(|_| random.pick(&kinds)).collect();
        let values: Vec<_> = (0..6).map(|_| random.pick(&few)).collect();
        let text: String = values.iter().map(|value| format!("1,{value}\n")).collect();
        let (types, rows) = read(&format!("n,x\n{text}")).await;
        assert_eq!(rows.len(), 6, "seed {seed}: {values:?} as {types}");
        if types.ends_with("Utf8") {
            let empty =
                |value: &str| if value.is_empty() { "∅".to_owned() } else { value.to_owned() };
            let expected: Vec<_> = values.iter().map(|v| format!("1|{}", empty(v))).collect();
            assert_eq!(rows, expected, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn text_is_split_as_people_write_it() {
    let check = async |text: &str, options: &CsvOptions, expected: &[&str]| {
        let files = [("a.csv", text.as_bytes())];
        let rows = read_files(&files, options, &Schema::empty(), ENOUGH).await.unwrap().1;
        assert_eq!(rows, expected, "{text:?}");
    };
    let default = options();
    check("\u{feff}a,b\r\n1,x\r\n2,\r\n", &default, &["1|x", "2|∅"]).await;
    check("\u{feff}\"a\",b\n1,\"x\ny\"\n", &default, &["1|x\ny"]).await;
    check("a,b\n\n1,\"x \"\"y\"\", z\"\n\n\n2,\"\"", &default, &["1|x \"y\", z", "2|∅"]).await;
    check("a,b\n1,\u{feff}x\n\u{feff}y,z", &default, &["1|\u{feff}x", "\u{feff}y|z"]).await;
    check("a,b\r1,2\r3,4", &default, &["1|2", "3|4"]).await;
    check("a\n", &default, &[]).await;
    check("a,b\n1,it's 6\" long\n", &default, &["1|it's 6\" long"]).await;
    let nulls = vec!["-".to_owned(), "N.A".to_owned()];
    let semicolons = CsvOptions { delimiter: b';', nulls, ..options() };
    check("a;b\n1;-\n2;N.A\n3;NxA\n-;3,5", &semicolons, &["1|∅", "2|∅", "3|NxA", "∅|3,5"]).await;
    let quoted = CsvOptions { quote: b'\'', escape: Some(b'\\'), ..options() };
    check("a,b\n1,'it\\'s, \"x\"'\n", &quoted, &["1|it's, \"x\""]).await;
    let commented = CsvOptions { comment: Some(b'#'), ..options() };
    check("#x,\"y\na,b\n#1,2\n3,#4\n#", &commented, &["3|#4"]).await;
    let bare = CsvOptions { header: false, ..options() };
    check("1,x\n2,y", &bare, &["1|x", "2|y"]).await;
}

#[tokio::test]
async fn columns_have_names() {
    assert_eq!(read("a,b\n").await, ("a: Utf8, b: Utf8".to_owned(), vec![]));
    let bare = CsvOptions { header: false, ..options() };
    let text = [("a.csv", b"1,x\n2,y\n".as_slice())];
    let learn = async |options: &CsvOptions, given: &[(&str, DataType)]| {
        read_files(&text, options, &schema(given), ENOUGH).await.map(|(types, _)| types)
    };
    assert_eq!(learn(&bare, &[]).await.unwrap(), "column_1: Int64, column_2: Utf8");
    let given = [("visit", DataType::Int8), ("code", DataType::Utf8)];
    assert_eq!(learn(&bare, &given).await.unwrap(), "visit: Int8, code: Utf8");
    let error = invalid(learn(&bare, &given[..1]).await);
    assert!(error.contains("1 are named") && error.contains("have 2 values"), "{error}");
    let error = invalid(learn(&options(), &[("zip", DataType::Utf8)]).await);
    assert_eq!(error, "columns: no file has 'zip'; the columns are 1, x");
    let list = DataType::new_list(DataType::Int8, true);
    let error = invalid(learn(&options(), &[("x", list)]).await);
    assert!(error.starts_with("columns: 'x' cannot be of type List"), "{error}");
}

#[tokio::test]
async fn given_types_win_and_every_type_is_read() {
    let moment = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    let cases = [
        (DataType::Utf8, "007", "007"),
        (DataType::LargeUtf8, "7", "7"),
        (DataType::Utf8View, "7", "7"),
        (DataType::Int16, "7", "7"),
        (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
        (DataType::Float32, "1.5", "1.5"),
        (DataType::Decimal128(10, 2), "1.5", "1.50"),
        (DataType::Decimal128(10, 1), "-2.500", "-2.5"),
        (DataType::Decimal256(40, 0), "12345678901234567890", "12345678901234567890"),
        (DataType::Decimal128(10, 2), "-1.25e3", "-1250.00"),
        (DataType::Decimal128(10, 2), "0E-18", "0.00"),
        (DataType::Decimal128(10, 2), "1500E-2", "15.00"),
        (DataType::Date32, "2001-02-03", "2001-02-03"),
        (moment(TimeUnit::Millisecond, None), "2001-02-03 04:05:06", "2001-02-03T04:05:06"),
        (
            moment(TimeUnit::Second, Some("+01:00")),
            "2001-02-03 04:05:06",
            "2001-02-03T04:05:06+01:00",
        ),
        (DataType::Time32(TimeUnit::Second), "04:05:06", "04:05:06"),
        (DataType::Binary, "ab", "6162"),
        (DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into()), "x", "x"),
    ];
    for (data_type, value, expected) in cases {
        let text = format!("a,b\n{value},x\n,y\n");
        let files = [("a.csv", text.as_bytes())];
        let given = schema(&[("a", data_type.clone())]);
        let (types, rows) = read_files(&files, &options(), &given, ENOUGH).await.unwrap();
        assert_eq!(types, format!("a: {data_type}, b: Utf8"));
        assert_eq!(rows, [format!("{expected}|x"), "∅|y".to_owned()], "{data_type}");
    }
}

#[tokio::test]
async fn digits_that_a_given_decimal_does_not_hold_are_refused() {
    let cases = [
        (2, "1.255"),
        (2, "-0.999"),
        (0, "1.5"),
        (1, "123456789.5"),
        (2, "1.5e-2"),
        (2, "1e7"),
        (2, "1e99999"),
        (2, "1e-9999999999999999999"),
    ];
    for (scale, value) in cases {
        let text = format!("a,b\n1,x\n{value},y\n");
        let given = schema(&[("a", DataType::Decimal128(8, scale))]);
        let read = read_files(&[("a.csv", text.as_bytes())], &options(), &given, ENOUGH).await;
        let error = invalid(read);
        let what = format!("file 'a.csv', line 3: column 'a': '{value}' is not of type Decimal128");
        assert!(error.starts_with(&what), "{error}");
    }
}

#[tokio::test]
async fn files_are_read_by_the_names_in_their_headers() {
    let read = async |texts: &[&str], given: &[(&str, DataType)], infer_bytes| {
        let names = ["0.csv", "1.csv", "2.csv"];
        let files: Vec<_> = names.into_iter().zip(texts.iter().map(|t| t.as_bytes())).collect();
        read_files(&files, &options(), &schema(given), infer_bytes).await
    };
    let (types, rows) = read(&["", "a,b\n1,x\n", "b,a\ny,2\n"], &[], ENOUGH).await.unwrap();
    assert_eq!((types.as_str(), rows), ("a: Int64, b: Utf8", vec!["1|x".into(), "2|y".into()]));
    let (_, rows) = read(&["a,b\n1,x\n", "b\ny\n", "a,b\n"], &[], ENOUGH).await.unwrap();
    assert_eq!(rows, ["1|x", "∅|y"]);
    for infer_bytes in [0, ENOUGH] {
        let error = invalid(read(&["a\n1\n", "a,c\n1,2\n"], &[], infer_bytes).await);
        assert!(error.starts_with("file '1.csv' has a column 'c' that"), "{error}");
        assert!(error.ends_with("columns = { c = \"text\" }"), "{error}");
        let texts = ["a\n1\n", "a,c\n1,2\n"];
        let (types, rows) = read(&texts, &[("c", DataType::Utf8)], infer_bytes).await.unwrap();
        assert_eq!((types.as_str(), rows), ("a: Int64, c: Utf8", vec!["1|∅".into(), "1|2".into()]));
    }
    let error = invalid(read(&["a,b,a\n1,2,3\n"], &[], ENOUGH).await);
    assert_eq!(error, "file '0.csv', line 1: the column 'a' stands twice: names must be distinct");
    let error = invalid(read(&["", ""], &[], ENOUGH).await);
    assert!(error.starts_with("no columns"), "{error}");
}

#[tokio::test]
async fn values_that_do_not_fit_are_named_with_their_line() {
    let text = "n,zip,day\n1,700,2001-01-01\n\n2,\"701\",2001-01-01\n3,A1,2001-01-01\n4,8,2001-01-01 10:00:00\n";
    let read = async |text: &str, given: &[(&str, DataType)], infer_bytes| {
        read_files(&[("a.csv", text.as_bytes())], &options(), &schema(given), infer_bytes).await
    };
    let error = invalid(read(text, &[], 20).await);
    assert_eq!(
        error,
        "file 'a.csv', line 5: column 'zip': 'A1' is not of type Int64; say columns = { zip = \
         \"text\" }, or look at more of the files with infer_bytes"
    );
    let error = invalid(read(text, &[("zip", DataType::Utf8)], 20).await);
    assert!(
        error.starts_with("file 'a.csv', line 6: column 'day': '2001-01-01 10:00:00' is"),
        "{error}"
    );
    let (types, rows) = read(text, &[], ENOUGH).await.unwrap();
    assert_eq!(types, "n: Int64, zip: Utf8, day: Timestamp(s)");
    assert_eq!(rows.len(), 4);

    for (late, column) in [
        ("1.5,x,2001-01-01 00:00:00,2001-01-01 00:00:00Z", 'a'),
        ("1,x,2001-01-01 00:00:00.5,2001-01-01 00:00:00Z", 'c'),
        ("1,x,2001-01-01 00:00:00Z,2001-01-01 00:00:00Z", 'c'),
        ("1,x,2001-01-01 00:00:00,x", 'd'),
    ] {
        let first = "a,b,c,d\n1,x,2001-01-01 00:00:00,2001-01-01 00:00:00Z\n";
        let error = invalid(read(&format!("{first}{late}\n"), &[], 0).await);
        assert!(error.starts_with(&format!("file 'a.csv', line 3: column '{column}'")), "{error}");
    }
}

#[tokio::test]
async fn rows_of_another_length_are_named_with_their_line() {
    for (text, line, found) in [
        ("a,b\nw,2\n\"x\ny\",4\n3\n", 5, "1 value, where there are 2 columns"),
        ("a,b\n1,2\n3,4,5\n6,7\n", 3, "3 values, where there are 2 columns"),
    ] {
        for infer_bytes in [0, ENOUGH] {
            let files = [("a.csv", text.as_bytes())];
            let error = read_files(&files, &options(), &Schema::empty(), infer_bytes).await;
            assert_eq!(invalid(error), format!("file 'a.csv', line {line}: {found}"));
        }
    }
    let broken = [("a.csv", b"a,b\n1,2\n3,\xe4\n".as_slice())];
    let error = read_files(&broken, &options(), &Schema::empty(), ENOUGH).await;
    assert_eq!(invalid(error), "file 'a.csv', line 3: column 'b' is not UTF-8");
}

#[tokio::test]
async fn columns_are_projected_in_any_order() {
    let store = files(&[("a.csv", b"a,b,c\n1,x,2\n3,y,4\n")], 0).await;
    let file = list(&store).await.remove(0);
    let (options, given) = (options(), Schema::empty());
    let learnt = infer(&*store, std::slice::from_ref(&file), &options, &given, ENOUGH).await;
    let columns = learnt.unwrap().schema;
    for (projection, expected) in
        [(vec![2, 0], ["2|1", "4|3"]), (vec![1], ["x", "y"]), (vec![], ["", ""])]
    {
        let slice = slice(&file, 0..file.size, 0);
        let schema = Arc::clone(&columns);
        let stream = open(Arc::clone(&store), slice, options.clone(), schema, projection, 8).await;
        assert_eq!(rows(stream).await.unwrap(), expected);
    }
}

/// All rows of the pieces of a file, one after the other.
async fn by_pieces(
    store: &Arc<dyn ObjectStore>,
    options: &CsvOptions,
    piece_bytes: u64,
    projection: &[usize],
) -> (Vec<Piece>, Vec<String>) {
    let file = list(store).await.remove(0);
    let pieces = pieces(&**store, &file, options, piece_bytes).await.unwrap();
    let schema = schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let mut all = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let end = pieces.get(index + 1).map_or(file.size, |next| next.start);
        let slice = slice(&file, piece.start..end, piece.lines_before);
        let (store, projection) = (Arc::clone(store), projection.to_vec());
        let stream = open(store, slice, options.clone(), schema.clone(), projection, 4).await;
        all.extend(rows(stream).await.unwrap_or_else(|error| panic!("{error} {pieces:?}")));
    }
    (pieces, all)
}

/// Some rows of two values.
fn generate(random: &mut Random, first: &[&str], second: &[&str]) -> String {
    let mut text = if random.below(4) == 0 { "\u{feff}".to_owned() } else { String::new() };
    text.push_str(random.pick(&["a,b\n", "b,a\r\n", "\n\"a\",b\r\n"]));
    for _ in 0..random.below(12) {
        text.push_str(random.pick(first));
        text.push(',');
        text.push_str(random.pick(second));
        text.push_str(random.pick(&["\n", "\r\n", "\n\n", "\r"]));
    }
    if random.below(2) == 0 {
        text.push_str("last,row");
    }
    text
}

/// Texts with quotes, breaks, escapes and comments, cut at every size: the rows are those of the
/// whole text.
#[tokio::test]
async fn rows_are_the_same_wherever_text_is_cut() {
    let plain = ["x", "yy", "z z", "12", "x"];
    let quoted =
        ["x", "\"\"", "\"q\nr\"", "\"\"\"\"", "\"a,b\r\n\"", "st\"ray", "\"x\"y", "\"#\n#\"", "'"];
    let escaped = ["x", "\"a\\\"\n\"", "\"\\\\\"", "\"\n\"", "y\\", "\"\\\n,\""];
    let behind_comments = ["x", "\"y\n\"", "\"#\n\"", "\"#\r\n#\""];
    let before_comments = ["x", "\"y\n\"", "z\n#\"\n", "\"#\n\"", "#", "\"\"\n#\"\r\"\n"];
    let variants: [(&[&str], &[&str], CsvOptions); 4] = [
        (&plain, &plain, options()),
        (&quoted, &quoted, options()),
        (&escaped, &escaped, CsvOptions { escape: Some(b'\\'), ..options() }),
        (&behind_comments, &before_comments, CsvOptions { comment: Some(b'#'), ..options() }),
    ];
    for (variant, (first, second, options)) in variants.iter().enumerate() {
        for seed in 0..25 {
            let mut random = Random(seed);
            let text = generate(&mut random, first, second);
            let store = files(&[("a.csv", text.as_bytes())], 1 + random.below(9) as usize).await;
            let whole = by_pieces(&store, options, u64::MAX, &[0, 1]).await.1;
            for piece_bytes in 1..=text.len() as u64 + 1 {
                let (pieces, rows) = by_pieces(&store, options, piece_bytes, &[0, 1]).await;
                let case =
                    format!("variant {variant}, seed {seed}, {piece_bytes}: {text:?} {pieces:?}");
                assert_eq!(rows, whole, "{case}");
                for piece in &pieces {
                    let before = &text.as_bytes()[..piece.start as usize];
                    let lines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
                    assert_eq!(piece.lines_before, lines, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_record_can_be_a_piece() {
    for (text, expected) in [
        ("a,b\n1,\"x\n\"\n2,y\n", vec![(0, 0), (4, 1), (11, 3)]),
        ("a,b\r\n1,x\r\n\r\n2,y", vec![(0, 0), (5, 1), (10, 2), (12, 3)]),
        ("a,b\n\"1\"\r\n2,y\r3,z", vec![(0, 0), (4, 1), (9, 2), (13, 2)]),
    ] {
        let store = files(&[("a.csv", text.as_bytes())], 0).await;
        let file = list(&store).await.remove(0);
        let pieces = pieces(&*store, &file, &options(), 1).await.unwrap();
        let starts: Vec<_> = pieces.iter().map(|piece| (piece.start, piece.lines_before)).collect();
        assert_eq!(starts, expected, "{text:?}");
    }
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_named() {
    for text in ["a,b\n1,\"x\"\n2,\"y\n3,z\n", "a,b\n1,x\n2,\"y", "a,b\n\n2,\"y\"\"\n"] {
        let files = [("a.csv", text.as_bytes())];
        let error = invalid(read_files(&files, &options(), &Schema::empty(), ENOUGH).await);
        assert_eq!(error, "file 'a.csv', line 3: a quote is opened and never closed", "{text:?}");
    }
}

#[tokio::test]
async fn lines_of_mistakes_are_right_in_every_piece() {
    let text = "a,b\n1,\"x\ny\"\n2,x\n\n3,4\nbad,z\n5,6\n";
    let store = files(&[("a.csv", text.as_bytes())], 3).await;
    let file = list(&store).await.remove(0);
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    for piece_bytes in 1..40 {
        let pieces = pieces(&*store, &file, &options(), piece_bytes).await.unwrap();
        let mut errors = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let end = pieces.get(index + 1).map_or(file.size, |next| next.start);
            let slice = slice(&file, piece.start..end, piece.lines_before);
            let store = Arc::clone(&store);
            let stream = open(store, slice, options(), schema.clone(), vec![0], 2).await;
            errors.extend(rows(stream).await.err().map(|error| error.message().to_owned()));
        }
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("file 'a.csv', line 7: column 'a': 'bad'"), "{errors:?}");
    }
}

#[tokio::test]
async fn pieces_of_small_and_empty_files_are_few() {
    let store = files(&[("a.csv", b""), ("b.csv", b"a\n1\n")], 0).await;
    let files = list(&store).await;
    assert_eq!(pieces(&*store, &files[0], &options(), 10).await.unwrap(), []);
    let whole = Piece { start: 0, rows: None, lines_before: 0 };
    assert_eq!(pieces(&*store, &files[1], &options(), 10).await.unwrap(), [whole]);
}

#[tokio::test]
async fn local_files_are_read_as_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = b"a,b\n".to_vec();
    for row in 0..200_000 {
        writeln!(text, "{row},\"value {row}\"").unwrap();
    }
    std::fs::write(folder.path().join("a.csv"), &text).unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(local);
    let expected: Vec<_> = (0..200_000).map(|row| format!("{row}|value {row}")).collect();
    let (pieces, rows) = by_pieces(&store, &options(), 1 << 20, &[0, 1]).await;
    assert_eq!(pieces.len() as u64, 1 + text.len() as u64 / (1 << 20));
    assert!(rows == expected);
    let file = list(&store).await.remove(0);
    std::fs::write(folder.path().join("a.csv"), &text[..3_000_000]).unwrap();
    let error = invalid(super::pieces(&*store, &file, &options(), 1 << 20).await);
    assert_eq!(error, "file 'a.csv' has become shorter while it was read");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_found() {
    let store = files(&[("a.csv", b"a\n1\n")], 0).await;
    let file = list(&store).await.remove(0);
    let empty = files(&[], 0).await;
    let error = infer(&*empty, &[file], &options(), &Schema::empty(), ENOUGH).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().starts_with("file 'a.csv': "), "{error}");
}

#[tokio::test]
async fn numbers_beyond_what_was_looked_at_are_as_they_would_have_been_learnt() {
    let refused = async |first: &str, late: &str, words: &str| {
        let text = format!("id,x\n1,{first}\n2,{first}\n3,{late}\n4,{first}\n");
        let read = async |infer_bytes| {
            read_files(&[("a.csv", text.as_bytes())], &options(), &Schema::empty(), infer_bytes)
                .await
        };
        let error = read(8).await.unwrap_err();
        let message = error.message();
        assert!(message.contains("line 4: column 'x': "), "{late}: {message}");
        assert!(message.contains(words), "{late}: {message}");
        assert!(message.contains("columns = { x = \"text\" }"), "{late}: {message}");
        // Seen whole, it is text.
        let (types, rows) = read(ENOUGH).await.unwrap();
        assert!(types.contains("Utf8"), "{late}: {types}");
        assert_eq!(rows[2], format!("3|{late}"));
    };
    for late in ["00501", "-007", "+3"] {
        refused("12345", late, "would be changed as Int64").await;
    }
    for late in ["0012", "-00.5", "+1.5", "9007199254740993", "12345678901234567890123", "NaN"] {
        refused("1.5", late, "Float64").await;
    }
    // Zeros that are none at the start of a number.
    let text = "x,y\n10,a\n100,b\n0,\"00\"\n-0,0\n2001,00\n";
    let (_, rows) =
        read_files(&[("a.csv", text.as_bytes())], &options(), &Schema::empty(), 5).await.unwrap();
    assert_eq!(rows, ["10|a", "100|b", "0|00", "0|0", "2001|00"]);
}
