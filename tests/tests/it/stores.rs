//! Stores end to end: Lance datasets with their versions, fragments and keys, and memory stores.

mod contents;
mod key;
mod marked;
mod rewritten;
mod rows;
mod shared_maps;

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, AsArray, BinaryArray, FixedSizeListArray, Float32Array, LargeStringArray,
        ListArray, RecordBatch, StringViewArray, StructArray, UInt8Array, UInt64Array,
    },
    datatypes::{DataType, Field, Float32Type, Int64Type, UInt64Type},
};
use datafusion::scalar::ScalarValue;
use keyloom_client::{
    Error, ErrorKind, KvStore, LanceOptions, MemoryOptions, OnDuplicateKey, load_kv,
};
use lance::{
    Dataset,
    dataset::{
        WriteMode, WriteParams,
        optimize::{CompactionOptions, compact_files},
    },
};

use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments, on_all_deployments_and_ways, rows,
    show_rows, strings, write_lance, write_lance_with,
};

on_all_deployments! {
    a_version_stays_what_it_was,
    a_tag_is_read_where_it_points_at_submission,
    versions_and_tags_that_do_not_exist_are_named,
    the_newest_version_at_submission_is_read,
    a_running_job_keeps_its_version,
    columns_that_changed_since_attach_are_refused,
    keys_of_another_kind_are_refused,
    a_dataset_that_is_missing_is_named,
    a_key_column_that_is_missing_or_unfit_is_refused,
    an_unknown_storage_profile_is_refused,
    pairs_are_key_and_value,
    batches_of_a_memory_store_are_one,
    memory_contents_unfit_for_lookups_are_refused,
    the_same_contents_under_two_aliases,
}

on_all_deployments_and_ways! {
    three_fragments_with_deletions_before_and_after_compaction,
    row_ids_are_a_key,
    offsets_count_live_rows,
    string_integer_and_binary_keys,
    nested_and_fixed_size_list_values,
    duplicate_keys_by_policy,
    a_file_url_is_a_path,
}

/// Ids, each with a word that says which writing it is of.
fn words(ids: impl IntoIterator<Item = i64>, of: &str) -> RecordBatch {
    let ids: Vec<_> = ids.into_iter().collect();
    let words: Vec<_> = ids.iter().map(|id| format!("{of} {id}")).collect();
    batch([("id", ints(ids)), ("word", strings(words.iter().map(String::as_str)))])
}

/// Writes over a dataset, or to its end.
async fn write(uri: &str, rows: RecordBatch, mode: WriteMode) -> Result<Dataset> {
    write_lance_with(uri, &[rows], WriteParams { mode, ..WriteParams::default() }).await
}

fn by(uri: &str, key: &str) -> LanceOptions {
    LanceOptions::new(uri).key(key)
}

/// The words of keys, which may be missing, in the order of the keys.
async fn check_words(
    session: &TestSession,
    alias: &str,
    keys: impl IntoIterator<Item = i64>,
    expected: &[&str],
) -> Result<()> {
    let keys = batch([("k", ints(keys))]);
    let get = session.kv_get("k").source(alias).columns(["word"]);
    let get = get.on_error(keyloom_client::OnError::Null).build()?.alias("g");
    let exists = session.kv_exists("k").source(alias).build()?.alias("e");
    let query = session.from_batches(&[keys])?.select(vec![get, exists])?;
    let found = rows(query).await.with_context(|| alias.to_owned())?;
    let row = |word: &&str| match *word {
        "" => "NULL | false".to_owned(),
        word => format!("{{word: {word}}} | true"),
    };
    assert_eq!(found, expected.iter().map(row).collect::<Vec<_>>(), "{alias}");
    Ok(())
}

/// Why a store cannot be attached.
async fn refusal(session: &TestSession, store: KvStore, alias: &str) -> Result<Error> {
    let error = session.attach(store, alias).await.err();
    assert!(!session.has_kv(alias), "{alias}");
    error.with_context(|| format!("{alias} was attached"))
}

