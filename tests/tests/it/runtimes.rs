//! A session works on whichever runtimes its caller uses, and when they are gone.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use keyloom_client::{CallOptions, Function};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Deployment, TestSession, batch, strings};

const SQL: &str = "SELECT x + 1 AS y FROM (VALUES (1), (2)) AS t(x)";

fn on_each(check: impl AsyncFn(&TestSession) -> Result<()>) -> Result<()> {
    for deployment in Deployment::ALL {
        let session = Runtime::new()?.block_on(deployment.session())?;
        // The runtime on which it was made is gone.
        Runtime::new()?.block_on(check(&session))?;
    }
    Ok(())
}

#[test]
fn a_session_outlives_the_runtime_that_made_it() -> Result<()> {
    on_each(async |session| session.check(SQL, &["2", "3"]).await)
}

#[test]
fn a_job_may_be_dropped_outside_of_any_runtime() -> Result<()> {
    on_each(async |session| {
        let job = session.submit(session.sql(SQL).await?).await?;
        std::thread::spawn(move || drop(job)).join().expect("dropping a job");
        session.check(SQL, &["2", "3"]).await
    })
}

#[test]
fn a_store_that_was_asked_on_a_runtime_that_is_gone_still_serves_queries() -> Result<()> {
    on_each(async |session| {
        let rows = batch([
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
            ("name", strings(["a", "b", "c"])),
        ]);
        session.attach_lance("items", rows, "id").await?;
        let store = session.open_kv("items")?;
        let asked = std::thread::spawn(move || -> Result<ArrayRef> {
            let lookup = store.prepare(Function::Get, CallOptions::default(), None)?;
            let keys: ArrayRef = Arc::new(Int64Array::from(vec![2]));
            Ok(Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(lookup.answers(&keys))?)
        });
        let answers = asked.join().expect("asking a store")?;
        assert_eq!(answers.as_struct().column(1).as_string::<i32>().value(0), "b");
        let sql = "SELECT kv_get(x, source => 'items')['name'] AS n FROM (VALUES (1), (3)) AS t(x)";
        session.check(sql, &["a", "c"]).await
    })
}
