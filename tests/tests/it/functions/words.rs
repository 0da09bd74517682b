//! Calls that are nearly right: they work, or what is said of them is what to write.

use anyhow::{Context, Result};
use datafusion::{arrow::datatypes::FieldRef, prelude::col};
use keyloom_client::{ErrorKind, name_calls};

use crate::harness::{TestSession, batch, ints, on_all_deployments, open_shop, strings};

on_all_deployments! {
    fields_behind_a_dot_are_read,
    a_star_behind_a_lookup_is_a_column_for_each_field,
    a_star_that_stands_for_no_columns_is_refused,
    a_field_that_is_not_there_is_refused_with_those_that_are,
    a_store_in_the_place_of_another_argument_goes_by_name,
    the_key_may_be_named,
    misspelt_functions_are_suggested,
    rows_that_are_written_in_the_statement_are_looked_up,
    a_call_without_an_alias_is_called_as_its_store,
    a_name_that_is_taken_is_left_to_whose_it_is,
    columns_of_a_frame_are_named_as_in_a_statement,
    derived_tables_need_no_names_to_be_joined,
}

async fn fields_behind_a_dot_are_read(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let get = "kv_get(k, source => 'lance', on_error => 'null')";
    let expected = ["apple", "NULL", "NULL", "banana", "apple"];
    for field in [".name", ".NAME", ".\"name\"", "['name']"] {
        session.check(&format!("SELECT {get}{field} FROM t"), &expected).await?;
        session.check(&format!("SELECT ({get}){field} FROM t"), &expected).await?;
    }
    let rows = "SELECT named_struct('p', kv_get(k, source => 'memory')) AS s FROM t WHERE n = 1";
    session
        .check(&format!("SELECT s['p'].price, r.s['p'].name FROM ({rows}) AS r"), &["10 | apple"])
        .await?;
    let price = format!("SELECT {get}.price FROM t WHERE n = 1");
    assert_eq!(session.counted(&price, "lance").await?.keys, 1);
    Ok(())
}

async fn a_star_behind_a_lookup_is_a_column_for_each_field(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let all = ["n", "id", "name", "price", "next"];
    for call in ["kv_get(k, source => 'lance').*", "(kv_get(k, source => 'memory')) . *"] {
        let sql = format!("SELECT n, {call} FROM t WHERE n = 4");
        session.check(&sql, &["4 | b | banana | 20 | c"]).await?;
        assert_eq!(names(session, &sql).await?, all);
    }
    let get = "kv_get(k, source => 'lance', columns => ['price', 'name'], on_error => 'null').*";
    let sql = format!("SELECT {get}, 'it''s ä' AS a FROM t WHERE n < 4 ORDER BY n");
    session
        .check(&sql, &["10 | apple | it's ä", "NULL | NULL | it's ä", "NULL | NULL | it's ä"])
        .await?;
    assert_eq!(names(session, &sql).await?, ["price", "name", "a"]);
    // They are one lookup.
    let sql = format!("SELECT {get} FROM t WHERE n = 1");
    assert_eq!(session.counted(&sql, "lance").await?.keys, 1);
    let within = format!("SELECT name FROM (SELECT n, {get} FROM t) WHERE n = 1");
    session.check(&within, &["apple"]).await
}

async fn a_star_that_stands_for_no_columns_is_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let words = "(…).* stands for the fields of a kv_get, among the columns of SELECT and without \
                 a name; elsewhere write kv_get(key)['name'] for a field";
    for sql in [
        "SELECT kv_exists(k, source => 'lance').* FROM t",
        "SELECT kv_batch_get([k], source => 'lance').* FROM t",
        "SELECT count(kv_get(k, source => 'lance').*) FROM t",
        "SELECT n FROM t WHERE kv_get(k, source => 'lance').* IS NULL",
    ] {
        session.check_refusal(sql, ErrorKind::Invalid, words).await?;
    }
    let unknown = "KV store 'nope' not found in session";
    let refused = session.sql("SELECT kv_get(k, source => 'nope').* FROM t").await.err();
    let message = refused.context("there is no such store")?.to_string();
    assert!(message.contains(unknown), "{message}");
    session
        .check(
            "SELECT unnest(kv_get(k, source => 'lance')) FROM t WHERE n = 1",
            &["a | apple | 10 | b"],
        )
        .await
}