async fn check_refused(
    session: &TestSession,
    options: LanceOptions,
    kind: ErrorKind,
    message: &str,
) -> Result<()> {
    let error = refusal(session, load_kv("own", options)?, "s").await?;
    assert_eq!((error.kind(), error.message()), (kind, message));
    Ok(())
}

async fn a_version_stays_what_it_was(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..4, "first")], 2).await?;
    write(&uri, words(2..6, "second"), WriteMode::Overwrite).await?;
    session.attach(load_kv("one", by(&uri, "id").version(1))?, None).await?;
    session.attach(load_kv("two", by(&uri, "id").version(2))?, None).await?;
    write(&uri, words(6..8, "third"), WriteMode::Append).await?;
    check_words(session, "one", [5, 3, 0, 7], &["", "first 3", "first 0", ""]).await?;
    check_words(session, "two", [5, 3, 0, 7], &["second 5", "second 3", "", ""]).await?;
    // Both at once, each with its own.
    session.register_batches("t", &[batch([("k", ints([3]))])])?;
    let sql =
        "SELECT kv_get(k, source => 'two')['word'], kv_get(k, source => 'one')['word'] FROM t";
    session.check(sql, &["second 3 | first 3"]).await?;
    // A version that is scanned is not that at which the newest is looked up.
    session.attach(load_kv("newest", by(&uri, "id"))?, None).await?;
    let sql = "SELECT one.id, n.word FROM one LEFT JOIN newest n ON one.id = n.id ORDER BY one.id";
    session.check(sql, &["0 | NULL", "1 | NULL", "2 | second 2", "3 | second 3"]).await
}

async fn a_tag_is_read_where_it_points_at_submission(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let dataset = write_lance(&uri, &[words(0..4, "first")], 2).await?;
    dataset.tags().create("live", 1).await?;
    write(&uri, words(2..6, "second"), WriteMode::Overwrite).await?;
    session.attach(load_kv("tagged", by(&uri, "id").tag("live"))?, None).await?;
    check_words(session, "tagged", [0, 3, 5], &["first 0", "first 3", ""]).await?;
    dataset.tags().update("live", 2).await?;
    check_words(session, "tagged", [0, 3, 5], &["", "second 3", "second 5"]).await
}

async fn versions_and_tags_that_do_not_exist_are_named(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..4, "first")], 2).await?;
    let message = format!(
        "store 'own' cannot be opened: no version 7 of the Lance dataset at {uri}, whose newest is 1"
    );
    check_refused(session, by(&uri, "id").version(7), ErrorKind::NotFound, &message).await?;
    let message =
        format!("store 'own' cannot be opened: no tag 'old' on the Lance dataset at {uri}");
    check_refused(session, by(&uri, "id").tag("old"), ErrorKind::NotFound, &message).await?;
    let both = load_kv("own", by(&uri, "id").tag("old").version(1));
    let error = both.err().context("it was taken")?;
    assert_eq!(error.message(), "KV store 'own' names both a version and a tag; give one");
    Ok(())
}

async fn the_newest_version_at_submission_is_read(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..4, "first")], 2).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    session.register_batches("t", &[batch([("k", ints([3, 4]))])])?;
    let planned = session
        .sql("SELECT kv_get(k, source => 'words', on_error => 'null')['word'] FROM t")
        .await?;
    assert_eq!(rows(planned.clone()).await?, ["first 3", "NULL"]);
    write(&uri, words(4..6, "second"), WriteMode::Append).await?;
    assert_eq!(rows(planned.clone()).await?, ["first 3", "second 4"]);
    write(&uri, words(0..4, "third"), WriteMode::Overwrite).await?;
    assert_eq!(rows(planned).await?, ["third 3", "NULL"]);
    Ok(())
}

