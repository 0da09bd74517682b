//! Keys: their types, their range, what is compared with what.

use anyhow::Result;
use arrow::{
    array::{
        ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int8Array, UInt8Array,
        UInt64Array,
    },
    compute::cast,
    datatypes::{DataType, Int32Type},
};
use keyloom_client::{ErrorKind, load_kv};

use super::check;
use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments_and_ways, open_shop, strings, write_lance,
};

on_all_deployments_and_ways! {
    a_key_outside_the_stores_range_is_missing,
    a_negative_row_id_is_missing,
    all_integer_widths_meet,
    all_string_layouts_meet,
    all_binary_layouts_meet,
    a_dictionary_of_strings_is_a_string_key,
    a_key_of_another_class_is_refused_with_both_types,
    keys_of_no_class_are_refused,
    keys_are_expressions,
    strings_are_compared_byte_by_byte,
}

const INTEGERS: [DataType; 8] = [
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::UInt8,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
];

/// Attaches the same rows as `lance` and `memory`.
async fn attach(session: &TestSession, ids: ArrayRef, words: ArrayRef) -> Result<()> {
    let rows = batch([("id", ids), ("word", words)]);
    session.attach_lance("lance", rows.clone(), "id").await?;
    session.attach_memory("memory", rows, "id").await
}

async fn a_key_outside_the_stores_range_is_missing(session: &TestSession) -> Result<()> {
    let ids = column(UInt8Array::from(vec![0, 44, 255]));
    attach(session, ids, strings(["zero", "forty-four", "most"])).await?;
    // 300 is 44 in eight bits.
    session.register_batches("t", &[batch([("k", ints([300, 255, -1, 0, 256, 44, i64::MIN]))])])?;
    check(
        session,
        "SELECT k, kv_get(k, source => 'STORE', on_error => 'null')['word'], \
         kv_exists(k, source => 'STORE') FROM t",
        &[
            "300 | NULL | false",
            "255 | most | true",
            "-1 | NULL | false",
            "0 | zero | true",
            "256 | NULL | false",
            "44 | forty-four | true",
            "-9223372036854775808 | NULL | false",
        ],
    )
    .await?;
    for store in ["lance", "memory"] {
        session
            .check_failure(
                &format!("SELECT kv_get(k, source => '{store}') FROM (SELECT 300 AS k)"),
                ErrorKind::NotFound,
                &format!("Key not found in KV store '{store}': 300"),
            )
            .await?;
    }
    Ok(())
}

async fn a_negative_row_id_is_missing(session: &TestSession) -> Result<()> {
    let uri = session.path("words.lance");
    write_lance(&uri, &[batch([("word", strings(["one", "two", "three"]))])], 10).await?;
    session.attach(load_kv("rows", session.lance(&uri, "_rowid").await?)?, "rows").await?;
    session.attach(load_kv("offsets", session.lance(&uri, "_offset").await?)?, "offsets").await?;
    session.register_batches("t", &[batch([("k", ints([2, -1, 0, 3]))])])?;
    for store in ["rows", "offsets"] {
        session
            .check(
                &format!(
                    "SELECT kv_get(k, source => '{store}', on_error => 'null'), \
                     kv_exists(k, source => '{store}') FROM t"
                ),
                &["{word: three} | true", "NULL | false", "{word: one} | true", "NULL | false"],
            )
            .await?;
        session
            .check_failure(
                &format!("SELECT kv_get(k, source => '{store}') FROM t WHERE k < 0"),
                ErrorKind::NotFound,
                &format!("Key not found in KV store '{store}': -1"),
            )
            .await?;
    }
    Ok(())
}

