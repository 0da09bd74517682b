//! Which data files are read directly, and which through Lance's reader of fragments.

use lance::dataset::NewColumnTransform;

use super::*;

/// Of each fragment whether the column's data file is read directly.
async fn read_directly(spec: LanceSpec, column: &str) -> Vec<bool> {
    let env = env();
    let handle = open_handle(&env, &describe(&env, spec).await.unwrap()).await;
    let column = handle.column(column).unwrap();
    let mut direct = Vec::new();
    for fragment in handle.dataset.get_fragments() {
        let file = handle.data_file(&column, fragment.id() as u32).await.unwrap();
        direct.push(file.is_some());
    }
    direct
}

#[tokio::test]
async fn local_files_are_read_directly_and_no_others() {
    let rows = three_fragments(false).await;
    for column in ["id", "word"] {
        assert_eq!(read_directly(rows.spec("id"), column).await, [true; 3]);
        assert_eq!(read_directly(as_remote(&rows.spec("id")), column).await, [false; 3]);
    }
}

/// Whether one read brings them all, or one each.
#[tokio::test]
async fn columns_that_are_read_together_are_those_that_are_read_alone() {
    let mut rows = three_fragments(false).await;
    rows.delete("id = 14").await;
    let env = env();
    for spec in [rows.spec("id"), as_remote(&rows.spec("id"))] {
        let handle = open_handle(&env, &describe(&env, spec).await.unwrap()).await;
        let columns = ["word", "id"].map(|name| handle.column(name).unwrap());
        let mut alone = Vec::new();
        for column in &columns {
            alone.push(handle.read_range(column, 1, 2..9, 100).await.unwrap());
        }
        let columns = columns.each_ref().map(|column| column.as_ref());
        let together = handle.read_ranges(&columns, 1, 2..9, 200).await.unwrap();
        assert_eq!(together, alone);
        let words = StringArray::from_iter_values((12..19).map(word));
        assert_eq!(together[0].as_ref(), &words);
    }
}

#[tokio::test]
async fn files_of_the_first_version_are_not_read_directly() {
    for (version, direct) in [("legacy", false), ("2.0", true), ("2.1", true), ("2.2", true)] {
        let data_storage_version = Some(version.parse().unwrap());
        let params = WriteParams { data_storage_version, ..Default::default() };
        let rows = write(super::rows(0..3), params).await;
        assert_eq!(read_directly(rows.spec("id"), "word").await, [direct], "{version}");
    }
}

#[tokio::test]
async fn a_column_with_an_overlay_is_not_read_directly() {
    let mut rows = three_fragments(false).await;
    overlay(&mut rows, 1, &[(2, "changed"), (5, "gone")]).await;
    assert_eq!(read_directly(rows.spec("id"), "word").await, [true, false, true]);
    let found = ask(&rows.open("id").await, Int64Array::from(vec![15, 14, 12, 2]), &[1]).await;
    let expected = StringArray::from(vec!["gone", "word 14", "changed", "word 2"]);
    assert_eq!(values(&found.unwrap(), 0).as_ref(), &expected);
    let changed = StringArray::from(vec!["changed", "word 12", "word 2"]);
    let found = ask(&rows.open("word").await, changed, &[0]).await.unwrap();
    let expected = Int64Array::from(vec![Some(12), None, Some(2)]);
    assert_eq!(values(&found, 0).as_ref(), &expected);
}

/// Gives rows of a fragment other words, in a file laid over its data file.
async fn overlay(rows: &mut StoredRows, fragment: u32, words: &[(u32, &str)]) {
    let address = |(offset, _): &(u32, &str)| u64::from(fragment) << 32 | u64::from(*offset);
    let addresses = UInt64Array::from_iter_values(words.iter().map(address));
    let words = StringArray::from_iter_values(words.iter().map(|(_, word)| word));
    let words = batch(vec![
        ("_rowaddr", Arc::new(addresses) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
    ]);
    let schema = rows.dataset.schema().project(&["word"]).unwrap();
    let of_fragment = rows.dataset.get_fragment(fragment as usize).unwrap();
    let mut writer = of_fragment.write_overlay(&schema).await.unwrap();
    writer.write_batch(&words).await.unwrap();
    let group = writer.finish().await.unwrap().unwrap();
    rows.commit(Operation::DataOverlay { groups: vec![group] }).await;
}

#[tokio::test]
async fn a_column_in_two_files_is_not_read_directly() {
    let ids = Arc::new(Int64Array::from_iter_values(0..6)) as ArrayRef;
    let old = batch(vec![("id", ids), ("both", structs(6, &[("left", 0)]))]);
    let data_storage_version = Some("2.2".parse().unwrap());
    let params = WriteParams { max_rows_per_file: 3, data_storage_version, ..Default::default() };
    let mut rows = write(old, params).await;
    let added = batch(vec![("both", structs(6, &[("right", 10)]))]);
    let added = RecordBatchIterator::new([Ok(added.clone())], added.schema());
    let added = NewColumnTransform::Reader(Box::new(added));
    rows.dataset.add_columns(added, None, None).await.unwrap();
    assert_eq!(read_directly(rows.spec("id"), "id").await, [true; 2]);
    assert_eq!(read_directly(rows.spec("id"), "both").await, [false; 2]);
    let found = ask(&rows.open("id").await, Int64Array::from(vec![5, 7, 0]), &[1]).await.unwrap();
    let both = values(&found, 0);
    let both = both.as_struct();
    let expected = [vec![Some(5), None, Some(0)], vec![Some(15), None, Some(10)]];
    for (field, expected) in both.columns().iter().zip(expected) {
        assert_eq!(field.as_ref(), &Int64Array::from(expected));
    }
}
