//! Keys of several columns, asked with structs.

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, Date32Array, Int8Array, LargeStringArray, ListArray, RecordBatch, StructArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Field},
};
use datafusion::prelude::{col, lit, named_struct};
use keyloom_client::{ErrorKind, MemoryOptions, OnDuplicateKey, load_kv};
use lance::Dataset;

use super::check;
use crate::harness::{
    TestSession, batch, check_rows, column, ints, on_all_deployments_and_ways, strings, write_lance,
};

on_all_deployments_and_ways! {
    structs_of_columns_are_keys,
    a_null_part_makes_a_null_key,
    parts_meet_in_the_stores_types,
    lists_of_structs_are_keys,
    missing_keys_are_named_with_their_parts,
    structs_that_do_not_fit_are_refused_with_what_to_write,
    keys_of_three_columns_are_told_apart,
    duplicate_keys_by_policy,
    deleted_rows_hold_no_key,
    expressions_are_keys_too,
    unfit_contents_of_a_memory_store_are_refused,
}

/// Stock by shop and article; the articles take eight bits.
fn stock() -> RecordBatch {
    batch([
        ("stock", ints([11, 12, 21, 22, 13])),
        ("article", column(Int8Array::from(vec![1, 2, 1, 2, 3]))),
        ("shop", strings(["a", "a", "b", "b", "a"])),
    ])
}

/// Attaches the stock as `lance` and `memory`, and registers what is asked as `t`.
async fn open(session: &TestSession) -> Result<()> {
    session.attach_lance("lance", stock(), ["shop", "article"]).await?;
    session.attach_memory("memory", stock(), ["shop", "article"]).await?;
    let asked = batch([
        ("n", ints([1, 2, 3, 4, 5, 6])),
        ("shop", strings([Some("b"), Some("a"), Some("c"), None, Some("a"), Some("b")])),
        ("article", ints([Some(2), Some(3), Some(1), Some(1), None, Some(258)])),
    ]);
    Ok(session.register_batches("t", &[asked])?)
}

async fn structs_of_columns_are_keys(session: &TestSession) -> Result<()> {
    open(session).await?;
    let keys = [
        "named_struct('shop', shop, 'article', article)",
        "named_struct('article', article, 'shop', shop)",
        "struct(shop, article)",
        "struct(article, t.shop)",
        "STRUCT(shop AS shop, article + 0 AS article)",
        "(shop, article)",
        "struct(CAST(shop AS VARCHAR), CAST(article AS INT))",
        "struct(shop, article * 1 AS article)",
    ];
    for key in keys {
        let sql = format!(
            "SELECT kv_get({key}, source => 'STORE', columns => ['stock'], on_error => \
             'null')['stock'], kv_exists({key}, source => 'STORE') FROM t"
        );
        let expected = [
            "22 | true",
            "13 | true",
            "NULL | false",
            "NULL | NULL",
            "NULL | NULL",
            "NULL | false",
        ];
        check(session, &sql, &expected).await?;
    }
    let whole = "SELECT kv_get(struct(shop, article), source => 'STORE') FROM t WHERE n = 1";
    check(session, whole, &["{stock: 22, article: 2, shop: b}"]).await?;
    // Calls with the same struct are one fetch.
    for store in ["lance", "memory"] {
        let sql = format!(
            "SELECT kv_exists(struct(article, shop), source => '{store}'), \
             kv_get(struct(article, shop), source => '{store}', on_error => 'null')['stock'] FROM t"
        );
        let plan = session.explain(session.sql(&sql).await?, false).await?;
        assert_eq!(plan.matches(" = (shop, article)").count(), 1, "{plan}");
    }
    Ok(())
}

async fn a_null_part_makes_a_null_key(session: &TestSession) -> Result<()> {
    let held = batch([
        ("shop", strings([Some("a"), None, Some("b")])),
        ("article", ints([Some(1), Some(1), None])),
        ("stock", ints([1, 2, 3])),
    ]);
    session.attach_lance("lance", held, ["shop", "article"]).await?;
    let part = |name, data_type| Field::new(name, data_type, true);
    let fields = vec![part("shop", DataType::Utf8), part("article", DataType::Int64)];
    let keys = StructArray::try_new(
        fields.into(),
        vec![
            strings([Some("a"), None, Some("b"), Some("a")]),
            ints([Some(1), Some(1), None, Some(1)]),
        ],
        Some(NullBuffer::from(vec![true, true, true, false])),
    )?;
    session.register_batches("t", &[batch([("k", column(keys))])])?;
    for mode in ["null", "raise"] {
        session
            .check(
                &format!(
                    "SELECT kv_get(k, source => 'lance', on_error => '{mode}')['stock'], \
                     kv_exists(k, source => 'lance') FROM t"
                ),
                &["1 | true", "NULL | NULL", "NULL | NULL", "NULL | NULL"],
            )
            .await?;
    }
    Ok(())
}

