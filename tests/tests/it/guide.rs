//! Every example of the guide to several stores, built of expressions and in SQL: both must give
//! the values that the guide's reader expects.

use anyhow::{Context, Result};
use arrow::{
    array::{
        ArrayRef, FixedSizeListBuilder, Float32Builder, ListBuilder, RecordBatch, StringBuilder,
    },
    datatypes::DataType,
};
use datafusion::prelude::{col, lit, when};
use keyloom_client::{
    ErrorKind, KvExpr, MemoryOptions, OnError, datafusion::dataframe::DataFrame, load_kv,
};

use crate::harness::{
    TestSession, batch, check_rows, column, failure, on_all_deployments_and_ways, strings,
};

on_all_deployments_and_ways! {
    several_sources_enrich_one_table,
    a_source_without_the_key_raises,
    the_default_store_and_a_named_one_are_got,
    columns_and_on_error_go_with_a_source,
    lists_are_got_in_batches,
    existence_is_checked_in_the_default_and_a_named_store,
    multi_modal_rows_take_seven_lookups,
    the_item_type_decides_which_store_is_asked,
    a_second_store_fills_in_what_the_first_lacks,
    aliases_may_be_descriptive_or_not,
    critical_data_fails_fast_and_optional_data_is_null,
    batches_and_single_gets_agree,
    stores_are_detached_and_the_current_one_cleared,
    the_old_way_still_works,
    a_second_store_joins_the_current_one,
    an_unknown_store_is_told_in_the_words_of_the_guide,
    no_current_store_is_told_in_the_words_of_the_guide,
    missing_data_is_told_in_the_words_of_the_guide,
    the_session_shows_its_stores,
}

const ITEMS: [&str; 3] = ["item_1", "item_2", "item_3"];

/// Checks a query built of expressions, and that SQL gives the same columns and rows.
async fn check_both(
    session: &TestSession,
    built: DataFrame,
    sql: &str,
    expected: &[&str],
) -> Result<()> {
    let planned = session.sql(sql).await.with_context(|| sql.to_owned())?;
    assert_eq!(columns(&built), columns(&planned), "{sql}");
    check_rows(built, expected).await?;
    check_rows(planned, expected).await
}

