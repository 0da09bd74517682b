//! A session works on whichever runtimes its caller uses, and when they are gone.

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::harness::{Deployment, TestSession};

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
