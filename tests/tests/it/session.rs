//! What a session keeps: stores under aliases, one of them current; and when a call settles which
//! store it means.

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{
    Error, ErrorKind, KvStore, LanceOptions, MemoryOptions, datafusion::dataframe::DataFrame,
    load_kv,
};

use crate::harness::{TestSession, batch, check_rows, on_all_deployments, strings, write_lance};

on_all_deployments! {
    a_store_without_an_alias_goes_by_its_own_name,
    only_the_alias_is_looked_up,
    a_taken_alias_is_refused,
    attach_or_replace_replaces,
    an_alias_that_is_no_identifier_is_refused,
    a_store_that_cannot_be_opened_is_refused_with_its_uri,
    a_failed_attach_leaves_the_session_as_it_was,
    nothing_is_opened_before_it_is_attached,
    detaching_the_current_store_leaves_none,
    detaching_another_store_leaves_the_current_one,
    a_detached_alias_can_be_attached_again,
    plans_built_before_a_detach_still_run,
    plans_built_before_a_replacement_keep_their_store,
    unknown_aliases_are_refused_with_the_attached_ones,
    the_current_store_is_set_and_cleared,
    the_current_store_is_taken_when_an_expression_is_built,
    the_current_store_is_taken_when_a_statement_is_planned,
    an_unknown_source_fails_before_anything_runs,
    a_store_goes_under_two_aliases,
    sessions_do_not_share_stores,
}

fn rows(value: &str) -> RecordBatch {
    batch([("k", strings(["a"])), ("v", strings([value]))])
}

/// A memory store with the key `a` alone.
fn memory(name: &str, value: &str) -> Result<KvStore> {
    Ok(load_kv(name, MemoryOptions::batch(rows(value), "k"))?)
}

/// A memory store under its own name.
async fn attach(session: &TestSession, name: &str, value: &str) -> Result<()> {
    Ok(session.attach(memory(name, value)?, None::<&str>).await?)
}

/// The table `t` with the key `a`.
fn table(session: &TestSession) -> Result<()> {
    Ok(session.register_batches("t", &[batch([("k", strings(["a"]))])])?)
}

/// What a refused call says.
fn refused<T>(call: Result<T, Error>, kind: ErrorKind, message: &str) -> Result<()> {
    let error = call.err().context("it should have been refused")?;
    assert_eq!((error.kind(), error.message()), (kind, message));
    Ok(())
}

fn cannot_open(name: &str, reason: &str) -> String {
    format!("store '{name}' cannot be opened: {reason}")
}

async fn check_value(session: &TestSession, source: &str, value: &str) -> Result<()> {
    let sql = format!("SELECT kv_get('a', source => '{source}')['v'] AS v");
    session.check(&sql, &[value]).await
}

async fn a_store_without_an_alias_goes_by_its_own_name(session: &TestSession) -> Result<()> {
    session.attach(memory("features", "one")?, None::<&str>).await?;
    assert_eq!(session.list_kv(), ["features"]);
    assert_eq!(session.get_kv("features")?.alias, "features");
    check_value(session, "features", "one").await
}

async fn only_the_alias_is_looked_up(session: &TestSession) -> Result<()> {
    session.attach(memory("features", "one")?, "alias").await?;
    session.attach(memory("alias", "two")?, "features").await?;
    for (alias, name, value) in [("alias", "features", "one"), ("features", "alias", "two")] {
        let store = session.get_kv(alias)?;
        assert_eq!((store.alias.as_str(), store.spec.name.as_str()), (alias, name));
        check_value(session, alias, value).await?;
    }
    session.detach_kv("features")?;
    assert!(!session.has_kv("features"));
    check_value(session, "alias", "one").await
}

async fn a_taken_alias_is_refused(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    let message = "KV store 'features' is already attached; detach it first, or attach this one as \
                   its replacement";
    let own = session.attach(memory("features", "two")?, None::<&str>).await;
    refused(own, ErrorKind::Invalid, message)?;
    let alias = session.attach(memory("other", "two")?, "features").await;
    refused(alias, ErrorKind::Invalid, message)?;
    check_value(session, "features", "one").await
}