fn columns(query: &DataFrame) -> Vec<(String, DataType)> {
    let fields = query.schema().fields().iter();
    fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// Adds columns that are calls, in order.
fn with_calls(
    table: DataFrame,
    calls: impl IntoIterator<Item = (&'static str, KvExpr)>,
) -> Result<DataFrame> {
    calls
        .into_iter()
        .try_fold(table, |table, (name, call)| Ok(table.with_column(name, call.build()?)?))
}

/// Keys with a vector of two numbers each.
fn vectors(key: &str, rows: &[(&str, [f32; 2])]) -> RecordBatch {
    let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for (_, vector) in rows {
        vectors.values().append_slice(vector);
        vectors.append(true);
    }
    let keys = strings(rows.iter().map(|(key, _)| *key));
    batch([(key, keys), ("vector", column(vectors.finish()))])
}

/// Keys with one string each.
fn words(key: &str, value: &str, rows: &[(&str, &str)]) -> RecordBatch {
    let keys = strings(rows.iter().map(|(key, _)| *key));
    batch([(key, keys), (value, strings(rows.iter().map(|(_, value)| *value)))])
}

fn lists(rows: &[&[&str]]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    rows.iter().for_each(|keys| lists.append_value(keys.iter().map(|key| Some(*key))));
    column(lists.finish())
}

fn item_vectors() -> RecordBatch {
    let rows = [("item_1", [1.0, 0.5]), ("item_2", [2.0, 0.25]), ("item_3", [3.0, 0.125])];
    vectors("item_id", &rows)
}

/// The guide's set-up: two Lance stores and a memory store, the first current, and `df`.
async fn set_up(session: &TestSession) -> Result<()> {
    let metadata = batch([
        ("item_id", strings(ITEMS)),
        ("name", strings(["lamp", "desk", "chair"])),
        ("category", strings(["light", "wood", "wood"])),
    ]);
    session.attach_lance("lance_embeddings", item_vectors(), "item_id").await?;
    session.attach_lance("lance_metadata", metadata, "item_id").await?;
    let features = load_kv("features", MemoryOptions::pairs([("item_1", "feature_data")]))?;
    session.attach(features, "feature_store").await?;
    session.set_kv("lance_embeddings")?;
    session.register_batches("df", &[batch([("item_id", strings(ITEMS))])])?;
    let wanted: [&[&str]; 3] = [&["item_1", "item_3"], &[], &["item_2"]];
    Ok(session.register_batches("lists", &[batch([("item_ids", lists(&wanted))])])?)
}

async fn several_sources_enrich_one_table(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let get = |source: &str| session.kv_get("item_id").source(source);
    let built = with_calls(
        session.table("df").await?,
        [
            ("embeddings", get("lance_embeddings")),
            ("metadata", get("lance_metadata")),
            ("features", get("feature_store").on_error(OnError::Null)),
        ],
    )?;
    check_both(
        session,
        built,
        "SELECT *, kv_get(item_id, source => 'lance_embeddings') AS embeddings, \
         kv_get(item_id, source => 'lance_metadata') AS metadata, \
         kv_get(item_id, source => 'feature_store', on_error => 'null') AS features FROM df",
        &[
            "item_1 | {item_id: item_1, vector: [1.0, 0.5]} | {item_id: item_1, name: lamp, \
             category: light} | {key: item_1, value: feature_data}",
            "item_2 | {item_id: item_2, vector: [2.0, 0.25]} | {item_id: item_2, name: desk, \
             category: wood} | NULL",
            "item_3 | {item_id: item_3, vector: [3.0, 0.125]} | {item_id: item_3, name: chair, \
             category: wood} | NULL",
        ],
    )
    .await
}

/// The guide's feature store holds `item_1` alone, and `raise` is the default.
async fn a_source_without_the_key_raises(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let features = session.kv_get("item_id").source("feature_store");
    let built = with_calls(session.table("df").await?, [("features", features)])?;
    let message =
        "Key not found in KV store 'feature_store': item_2, item_3 (2 missing in one batch)";
    let error = failure(built).await?;
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message));
    session
        .check_failure(
            "SELECT kv_get(item_id, source => 'feature_store') FROM df",
            ErrorKind::NotFound,
            message,
        )
        .await
}

async fn the_default_store_and_a_named_one_are_got(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let calls = [
        ("data", session.kv_get("item_id")),
        ("embeddings", session.kv_get("item_id").source("lance_embeddings")),
    ];
    check_both(
        session,
        with_calls(session.table("df").await?, calls)?,
        "SELECT *, kv_get(item_id) AS data, kv_get(item_id, source => 'lance_embeddings') AS \
         embeddings FROM df",
        &[
            "item_1 | {item_id: item_1, vector: [1.0, 0.5]} | {item_id: item_1, vector: [1.0, 0.5]}",
            "item_2 | {item_id: item_2, vector: [2.0, 0.25]} | {item_id: item_2, vector: [2.0, 0.25]}",
            "item_3 | {item_id: item_3, vector: [3.0, 0.125]} | \
             {item_id: item_3, vector: [3.0, 0.125]}",
        ],
    )
    .await
}

async fn columns_and_on_error_go_with_a_source(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let rows = batch([
        ("id", strings(["item_3", "item_1"])),
        ("category", strings(["wood", "light"])),
        ("name", strings(["chair", "lamp"])),
    ]);
    session.attach_lance("metadata_store", rows, "id").await?;
    let call = session.kv_get("item_id").source("metadata_store");
    let call = call.columns(["name", "category"]).on_error(OnError::Null);
    check_both(
        session,
        with_calls(session.table("df").await?, [("metadata", call)])?,
        "SELECT *, kv_get(item_id, source => 'metadata_store', columns => ['name', 'category'], \
         on_error => 'null') AS metadata FROM df",
        &[
            "item_1 | {name: lamp, category: light}",
            "item_2 | NULL",
            "item_3 | {name: chair, category: wood}",
        ],
    )
    .await
}