async fn a_running_job_keeps_its_version(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 900;
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..100, "first")], 30).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    session.register_batches("t", &[batch([("k", ints((0..ROWS).map(|n| n * 7 % 120)))])])?;
    let query = session
        .sql("SELECT kv_get(k, source => 'words', on_error => 'null')['word'] FROM t")
        .await?;
    let mut job = session.submit(query.clone()).await?;
    let mut batches = vec![job.next_batch().await?.context("the first rows")?];
    // 300 tasks of which the client has seen one; each of these writings would change answers.
    write(&uri, words(100..120, "second"), WriteMode::Append).await?;
    Dataset::open(&uri).await?.delete("id < 50").await?;
    write(&uri, words(0..120, "third"), WriteMode::Overwrite).await?;
    batches.extend(job.collect().await?);
    let answers = |of: &str, until| {
        let answer = |n: i64| match n * 7 % 120 {
            id if id < until => format!("{of} {id}"),
            _ => "NULL".to_owned(),
        };
        (0..ROWS).map(answer).collect::<Vec<_>>()
    };
    assert_eq!(show_rows(&batches)?, answers("first", 100));
    assert_eq!(rows(query).await?, answers("third", 120));
    Ok(())
}

async fn columns_that_changed_since_attach_are_refused(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..4, "first")], 2).await?;
    session.attach(load_kv("words", by(&uri, "id"))?, None).await?;
    session.register_batches("t", &[batch([("k", ints([3]))])])?;
    let sql = "SELECT kv_get(k, source => 'words') FROM t";
    let other = batch([("id", ints([3])), ("word", ints([33]))]);
    write(&uri, other, WriteMode::Overwrite).await?;
    let error = session.failure(sql).await?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let message = "KV store 'words': its columns have changed since it was attached ('word' was Utf8 \
                   and is Int64); attach it again";
    assert_eq!(error.message(), message);
    session.attach_or_replace(load_kv("words", by(&uri, "id"))?, None).await?;
    session.check(sql, &["{id: 3, word: 33}"]).await
}

/// Ten words in fragments of four, without 1, 5 and 9.
async fn with_deletions(uri: &str) -> Result<Dataset> {
    let mut dataset = write_lance(uri, &[words(0..10, "w")], 4).await?;
    assert_eq!(dataset.get_fragments().len(), 3);
    dataset.delete("id IN (1, 5, 9)").await?;
    Ok(dataset)
}

async fn three_fragments_with_deletions_before_and_after_compaction(
    session: &TestSession,
) -> Result<()> {
    let uri = session.path("words.lance");
    let mut dataset = write_lance(&uri, &[words(0..10, "w")], 4).await?;
    assert_eq!(dataset.get_fragments().len(), 3);
    // It has an index now, if the way needs one.
    let options = session.lance(&uri, "id").await?;
    dataset.checkout_latest().await?;
    let whole = dataset.version().version;
    dataset.delete("id IN (1, 5, 9)").await?;
    let before = dataset.version().version;
    for (alias, version) in [("newest", None), ("before", Some(before)), ("whole", Some(whole))] {
        let options = LanceOptions { version, ..options.clone() };
        session.attach(load_kv(alias, options)?, None).await?;
    }
    let keys = [9, 8, 0, 5, 4, 8, 1, 10, 7];
    let live = ["", "w 8", "w 0", "", "w 4", "w 8", "", "", "w 7"];
    check_words(session, "newest", keys, &live).await?;
    compact_files(&mut dataset, CompactionOptions::default(), None).await?;
    assert_eq!(dataset.get_fragments().len(), 1);
    check_words(session, "newest", keys, &live).await?;
    check_words(session, "before", keys, &live).await?;
    let whole = ["w 9", "w 8", "w 0", "w 5", "w 4", "w 8", "w 1", "", "w 7"];
    check_words(session, "whole", keys, &whole).await
}

