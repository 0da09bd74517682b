//! Values in the names of folders.

use super::*;

fn by(columns: &[&str], format: FileFormat) -> FilesOutput {
    let partition_by = columns.iter().map(|name| (*name).to_owned()).collect();
    FilesOutput { partition_by, ..files(format) }
}

fn texts(names: &[Option<&str>]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..names.len() as i64);
    let names: StringArray = names.iter().copied().collect();
    batch([("id", array(ids)), ("a=b", array(names))])
}

#[tokio::test]
async fn rows_stand_in_the_folders_of_their_values_in_order() {
    let target = Target::new();
    let first = texts(&[Some("x/y"), None, Some("x/y"), Some("ü:1")]);
    let second = texts(&[None, Some("x/y")]);
    let files = by(&["a=b"], FileFormat::Csv);
    let done = run(&outputs(), target.spec(files), JOB, &[first, second]).await.unwrap();
    assert_eq!((done.rows, done.files), (6, 3));
    let expected = [
        (format!("a%3Db=__HIVE_DEFAULT_PARTITION__/{}", part(0, 1, "csv")), "id\n1\n0\n"),
        (format!("a%3Db=x%2Fy/{}", part(0, 0, "csv")), "id\n0\n2\n1\n"),
        (format!("a%3Db=ü%3A1/{}", part(0, 2, "csv")), "id\n3\n"),
    ];
    assert_eq!(target.data(), expected.clone().map(|(name, _)| name));
    for (name, text) in expected {
        assert_eq!(target.read(&name), text, "{name}");
    }
}

#[tokio::test]
async fn several_columns_make_folders_within_folders() {
    let target = Target::new();
    let rows = flat().project(&[0, 2, 4]).unwrap();
    let files = by(&["flag", "day"], FileFormat::Json);
    run(&outputs(), target.spec(files), JOB, &[rows.slice(0, 2)]).await.unwrap();
    let null = "__HIVE_DEFAULT_PARTITION__";
    let expected = [
        format!("flag={null}/day={null}/{}", part(0, 1, "json")),
        format!("flag=true/day=2022-01-08/{}", part(0, 0, "json")),
    ];
    assert_eq!(target.data(), expected);
    assert_eq!(target.read(&expected[1]), "{\"id\":0}\n");
}

#[tokio::test]
async fn no_more_files_are_open_than_may_be_and_no_row_is_lost() {
    let target = Target::new();
    let settings = OutputSettings { open_files: 2, ..OutputSettings::default() };
    let names = ["a", "b", "c", "a", "b", "c"].map(Some);
    let outputs = outputs_of(&stores(), settings);
    let batches: Vec<_> = names.iter().map(|name| texts(&[*name])).collect();
    let files = by(&["a=b"], FileFormat::Csv);
    let done = run(&outputs, target.spec(files), JOB, &batches).await.unwrap();
    // The next value is always that which was finished last.
    assert_eq!((done.rows, done.files), (6, 6));
    assert_eq!(target.data().len(), 6);
}

#[tokio::test]
async fn texts_that_would_be_read_as_null_are_refused() {
    for text in ["", "__HIVE_DEFAULT_PARTITION__"] {
        let target = Target::new();
        let files = by(&["a=b"], FileFormat::Csv);
        let rows = [texts(&[Some("x"), Some(text)])];
        let refused = run(&outputs(), target.spec(files), JOB, &rows).await.unwrap_err();
        let start = format!("column 'a=b' of partition_by holds the text '{text}'");
        assert!(refused.message().starts_with(&start), "{refused}");
        until(async || target.all().is_empty()).await;
    }
    let target = Target::new();
    let files = by(&["a=b"], FileFormat::Csv);
    let long = "x".repeat(300);
    let rows = [texts(&[Some(long.as_str())])];
    let refused = run(&outputs(), target.spec(files), JOB, &rows).await.unwrap_err();
    assert!(refused.message().contains("300 bytes, too long"), "{refused}");
}
