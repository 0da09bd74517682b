//! Where a statement comes from, and what flags cannot be put together.

use std::fs;

use anyhow::Result;

use super::Keyloom;

#[tokio::test]
async fn a_statement_stands_in_an_argument_a_file_or_stdin() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.sql"), "-- the answer\nSELECT 42 AS x;\n")?;
    for arguments in
        [&["sql", "SELECT 42 AS x"][..], &["sql", "-f", "job.sql"], &["sql", "--file=job.sql"]]
    {
        let command = Keyloom::new([arguments, &["--format", "csv"]].concat())?;
        assert_eq!(command.within(&folder).run().await?.stdout()?, "x\n42\n", "{arguments:?}");
    }
    for arguments in [["sql", "-", "-o", "csv"], ["sql", "--file=-", "-o", "csv"]] {
        let ended = Keyloom::new(arguments)?.run_with("SELECT 42 AS x\n").await?;
        assert_eq!(ended.stdout()?, "x\n42\n", "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_statement_is_named() -> Result<()> {
    let ended = Keyloom::new(["sql"])?.run().await?;
    ended.check_failure(2, &["required arguments were not provided", "<STATEMENT>"]);
    let ended = Keyloom::new(["sql", "-f", "/nowhere/job.sql"])?.run().await?;
    ended.check_failure(2, &["statement from /nowhere/job.sql: ", "help: -f names a file"]);
    let ended = Keyloom::new(["sql", "-"])?.run_with("\n").await?;
    ended.check_failure(2, &["statement from stdin: there is none"]);
    let ended = Keyloom::new(["sql", "SELECT 1", "-f", "job.sql"])?.run().await?;
    ended.check_failure(2, &["cannot be used with"]);
    Ok(())
}

#[tokio::test]
async fn flags_that_contradict_each_other_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), "[job]\nsql = 'SELECT 1 AS x'\noutput = 'x.csv'\n")?;
    let check = async |arguments: &[&str], words: &[&str]| -> Result<()> {
        let ended = Keyloom::new(arguments)?.within(&folder).run().await?;
        ended.check_failure(2, words);
        Ok(())
    };
    let to_file = ["the rows go to x.csv; --format is for rows that are printed", "--summary"];
    check(&["run", "job.toml", "--format", "json"], &to_file).await?;
    check(&["run", "job.toml", "-o", "json"], &to_file).await?;
    check(&["sql", "SELECT 1", "-o", "x.csv", "--format", "json"], &to_file).await?;
    check(&["sql", "SELECT 1", "-o", "csv", "--format", "json"], &["name two forms"]).await?;
    check(&["run", "job.toml", "--discard", "--format", "json"], &["--discard drops"]).await?;
    check(&["run", "job.toml", "--discard", "-o", "y.csv"], &["--discard drops"]).await?;
    check(&["run", "job.toml", "--arrow-types"], &["arrow_types is for .parquet"]).await?;
    check(&["sql", "SELECT 1", "--arrow-types"], &["--arrow-types is for rows"]).await?;
    check(&["sql", "EXPLAIN SELECT 1", "-o", "x.csv"], &["EXPLAIN answers no rows"]).await?;
    check(&["sql", "EXPLAIN SELECT 1", "-o", "csv"], &["EXPLAIN answers no rows"]).await?;
    assert_eq!(super::names(&folder)?, ["job.toml"]);
    Ok(())
}

#[tokio::test]
async fn flags_go_before_the_job_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), "[job]\nsql = 'SELECT 1 AS x'\noutput = 'x.csv'\n")?;
    let run = async |flags: &[&str]| {
        let arguments = [&["run", "job.toml", "--summary=none"], flags].concat();
        Keyloom::new(arguments)?.within(&folder).run().await
    };
    assert_eq!(run(&["--output", "y.json"]).await?.stdout()?, "");
    assert_eq!(super::names(&folder)?, ["job.toml", "y.json"]);
    assert_eq!(run(&["--discard"]).await?.stdout()?, "");
    assert_eq!(super::names(&folder)?, ["job.toml", "y.json"]);
    assert_eq!(run(&[]).await?.stdout()?, "");
    assert_eq!(fs::read_to_string(folder.path().join("x.csv"))?, "x\n1\n");
    Ok(())
}
