//! JSON, from what files say to rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use keyloom_common::{
    Result,
    input::{JsonLayout, Piece},
};
use object_store::{ObjectMeta, ObjectStore, local::LocalFileSystem};

use super::{infer, open, pieces};
use crate::input::text::testing::{Random, files, invalid, list, rows, schema, slice, types};

const ENOUGH: u64 = 1 << 20;

async fn read_whole(
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
    layout: JsonLayout,
    schema: &SchemaRef,
) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let projection = (0..schema.fields().len()).collect();
        let (store, slice) = (Arc::clone(store), slice(file, 0..file.size, 0));
        all.extend(rows(open(store, slice, layout, schema.clone(), projection, 3).await).await?);
    }
    Ok(all)
}

/// What is learnt from files, and all their rows: both if all fields are known to be seen, and if
/// not.
async fn read_files(
    texts: &[&str],
    given: &[(&str, DataType)],
    infer_bytes: u64,
) -> Result<(String, bool, Vec<String>)> {
    let names = ["0.json", "1.json", "2.json"];
    let texts: Vec<_> = names.into_iter().zip(texts.iter().map(|text| text.as_bytes())).collect();
    let mut answers = Vec::new();
    for chunk in [0, 1, 7] {
        let store = files(&texts, chunk).await;
        let files = list(&store).await;
        let (schema, complete) = infer(&*store, &files, &schema(given), infer_bytes).await?;
        let strict = read_whole(&store, &files, JsonLayout { complete: false }, &schema).await?;
        if complete {
            let layout = JsonLayout { complete };
            assert_eq!(read_whole(&store, &files, layout, &schema).await?, strict);
        }
        answers.push((types(&schema), complete, strict));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    Ok(answers.swap_remove(0))
}

async fn read(text: &str) -> (String, Vec<String>) {
    let (types, complete, rows) = read_files(&[text], &[], ENOUGH).await.unwrap();
    assert!(complete);
    (types, rows)
}

#[tokio::test]
async fn types_hold_all_values_unchanged() {
    let check = async |values: &[&str], expected: &str, read_back: &[&str]| {
        let text: String = values.iter().map(|value| format!("{{\"x\": {value}}}\n")).collect();
        let (types, rows) = read(&text).await;
        assert_eq!(types, format!("x: {expected}"), "{values:?}");
        assert_eq!(rows, read_back, "{values:?}");
    };
    check(&["1", "null", "-2"], "Int64", &["1", "∅", "-2"]).await;
    check(&["1", "18446744073709551615"], "UInt64", &["1", "18446744073709551615"]).await;
    check(&["-1", "18446744073709551615"], "Utf8", &["-1", "18446744073709551615"]).await;
    check(&["1", "18446744073709551616"], "Utf8", &["1", "18446744073709551616"]).await;
    check(&["1", "1.5", "1e300"], "Float64", &["1.0", "1.5", "1e300"]).await;
    check(&["9007199254740993", "1.5"], "Utf8", &["9007199254740993", "1.5"]).await;
    check(&["true", "null"], "Boolean", &["true", "∅"]).await;
    check(&["true", "1", "\"x\""], "Utf8", &["true", "1", "x"]).await;
    check(&["\"2001-02-03\"", "\"00700\""], "Utf8", &["2001-02-03", "00700"]).await;
    check(&["null", "null"], "Utf8", &["∅", "∅"]).await;
    check(&["\"a\\n\\u00e4\\ud83d\\ude00\""], "Utf8", &["a\nä😀"]).await;
    check(
        &["[1, null]", "[]", "null", "[2.5]"],
        "List(Float64)",
        &["[1.0, ∅]", "[]", "∅", "[2.5]"],
    )
    .await;
    check(&["[]", "null"], "List(Utf8)", &["[]", "∅"]).await;
    check(
        &["{\"b\": 1}", "{\"a\": [{\"c\": true}], \"b\": 2}", "null", "{}"],
        "Struct(\"b\": Int64, \"a\": List(Struct(\"c\": Boolean)))",
        &["{b: 1, a: ∅}", "{b: 2, a: [{c: true}]}", "∅", "{b: ∅, a: ∅}"],
    )
    .await;
}

#[tokio::test]
async fn columns_stand_in_the_order_of_the_file() {
    let (types, rows) =
        read("{\"z\": 1, \"a\": \"x\"}\n\n{\"late\": true, \"a\": \"y\"}\r\n{}").await;
    assert_eq!(types, "z: Int64, a: Utf8, late: Boolean");
    assert_eq!(rows, ["1|x|∅", "∅|y|true", "∅|∅|∅"]);
}

#[tokio::test]
async fn text_is_laid_out_in_many_ways() {
    for text in [
        "\u{feff}{\"a\": 1}\n{\"a\": 2}\n",
        "{\"a\": 1}{\"a\": 2}",
        "[{\"a\": 1}, {\"a\": 2}]",
        "\u{feff} \n[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]\n",
        "{\n  \"a\":\n  1\n}\n{\n  \"a\": 2\n}",
    ] {
        assert_eq!(
            read(text).await,
            ("a: Int64".to_owned(), vec!["1".into(), "2".into()]),
            "{text}"
        );
    }
    let (types, rows) =
        read("[{\"a]\": \"},{\\\"\", \"b\": [[1, 2], []]}, {\"a]\": \"\\\\\"}]").await;
    assert_eq!(types, "a]: Utf8, b: List(List(Int64))");
    assert_eq!(rows, ["},{\"|[[1, 2], []]", "\\|∅"]);
    let (_, _, rows) = read_files(&["[]"], &[("a", DataType::Int8)], ENOUGH).await.unwrap();
    assert!(rows.is_empty());
}

#[tokio::test]
async fn mistakes_in_text_are_named_with_their_line() {
    for (text, expected) in [
        ("{\"a\": 1}\n\n{\"a\": }\n", "line 3: not a JSON object: expected value"),
        (
            "{\"a\": 1}\n[2]\n",
            "line 2: not a JSON object: invalid type: sequence, expected an object",
        ),
        (
            "{\"a\": 1}\n7\n",
            "line 2: not a JSON object: invalid type: integer `7`, expected an object",
        ),
        ("{\"a\": 1}\n{\n\"a\": x\n}", "line 3: not a JSON object: expected value"),
        ("{\"a\": 1}\n{\"a\": 2", "line 2: not a JSON object: EOF while parsing an object"),
    ] {
        let error = invalid(read_files(&[text], &[], ENOUGH).await);
        assert_eq!(error, format!("file '0.json', {expected}"));
    }
    for (text, expected) in [
        ("[{\"a\": 1}", "the array has no end: the file is not whole"),
        ("[{\"a\": 1}]\n{}", "there is text behind the end of the array"),
    ] {
        let error = invalid(read_files(&[text], &[], ENOUGH).await);
        assert_eq!(error, format!("file '0.json': {expected}"));
    }
    for (late, what) in [
        ("{\"a\": x}", "not a JSON object: expected value"),
        ("{\"a\": 2", "not a JSON object: "),
        ("3", "not a JSON object: invalid type"),
    ] {
        let error = invalid(read_files(&[&format!("{{\"a\": 1}}\n\n{late}")], &[], 0).await);
        assert!(error.starts_with(&format!("file '0.json', line 3: {what}")), "{error}");
    }
    // A code in quotes is no number.
    let error = invalid(read_files(&["{\"a\": 1}\n\n{\"a\": \"0077\"}"], &[], 0).await);
    assert!(error.starts_with("file '0.json', line 3: ") && error.contains("0077"), "{error}");
    assert!(invalid(read_files(&["", " \n"], &[], ENOUGH).await).starts_with("no columns"));
}

#[tokio::test]
async fn mixed_kinds_are_refused_unless_their_type_is_given() {
    for (values, field) in [
        (["1", "[1]"], "x"),
        (["[1]", "\"a\""], "x"),
        (["{\"y\": 1}", "\"a\""], "x"),
        (["{\"y\": [{\"z\": 1}]}", "{\"y\": [{\"z\": []}]}"], "x.y[].z"),
    ] {
        let text = format!("{{\"x\": {}}}\n{{\"x\": {}}}\n", values[0], values[1]);
        let error = invalid(read_files(&[&text], &[], ENOUGH).await);
        let start = format!("file '0.json', line 2: the field '{field}' is of another kind");
        assert!(error.starts_with(&start), "{error}");
        assert!(
            error.ends_with("; write all its values as one kind, for instance as text"),
            "{error}"
        );
    }
    let texts = ["{\"x\": 1, \"y\": 2}\n{\"x\": \"a\", \"z\": 3}"];
    let given = [("late", DataType::Float64), ("x", DataType::LargeUtf8)];
    let (types, complete, rows) = read_files(&texts, &given, ENOUGH).await.unwrap();
    assert_eq!(types, "x: LargeUtf8, y: Int64, z: Int64, late: Float64");
    assert!(!complete);
    assert_eq!(rows, ["1|2|∅|∅", "a|∅|3|∅"]);
}

#[tokio::test]
async fn late_fields_and_values_are_found_or_named() {
    let texts = ["{\"a\": 1, \"s\": {\"b\": 1}}\n", "{\"a\": 2}\n{\"coupon\": \"C9\"}\n"];
    let (types, complete, rows) = read_files(&texts, &[], ENOUGH).await.unwrap();
    assert_eq!(
        (types.as_str(), complete),
        ("a: Int64, s: Struct(\"b\": Int64), coupon: Utf8", true)
    );
    assert_eq!(rows, ["1|{b: 1}|∅", "2|∅|∅", "∅|∅|C9"]);
    let error = invalid(read_files(&texts, &[], 4).await);
    assert_eq!(
        error,
        "file '1.json', line 2: the field 'coupon' is no column; say columns = { coupon = \"text\" }, \
         or look at more of the files with infer_bytes"
    );
    let given = [("coupon", DataType::Utf8)];
    let (_, complete, found) = read_files(&texts, &given, 4).await.unwrap();
    assert_eq!((complete, found), (false, rows));

    for (late, expected) in [
        ("{\"s\": {\"c\": 1}}", "the field 's.c' is no column; look at more"),
        ("{\"a\": 1.5}", "field 'a': 1.5 is not of type Int64; say columns = { a = \"text\" }"),
        ("{\"a\": \"x\"}", "field 'a': \"x\" is not of type Int64"),
        ("{\"a\": [1]}", "field 'a': [1] is not of type Int64; write all its values as one kind"),
        ("{\"a\": 9223372036854775808}", "field 'a': 9223372036854775808 is not of type Int64"),
        ("{\"s\": {\"b\": 0.5}}", "field 's': {\"b\":0.5} is not of type Struct"),
        ("{\"s\": []}", "field 's': [] is not of type Struct"),
    ] {
        let error = invalid(read_files(&[texts[0], "{}\n{}\n{}\n{}\n", late], &[], 4).await);
        assert!(error.starts_with(&format!("file '2.json', line 1: {expected}")), "{error}");
    }
}

#[tokio::test]
async fn integers_that_are_given_are_not_cut() {
    let error = invalid(read_files(&["{\"a\": 1.5}"], &[("a", DataType::Int32)], ENOUGH).await);
    assert!(
        error.starts_with("file '0.json', line 1: field 'a': 1.5 is not of type Int32"),
        "{error}"
    );
    let of = DataType::Struct(vec![Arc::new(Field::new("b", DataType::Int8, true))].into());
    let texts = ["{\"a\": {\"b\": 1, \"c\": 2}}"];
    let error = invalid(read_files(&texts, &[("a", of)], ENOUGH).await);
    assert!(error.starts_with("file '0.json', line 1: the field 'a.c' is no column"), "{error}");
}

#[tokio::test]
async fn columns_are_projected_in_any_order() {
    let text = "{\"a\": 1, \"b\": \"x\", \"c\": [2]}\n{\"c\": [4], \"a\": 3}\n";
    let store = files(&[("a.json", text.as_bytes())], 0).await;
    let file = list(&store).await.remove(0);
    let whole = std::slice::from_ref(&file);
    let (schema, _) = infer(&*store, whole, &Schema::empty(), ENOUGH).await.unwrap();
    for (projection, expected) in [
        (vec![2, 0], ["[2]|1", "[4]|3"]),
        (vec![1], ["x", "∅"]),
        (vec![0, 0], ["1|1", "3|3"]),
        (vec![], ["", ""]),
    ] {
        for complete in [false, true] {
            let (store, schema) = (Arc::clone(&store), Arc::clone(&schema));
            let slice = slice(&file, 0..file.size, 0);
            let layout = JsonLayout { complete };
            let stream = open(store, slice, layout, schema, projection.clone(), 8).await;
            assert_eq!(rows(stream).await.unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn files_are_cut_if_their_rows_are_lines() {
    let lines = "\n{\"a\": 1}\n{\"a\": 2}\n";
    for (text, expected) in [
        (lines, vec![0, 8, 16]),
        ("\u{feff}{\"a\": \"}\"}\n", vec![0, 8]),
        ("[{\"a\": 1}, {\"a\": 2}]", vec![0]),
        ("{\n\"a\": 1\n}\n{\n\"a\": 2}", vec![0]),
        ("{\"a\": 1} {\"a\":\n 2}", vec![0]),
        ("", vec![]),
        ("{}\n", vec![0]),
    ] {
        let store = files(&[("a.json", text.as_bytes())], 5).await;
        let file = list(&store).await.remove(0);
        let pieces: Vec<Piece> = pieces(&*store, &file, 8).await.unwrap();
        let starts: Vec<_> = pieces.iter().map(|piece| piece.start).collect();
        assert_eq!(starts, expected, "{text:?}");
    }
}

/// Lines of all lengths, in ranges that start and end anywhere: each line is in exactly one.
#[tokio::test]
async fn every_line_is_in_one_range() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut text = if random.below(4) == 0 { "\u{feff}".to_owned() } else { String::new() };
        for row in 0..random.below(10) {
            let filler = " ".repeat(random.below(20) as usize);
            let end = random.pick(&["\n", "\r\n", "\n\n", "\n \n"]);
            text.push_str(&format!("{{\"a\": {row},{filler}\"b\": \"x}}{{\\n\"}}{end}"));
        }
        text.push_str(random.pick(&["", "{\"a\": 99}", "{\"a\": 99}\n"]));
        let store = files(&[("a.json", text.as_bytes())], 1 + random.below(30) as usize).await;
        let file = list(&store).await.remove(0);
        let layout = JsonLayout { complete: random.below(2) == 0 };
        let whole = read_whole(&store, std::slice::from_ref(&file), layout, &schema).await.unwrap();
        for _ in 0..20 {
            let mut cuts: Vec<_> =
                (0..random.below(6)).map(|_| random.below(file.size + 1)).collect();
            cuts.extend([0, file.size]);
            cuts.sort_unstable();
            let mut all = Vec::new();
            for cut in cuts.windows(2) {
                let slice = slice(&file, cut[0]..cut[1], 0);
                let (store, schema) = (Arc::clone(&store), Arc::clone(&schema));
                let stream = open(store, slice, layout, schema, vec![0, 1], 2).await;
                all.extend(rows(stream).await.unwrap());
            }
            assert_eq!(all, whole, "seed {seed}, cuts {cuts:?}: {text:?}");
        }
    }
}

#[tokio::test]
async fn lines_of_mistakes_are_right_in_every_range() {
    let text = "\n{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n{\"a\": \"x\"}\n{\"a\": 5}\n";
    let store = files(&[("a.json", text.as_bytes())], 3).await;
    let file = list(&store).await.remove(0);
    let schema = schema(&[("a", DataType::Int64)]);
    for cut in 0..=file.size {
        let mut errors = Vec::new();
        for bytes in [0..cut, cut..file.size] {
            let (store, schema) = (Arc::clone(&store), Arc::clone(&schema));
            let slice = slice(&file, bytes, 0);
            let stream = open(store, slice, JsonLayout::default(), schema, vec![0], 2).await;
            errors.extend(rows(stream).await.err().map(|error| error.message().to_owned()));
        }
        assert_eq!(errors.len(), 1, "cut {cut}: {errors:?}");
        assert!(errors[0].starts_with("file 'a.json', line 5: field 'a': \"x\""), "{errors:?}");
    }
}

#[tokio::test]
async fn local_files_are_read_as_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..100_000).map(|row| format!("{{\"a\": {row}}}\n")).collect();
    std::fs::write(folder.path().join("a.json"), &text).unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(local);
    let file = list(&store).await.remove(0);
    let pieces = pieces(&*store, &file, 300_000).await.unwrap();
    let mut all = Vec::new();
    for piece in &pieces {
        let slice = slice(&file, piece.start..piece.start + 300_000, 0);
        let schema = schema(&[("a", DataType::Int64)]);
        let stream = open(Arc::clone(&store), slice, JsonLayout::default(), schema, vec![0], 8192);
        all.extend(rows(stream.await).await.unwrap());
    }
    assert!(all == (0..100_000).map(|row| row.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_selected_fields_must_fit_their_columns() {
    let text = "{\"a\": 1, \"b\": 2, \"c\": 0.5}\n{\"a\": 3, \"b\": \"x\", \"c\": true}\n";
    let store = files(&[("0.json", text.as_bytes())], 0).await;
    let file = list(&store).await.swap_remove(0);
    let columns = [("a", DataType::Int64), ("b", DataType::Int64), ("c", DataType::Float64)];
    let schema = schema(&columns);
    let read = async |projection: &[usize]| {
        let (slice, layout) = (slice(&file, 0..file.size, 0), JsonLayout { complete: false });
        let (store, schema) = (Arc::clone(&store), Arc::clone(&schema));
        rows(open(store, slice, layout, schema, projection.to_vec(), 3).await).await
    };
    assert_eq!(read(&[0]).await.unwrap(), ["1", "3"]);
    let error = invalid(read(&[0, 1]).await);
    assert!(error.starts_with("file '0.json', line 2: field 'b': \"x\" is not of type"), "{error}");
}
