//! Jobs that are handed in to a cluster and looked after from elsewhere, and its workers.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Ended, Keyloom, terminal::Terminal, write_arrow};
use crate::harness::{Cluster, batch, eventually, ints};

/// A cluster of one worker, and a folder with a table of numbers and a job over it.
struct Place {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Place {
    async fn with(rows: i64, job: &str) -> Result<Self> {
        let (cluster, folder) = (Cluster::start(1).await?, tempfile::tempdir()?);
        write_arrow(folder.path().join("t.arrow"), &batch([("n", ints(0..rows))]))?;
        let text = format!("[inputs.t]\npath = 't.arrow'\n{job}");
        fs::write(folder.path().join("job.toml"), text)?;
        Ok(Self { cluster, folder })
    }

    async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let on_cluster = [arguments, &["--cluster", &self.cluster.address]].concat();
        Keyloom::new(on_cluster)?.within(&self.folder).run().await
    }

    /// What a command answers in JSON.
    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let ended = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        Ok(serde_json::from_str(ended.stdout()?)?)
    }

    /// Hands in the job; its id.
    async fn detach(&self, flags: &[&str]) -> Result<String> {
        let ended = self.run(&[&["submit", "job.toml", "--detach"], flags].concat()).await?;
        Ok(ended.stdout()?.trim_end().to_owned())
    }
}

#[tokio::test]
async fn a_detached_job_is_waited_for_and_its_rows_are_taken() -> Result<()> {
    let place = Place::with(3, "[job]\nsql = 'SELECT n FROM t ORDER BY n'").await?;
    let id = place.detach(&["--name", "nightly"]).await?;
    let job = place.json(&["jobs", "wait", &id]).await?;
    let told = ["id", "state", "name"].map(|name| job[name].as_str());
    assert_eq!(told, [Some(id.as_str()), Some("done"), Some("nightly")], "{job}");
    let rows = place.run(&["jobs", "results", &id, "-o", "csv"]).await?;
    assert_eq!(rows.stdout()?, "n\n0\n1\n2\n");
    let again = place.run(&["jobs", "results", &id]).await?;
    assert_ne!(again.code, 0, "rows are taken once: {again:?}");
    let other = place.detach(&[]).await?;
    let written = place.run(&["jobs", "results", &other, "-o", "out.csv"]).await?;
    assert!(written.stderr.contains("3 rows written to "), "{written:?}");
    assert_eq!(fs::read_to_string(place.folder.path().join("out.csv"))?, "n\n0\n1\n2\n");

    let logs = place.run(&["jobs", "logs", &id]).await?;
    let lines: Vec<_> = logs.stdout()?.lines().collect();
    assert!(lines[0].contains("Z  submitted       by "), "{lines:?}");
    assert!(
        lines.last().is_some_and(|line| line.ends_with("Z  done            3 rows")),
        "{lines:?}"
    );
    let followed = place.run(&["jobs", "logs", &id, "--follow", "-o", "json"]).await?;
    let followed = followed.stdout()?.lines().map(serde_json::from_str::<Value>);
    let followed = followed.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(followed.len(), lines.len(), "{followed:?}");
    assert_eq!(followed[0]["kind"], "submitted", "{followed:?}");

    let listed = place.json(&["jobs", "list"]).await?;
    assert_eq!(listed[1]["id"], id.as_str(), "{listed}");
    assert_eq!(listed[1]["statement"], "SELECT n FROM t ORDER BY n", "{listed}");
    let shown = place.run(&["jobs", "show", &id]).await?;
    assert!(shown.stdout()?.contains("state      done\n"), "{shown:?}");
    let top = place.run(&["top", "--once"]).await?;
    let screen = top.stdout()?;
    assert!(screen.starts_with("workers: 1, ") && screen.contains(&id), "{screen}");
    Ok(())
}

#[tokio::test]
async fn a_detached_job_is_written_by_workers() -> Result<()> {
    let job = "[job]\nsql = 'SELECT n FROM t'\n[output]\npath = 'out.lance'";
    let place = Place::with(3, job).await?;
    let given = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
    let id = place.detach(&["--id", given]).await?;
    assert_eq!(id, given);
    let job = place.json(&["jobs", "wait", &id]).await?;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(job["written"]["rows"], 3, "{job}");
    let taken = place.run(&["jobs", "results", &id]).await?;
    taken.check_failure(2, &["the rows of job ", "are in ", "out.lance"]);
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_with_130_for_who_waits() -> Result<()> {
    let endless = "SELECT sum(a.n + b.n + c.n) FROM t a CROSS JOIN t b CROSS JOIN t c";
    let place = Place::with(4000, &format!("[job]\nsql = '{endless}'")).await?;
    let id = place.detach(&[]).await?;
    let runs = async || place.json(&["jobs", "show", &id]).await;
    eventually(runs, |job| job["state"] == "running").await?;
    let cancelled = place.json(&["jobs", "cancel", &id]).await?;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    let waited = place.run(&["jobs", "wait", &id]).await?;
    assert_eq!(waited.code, 130, "{waited:?}");
    assert!(waited.stderr.contains("was cancelled"), "{waited:?}");
    Ok(())
}

#[tokio::test]
async fn jobs_that_are_not_there_are_mistakes() -> Result<()> {
    let place = Place::with(1, "[job]\nsql = 'SELECT n FROM t'\noutput = 'out.csv'").await?;
    let unknown = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
    for command in ["show", "cancel", "wait", "logs", "results"] {
        place.run(&["jobs", command, unknown]).await?.check_failure(2, &[unknown]);
        place.run(&["jobs", command, "nightly"]).await?.check_failure(2, &["UUID"]);
    }
    let detached = place.run(&["submit", "job.toml", "--detach"]).await?;
    detached.check_failure(2, &["writes no file of this machine", "help: have the workers"]);
    let nowhere = Keyloom::new(["jobs", "list"])?.run().await?;
    nowhere.check_failure(2, &["no address; --cluster or KEYLOOM_CLUSTER says"]);
    let nowhere = Keyloom::new(["submit", "job.toml"])?.within(&place.folder).run().await?;
    nowhere.check_failure(2, &["no address; "]);
    Ok(())
}

#[tokio::test]
async fn the_screen_is_drawn_again_and_again_until_q() -> Result<()> {
    let place = Place::with(1, "[job]\nsql = 'SELECT 1'").await?;
    let mut terminal =
        Terminal::start(Keyloom::new(["top", "--cluster", &place.cluster.address])?)?;
    for _ in 0..2 {
        terminal.sees("workers: 1, 0 of ").await?;
    }
    terminal.press("q")?;
    assert_eq!(terminal.ends().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_worker_is_drained_by_its_name() -> Result<()> {
    let place = Place::with(1, "[job]\nsql = 'SELECT 1'").await?;
    let workers = place.json(&["workers"]).await?;
    assert_eq!(workers, place.json(&["workers", "list"]).await?);
    let name = workers[0]["name"].as_str().context("a name")?;
    let drained = place.json(&["workers", "drain", name]).await?;
    assert_eq!(drained[0]["id"], workers[0]["id"]);
    assert_eq!(drained[0]["draining"], true);
    let none = place.run(&["workers", "drain", "nobody"]).await?;
    none.check_failure(2, &["there is no worker 'nobody'"]);
    Ok(())
}
