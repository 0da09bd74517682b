//! What is counted is called as the documents, the dashboard and the alerts say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

use super::text::{read, words};
use crate::harness::{Daemon, eventually, get};

/// How the names of metrics begin.
const OURS: &str = "keyloom_";

/// Fewer are not all of them.
const LEAST: usize = 50;

/// The metrics of the documents' table, with their types.
fn documented() -> Result<BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observability.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let (name, kind) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        name.starts_with(OURS).then(|| (name.to_owned(), kind.to_owned()))
    });
    let metrics: BTreeMap<_, _> = rows.collect();
    assert!(metrics.len() >= LEAST, "the table has {} metrics", metrics.len());
    Ok(metrics)
}

/// The name of a metric, of which a histogram's series have others.
fn metric(series: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| series.strip_suffix(*end)).unwrap_or(series)
}

#[test]
fn the_dashboard_the_alerts_and_the_autoscaler_ask_for_what_is_counted() -> Result<()> {
    let documented = documented()?;
    for file in [
        "grafana/keyloom.json",
        "prometheus/alerts.yaml",
        "prometheus/alerts.test.yaml",
        "kubernetes/autoscaling/workers.yaml",
    ] {
        let text = read(file)?;
        let asked = words(&text, OURS);
        assert!(!asked.is_empty(), "{file}");
        let unknown = asked.into_iter().filter(|name| !documented.contains_key(metric(name)));
        let unknown: Vec<_> = unknown.collect();
        assert!(unknown.is_empty(), "{file}: nobody counts {unknown:?}");
    }
    Ok(())
}

#[test]
fn the_dashboard_is_whole() -> Result<()> {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/keyloom.json")?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let (mut ids, mut asked) = (BTreeSet::new(), 0);
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "two panels of one number: {}", panel["title"]);
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        assert_eq!(targets == 0, panel["type"] == "row", "{}", panel["title"]);
        asked += targets;
    }
    assert!(asked > 40, "{asked} queries");
    Ok(())
}

#[test]
fn the_dashboard_asks_for_each_metric() -> Result<()> {
    let dashboard = read("grafana/keyloom.json")?;
    let shown: BTreeSet<_> = words(&dashboard, OURS).into_iter().map(metric).collect();
    let documented = documented()?;
    let missing = documented.keys().filter(|name| !shown.contains(name.as_str()));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
    Ok(())
}

/// Waits until a daemon is ready, and gives what it counts: the names with their types.
async fn counted(address: &str) -> Result<BTreeMap<String, String>> {
    let ready = async || get(address, "/readyz").await;
    eventually(ready, |answer| answer.status == 200).await?;
    let text = get(address, "/metrics").await?.body;
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let kind = kind.trim();
        // The series of some have an ending.
        let end = if kind == "counter" { "_total" } else { "" };
        Some((format!("{name}{end}"), kind.to_owned()))
    });
    Ok(types.collect())
}

#[tokio::test]
async fn what_daemons_count_stands_in_the_table() -> Result<()> {
    let documented = documented()?;
    let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &[])?;
    let (mut rpc, mut http) = (None, None);
    while rpc.is_none() || http.is_none() {
        let line = coordinator.line_with("")?;
        if line.starts_with("http") { http = Some(line) } else { rpc = Some(line) }
    }
    let (rpc, http) = (rpc.context("an address")?, http.context("an address of HTTP")?);
    let arguments = ["--coordinator", &rpc, "--slots", "1", "--http", "127.0.0.1:0"];
    let mut worker = Daemon::start("keyloom-worker", &arguments, &[])?;
    let worker_http = worker.line_with("http")?;
    for (address, owner) in [(worker_http, "keyloom_worker_"), (http, "keyloom_coordinator_")] {
        let counted = counted(&address).await?;
        assert!(counted.len() > 5, "{counted:?}");
        for (name, kind) in &counted {
            assert!(name.starts_with(owner), "{name} is not called after who counts");
            assert_eq!(documented.get(name), Some(kind), "{name}, in docs/observability.md");
        }
    }
    Ok(())
}
