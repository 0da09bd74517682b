//! Settings: a flag goes before the environment, and the environment before the file.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Keyloom, write_arrow};
use crate::harness::{Cluster, batch, ints};

#[tokio::test]
async fn a_cluster_is_named_by_a_flag_or_the_environment() -> Result<()> {
    let (one, two) = (Cluster::start(1).await?, Cluster::start(2).await?);
    let workers = async |flags: &[&str], variable: &str| -> Result<usize> {
        let arguments = [&["workers", "--format", "json"], flags].concat();
        let ended = Keyloom::new(arguments)?.env("KEYLOOM_CLUSTER", variable).run().await?;
        let workers: Value = serde_json::from_str(ended.stdout()?)?;
        Ok(workers.as_array().context("an array")?.len())
    };
    assert_eq!(workers(&[], &one.address).await?, 1);
    assert_eq!(workers(&["--cluster", &two.address], &one.address).await?, 2);

    let sql = ["sql", "SELECT 1 AS x", "-o", "csv"];
    let nobody = "tcp://127.0.0.1:1";
    let ended = Keyloom::new(sql)?.env("KEYLOOM_CLUSTER", nobody).run().await?;
    ended.check_failure(5, &["no coordinator answers", nobody]);
    // Without an address, jobs run in the process.
    let ended = Keyloom::new(sql)?.env("KEYLOOM_CLUSTER", "").run().await?;
    assert_eq!(ended.stdout()?, "x\n1\n");
    // Where there must be one, it is told what names none.
    let ended = Keyloom::new(["workers"])?.env("KEYLOOM_CLUSTER", "").run().await?;
    ended.check_failure(2, &["no address; --cluster or KEYLOOM_CLUSTER says where"]);
    let both = [&sql[..], &["--workers", "2"]].concat();
    let ended = Keyloom::new(&both)?.env("KEYLOOM_CLUSTER", &one.address).run().await?;
    ended.check_failure(2, &["--workers is for jobs in this process", "KEYLOOM_CLUSTER"]);
    Ok(())
}

/// How many distinct keys a job in the process counts, window by window, among four equal ones.
struct Windows {
    folder: tempfile::TempDir,
}

impl Windows {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write_arrow(folder.path().join("t.arrow"), &batch([("k", ints([1, 1, 1, 1]))]))?;
        fs::write(folder.path().join("s.csv"), "k,v\n1,2\n")?;
        let config = "[session]\nbatch_rows = 1\n[worker.lookup]\nwindow_rows = 2\n";
        fs::write(folder.path().join("config.toml"), config)?;
        Ok(Self { folder })
    }

    async fn distinct(&self, flags: &[&str], env: &[(&str, &str)]) -> Result<u64> {
        let statement = ["sql", "SELECT kv_get(k) AS v FROM t", "-o", "json", "--summary"];
        let tables = ["--input", "t=t.arrow", "--store", "s=memory:s.csv?key=k"];
        let mut command =
            Keyloom::new([&statement[..], &tables, flags].concat())?.within(&self.folder);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let ended = command.run().await?;
        assert_eq!(ended.stdout()?, "{\"v\":{\"k\":1,\"v\":2}}\n".repeat(4));
        let summary: Value = serde_json::from_str(&ended.stderr)?;
        summary["stores"]["s"]["distinct"].as_u64().context("no count")
    }
}

#[tokio::test]
async fn the_environment_goes_before_the_file() -> Result<()> {
    let windows = Windows::new()?;
    let window = "KEYLOOM_WORKER_LOOKUP__WINDOW_ROWS";
    let config = ["--config", "config.toml"];
    assert_eq!(windows.distinct(&[], &[]).await?, 1);
    assert_eq!(windows.distinct(&config, &[]).await?, 2);
    assert_eq!(windows.distinct(&config, &[(window, "1")]).await?, 4);
    assert_eq!(windows.distinct(&[], &[("KEYLOOM_CONFIG", "config.toml")]).await?, 2);
    let nowhere = [("KEYLOOM_CONFIG", "/nowhere.toml")];
    assert_eq!(windows.distinct(&config, &nowhere).await?, 2);
    Ok(())
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    fs::write(&config, "[session]\nbatch_rwos = 1\n")?;
    let sql = ["sql", "SELECT 1"];
    let ended = Keyloom::new(sql)?.env("KEYLOOM_CONFIG", &config.to_string_lossy()).run().await?;
    ended.check_failure(
        2,
        &["settings: unknown setting 'session.batch_rwos'; did you mean 'session.batch_rows'?"],
    );
    let ended = Keyloom::new(sql)?.env("KEYLOOM_WORKER_SLOTZ", "1").run().await?;
    ended.check_failure(
        2,
        &["settings: unknown setting 'worker.slotz'; did you mean 'worker.slots'?"],
    );
    let ended = Keyloom::new(sql)?.env("KEYLOOM_LOG", "a=b=c").run().await?;
    ended.check_failure(2, &["KEYLOOM_LOG=a=b=c"]);
    let ended = Keyloom::new(["sql", "SELECT 1", "--workers", "0"])?.run().await?;
    ended.check_failure(2, &["--workers"]);
    Ok(())
}

#[tokio::test]
async fn logs_go_to_stderr() -> Result<()> {
    let command = Keyloom::new(["sql", "SELECT 1 AS x", "-o", "csv"])?;
    let ended = command.env("KEYLOOM_LOG", "debug").run().await?;
    assert_eq!(ended.stdout()?, "x\n1\n");
    assert!(ended.stderr.contains("DEBUG"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn logs_are_json_if_that_is_said() -> Result<()> {
    let sql = ["sql", "SELECT 1 AS x", "-o", "csv", "--summary=none"];
    let flag = [&sql[..], &["--log-format", "json"]].concat();
    let by_flag = Keyloom::new(flag)?.env("KEYLOOM_LOG", "debug");
    let variable = Keyloom::new(sql)?.env("KEYLOOM_LOG", "debug").env("KEYLOOM_LOG_FORMAT", "json");
    for command in [by_flag, variable] {
        let ended = command.run().await?;
        assert_eq!(ended.stdout()?, "x\n1\n");
        let lines = ended.stderr.lines().map(serde_json::from_str);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>().context(ended.stderr.clone())?;
        assert!(lines.iter().any(|line| line["message"] == "job done"), "{lines:?}");
    }
    let wrong = [&sql[..], &["--log-format", "xml"]].concat();
    let ended = Keyloom::new(wrong)?.run().await?;
    ended.check_failure(2, &["--log-format", "a log is written as text or json, not as 'xml'"]);
    let ended = Keyloom::new(sql)?.env("KEYLOOM_WORKER_LOG__FORMAT", "json").run().await?;
    let warning = "warning: setting worker.log.format has no effect in this process, whose log is \
                   written as --log-format says\n";
    assert_eq!(ended.stderr, warning);
    Ok(())
}