async fn lists_are_got_in_batches(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let calls = [
        ("batch_data", session.kv_batch_get("item_ids")),
        ("embeddings", session.kv_batch_get("item_ids").source("lance_embeddings").batch_size(500)),
    ];
    let expected = [
        "[{item_id: item_1, vector: [1.0, 0.5]}, {item_id: item_3, vector: [3.0, 0.125]}]",
        "[]",
        "[{item_id: item_2, vector: [2.0, 0.25]}]",
    ];
    let keys = ["[item_1, item_3]", "[]", "[item_2]"];
    let expected: Vec<_> =
        keys.iter().zip(expected).map(|(keys, row)| format!("{keys} | {row} | {row}")).collect();
    check_both(
        session,
        with_calls(session.table("lists").await?, calls)?,
        "SELECT *, kv_batch_get(item_ids) AS batch_data, kv_batch_get(item_ids, \
         source => 'lance_embeddings', batch_size => 500) AS embeddings FROM lists",
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await
}

async fn existence_is_checked_in_the_default_and_a_named_store(
    session: &TestSession,
) -> Result<()> {
    set_up(session).await?;
    let calls = [
        ("exists", session.kv_exists("item_id")),
        ("has_features", session.kv_exists("item_id").source("feature_store")),
    ];
    check_both(
        session,
        with_calls(session.table("df").await?, calls)?,
        "SELECT *, kv_exists(item_id) AS \"exists\", \
         kv_exists(item_id, source => 'feature_store') AS has_features FROM df",
        &["item_1 | true | true", "item_2 | true | false", "item_3 | true | false"],
    )
    .await
}

/// The stores of users and products, and `df` with a user and a product a row.
async fn set_up_modes(session: &TestSession) -> Result<()> {
    let users = [("user_001", [0.5, 1.0]), ("user_002", [0.25, 2.0])];
    let products = [("prod_101", [8.0, 1.0]), ("prod_102", [9.0, 2.0])];
    let profiles = [("user_001", "Ann"), ("user_002", "Bob")];
    let clicks = [("user_001", "reads"), ("user_002", "buys")];
    let catalog = [("prod_101", "lamp"), ("prod_102", "desk")];
    session.attach_lance("user_embeddings", vectors("id", &users), "id").await?;
    session.attach_memory("user_metadata", words("user", "name", &profiles), "user").await?;
    session.attach_lance("behavioral_data", words("user", "habit", &clicks), "user").await?;
    session.attach_lance("product_embeddings", vectors("id", &products), "id").await?;
    session.attach_memory("product_catalog", words("sku", "title", &catalog), "sku").await?;
    session.attach_memory("inventory", words("sku", "shelf", &[("prod_101", "A1")]), "sku").await?;
    let df = words("user_id", "product_id", &[("user_001", "prod_101"), ("user_002", "prod_102")]);
    Ok(session.register_batches("df", &[df])?)
}

async fn multi_modal_rows_take_seven_lookups(session: &TestSession) -> Result<()> {
    set_up_modes(session).await?;
    let user = |source: &str| session.kv_get("user_id").source(source);
    let product = |source: &str| session.kv_get("product_id").source(source);
    let built = with_calls(
        session.table("df").await?,
        [
            ("user_embeddings", user("user_embeddings")),
            ("user_profile", user("user_metadata")),
            ("user_behavior", user("behavioral_data")),
            ("product_embeddings", product("product_embeddings")),
            ("product_info", product("product_catalog")),
            ("user_has_behavior", session.kv_exists("user_id").source("behavioral_data")),
            ("product_available", session.kv_exists("product_id").source("inventory")),
        ],
    )?;
    let sql = "SELECT *, kv_get(user_id, source => 'user_embeddings') AS user_embeddings, \
               kv_get(user_id, source => 'user_metadata') AS user_profile, \
               kv_get(user_id, source => 'behavioral_data') AS user_behavior, \
               kv_get(product_id, source => 'product_embeddings') AS product_embeddings, \
               kv_get(product_id, source => 'product_catalog') AS product_info, \
               kv_exists(user_id, source => 'behavioral_data') AS user_has_behavior, \
               kv_exists(product_id, source => 'inventory') AS product_available FROM df";
    let expected = [
        "user_001 | prod_101 | {id: user_001, vector: [0.5, 1.0]} | {user: user_001, name: Ann} | \
         {user: user_001, habit: reads} | {id: prod_101, vector: [8.0, 1.0]} | \
         {sku: prod_101, title: lamp} | true | true",
        "user_002 | prod_102 | {id: user_002, vector: [0.25, 2.0]} | {user: user_002, name: Bob} | \
         {user: user_002, habit: buys} | {id: prod_102, vector: [9.0, 2.0]} | \
         {sku: prod_102, title: desk} | true | false",
    ];
    check_both(session, built, sql, &expected).await?;
    let keys: Vec<_> = session
        .stores(sql)
        .await?
        .into_iter()
        .map(|(alias, counted)| (alias, counted.keys))
        .collect();
    let aliases = [
        "behavioral_data",
        "inventory",
        "product_catalog",
        "product_embeddings",
        "user_embeddings",
        "user_metadata",
    ];
    assert_eq!(keys, aliases.map(|alias| (alias.to_owned(), 2)));
    Ok(())
}

async fn the_item_type_decides_which_store_is_asked(session: &TestSession) -> Result<()> {
    let users = [("user_001", [0.5, 1.0]), ("user_002", [0.25, 2.0])];
    session.attach_lance("user_embeddings", vectors("id", &users), "id").await?;
    let products = vectors("id", &[("product_101", [8.0, 1.0])]);
    session.attach_memory("product_embeddings", products, "id").await?;
    let profiles = words("id", "name", &[("user_001", "Ann"), ("user_002", "Bob")]);
    session.attach_memory("user_profiles", profiles, "id").await?;
    let catalog = words("id", "name", &[("product_101", "lamp")]);
    session.attach_lance("product_catalog", catalog, "id").await?;
    let types = [("user_001", "user"), ("product_101", "product"), ("user_002", "user")];
    session.register_batches("df", &[words("item_id", "item_type", &types)])?;

    let by_type = |user: &str, product: &str| {
        let get = |source: &str| session.kv_get("item_id").source(source).build();
        let is_user = col("item_type").eq(lit("user"));
        anyhow::Ok(when(is_user, get(user)?).otherwise(get(product)?)?)
    };
    let df = session.table("df").await?;
    let built = df
        .with_column("embeddings", by_type("user_embeddings", "product_embeddings")?)?
        .with_column("metadata", by_type("user_profiles", "product_catalog")?)?;
    let sql = "SELECT *, CASE WHEN item_type = 'user' THEN kv_get(item_id, \
               source => 'user_embeddings') ELSE kv_get(item_id, source => 'product_embeddings') \
               END AS embeddings, CASE WHEN item_type = 'user' THEN kv_get(item_id, \
               source => 'user_profiles') ELSE kv_get(item_id, source => 'product_catalog') END \
               AS metadata FROM df";
    let expected = [
        "user_001 | user | {id: user_001, vector: [0.5, 1.0]} | {id: user_001, name: Ann}",
        "product_101 | product | {id: product_101, vector: [8.0, 1.0]} | \
         {id: product_101, name: lamp}",
        "user_002 | user | {id: user_002, vector: [0.25, 2.0]} | {id: user_002, name: Bob}",
    ];
    check_both(session, built, sql, &expected).await?;
    // Nobody was asked for the others' keys.
    let stores = session.stores(sql).await?;
    let counted = ["user_embeddings", "product_embeddings", "user_profiles", "product_catalog"]
        .map(|alias| (stores[alias].keys, stores[alias].misses));
    assert_eq!(counted, [(2, 0), (1, 0), (2, 0), (1, 0)]);
    Ok(())
}

async fn a_second_store_fills_in_what_the_first_lacks(session: &TestSession) -> Result<()> {
    let primary = words("id", "name", &[("item_1", "first")]);
    session.attach_lance("primary_store", primary, "id").await?;
    let secondary = words("id", "name", &[("item_1", "unused"), ("item_2", "second")]);
    session.attach_memory("secondary_store", secondary, "id").await?;
    let keys = strings(["item_1", "item_2", "missing_item"]);
    session.register_batches("df", &[batch([("item_id", keys)])])?;

    let get = |source: &str| session.kv_get("item_id").source(source).on_error(OnError::Null);
    let tried = with_calls(
        session.table("df").await?,
        [("primary_data", get("primary_store")), ("secondary_data", get("secondary_store"))],
    )?;
    let mut fallback = when(col("primary_data").is_not_null(), col("primary_data"));
    let built = tried.with_column("final_data", fallback.otherwise(col("secondary_data"))?)?;
    check_both(
        session,
        built,
        "SELECT *, CASE WHEN primary_data IS NOT NULL THEN primary_data ELSE secondary_data END \
         AS final_data FROM (SELECT *, kv_get(item_id, source => 'primary_store', \
         on_error => 'null') AS primary_data, kv_get(item_id, source => 'secondary_store', \
         on_error => 'null') AS secondary_data FROM df)",
        &[
            "item_1 | {id: item_1, name: first} | {id: item_1, name: unused} | \
             {id: item_1, name: first}",
            "item_2 | NULL | {id: item_2, name: second} | {id: item_2, name: second}",
            "missing_item | NULL | NULL | NULL",
        ],
    )
    .await
}

async fn aliases_may_be_descriptive_or_not(session: &TestSession) -> Result<()> {
    session.register_batches("df", &[batch([("item_id", strings(["item_2"]))])])?;
    for alias in ["user_embeddings_v2", "product_catalog_latest", "kv1", "store2"] {
        session.attach_lance(alias, item_vectors(), "item_id").await?;
        let call = session.kv_get("item_id").source(alias);
        check_both(
            session,
            with_calls(session.table("df").await?, [("data", call)])?,
            &format!("SELECT *, kv_get(item_id, source => '{alias}') AS data FROM df"),
            &["item_2 | {item_id: item_2, vector: [2.0, 0.25]}"],
        )
        .await?;
    }
    Ok(())
}

async fn critical_data_fails_fast_and_optional_data_is_null(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    session.attach_memory("critical_store", item_vectors().slice(0, 2), "item_id").await?;
    session.attach_lance("optional_store", item_vectors().slice(0, 2), "item_id").await?;
    let critical = session.kv_get("item_id").source("critical_store").on_error(OnError::Raise);
    let optional = session.kv_get("item_id").source("optional_store").on_error(OnError::Null);
    let failed = failure(with_calls(session.table("df").await?, [("critical", critical)])?).await?;
    let message = "Key not found in KV store 'critical_store': item_3";
    assert_eq!((failed.kind(), failed.message()), (ErrorKind::NotFound, message));
    let sql = "SELECT kv_get(item_id, source => 'critical_store', on_error => 'raise') FROM df";
    session.check_failure(sql, ErrorKind::NotFound, message).await?;
    check_both(
        session,
        with_calls(session.table("df").await?, [("optional", optional)])?,
        "SELECT *, kv_get(item_id, source => 'optional_store', on_error => 'null') AS optional \
         FROM df",
        &[
            "item_1 | {item_id: item_1, vector: [1.0, 0.5]}",
            "item_2 | {item_id: item_2, vector: [2.0, 0.25]}",
            "item_3 | NULL",
        ],
    )
    .await
}

async fn batches_and_single_gets_agree(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    session.attach_memory("embeddings", item_vectors(), "item_id").await?;
    let batches = session.kv_batch_get("item_ids").source("embeddings");
    check_both(
        session,
        with_calls(session.table("lists").await?, [("batch_embeddings", batches)])?,
        "SELECT *, kv_batch_get(item_ids, source => 'embeddings') AS batch_embeddings FROM lists",
        &[
            "[item_1, item_3] | [{item_id: item_1, vector: [1.0, 0.5]}, \
             {item_id: item_3, vector: [3.0, 0.125]}]",
            "[] | []",
            "[item_2] | [{item_id: item_2, vector: [2.0, 0.25]}]",
        ],
    )
    .await?;
    let single = session.kv_get("item_id").source("embeddings");
    check_both(
        session,
        with_calls(session.table("df").await?, [("single_embeddings", single)])?,
        "SELECT *, kv_get(item_id, source => 'embeddings') AS single_embeddings FROM df",
        &[
            "item_1 | {item_id: item_1, vector: [1.0, 0.5]}",
            "item_2 | {item_id: item_2, vector: [2.0, 0.25]}",
            "item_3 | {item_id: item_3, vector: [3.0, 0.125]}",
        ],
    )
    .await
}

async fn stores_are_detached_and_the_current_one_cleared(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    session.attach_memory("temporary_store", item_vectors(), "item_id").await?;
    session.detach_kv("temporary_store")?;
    assert!(!session.has_kv("temporary_store"));
    session.set_kv(None::<&str>)?;
    assert_eq!(session.current_kv(), None);
    assert_eq!(session.list_kv(), ["feature_store", "lance_embeddings", "lance_metadata"]);
    let message = "No KV store is currently attached to the session";
    let refused = session.kv_get("item_id").build().err().context("no store is current")?;
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::NotFound, message));
    session.check_refusal("SELECT kv_get(item_id) FROM df", ErrorKind::NotFound, message).await
}

