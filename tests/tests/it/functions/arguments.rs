//! What calls take and refuse, all of it while planning.

use anyhow::{Context, Result};
use keyloom_client::{ErrorKind, OnError};

use crate::harness::{TestSession, on_all_deployments, open_shop};

on_all_deployments! {
    the_three_errors_of_the_guide,
    an_unknown_column_is_refused_with_the_choices,
    no_columns_are_refused,
    repeated_columns_are_refused,
    a_batch_size_of_zero_is_refused,
    on_error_is_raise_or_null,
    arguments_may_be_named_in_any_order_or_go_by_position,
    unknown_and_repeated_arguments_are_refused,
    options_must_be_literals,
    expressions_refuse_what_sql_refuses,
    errors_name_the_functions_as_the_user_did,
}

async fn the_three_errors_of_the_guide(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_get(k, source => 'my_store') FROM t",
            ErrorKind::NotFound,
            "KV store 'my_store' not found in session (attached: 'backup', 'lance', 'memory')",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_get(k) FROM t",
            ErrorKind::NotFound,
            "No KV store is currently attached to the session",
        )
        .await?;
    session
        .check_failure(
            "SELECT kv_get('missing_item', source => 'memory') FROM t WHERE n = 1",
            ErrorKind::NotFound,
            "Key not found in KV store 'memory': missing_item",
        )
        .await
}

async fn an_unknown_column_is_refused_with_the_choices(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for function in ["kv_get", "kv_batch_get"] {
        session
            .check_refusal(
                &format!("SELECT {function}(k, source => 'lance', columns => ['nmae']) FROM t"),
                ErrorKind::Invalid,
                "column 'nmae' not found in KV store 'lance'; it has 'id', 'name', 'price', 'next'",
            )
            .await?;
    }
    Ok(())
}

async fn no_columns_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_get(k, source => 'lance', columns => []) FROM t",
            ErrorKind::Invalid,
            "columns names no column of KV store 'lance'; leave it out for all of them",
        )
        .await
}

async fn repeated_columns_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_get(k, source => 'lance', columns => ['name', 'id', 'name']) FROM t",
            ErrorKind::Invalid,
            "columns names 'name' twice",
        )
        .await
}

async fn a_batch_size_of_zero_is_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_batch_get(k, source => 'lance', batch_size => 0) FROM t",
            ErrorKind::Invalid,
            "batch_size must be at least 1, not 0",
        )
        .await?;
    session
        .check_refusal(
            "SELECT kv_batch_get(k, source => 'lance', batch_size => 'many') FROM t",
            ErrorKind::Invalid,
            "batch_size is a whole number of at least 1, not 'many'",
        )
        .await
}

async fn on_error_is_raise_or_null(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for function in ["kv_get", "kv_batch_get", "kv_exists"] {
        session
            .check_refusal(
                &format!("SELECT {function}(k, source => 'lance', on_error => 'ignore') FROM t"),
                ErrorKind::Invalid,
                "on_error is 'raise' or 'null', not 'ignore'",
            )
            .await?;
        session
            .check_refusal(
                &format!("SELECT {function}(k, source => 'lance', on_error => NULL) FROM t"),
                ErrorKind::Invalid,
                "on_error is 'raise' or 'null' in quotes, not NULL",
            )
            .await?;
    }
    Ok(())
}

async fn arguments_may_be_named_in_any_order_or_go_by_position(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    session.set_kv("memory")?;
    let expected = ["{name: apple}", "NULL", "NULL", "{name: banana}", "{name: apple}"];
    for arguments in [
        "k, ['name'], 'null', 'lance'",
        "k, on_error => 'null', columns => ['name'], source => 'lance'",
        "row_ids => k, SOURCE => 'lance', Columns => ['name'], ON_ERROR => 'null'",
        "k, ['name'], 'null'",
        "k, ['name'], 'null', NULL",
        "k, columns => 'name', on_error => 'null', source => NULL",
    ] {
        session.check(&format!("SELECT kv_get({arguments}) FROM t"), &expected).await?;
        session.check(&format!("SELECT KV_GET({arguments}) FROM t"), &expected).await?;
    }
    session
        .check("SELECT kv_batch_get(k, ['name'], 10, 'null', 'lance') FROM t", &expected)
        .await?;
    session
        .check(
            "SELECT kv_batch_get(k, columns => 'name', batch_size => NULL, on_error => 'null') \
             FROM t",
            &expected,
        )
        .await?;
    session.check("SELECT kv_get(k, columns => NULL)['price'] FROM t WHERE n = 1", &["10"]).await?;
    let exists = ["true", "false", "NULL", "true", "true"];
    session.check("SELECT kv_exists(k, 'raise', 'lance') FROM t", &exists).await
}

