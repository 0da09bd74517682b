//! Parameters of jobs that come again: in statements and in paths.

use std::fs;

use anyhow::Result;

use super::{Keyloom, input, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments, strings};

on_all_deployments! {
    a_job_has_parameters_in_its_statement_and_in_its_paths,
    a_value_fits_what_stands_beside_it_and_is_nothing_but_itself,
    parameters_without_values_or_uses_are_refused,
}

/// Makes a job that reads the day's file and writes another one.
fn job(session: &TestSession) -> Result<String> {
    for (day, numbers) in [("mon", [1, 2, 3]), ("tue", [4, 5, 6])] {
        let rows = batch([("n", ints(numbers))]);
        write_arrow(session.path(&format!("{day}.arrow")), &rows)?;
    }
    let text = "[inputs.t]
                path = '${day}.arrow'
                [job]
                sql = 'SELECT n, $day AS day FROM t WHERE n >= $least'
                output = 'out-${day}.csv'
                [params]
                least = 2";
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn a_job_has_parameters_in_its_statement_and_in_its_paths(
    session: &TestSession,
) -> Result<()> {
    let job = job(session)?;
    let run = async |flags: &[&str]| {
        let ended = Keyloom::on(session, [&["run", &job], flags].concat()).await?.run().await?;
        ended.stdout().map(ToOwned::to_owned)
    };
    run(&["--param", "day=mon"]).await?;
    assert_eq!(fs::read_to_string(session.path("out-mon.csv"))?, "n,day\n2,mon\n3,mon\n");
    run(&["--param", "day=tue", "--param", "least=6"]).await?;
    assert_eq!(fs::read_to_string(session.path("out-tue.csv"))?, "n,day\n6,tue\n");

    let describe = ["describe", &job, "t", "--param", "day=tue"];
    let described = Keyloom::on(session, describe).await?.run().await?;
    assert!(described.stdout()?.contains("tue.arrow"), "{described:?}");
    let explain = ["explain", &job, "--param", "day=tue"];
    Keyloom::on(session, explain).await?.run().await?.stdout()?;
    Ok(())
}

async fn a_value_fits_what_stands_beside_it_and_is_nothing_but_itself(
    session: &TestSession,
) -> Result<()> {
    let rows = batch([("n", ints([1, 9, 10])), ("k", strings(["a", "b' OR 'x' = 'x", "c"]))]);
    write_arrow(session.path("t.arrow"), &rows)?;
    let [flag, table] = input("t", &session.path("t.arrow"));
    let sql = async |statement: &str, param: &str| {
        let arguments =
            ["sql", statement, &flag, &table, "--param", param, "-o", "csv", "--summary=none"];
        Keyloom::on(session, arguments).await?.run().await
    };
    // As a text, '9' is more than '10'.
    assert_eq!(sql("SELECT n FROM t WHERE n > $least", "least=9").await?.stdout()?, "n\n10\n");
    let same = "SELECT n FROM t WHERE k = $k";
    assert_eq!(sql(same, "k=b' OR 'x' = 'x").await?.stdout()?, "n\n9\n");
    assert_eq!(sql("SELECT n FROM t LIMIT $most", "most=2").await?.stdout()?, "n\n1\n9\n");
    let date = "SELECT CAST('2024-01-31' AS DATE) < $day AS is_before";
    assert_eq!(sql(date, "day=2024-02-01").await?.stdout()?, "is_before\ntrue\n");
    let ended = sql("SELECT n FROM t WHERE n > $least", "least=many").await?;
    ended.check_failure(2, &["parameter 'least': 'many' is no value of the type Int64"]);
    Ok(())
}

async fn parameters_without_values_or_uses_are_refused(session: &TestSession) -> Result<()> {
    let job = job(session)?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    ended.check_failure(2, &["parameter 'day' has no value", "help: give it one: --param day="]);
    let flags = ["run", &job, "--param", "day=mon", "--param", "dya=tue"];
    let ended = Keyloom::on(session, flags).await?.run().await?;
    ended.check_failure(2, &["parameter 'dya' is not used"]);
    let ended = Keyloom::on(session, ["sql", "SELECT $n", "--param", "n"]).await?.run().await?;
    ended.check_failure(2, &["write NAME=VALUE"]);
    Ok(())
}