async fn attach_or_replace_replaces(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    session.set_kv("features")?;
    session.attach_or_replace(memory("features", "two")?, None::<&str>).await?;
    check_value(session, "features", "two").await?;
    session.attach_or_replace(memory("other", "three")?, "features").await?;
    check_value(session, "features", "three").await?;
    // The current store is an alias, so the new store is current now.
    assert_eq!(session.current_kv(), Some(session.get_kv("features")?));
    session.check("SELECT kv_get('a')['v']", &["three"]).await?;
    session.attach_or_replace(memory("fresh", "four")?, None::<&str>).await?;
    assert_eq!(session.list_kv(), ["features", "fresh"]);
    check_value(session, "fresh", "four").await
}

async fn an_alias_that_is_no_identifier_is_refused(session: &TestSession) -> Result<()> {
    for alias in ["", "1st", "a-b", "a b", "a'b", "a.b", " a", "a;"] {
        let message = format!(
            "'{alias}' cannot be an alias: use letters, digits and underscores, not a digit first"
        );
        let attached = session.attach(memory("features", "one")?, alias).await;
        refused(attached, ErrorKind::Invalid, &message)?;
        let replaced = session.attach_or_replace(memory("features", "one")?, alias).await;
        refused(replaced, ErrorKind::Invalid, &message)?;
        let named = session.attach(memory(alias, "one")?, None::<&str>).await;
        refused(named, ErrorKind::Invalid, &message)?;
    }
    assert_eq!(session.list_kv(), Vec::<String>::new());
    for alias in ["_", "v2", "Größe", "A_1"] {
        attach(session, alias, "one").await?;
        check_value(session, alias, "one").await?;
    }
    Ok(())
}

async fn a_store_that_cannot_be_opened_is_refused_with_its_uri(
    session: &TestSession,
) -> Result<()> {
    let missing = session.path("missing.lance");
    let absent = session.attach(load_kv("gone", LanceOptions::new(&missing))?, "gone").await;
    refused(
        absent,
        ErrorKind::NotFound,
        &cannot_open("gone", &format!("no Lance dataset at {missing}")),
    )?;

    let uri = session.path("rows.lance");
    write_lance(&uri, &[rows("one")], 10).await?;
    let version = load_kv("rows", LanceOptions::new(&uri).version(7))?;
    refused(
        session.attach(version, "rows").await,
        ErrorKind::NotFound,
        &cannot_open(
            "rows",
            &format!("no version 7 of the Lance dataset at {uri}, whose newest is 1"),
        ),
    )?;
    let tag = load_kv("rows", LanceOptions::new(&uri).tag("stable"))?;
    refused(
        session.attach(tag, "rows").await,
        ErrorKind::NotFound,
        &cannot_open("rows", &format!("no tag 'stable' on the Lance dataset at {uri}")),
    )?;
    let key = load_kv("rows", LanceOptions::new(&uri).key("id"))?;
    refused(
        session.attach(key, "rows").await,
        ErrorKind::Invalid,
        "KV store 'rows': key column 'id' not found; the store has 'k', 'v'",
    )
}

async fn a_failed_attach_leaves_the_session_as_it_was(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    session.set_kv("features")?;
    let missing = session.path("missing.lance");
    let message = cannot_open("gone", &format!("no Lance dataset at {missing}"));
    let store = load_kv("gone", LanceOptions::new(&missing))?;
    refused(session.attach(store.clone(), None::<&str>).await, ErrorKind::NotFound, &message)?;
    let replaced = session.attach_or_replace(store, "features").await;
    refused(replaced, ErrorKind::NotFound, &message)?;
    assert_eq!(session.list_kv(), ["features"]);
    session.check("SELECT kv_get('a')['v']", &["one"]).await
}

async fn nothing_is_opened_before_it_is_attached(session: &TestSession) -> Result<()> {
    let uri = session.path("late.lance");
    let store = load_kv("late", LanceOptions::new(&uri).key("k"))?;
    write_lance(&uri, &[rows("one")], 10).await?;
    session.attach(store, None::<&str>).await?;
    check_value(session, "late", "one").await
}