async fn the_old_way_still_works(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let names = words("id", "name", &[("item_1", "a"), ("item_2", "b"), ("item_3", "c")]);
    session.attach_memory("my_store", names, "id").await?;
    session.set_kv("my_store")?;
    let expected = [
        "item_1 | {id: item_1, name: a}",
        "item_2 | {id: item_2, name: b}",
        "item_3 | {id: item_3, name: c}",
    ];
    for (call, sql) in [
        (session.kv_get("item_id"), "kv_get(item_id)"),
        (session.kv_get("item_id").source("my_store"), "kv_get(item_id, source => 'my_store')"),
    ] {
        let built = with_calls(session.table("df").await?, [("data", call)])?;
        check_both(session, built, &format!("SELECT *, {sql} AS data FROM df"), &expected).await?;
    }
    Ok(())
}

async fn a_second_store_joins_the_current_one(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    let more = words("id", "more", &[("item_1", "x"), ("item_2", "y"), ("item_3", "z")]);
    session.attach_memory("additional_data", more, "id").await?;
    let calls = [
        ("existing_data", session.kv_get("item_id")),
        ("new_data", session.kv_get("item_id").source("additional_data")),
    ];
    check_both(
        session,
        with_calls(session.table("df").await?, calls)?,
        "SELECT *, kv_get(item_id) AS existing_data, kv_get(item_id, source => 'additional_data') \
         AS new_data FROM df",
        &[
            "item_1 | {item_id: item_1, vector: [1.0, 0.5]} | {id: item_1, more: x}",
            "item_2 | {item_id: item_2, vector: [2.0, 0.25]} | {id: item_2, more: y}",
            "item_3 | {item_id: item_3, vector: [3.0, 0.125]} | {id: item_3, more: z}",
        ],
    )
    .await
}