async fn parts_meet_in_the_stores_types(session: &TestSession) -> Result<()> {
    let days = |days: [i32; 3]| column(Date32Array::from(days.to_vec()));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let held = batch([
        ("city", cast(&strings(["Oslo", "Rome", "Oslo"]), &dictionary)?),
        ("day", days([1, 1, 2])),
        ("high", ints([10, 20, 30])),
    ]);
    session.attach_lance("lance", held.clone(), ["city", "day"]).await?;
    session.attach_memory("memory", held, ["city", "day"]).await?;
    let cities = column(LargeStringArray::from(vec!["Oslo", "Rome", "Oslo"]));
    let asked = batch([("city", cities), ("day", cast(&days([2, 2, 1]), &DataType::Date64)?)]);
    session.register_batches("t", &[asked])?;
    check(
        session,
        "SELECT kv_get(struct(city, day), source => 'STORE', on_error => 'null')['high'] FROM t",
        &["30", "NULL", "10"],
    )
    .await
}

async fn lists_of_structs_are_keys(session: &TestSession) -> Result<()> {
    open(session).await?;
    check(
        session,
        "SELECT kv_batch_get([struct(shop, article), named_struct('article', 1, 'shop', 'a')], \
         source => 'STORE', columns => ['stock'], on_error => 'null') FROM t WHERE n IN (1, 3, 4)",
        &["[{stock: 22}, {stock: 11}]", "[NULL, {stock: 11}]", "[NULL, {stock: 11}]"],
    )
    .await?;
    let part = |name, data_type| Field::new(name, data_type, true);
    let fields = vec![part("article", DataType::Int64), part("shop", DataType::Utf8)];
    let keys: ArrayRef = column(StructArray::try_new(
        fields.into(),
        vec![ints([Some(1), Some(2), Some(9), None]), strings(["b", "a", "a", "a"])],
        None,
    )?);
    let item = Field::new_list_field(keys.data_type().clone(), true);
    let offsets = OffsetBuffer::new(vec![0, 2, 2, 2, 4].into());
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    let lists = ListArray::try_new(item.into(), offsets, keys, Some(nulls))?;
    session.register_batches("lists", &[batch([("keys", column(lists))])])?;
    check(
        session,
        "SELECT kv_batch_get(keys, source => 'STORE', columns => ['stock'], on_error => 'null') \
         FROM lists",
        &["[{stock: 21}, {stock: 12}]", "NULL", "[]", "[NULL, NULL]"],
    )
    .await
}

async fn missing_keys_are_named_with_their_parts(session: &TestSession) -> Result<()> {
    open(session).await?;
    for store in ["lance", "memory"] {
        let sql = |rows: &str| {
            format!("SELECT kv_get(struct(shop, article), source => '{store}') FROM t WHERE {rows}")
        };
        session
            .check_failure(
                &sql("n = 3"),
                ErrorKind::NotFound,
                &format!("Key not found in KV store '{store}': {{shop: c, article: 1}}"),
            )
            .await?;
        let error = session.failure(&sql("n = 6")).await?;
        assert!(error.message().ends_with(": {shop: b, article: 258}"), "{error}");
    }
    Ok(())
}

