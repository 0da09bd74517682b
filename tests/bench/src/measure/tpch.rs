//! TPC-H's queries, as they are written, where all tables but the lines are stores.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};
use keyloom_client::{EmbeddedSettings, LanceOptions, Session, load_kv};

use super::{
    Bench, Measurement, digest,
    joins::{path, rows},
};
use crate::data::tpch::STORES;

/// `cold` is all queries, one after the other, in a session that has not run any; `warm` is all of
/// them again, of which `q01` to `q22` are each by itself. `plan` is the longest that one takes to
/// be planned.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let folder = bench.data.tpch().await?;
    let session = open(bench, &folder).await?;
    let queries = queries()?;
    let mut measured = Measurement::default();

    let clock = Instant::now();
    for (_, sql) in &queries {
        drop(rows(&session, sql).await?);
    }
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());

    let (mut all, mut longest, mut sum) = (0.0, 0.0_f64, 0_u64);
    for (name, sql) in &queries {
        let clock = Instant::now();
        let result = rows(&session, sql).await?;
        let seconds = clock.elapsed().as_secs_f64();
        measured.add_seconds(name, seconds);
        all += seconds;
        longest = longest.max(planning_seconds(&session, sql).await?);
        // Queries that changed their answers would not show in a sum alone.
        sum = sum.wrapping_mul(31).wrapping_add(digest::of_any_order(&result)?);
    }
    measured.add_seconds("warm", all);
    measured.add_seconds("plan", longest);
    measured.add_own_peak()?;
    measured.digest = bench.digest.then_some(sum);
    Ok(measured)
}

/// How long a statement takes to be planned.
pub(super) async fn planning_seconds(session: &Session, sql: &str) -> Result<f64> {
    let clock = Instant::now();
    session.explain(session.sql(sql).await?, false).await?;
    Ok(clock.elapsed().as_secs_f64())
}

async fn open(bench: &Bench, folder: &Path) -> Result<Session> {
    let mut settings = EmbeddedSettings::default();
    settings.session.join_path = path(bench.variant);
    let session = Session::embedded_with(settings).await?;
    for (name, key) in STORES {
        let uri = folder.join(format!("{name}.lance"));
        let uri = uri.to_str().context("the path of the data is not UTF-8")?;
        session.attach(load_kv(name, LanceOptions::new(uri).key(key.to_vec()))?, name).await?;
    }
    let lines = folder.join("lineitem.parquet");
    let lines = lines.to_str().context("the path of the data is not UTF-8")?;
    session.register("lineitem", lines).await?;
    Ok(session)
}

/// The queries by their names, which stand beside the tests' data.
fn queries() -> Result<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tpch/queries");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut queries = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        queries.push((name, fs::read_to_string(&path)?));
    }
    queries.sort();
    Ok(queries)
}