async fn an_unknown_store_is_told_in_the_words_of_the_guide(session: &TestSession) -> Result<()> {
    session.register_batches("df", &[batch([("item_id", strings(["item_2"]))])])?;
    let message = "KV store 'my_store' not found in session (no store is attached)";
    let call = session.kv_get("item_id").source("my_store").build();
    let refused = call.err().context("there is no such store")?;
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::NotFound, message));
    let sql = "SELECT *, kv_get(item_id, source => 'my_store') AS data FROM df";
    session.check_refusal(sql, ErrorKind::NotFound, message).await?;
    // The guide's solution.
    session.attach_memory("my_store", item_vectors(), "item_id").await?;
    let call = session.kv_get("item_id").source("my_store");
    let built = with_calls(session.table("df").await?, [("data", call)])?;
    check_both(session, built, sql, &["item_2 | {item_id: item_2, vector: [2.0, 0.25]}"]).await
}

async fn no_current_store_is_told_in_the_words_of_the_guide(session: &TestSession) -> Result<()> {
    session.register_batches("df", &[batch([("item_id", strings(["item_2"]))])])?;
    session.attach_memory("my_store", item_vectors(), "item_id").await?;
    let message = "No KV store is currently attached to the session";
    let refused = session.kv_get("item_id").build().err().context("no store is current")?;
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::NotFound, message));
    let sql = "SELECT *, kv_get(item_id) AS data FROM df";
    session.check_refusal(sql, ErrorKind::NotFound, message).await?;
    // The guide's two solutions.
    let expected = ["item_2 | {item_id: item_2, vector: [2.0, 0.25]}"];
    let named = "SELECT *, kv_get(item_id, source => 'my_store') AS data FROM df";
    session.check(named, &expected).await?;
    session.set_kv("my_store")?;
    let built = with_calls(session.table("df").await?, [("data", session.kv_get("item_id"))])?;
    check_both(session, built, sql, &expected).await
}