async fn detaching_the_current_store_leaves_none(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    attach(session, "other", "two").await?;
    session.set_kv("features")?;
    session.detach_kv("features")?;
    assert_eq!(session.current_kv(), None);
    assert_eq!(session.list_kv(), ["other"]);
    let message = "No KV store is currently attached to the session";
    refused(session.kv_get("k").build(), ErrorKind::NotFound, message)?;
    session.check_refusal("SELECT kv_get('a')", ErrorKind::NotFound, message).await?;
    // A store that comes back under the alias is not current by that.
    attach(session, "features", "three").await?;
    assert_eq!(session.current_kv(), None);
    session.check_refusal("SELECT kv_get('a')", ErrorKind::NotFound, message).await
}

async fn detaching_another_store_leaves_the_current_one(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    attach(session, "other", "two").await?;
    session.set_kv("features")?;
    session.detach_kv("other")?;
    assert_eq!(session.current_kv(), Some(session.get_kv("features")?));
    session.check("SELECT kv_get('a')['v']", &["one"]).await
}

async fn a_detached_alias_can_be_attached_again(session: &TestSession) -> Result<()> {
    attach(session, "features", "one").await?;
    session.detach_kv("features")?;
    let message = "KV store 'features' not found in session (no store is attached)";
    refused(session.detach_kv("features"), ErrorKind::NotFound, message)?;
    let sql = "SELECT kv_get('a', source => 'features')";
    session.check_refusal(sql, ErrorKind::NotFound, message).await?;
    attach(session, "features", "two").await?;
    check_value(session, "features", "two").await
}

async fn plans_built_before_a_detach_still_run(session: &TestSession) -> Result<()> {
    table(session)?;
    session.attach_lance("lance", rows("from lance"), "k").await?;
    attach(session, "memory", "from memory").await?;
    for (alias, value) in [("lance", "{v: from lance}"), ("memory", "{v: from memory}")] {
        let call = session.kv_get("k").source(alias).columns(["v"]).build()?;
        let built = session.table("t").await?.select(vec![call.clone()])?;
        let sql = format!("SELECT kv_get(k, source => '{alias}', columns => ['v']) FROM t");
        let planned = session.sql(&sql).await?;
        session.detach_kv(alias)?;
        assert!(!session.has_kv(alias));
        // The expression outlives the alias as well.
        let later = session.table("t").await?.select(vec![call])?;
        for query in [built, planned, later] {
            check_rows(query.clone(), &[value]).await?;
            check_rows(query, &[value]).await?;
        }
    }
    Ok(())
}

async fn plans_built_before_a_replacement_keep_their_store(session: &TestSession) -> Result<()> {
    attach(session, "features", "old").await?;
    let sql = "SELECT kv_get('a', source => 'features')['v']";
    let planned = session.sql(sql).await?;
    session.attach_or_replace(memory("features", "new")?, None::<&str>).await?;
    check_rows(planned, &["old"]).await?;
    session.check(sql, &["new"]).await
}

async fn unknown_aliases_are_refused_with_the_attached_ones(session: &TestSession) -> Result<()> {
    let check = |choices: &str| {
        let message = format!("KV store 'nope' not found in session ({choices})");
        refused(session.detach_kv("nope"), ErrorKind::NotFound, &message)?;
        refused(session.set_kv("nope"), ErrorKind::NotFound, &message)?;
        refused(session.get_kv("nope"), ErrorKind::NotFound, &message)
    };
    check("no store is attached")?;
    attach(session, "two", "2").await?;
    check("attached: 'two'")?;
    attach(session, "one", "1").await?;
    session.set_kv("one")?;
    check("attached: 'one', 'two'")?;
    // A refused call changes nothing.
    assert_eq!(session.current_kv(), Some(session.get_kv("one")?));
    assert_eq!(session.list_kv(), ["one", "two"]);
    assert_eq!((session.has_kv("one"), session.has_kv("nope")), (true, false));
    // Aliases are compared as they are written.
    assert!(!session.has_kv("ONE"));
    Ok(())
}

async fn the_current_store_is_set_and_cleared(session: &TestSession) -> Result<()> {
    attach(session, "one", "1").await?;
    attach(session, "two", "2").await?;
    assert_eq!(session.current_kv(), None);
    for (alias, value) in [("one", "1"), ("two", "2"), ("two", "2"), ("one", "1")] {
        session.set_kv(alias)?;
        assert_eq!(session.current_kv(), Some(session.get_kv(alias)?));
        session.check("SELECT kv_get('a')['v']", &[value]).await?;
    }
    session.set_kv(None::<&str>)?;
    assert_eq!(session.current_kv(), None);
    let message = "No KV store is currently attached to the session";
    session.check_refusal("SELECT kv_exists('a')", ErrorKind::NotFound, message).await
}