async fn unknown_and_repeated_arguments_are_refused(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for (call, message) in [
        (
            "kv_get(k, store => 'lance')",
            "kv_get has no argument 'store'; it takes row_ids, columns, on_error, source, \
             max_misses",
        ),
        (
            "kv_get(k, batch_size => 10)",
            "kv_get has no argument 'batch_size'; it takes row_ids, columns, on_error, source, \
             max_misses",
        ),
        (
            "kv_exists(k, columns => ['name'])",
            "kv_exists has no argument 'columns'; it takes row_ids, on_error, source",
        ),
        (
            "kv_batch_get(k, ['name'], 10, 'null', 'lance', 6, 7)",
            "kv_batch_get was given too many arguments; it takes row_ids, columns, batch_size, \
             on_error, source, max_misses",
        ),
        ("kv_get(k, source => 'lance', source => 'memory')", "kv_get was given an argument twice"),
        ("kv_get(k, row_ids => n)", "kv_get was given an argument twice"),
        ("kv_get(k, key => n)", "kv_get was given an argument twice"),
        ("kv_get(source => 'lance')", "kv_get needs a key: kv_get(key, …)"),
        ("kv_get()", "kv_get needs a key: kv_get(key, …)"),
        ("kv_exists(*)", "kv_exists takes one key expression, not *"),
    ] {
        let sql = format!("SELECT {call} FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, message).await?;
    }
    Ok(())
}

async fn options_must_be_literals(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for (call, message) in [
        ("kv_get(k, source => k)", "source is a string in quotes, not k"),
        (
            "kv_get(k, source => 'lance', columns => 1)",
            "columns is a list like ['name', 'category'], not 1",
        ),
        (
            "kv_get(k, source => 'lance', columns => ['name', n])",
            "columns is a string in quotes, not n",
        ),
        (
            "kv_batch_get(k, source => 'lance', batch_size => -1)",
            "batch_size is a whole number of at least 1, not -1",
        ),
        (
            "kv_batch_get(k, source => 'lance', batch_size => 1.5)",
            "batch_size is a whole number of at least 1, not 1.5",
        ),
    ] {
        let sql = format!("SELECT {call} FROM t");
        session.check_refusal(&sql, ErrorKind::Invalid, message).await?;
    }
    Ok(())
}

async fn expressions_refuse_what_sql_refuses(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let lance = || session.kv_get("k").source("lance");
    let calls = [
        (lance().columns(["nmae"]), ErrorKind::Invalid),
        (lance().columns::<&str>([]), ErrorKind::Invalid),
        (lance().columns(["id", "id"]), ErrorKind::Invalid),
        (lance().batch_size(0), ErrorKind::Invalid),
        (session.kv_get("k").source("my_store"), ErrorKind::NotFound),
        (session.kv_get("k").on_error(OnError::Null), ErrorKind::NotFound),
    ];
    let messages = [
        "column 'nmae' not found in KV store 'lance'; it has 'id', 'name', 'price', 'next'",
        "columns names no column of KV store 'lance'; leave it out for all of them",
        "columns names 'id' twice",
        "batch_size must be at least 1, not 0",
        "KV store 'my_store' not found in session (attached: 'backup', 'lance', 'memory')",
        "No KV store is currently attached to the session",
    ];
    for ((call, kind), message) in calls.into_iter().zip(messages) {
        let error = call.build().err().context(message)?;
        assert_eq!((error.kind(), error.message()), (kind, message));
    }
    Ok(())
}

async fn errors_name_the_functions_as_the_user_did(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session
        .check_refusal(
            "SELECT kv_exists(k, source => 'lance'), kv_exists(k, source => 'lance') FROM t",
            ErrorKind::Invalid,
            "Error during planning: Projections require unique expression names but the \
             expression \"kv_exists(t.k)\" at position 0 and \"kv_exists(t.k)\" at position 1 \
             have the same name. Consider aliasing (\"AS\") one of them.",
        )
        .await
}