/// The row ids of ids, as Lance tells them.
async fn row_ids(dataset: &Dataset) -> Result<Vec<(i64, i64)>> {
    let mut scan = dataset.scan();
    let all = scan.project(&["id"])?.with_row_id().try_into_batch().await?;
    let ids = all["id"].as_primitive::<Int64Type>().values();
    let row_ids = all["_rowid"].as_primitive::<UInt64Type>().values();
    Ok(ids.iter().copied().zip(row_ids.iter().map(|id| id.cast_signed())).collect())
}

async fn row_ids_are_a_key(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let mut dataset = with_deletions(&uri).await?;
    session.attach(load_kv("words", session.lance(&uri, "_rowid").await?)?, None).await?;
    assert_eq!(session.get_kv("words")?.resolve(None)?.key_type(), DataType::UInt64);
    let before = row_ids(&dataset).await?;
    assert_eq!(before.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 2, 3, 4, 6, 7, 8]);
    let keys: Vec<_> = before.iter().rev().map(|(_, row_id)| *row_id).collect();
    let expected = ["w 8", "w 7", "w 6", "w 4", "w 3", "w 2", "w 0"];
    check_words(session, "words", keys.clone(), &expected).await?;
    // Deleted, past the end of a fragment, no fragment, below 0.
    let second = 1_i64 << 32;
    let others = [1, second + 1, second, 4, 1 << 40, -1, i64::MAX];
    check_words(session, "words", others, &["", "", "w 4", "", "", "", ""]).await?;
    compact_files(&mut dataset, CompactionOptions::default(), None).await?;
    let after = row_ids(&dataset).await?;
    let moved: Vec<_> = after.iter().rev().map(|(_, row_id)| *row_id).collect();
    assert!(moved.iter().all(|row_id| !keys.contains(row_id)), "{keys:?} {moved:?}");
    check_words(session, "words", moved, &expected).await?;
    check_words(session, "words", keys, &[""; 7]).await
}

async fn offsets_count_live_rows(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let mut dataset = with_deletions(&uri).await?;
    session.attach(load_kv("words", session.lance(&uri, "_offset").await?)?, None).await?;
    let keys = [7, 6, 0, 1, 4, -1, 3, 10];
    let expected = ["", "w 8", "w 0", "w 2", "w 6", "", "w 4", ""];
    check_words(session, "words", keys, &expected).await?;
    compact_files(&mut dataset, CompactionOptions::default(), None).await?;
    check_words(session, "words", keys, &expected).await
}

async fn string_integer_and_binary_keys(session: &TestSession) -> Result<()> {
    let values = || ints([1, 2, 3]);
    let quoted = ["it's", "", "\"ü\" \\"];
    let bytes: [&[u8]; 3] = [b"it's", b"", b"\xff\x00"];
    let large = column(LargeStringArray::from_iter_values(quoted));
    let views = column(StringViewArray::from_iter_values(quoted));
    let binary = column(BinaryArray::from_iter_values(bytes));
    let asked_bytes = column(BinaryArray::from_opt_vec(vec![
        Some(bytes[2]),
        Some(b"\xff"),
        Some(bytes[0]),
        None,
        Some(bytes[1]),
    ]));
    let asked = || strings([Some(quoted[2]), Some("its"), Some(quoted[0]), None, Some(quoted[1])]);
    let small = column(UInt8Array::from(vec![7, 255, 0]));
    let huge = column(UInt64Array::from(vec![1 << 63, 7, u64::MAX]));
    let asked_huge = column(UInt64Array::from(vec![
        Some(u64::MAX),
        Some(u64::MAX - 1),
        Some(1 << 63),
        None,
        Some(7),
    ]));
    let cases: [(&str, ArrayRef, ArrayRef); 7] = [
        ("utf8", strings(quoted), asked()),
        ("large", large, asked()),
        ("views", views.clone(), asked()),
        (
            "utf8_by_views",
            strings(quoted),
            column(StringViewArray::from_iter(asked().as_string::<i32>())),
        ),
        ("binary", binary, asked_bytes),
        ("uint8", small, ints([Some(0), Some(300), Some(7), None, Some(255)])),
        ("uint64", huge, asked_huge),
    ];
    for (name, held, asked) in cases {
        let rows = batch([("id", held), ("n", values())]);
        // Lance keeps no string views; a memory store does.
        if name != "views" {
            session.attach_lance(&format!("{name}_lance"), rows.clone(), "id").await?;
        }
        session.attach_memory(&format!("{name}_memory"), rows, "id").await?;
        session.register_batches(name, &[batch([("k", asked)])])?;
        for kind in ["lance", "memory"].into_iter().skip(usize::from(name == "views")) {
            let sql = format!(
                "SELECT kv_get(k, source => '{name}_{kind}', on_error => 'null')['n'], \
                 kv_exists(k, source => '{name}_{kind}') FROM {name}"
            );
            let expected = ["3 | true", "NULL | false", "1 | true", "NULL | NULL", "2 | true"];
            session.check(&sql, &expected).await?;
        }
    }
    Ok(())
}