async fn structs_that_do_not_fit_are_refused_with_what_to_write(
    session: &TestSession,
) -> Result<()> {
    open(session).await?;
    let write = "write kv_get(struct(shop, article), …) if these are columns of the input, or \
                 kv_get(named_struct('shop', …, 'article', …), …)";
    let fields = |fields: &str| {
        format!(
            "the keys of KV store 'lance' are the columns 'shop', 'article' together, and the key \
             that is looked up has the fields {fields}; {write}"
        )
    };
    let cases = [
        (
            "shop",
            format!(
                "a key of type Utf8 cannot be looked up in KV store 'lance', whose keys are the \
                 columns 'shop', 'article' together; {write}"
            ),
        ),
        ("struct(shop, article + 0)", fields("'c0', 'c1'")),
        ("struct(shop, t.shop)", fields("'c0', 'c1'")),
        ("struct(shop)", fields("'shop'")),
        ("struct(shop, article, n)", fields("'shop', 'article', 'n'")),
        ("named_struct('shop', shop, 'articel', article)", fields("'shop', 'articel'")),
        (
            "named_struct('shop', shop, 'article', shop)",
            "the part 'article' of a key is of type Utf8 and cannot be looked up in KV store \
             'lance', whose column 'article' is of type Int8; write kv_get(named_struct('shop', \
             shop, 'article', CAST(article AS BIGINT)), …)"
                .to_owned(),
        ),
    ];
    for (key, message) in cases {
        let sql = format!("SELECT kv_get({key}, source => 'lance') FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, &message).await?;
    }
    session.attach_memory("articles", stock().slice(3, 2), "article").await?;
    session
        .check_refusal(
            "SELECT kv_get(struct(shop, article), source => 'articles') FROM t",
            ErrorKind::Invalid,
            "a struct of 'shop', 'article' cannot be looked up in KV store 'articles', whose keys \
             are its column 'article' alone; write kv_get(key['article'], …)",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_get(struct(shop, n), source => 'articles') FROM t",
            ErrorKind::Invalid,
            "a struct of 'shop', 'n' cannot be looked up in KV store 'articles', whose keys are \
             its column 'article' alone; for a key of several columns, say key = [\"…\", \"…\"] \
             where the store is described",
        )
        .await
}

async fn keys_of_three_columns_are_told_apart(session: &TestSession) -> Result<()> {
    let parts = ["", "a", "ab", "b"];
    let keys = || {
        let each = move |part: &'static str| parts.map(|other| (part, other));
        parts.into_iter().flat_map(each).flat_map(|(x, y)| parts.map(|z| (x, y, z)))
    };
    let rows = batch([
        ("x", strings(keys().map(|(x, _, _)| x))),
        ("y", strings(keys().map(|(_, y, _)| y))),
        ("z", strings(keys().map(|(_, _, z)| z))),
        ("n", ints(0..64)),
    ]);
    session.attach_lance("lance", rows.clone(), ["z", "x", "y"]).await?;
    session.attach_memory("memory", rows.clone(), ["z", "x", "y"]).await?;
    session.register_batches("t", &[rows])?;
    let expected: Vec<_> = (0..64).map(|n| n.to_string()).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check(session, "SELECT kv_get(struct(x, y, z), source => 'STORE')['n'] FROM t", &expected).await
}

async fn duplicate_keys_by_policy(session: &TestSession) -> Result<()> {
    let held = batch([
        ("shop", strings(["a", "b", "a", "a", "b"])),
        ("article", ints([1, 1, 1, 2, 1])),
        ("row", ints(0..5)),
    ]);
    let uri = session.path("twice.lance");
    write_lance(&uri, &[held], 2).await?;
    for (alias, policy) in [
        ("error", OnDuplicateKey::Error),
        ("first", OnDuplicateKey::First),
        ("last", OnDuplicateKey::Last),
    ] {
        let options = session.lance(&uri, ["shop", "article"]).await?.on_duplicate_key(policy);
        session.attach(load_kv(alias, options)?, None).await?;
    }
    let asked = batch([("shop", strings(["a", "b", "a"])), ("article", ints([2, 1, 1]))]);
    session.register_batches("t", &[asked])?;
    let rows = |store: &str| {
        format!("SELECT kv_get(struct(shop, article), source => '{store}')['row'] FROM t")
    };
    session.check(&rows("first"), &["3", "1", "0"]).await?;
    session.check(&rows("last"), &["3", "4", "2"]).await?;
    session.check(&format!("{} WHERE article = 2", rows("error")), &["3"]).await?;
    session
        .check_failure(
            &format!("{} WHERE shop = 'b'", rows("error")),
            ErrorKind::Invalid,
            "key {shop: b, article: 1} stands in several rows of KV store 'error'; set \
             on_duplicate_key to 'first' or 'last'",
        )
        .await
}

async fn deleted_rows_hold_no_key(session: &TestSession) -> Result<()> {
    open(session).await?;
    let sql = "SELECT kv_exists(struct(shop, article), source => 'lance') FROM t WHERE n < 4";
    session.check(sql, &["true", "true", "false"]).await?;
    let mut dataset = Dataset::open(&session.path("lance.lance")).await?;
    dataset.delete("stock = 22").await?;
    session.check(sql, &["false", "true", "false"]).await
}

async fn expressions_are_keys_too(session: &TestSession) -> Result<()> {
    open(session).await?;
    for store in ["lance", "memory"] {
        let table = session.sql("SELECT * FROM t WHERE n < 4").await?;
        let plain = datafusion::functions::core::r#struct().call(vec![col("shop"), col("article")]);
        let named = named_struct(vec![lit("article"), col("article"), lit("shop"), col("shop")]);
        for key in [plain, named] {
            let known = session.kv_exists(key).source(store).build()?;
            check_rows(table.clone().select(vec![known])?, &["true", "true", "false"]).await?;
        }
    }
    // A part may come from another lookup.
    check(
        session,
        "SELECT kv_get(named_struct('shop', 'a', 'article', kv_get(struct(shop, article), source \
         => 'STORE')['article']), source => 'STORE')['stock'] FROM t WHERE n < 3",
        &["12", "13"],
    )
    .await
}

async fn unfit_contents_of_a_memory_store_are_refused(_: &TestSession) -> Result<()> {
    let rows = |articles: [Option<i64>; 3]| {
        batch([("shop", strings(["a", "b", "a"])), ("article", ints(articles))])
    };
    let cases = [
        (rows([Some(1), Some(1), Some(1)]), "key 'a, 1' stands in several rows"),
        (rows([Some(1), None, Some(2)]), "key column 'article' holds nulls"),
    ];
    for (rows, message) in cases {
        let refused = load_kv("m", MemoryOptions::batch(rows, ["shop", "article"])).err();
        let refused = refused.with_context(|| message.to_owned())?;
        assert_eq!(refused.message(), format!("KV store 'm': {message}"));
    }
    let twice = MemoryOptions::batch(rows([Some(1), Some(2), Some(3)]), ["shop", "shop"]);
    let refused = load_kv("m", twice).err().context("it names a column twice")?;
    assert_eq!(refused.message(), "KV store 'm': the key names the column 'shop' twice");
    Ok(())
}
