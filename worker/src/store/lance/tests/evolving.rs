//! Columns whose fields differ from version to version, of which a worker keeps files and blocks.

use lance::dataset::{ColumnAlteration, NewColumnTransform, transaction::UpdateMode};

use super::*;

/// Three rows with ids from `first` and a struct.
fn with_structs(first: i64, fields: &[(&str, i64)]) -> RecordBatch {
    let ids = Arc::new(Int64Array::from_iter_values(first..first + 3)) as ArrayRef;
    batch(vec![("id", ids), ("both", structs(3, fields))])
}

fn params() -> WriteParams {
    WriteParams { data_storage_version: Some("2.2".parse().unwrap()), ..Default::default() }
}

/// The fields of the second column at the ids, by name.
async fn fields(store: &Arc<dyn Store>, ids: &[i64]) -> Vec<(String, Vec<Option<i64>>)> {
    let found = ask(store, Int64Array::from(ids.to_vec()), &[1]).await.unwrap();
    let column = values(&found, 0);
    let column = column.as_struct();
    let field = |(name, numbers): (&str, &ArrayRef)| {
        (name.to_owned(), numbers.as_primitive::<Int64Type>().iter().collect())
    };
    column.column_names().into_iter().zip(column.columns()).map(field).collect()
}

fn named(name: &str, numbers: &[Option<i64>]) -> (String, Vec<Option<i64>>) {
    (name.to_owned(), numbers.to_vec())
}

#[tokio::test]
async fn a_field_that_no_file_of_a_fragment_holds_is_null() {
    let mut rows = write(with_structs(0, &[("left", 10), ("right", 20)]), params()).await;
    rows.append(with_structs(3, &[("left", 30)])).await;
    let store = rows.open("id").await;
    let expected = [named("left", &[Some(32), Some(11)]), named("right", &[None, Some(21)])];
    assert_eq!(fields(&store, &[5, 1]).await, expected);
}

#[tokio::test]
async fn fields_that_change_their_names_change_them_in_what_is_kept() {
    let mut rows = write(with_structs(0, &[("left", 10), ("right", 20)]), params()).await;
    let env = env();
    let scanning = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let spec = LanceSpec { access: scanning, ..rows.spec("id") };
    let open = async || env.open(&describe(&env, spec.clone()).await.unwrap()).await.unwrap();
    let before = [named("left", &[Some(12)]), named("right", &[Some(22)])];
    assert_eq!(fields(&open().await, &[2]).await, before);
    for (from, to) in [("both.left", "other"), ("both.right", "left"), ("both.other", "right")] {
        let renamed = ColumnAlteration::new(from.to_owned()).rename(to.to_owned());
        rows.dataset.alter_columns(&[renamed]).await.unwrap();
    }
    let after = [named("right", &[Some(12)]), named("left", &[Some(22)])];
    assert_eq!(fields(&open().await, &[2]).await, after);
}

#[tokio::test]
async fn a_field_that_was_dropped_does_not_come_back_from_what_is_kept() {
    let mut rows = write(with_structs(0, &[("left", 10), ("right", 20)]), params()).await;
    let env = env();
    let scanning = ForcedAccess { keys: None, rows: Some(RowPath::Scan) };
    let spec = LanceSpec { access: scanning, ..rows.spec("id") };
    let open = async || env.open(&describe(&env, spec.clone()).await.unwrap()).await.unwrap();
    let before = [named("left", &[Some(10)]), named("right", &[Some(20)])];
    assert_eq!(fields(&open().await, &[0]).await, before);
    rows.dataset.drop_columns(&["both.right"]).await.unwrap();
    let right = Fields::from(vec![Field::new("right", DataType::Int64, true)]);
    let added = Schema::new(vec![Field::new("both", DataType::Struct(right), true)]);
    let added = NewColumnTransform::AllNulls(Arc::new(added));
    rows.dataset.add_columns(added, None, None).await.unwrap();
    let after = [named("left", &[Some(10)]), named("right", &[None])];
    assert_eq!(fields(&open().await, &[0]).await, after);
}

/// An update in place leaves the old column in its file, and only old versions know it there.
#[tokio::test]
async fn an_old_version_finds_columns_that_a_new_one_replaced() {
    let numbers = |first: i64| Arc::new(Int64Array::from_iter_values(first..first + 3)) as ArrayRef;
    let old = batch(vec![("id", numbers(0)), ("old", numbers(10)), ("kept", numbers(20))]);
    let mut rows = write(old, params()).await;
    let first = rows.dataset.version_id();
    let update = batch(vec![("id", numbers(0)), ("old", numbers(30))]);
    let update = RecordBatchIterator::new([Ok(update.clone())], update.schema());
    let mut fragment = rows.dataset.get_fragment(0).unwrap();
    let updated = fragment.update_columns(update, "id", "id").await;
    let (updated, fields_modified) = updated.unwrap();
    let update = Operation::Update {
        removed_fragment_ids: Vec::new(),
        updated_fragments: vec![updated],
        new_fragments: Vec::new(),
        fields_modified,
        compacted_sstables: Vec::new(),
        fields_for_preserving_frag_bitmap: Vec::new(),
        update_mode: Some(UpdateMode::RewriteColumns),
        inserted_rows_filter: None,
        updated_fragment_offsets: None,
    };
    rows.commit(update).await;
    let files = rows.dataset.get_fragment(0).unwrap().metadata().files.clone();
    assert!(files[0].fields.contains(&-2), "the update was not in place: {files:?}");

    let env = env();
    let pinned = LanceSpec { pin: Some(Pin::Version(first)), ..rows.spec("id") };
    let number = async |spec: LanceSpec, column: usize| {
        let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
        let found = ask(&store, Int64Array::from(vec![1]), &[column]).await.unwrap();
        values(&found, 0).as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(number(rows.spec("id"), 2).await, 21);
    assert_eq!(number(pinned.clone(), 1).await, 11);
    assert_eq!(number(rows.spec("id"), 1).await, 31);
    assert_eq!(number(pinned, 2).await, 21);
}