async fn a_field_that_is_not_there_is_refused_with_those_that_are(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    let check = async |sql: &str, fields: &str| {
        let message = format!("the struct has no field 'nme'; it has {fields}");
        session.check_refusal(sql, ErrorKind::Invalid, &message).await
    };
    let all = "'id', 'name', 'price', 'next'";
    check("SELECT kv_get(k, source => 'lance')['nme'] FROM t", all).await?;
    check("SELECT kv_get(k, source => 'lance').nme FROM t", all).await?;
    check("SELECT kv_get(k, source => 'lance', columns => 'price').nme FROM t", "'price'").await?;
    let within = "(SELECT kv_get(k, source => 'memory') AS p FROM t) AS s";
    for field in ["p['nme']", "p.nme", "s.p.nme", "s.p['nme']"] {
        check(&format!("SELECT {field} FROM {within}"), all).await?;
    }
    Ok(())
}

async fn a_store_in_the_place_of_another_argument_goes_by_name(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    let check = async |call: &str, argument: &str| {
        let words =
            format!("argument {argument}, not a store, which goes by name: source => 'memory'");
        let sql = format!("SELECT {call} FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, &words).await
    };
    for current in [None, Some("lance")] {
        session.set_kv(current)?;
        check("kv_get(k, 'memory')", "2 of kv_get is columns").await?;
        check("kv_batch_get(k, 'memory')", "2 of kv_batch_get is columns").await?;
        check("kv_exists(k, 'memory')", "2 of kv_exists is on_error").await?;
        check("kv_get(k, ['name'], 'memory')", "3 of kv_get is on_error").await?;
    }
    // A column may have a store's name.
    session.attach_memory("name", batch([("id", strings(["a"]))]), "id").await?;
    session.check("SELECT kv_get(k, 'name') FROM t WHERE n = 1", &["{name: apple}"]).await
}

async fn the_key_may_be_named(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("lance")?;
    for key in ["key => k", "KEY => k", "keys => k", "row_ids => k"] {
        let sql = format!("SELECT kv_get({key}).name, kv_exists({key}) FROM t WHERE n = 4");
        session.check(&sql, &["banana | true"]).await?;
    }
    Ok(())
}

async fn misspelt_functions_are_suggested(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for (written, meant) in [
        ("kvget", "kv_get"),
        ("KV_Gets", "kv_get"),
        ("kv_batchget", "kv_batch_get"),
        ("kv_exist", "kv_exists"),
    ] {
        let message = format!("there is no function '{written}'; did you mean {meant}?");
        let sql = format!("SELECT {written}(k, source => 'lance') FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, &message).await?;
    }
    Ok(())
}

async fn rows_that_are_written_in_the_statement_are_looked_up(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.attach_memory("numbers", batch([("i", ints(1..=3))]), "i").await?;
    session.set_kv("lance")?;
    let names = ["banana", "apple"];
    for rows in [
        "(VALUES ('b'), ('a')) AS v(x)",
        "(SELECT 'b' AS x UNION ALL SELECT 'a')",
        "(SELECT unnest(['b', 'a']) AS x)",
        "unnest(['b', 'a']) AS v(x)",
    ] {
        session.check(&format!("SELECT kv_get(x).name FROM {rows}"), &names).await?;
    }
    let numbers = "SELECT kv_exists(value, source => 'numbers') FROM generate_series(2, 4)";
    session.check(numbers, &["true", "true", "false"]).await?;
    session.check("SELECT kv_get('b').name", &["banana"]).await?;
    session.check("VALUES (1, 'x'), (2, NULL)", &["1 | x", "2 | NULL"]).await?;
    session.check("VALUES (kv_get('b').name)", &["banana"]).await?;
    let rows = "(VALUES (kv_get('b').name, 1), ('none', 2), (kv_get('a').name, 3)) AS v(name, i)";
    session
        .check(&format!("SELECT i, name FROM {rows}"), &["1 | banana", "2 | none", "3 | apple"])
        .await
}

/// The names of a statement's columns.
async fn names(session: &TestSession, sql: &str) -> Result<Vec<String>> {
    let query = session.sql(sql).await?;
    Ok(query.schema().fields().iter().map(|field| field.name().clone()).collect())
}

async fn a_call_without_an_alias_is_called_as_its_store(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("lance")?;
    for (columns, expected) in [
        ("kv_get(k)", vec!["lance"]),
        ("n, kv_get(k), kv_exists(k, source => 'memory')", vec!["n", "lance", "memory"]),
        ("*, kv_batch_get([k], source => 'memory')", vec!["n", "k", "memory"]),
        ("kv_get(k) AS p, kv_exists(k)", vec!["p", "lance"]),
    ] {
        assert_eq!(names(session, &format!("SELECT {columns} FROM t")).await?, expected);
    }
    let within = "SELECT lance['name'] AS name FROM (SELECT kv_get(k) FROM t WHERE n = 1)";
    session.check(within, &["apple"]).await?;
    session
        .check(
            "SELECT kv_get(k) FROM t WHERE n = 1 ORDER BY kv_get(k).price",
            &["{id: a, name: apple, price: 10, next: b}"],
        )
        .await
}

async fn a_name_that_is_taken_is_left_to_whose_it_is(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("lance")?;
    let rows = batch([("lance", ints([2, 1])), ("k", strings(["a", "b"]))]);
    session.register_batches("u", &[rows])?;
    let call = "kv_get(u.k, source => 'lance')";
    for (columns, expected) in [
        ("*, kv_get(k)", vec!["lance", "k", call]),
        ("lance, kv_get(k)", vec!["lance", call]),
        ("k AS lance, kv_get(k)", vec!["lance", call]),
        ("kv_get(k), kv_exists(k)", vec![call, "kv_exists(u.k, source => 'lance')"]),
    ] {
        assert_eq!(names(session, &format!("SELECT {columns} FROM u")).await?, expected);
    }
    // Rows are ordered by the table's column, as ever.
    let rows =
        session.rows("SELECT kv_get(k).name AS name, kv_get(k) FROM u ORDER BY lance").await?;
    assert_eq!(
        rows,
        [
            "banana | {id: b, name: banana, price: 20, next: c}",
            "apple | {id: a, name: apple, price: 10, next: b}"
        ]
    );
    Ok(())
}

async fn columns_of_a_frame_are_named_as_in_a_statement(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("lance")?;
    let (get, exists) = (session.kv_get("k").build()?, session.kv_exists("k").build()?);
    let other = session.kv_exists("k").source("memory").build()?;
    for (columns, expected) in [
        (vec![get.clone()], vec!["lance"]),
        (vec![col("n"), get.clone(), other], vec!["n", "lance", "memory"]),
        (vec![get.clone().alias("p"), exists.clone()], vec!["p", "lance"]),
        (vec![col("n").alias("lance"), get.clone()], vec!["lance", "kv_get"]),
        (vec![get, exists], vec!["kv_get", "kv_exists"]),
    ] {
        let query = session.table("t").await?.select(name_calls(columns))?;
        // Of those that are called as they are written, the function's name will do.
        let name = |field: &FieldRef| field.name().split('(').next().map(ToOwned::to_owned);
        let names: Vec<_> = query.schema().fields().iter().filter_map(name).collect();
        assert_eq!(names, expected);
    }
    Ok(())
}

async fn derived_tables_need_no_names_to_be_joined(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let rows = "(SELECT n, k AS id FROM t)";
    let check = async |columns: &str, tables: &str, expected: &[&str]| {
        session.check(&format!("SELECT {columns} FROM {tables}"), expected).await
    };
    let named = format!("{rows} JOIN lance USING (id) ORDER BY n");
    check("n, name", &named, &["1 | apple", "4 | banana", "5 | apple"]).await?;
    let priced = format!("{rows} JOIN (SELECT id, price FROM memory) USING (id) ORDER BY n");
    check("*", &priced, &["1 | a | 10", "4 | b | 20", "5 | a | 10"]).await?;
    let left = format!("{rows} LEFT JOIN lance USING (id) WHERE n < 3 ORDER BY n");
    check("n, name", &left, &["1 | apple", "2 | NULL"]).await?;
    let listed = format!("{rows}, lance WHERE lance.price = n * 10 ORDER BY n");
    check("n, lance.id", &listed, &["1 | a", "2 | b"]).await?;
    let twice = "(SELECT n FROM t) JOIN (SELECT n FROM t) USING (n)";
    check("count(*)", twice, &["5"]).await?;

    let joined = format!("FROM {rows} JOIN lance USING (id)");
    let all = ["n", "id", "name", "price", "next", "n + Int64(1)"];
    assert_eq!(names(session, &format!("SELECT *, n + 1 {joined}")).await?, all);
    let refused = session.sql(&format!("SELECT nme {joined}")).await.err();
    let message = refused.context("there is no such column")?.to_string();
    assert!(message.contains("nme") && message.contains("lance.name"), "{message}");
    assert!(!message.contains("derived") && !message.contains("Schema contains"), "{message}");
    Ok(())
}