/// What the session may do between building a query and running it.
async fn disturb(session: &TestSession) -> Result<()> {
    session.set_kv("two")?;
    session.detach_kv("one")?;
    Ok(session.set_kv(None::<&str>)?)
}

async fn check_one_after_all(session: &TestSession, query: DataFrame) -> Result<()> {
    disturb(session).await?;
    check_rows(query, &["{k: a, v: 1} | [{k: a, v: 1}] | true"]).await
}

async fn the_current_store_is_taken_when_an_expression_is_built(
    session: &TestSession,
) -> Result<()> {
    let keys =
        datafusion::functions_nested::expr_fn::make_array(vec![datafusion::prelude::col("k")]);
    table(session)?;
    attach(session, "one", "1").await?;
    attach(session, "two", "2").await?;
    session.set_kv("one")?;
    let calls = [session.kv_get("k"), session.kv_batch_get(keys), session.kv_exists("k")];
    let calls = calls.into_iter().map(|call| call.build()).collect::<Result<Vec<_>, _>>()?;
    session.set_kv("two")?;
    let query = session.table("t").await?.select(calls)?;
    check_one_after_all(session, query).await
}

async fn the_current_store_is_taken_when_a_statement_is_planned(
    session: &TestSession,
) -> Result<()> {
    table(session)?;
    attach(session, "one", "1").await?;
    attach(session, "two", "2").await?;
    session.set_kv("one")?;
    let query = session.sql("SELECT kv_get(k), kv_batch_get([k]), kv_exists(k) FROM t").await?;
    check_one_after_all(session, query).await
}

async fn an_unknown_source_fails_before_anything_runs(session: &TestSession) -> Result<()> {
    table(session)?;
    attach(session, "one", "1").await?;
    let message = "KV store 'nope' not found in session (attached: 'one')";
    let calls = [session.kv_get("k"), session.kv_batch_get("k"), session.kv_exists("k")];
    for call in calls {
        refused(call.source("nope").build(), ErrorKind::NotFound, message)?;
    }
    for function in ["kv_get", "kv_batch_get", "kv_exists"] {
        // No row would ever ask, and yet it is refused.
        let sql = format!("SELECT {function}(k, source => 'nope') FROM t WHERE false");
        session.check_refusal(&sql, ErrorKind::NotFound, message).await?;
    }
    Ok(())
}

async fn a_store_goes_under_two_aliases(session: &TestSession) -> Result<()> {
    let uri = session.path("rows.lance");
    write_lance(&uri, &[rows("lance")], 10).await?;
    let lance = load_kv("rows", LanceOptions::new(&uri).key("k"))?;
    for store in [lance, memory("rows", "memory")?] {
        session.attach(store.clone(), "first").await?;
        session.attach(store, "second").await?;
        assert_eq!(session.get_kv("first")?.spec, session.get_kv("second")?.spec);
        let value = session.rows("SELECT kv_get('a', source => 'first')['v']").await?;
        session
            .check(
                "SELECT kv_get('a', source => 'first')['v'] = kv_get('a', source => 'second')['v']",
                &["true"],
            )
            .await?;
        // Errors tell the alias that the query used.
        for alias in ["first", "second"] {
            let message = format!("Key not found in KV store '{alias}': x");
            let sql = format!("SELECT kv_get('x', source => '{alias}')");
            session.check_failure(&sql, ErrorKind::NotFound, &message).await?;
        }
        session.detach_kv("first")?;
        check_value(session, "second", &value[0]).await?;
        session.detach_kv("second")?;
    }
    Ok(())
}

async fn sessions_do_not_share_stores(session: &TestSession) -> Result<()> {
    let other = session.deployment().session().await?;
    attach(session, "features", "one").await?;
    assert!(!other.has_kv("features"));
    attach(&other, "features", "two").await?;
    check_value(session, "features", "one").await?;
    check_value(&other, "features", "two").await
}