async fn keys_of_another_kind_are_refused(session: &TestSession) -> Result<()> {
    session.attach_lance("words", words(0..3, "w"), "id").await?;
    session.register_batches("t", &[batch([("k", strings(["1"]))])])?;
    let sql = "SELECT kv_get(k, source => 'words') FROM t";
    let error = session.sql(sql).await.err().context("it was planned")?;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for part in ["words", "Utf8", "Int64"] {
        assert!(error.message().contains(part), "{part} is not in: {error}");
    }
    Ok(())
}

async fn nested_and_fixed_size_list_values(session: &TestSession) -> Result<()> {
    let vectors = [Some([0.5, -1.0]), None, Some([2.25, 3.0])].map(|v| v.map(|v| v.map(Some)));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
    let lists = [Some(vec![Some(1), None]), Some(vec![]), None];
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    let place = StructArray::from(vec![
        (field("city", DataType::Utf8), strings([Some("Oslo"), None, Some("Rome")])),
        (field("height", DataType::Float32), column(Float32Array::from(vec![1.5, 2.5, 3.5]))),
    ]);
    let held = batch([
        ("id", strings(["a", "b", "c"])),
        ("vector", column(vectors)),
        ("list", column(lists)),
        ("place", column(place)),
    ]);
    session.attach_lance("lance", held.clone(), "id").await?;
    session.attach_memory("memory", held.clone(), "id").await?;
    let keys = strings([Some("c"), Some("x"), Some("a"), None, Some("b"), Some("c")]);
    session.register_batches("t", &[batch([("k", keys)])])?;
    let a = "{vector: [0.5, -1.0], list: [1, NULL], place: {city: Oslo, height: 1.5}} | Oslo";
    let b = "{vector: NULL, list: [], place: {city: NULL, height: 2.5}} | NULL";
    let c = "{vector: [2.25, 3.0], list: NULL, place: {city: Rome, height: 3.5}} | Rome";
    for store in ["lance", "memory"] {
        let sql = format!(
            "SELECT v, v['place']['city'] FROM (SELECT kv_get(k, source => '{store}', columns => \
             ['vector', 'list', 'place'], on_error => 'null') AS v FROM t)"
        );
        session.check(&sql, &[c, "NULL | NULL", a, "NULL | NULL", b, c]).await?;
        let query = session.sql(&sql).await?;
        let DataType::Struct(fields) = query.schema().field(0).data_type() else {
            anyhow::bail!("no struct: {}", query.schema());
        };
        let types: Vec<_> = fields.iter().map(|field| field.data_type().clone()).collect();
        let schema = held.schema();
        let expected = schema.fields()[1..].iter().map(|field| field.data_type().clone());
        assert_eq!(types, expected.collect::<Vec<_>>(), "{store}");
    }
    Ok(())
}