async fn missing_data_is_told_in_the_words_of_the_guide(session: &TestSession) -> Result<()> {
    session.register_batches("df", &[batch([("item_id", strings(["item_9"]))])])?;
    session.attach_lance("my_store", item_vectors(), "item_id").await?;
    let message = "Key not found in KV store 'my_store': item_9";
    let call = || session.kv_get("item_id").source("my_store");
    let built = with_calls(session.table("df").await?, [("data", call())])?;
    let failed = failure(built).await?;
    assert_eq!((failed.kind(), failed.message()), (ErrorKind::NotFound, message));
    let sql = "SELECT kv_get(item_id, source => 'my_store') FROM df";
    session.check_failure(sql, ErrorKind::NotFound, message).await?;
    // The guide's solution.
    let call = call().on_error(OnError::Null);
    let built = with_calls(session.table("df").await?, [("data", call)])?;
    let sql = "SELECT *, kv_get(item_id, source => 'my_store', on_error => 'null') AS data FROM df";
    check_both(session, built, sql, &["item_9 | NULL"]).await
}

async fn the_session_shows_its_stores(session: &TestSession) -> Result<()> {
    set_up(session).await?;
    assert!(session.has_kv("lance_metadata"));
    assert!(!session.has_kv("my_store"));
    // The alias is looked up, not the store's own name.
    assert!(!session.has_kv("features"));
    session.set_kv("feature_store")?;
    let current = session.current_kv().context("one was set")?;
    assert_eq!((current.alias.as_str(), current.spec.name.as_str()), ("feature_store", "features"));
    let call = session.kv_exists("item_id").source("feature_store");
    check_both(
        session,
        with_calls(session.table("df").await?, [("exists", call)])?,
        "SELECT *, kv_exists(item_id, source => 'feature_store') AS \"exists\" FROM df",
        &["item_1 | true", "item_2 | false", "item_3 | false"],
    )
    .await
}