async fn all_integer_widths_meet(session: &TestSession) -> Result<()> {
    let columns = INTEGERS.map(|width| cast(&ints([3, 100, 7]), &width));
    let names = INTEGERS.map(|width| width.to_string().to_lowercase());
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    let keys = names.iter().map(String::as_str).zip(columns.iter().cloned());
    session.register_batches("t", &[batch(keys)])?;
    for (index, width) in names.iter().enumerate() {
        let ids = columns[index].slice(1, 2);
        let rows = batch([("id", ids), ("word", strings(["hundred", "seven"]))]);
        session.attach_memory(&format!("memory_{width}"), rows.clone(), "id").await?;
        session.attach_lance(&format!("lance_{width}"), rows, "id").await?;
        for store in ["memory", "lance"] {
            let calls = names.iter().map(|key| {
                format!(
                    "kv_get({key}, source => '{store}_{width}', on_error => 'null')['word'] AS {key}"
                )
            });
            let sql = format!("SELECT {} FROM t", calls.collect::<Vec<_>>().join(", "));
            let expected = ["NULL", "hundred", "seven"].map(|word| [word; 8].join(" | "));
            assert_eq!(session.rows(&sql).await?, expected, "{store}_{width}");
        }
    }
    // Where sixty-four bits meet in another sign, equal bits are different keys.
    let large = batch([("id", column(UInt64Array::from(vec![u64::MAX, 5]))), ("n", ints([1, 2]))]);
    session.attach_memory("large", large, "id").await?;
    let small = batch([("id", column(Int8Array::from(vec![-1, 5]))), ("n", ints([1, 2]))]);
    session.attach_memory("small", small, "id").await?;
    session
        .check(
            "SELECT kv_get(k, source => 'large', on_error => 'null')['n'], kv_get(u, source => \
             'small', on_error => 'null')['n'] FROM (SELECT -1 AS k, \
             arrow_cast(18446744073709551615, 'UInt64') AS u UNION ALL SELECT 5, \
             arrow_cast(5, 'UInt64'))",
            &["NULL | NULL", "2 | 2"],
        )
        .await
}

async fn all_string_layouts_meet(session: &TestSession) -> Result<()> {
    let layouts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
    let long = "a string that does not fit into a view";
    let keys = strings([Some("b"), Some(long), None, Some("x")]);
    let columns = layouts.iter().map(|layout| cast(&keys, layout));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let names = ["utf8", "large", "view"];
    session.register_batches("t", &[batch(names.into_iter().zip(columns))])?;
    for (layout, name) in layouts.iter().zip(names) {
        let ids = cast(&strings([long, "b"]), layout)?;
        let rows = batch([("id", ids), ("n", ints([1, 2]))]);
        session.attach_memory(&format!("memory_{name}"), rows.clone(), "id").await?;
        let mut stores = vec![format!("memory_{name}")];
        // Lance has no views of its own.
        if *layout != DataType::Utf8View {
            session.attach_lance(&format!("lance_{name}"), rows, "id").await?;
            stores.push(format!("lance_{name}"));
        }
        for store in stores {
            let calls = names.map(|key| {
                format!("kv_get({key}, source => '{store}', on_error => 'null')['n'] AS {key}")
            });
            session
                .check(
                    &format!("SELECT {} FROM t", calls.join(", ")),
                    &["2 | 2 | 2", "1 | 1 | 1", "NULL | NULL | NULL", "NULL | NULL | NULL"],
                )
                .await?;
        }
    }
    Ok(())
}

async fn all_binary_layouts_meet(session: &TestSession) -> Result<()> {
    let keys = [Some(&[0u8, 255][..]), None, Some(b"no"), Some(b"it")];
    let binary = column(BinaryArray::from_iter(keys));
    let sized = column(FixedSizeBinaryArray::try_from_sparse_iter_with_size(keys.into_iter(), 2)?);
    let layouts = [DataType::LargeBinary, DataType::BinaryView];
    let [large, view] = layouts.map(|layout| cast(&binary, &layout));
    let columns = [("b", binary.clone()), ("l", large?), ("v", view?), ("f", sized.clone())];
    session.register_batches("t", &[batch(columns)])?;
    for (name, ids) in [("binary", binary), ("sized", sized)] {
        let ids = arrow::compute::concat(&[&ids.slice(3, 1), &ids.slice(0, 1)])?;
        let rows = batch([("id", ids), ("n", ints([1, 2]))]);
        session.attach_memory(&format!("memory_{name}"), rows.clone(), "id").await?;
        session.attach_lance(&format!("lance_{name}"), rows, "id").await?;
        for store in ["memory", "lance"] {
            let calls = ["b", "l", "v", "f"].map(|key| {
                format!(
                    "kv_get({key}, source => '{store}_{name}', on_error => 'null')['n'] AS {key}"
                )
            });
            let expected = ["2", "NULL", "NULL", "1"].map(|n| [n; 4].join(" | "));
            let sql = format!("SELECT {} FROM t", calls.join(", "));
            assert_eq!(session.rows(&sql).await?, expected, "{store}_{name}");
        }
    }
    Ok(())
}