async fn duplicate_keys_by_policy(session: &TestSession) -> Result<()> {
    let uri = session.path("twice.lance");
    let held = batch([
        ("id", ints([Some(1), Some(2), Some(1), None, Some(3), Some(1), None])),
        ("word", strings(["one", "two", "uno", "none", "three", "eins", "nothing"])),
    ]);
    write_lance(&uri, &[held], 2).await?;
    for (alias, policy) in [
        ("error", OnDuplicateKey::Error),
        ("first", OnDuplicateKey::First),
        ("last", OnDuplicateKey::Last),
    ] {
        let options = session.lance(&uri, "id").await?.on_duplicate_key(policy);
        session.attach(load_kv(alias, options)?, None).await?;
    }
    check_words(session, "first", [3, 1, 9, 2], &["three", "one", "", "two"]).await?;
    check_words(session, "last", [3, 1, 9, 2], &["three", "eins", "", "two"]).await?;
    // Only a key that is asked for can be in doubt, in either mode.
    check_words(session, "error", [3, 9, 2], &["three", "", "two"]).await?;
    session.register_batches("t", &[batch([("k", ints([2, 1]))])])?;
    let message = "key 1 stands in several rows of KV store 'error'; set on_duplicate_key to \
                   'first' or 'last'";
    for mode in ["raise", "null"] {
        let sql = format!("SELECT kv_get(k, source => 'error', on_error => '{mode}') FROM t");
        session.check_failure(&sql, ErrorKind::Invalid, message).await?;
    }
    Ok(())
}

async fn a_dataset_that_is_missing_is_named(session: &TestSession) -> Result<()> {
    let uri = session.path("missing.lance");
    let message = format!("store 'own' cannot be opened: no Lance dataset at {uri}");
    check_refused(session, by(&uri, "id"), ErrorKind::NotFound, &message).await?;
    let error = load_kv("own", LanceOptions::new("")).err().context("it was taken")?;
    assert_eq!(error.message(), "KV store 'own' needs a uri");
    Ok(())
}

async fn a_key_column_that_is_missing_or_unfit_is_refused(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    let held = batch([("id", ints([1])), ("f", column(Float32Array::from(vec![1.0])))]);
    write_lance(&uri, &[held], 2).await?;
    let message = "KV store 's': key column 'di' not found; the store has 'id', 'f'";
    check_refused(session, by(&uri, "di"), ErrorKind::Invalid, message).await?;
    let message = "KV store 's': key column 'f' has type Float32; keys are integers, decimals, \
                   strings, binary, booleans, dates, times or timestamps";
    check_refused(session, by(&uri, "f"), ErrorKind::Invalid, message).await
}

async fn an_unknown_storage_profile_is_refused(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..3, "w")], 2).await?;
    let options = by(&uri, "id").storage_options("minio");
    let message =
        "store 'own' cannot be opened: storage profile 'minio' not found; the worker has none";
    check_refused(session, options, ErrorKind::Invalid, message).await
}

async fn a_file_url_is_a_path(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[words(0..3, "w")], 2).await?;
    let options = session.lance(format!("file://{uri}"), "id").await?;
    session.attach(load_kv("words", options)?, None).await?;
    check_words(session, "words", [2, 3], &["w 2", ""]).await
}

async fn pairs_are_key_and_value(session: &TestSession) -> Result<()> {
    let pairs = [("b", Some(2_i64)), ("a", None), ("c", Some(3))];
    session.attach(load_kv("own_name", MemoryOptions::pairs(pairs))?, None).await?;
    session.attach(load_kv("n", MemoryOptions::pairs([(7_i64, "seven")]))?, "numbers").await?;
    assert_eq!(session.list_kv(), ["numbers", "own_name"]);
    let keys = strings([Some("a"), Some("x"), None, Some("c"), Some("b")]);
    session.register_batches("t", &[batch([("k", keys)])])?;
    let sql = "SELECT kv_get(k, source => 'own_name', on_error => 'null'), \
               kv_exists(k, source => 'own_name') FROM t";
    let expected = [
        "{key: a, value: NULL} | true",
        "NULL | false",
        "NULL | NULL",
        "{key: c, value: 3} | true",
        "{key: b, value: 2} | true",
    ];
    session.check(sql, &expected).await?;
    let sql = "SELECT kv_get(7, source => 'numbers')";
    session.check(sql, &["{key: 7, value: seven}"]).await
}

async fn batches_of_a_memory_store_are_one(session: &TestSession) -> Result<()> {
    let pieces = vec![words(0..2, "one"), words(2..2, "none"), words(2..5, "two")];
    session.attach(load_kv("words", MemoryOptions::batches(pieces, "id"))?, None).await?;
    check_words(session, "words", [4, 0, 5, 2], &["two 4", "one 0", "", "two 2"]).await?;
    let empty = MemoryOptions::batch(words(0..0, "none"), "id");
    session.attach(load_kv("empty", empty)?, None).await?;
    check_words(session, "empty", [0, 1], &["", ""]).await
}

async fn memory_contents_unfit_for_lookups_are_refused(_: &TestSession) -> Result<()> {
    let null = || ScalarValue::Utf8(None);
    let one = || ScalarValue::from("one");
    let rows = |ids: [Option<i64>; 3]| {
        batch([("id", ints(ids)), ("f", column(Float32Array::from(vec![0.0; 3])))])
    };
    let cases = [
        (
            MemoryOptions::pairs([("a", 1_i64), ("b", 2), ("a", 1)]),
            "key 'a' stands in several rows",
        ),
        (MemoryOptions::pairs([(one(), one()), (null(), one())]), "key column 'key' holds nulls"),
        (
            MemoryOptions::batch(rows([Some(1), Some(2), Some(1)]), "id"),
            "key '1' stands in several rows",
        ),
        (MemoryOptions::batch(rows([Some(1), None, Some(2)]), "id"), "key column 'id' holds nulls"),
        (
            MemoryOptions::batch(rows([Some(1), Some(2), Some(3)]), "f"),
            "key column 'f' has type Float32; keys are integers, decimals, strings, binary, \
             booleans, dates, times or timestamps",
        ),
        (
            MemoryOptions::batch(rows([Some(1), Some(2), Some(3)]), "di"),
            "key column 'di' not found; the rows have 'id', 'f'",
        ),
        (
            MemoryOptions::pairs(Vec::<(ScalarValue, ScalarValue)>::new()),
            "needs at least one pair, whose types become its columns' types",
        ),
    ];
    for (options, message) in cases {
        let error = load_kv("m", options).err().with_context(|| message.to_owned())?;
        let message = format!("KV store 'm': {message}");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, &*message));
    }
    let error = load_kv("m", MemoryOptions::batches(Vec::new(), "id")).err().context("taken")?;
    assert_eq!(error.message(), "KV store 'm' needs at least one batch");
    Ok(())
}

async fn the_same_contents_under_two_aliases(session: &TestSession) -> Result<()> {
    let store = load_kv("words", MemoryOptions::batch(words(0..3, "w"), "id"))?;
    session.attach(store.clone(), "one").await?;
    session.attach(store, "two").await?;
    session.attach_memory("three", words(0..3, "w"), "word").await?;
    session.register_batches("t", &[batch([("k", ints([2, 0]))])])?;
    let sql = "SELECT kv_get(k, source => 'one')['word'], \
               kv_get(kv_get(k, source => 'two')['word'], source => 'three')['id'] FROM t";
    session.check(sql, &["w 2 | 2", "w 0 | 0"]).await?;
    let stores = session.stores(sql).await?;
    let keys: Vec<_> = stores.iter().map(|(alias, store)| (alias.as_str(), store.keys)).collect();
    assert_eq!(keys, [("one", 2), ("three", 2), ("two", 2)]);
    // Each goes without the other.
    session.detach_kv("one")?;
    check_words(session, "two", [1, 3], &["w 1", ""]).await?;
    session
        .check_refusal(
            "SELECT kv_get(k, source => 'one') FROM t",
            ErrorKind::NotFound,
            "KV store 'one' not found in session (attached: 'three', 'two')",
        )
        .await
}