async fn a_dictionary_of_strings_is_a_string_key(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let keys = [Some("b"), None, Some("x"), Some("a"), Some("b")];
    let keys: DictionaryArray<Int32Type> = keys.into_iter().collect();
    session.register_batches("d", &[batch([("k", column(keys))])])?;
    check(
        session,
        "SELECT kv_get(k, source => 'STORE', on_error => 'null')['name'] FROM d",
        &["banana", "NULL", "NULL", "apple", "banana"],
    )
    .await
}

async fn a_key_of_another_class_is_refused_with_both_types(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let numbers = batch([("id", ints([1])), ("word", strings(["one"]))]);
    session.attach_lance("numbers", numbers, "id").await?;
    for function in ["kv_get", "kv_batch_get", "kv_exists"] {
        session
            .check_refusal(
                &format!("SELECT {function}(k, source => 'numbers') FROM t"),
                ErrorKind::Invalid,
                &format!(
                    "a key of type Utf8 cannot be looked up in KV store 'numbers', whose keys are \
                     of type Int64; write {function}(CAST(k AS BIGINT), …)"
                ),
            )
            .await?;
        session
            .check_refusal(
                &format!("SELECT {function}(n, source => 'memory') FROM t"),
                ErrorKind::Invalid,
                &format!(
                    "a key of type Int64 cannot be looked up in KV store 'memory', whose keys are \
                     of type Utf8; write {function}(CAST(n AS VARCHAR), …)"
                ),
            )
            .await?;
    }
    session
        .check_refusal(
            "SELECT kv_batch_get([k], source => 'numbers') FROM t",
            ErrorKind::Invalid,
            "a key of type Utf8 cannot be looked up in KV store 'numbers', whose keys are of type \
             Int64; write kv_batch_get(CAST(key AS BIGINT), …)",
        )
        .await
}

async fn keys_of_no_class_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_get(1.5, source => 'memory') FROM t",
            ErrorKind::Invalid,
            "a key of type Float64 cannot be looked up in KV store 'memory', whose keys are of \
             type Utf8; write kv_get(CAST(key AS VARCHAR), …)",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_exists(n > 1, source => 'memory') FROM t",
            ErrorKind::Invalid,
            "a key of type Boolean cannot be looked up in KV store 'memory', whose keys are of \
             type Utf8; write kv_exists(CAST(key AS VARCHAR), …)",
        )
        .await
}

async fn keys_are_expressions(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    check(
        session,
        "SELECT kv_get(chr(96 + n), source => 'STORE', on_error => 'null')['name'], \
         kv_get('b', source => 'STORE')['price'], \
         kv_get(CASE WHEN n = 2 THEN 'c' ELSE k END, source => 'STORE')['id'] FROM t",
        &[
            "apple | 20 | a",
            "banana | 20 | c",
            "cherry | 20 | NULL",
            "NULL | 20 | b",
            "NULL | 20 | a",
        ],
    )
    .await
}

async fn strings_are_compared_byte_by_byte(session: &TestSession) -> Result<()> {
    // The last two look alike: one letter, and a letter with a combining accent.
    let ids = ["", " ", "A", "a", "Straße", "\u{e9}", "e\u{301}"];
    attach(session, strings(ids), ints(0..7)).await?;
    let keys = ["e\u{301}", "a", "STRASSE", "\u{e9}", "", "A", "Straße", "  ", " "];
    session.register_batches("t", &[batch([("k", strings(keys))])])?;
    check(
        session,
        "SELECT kv_get(k, source => 'STORE', on_error => 'null')['word'] FROM t",
        &["6", "3", "NULL", "5", "0", "2", "4", "NULL", "1"],
    )
    .await
}
