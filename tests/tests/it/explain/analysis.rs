//! How jobs ran: times of the whole and of each part, what was asked of stores, and what the notes
//! say of it.

use anyhow::{Context, Result, bail};
use keyloom_client::{
    EmbeddedSettings, KeyPath, LanceOptions, Session, Settings, load_kv,
    report::{Analysis, NodeRun, NoteKind},
};

use crate::harness::{TestSession, batch, ints, on_all_deployments, open_shop, write_lance};

on_all_deployments! {
    parts_share_the_time_of_their_stage,
    stores_are_told_with_what_was_asked_of_them,
    explain_analyze_shows_times_and_notes,
}

async fn analysis(session: &Session, sql: &str) -> Result<Analysis> {
    Ok(session.analyze(session.sql(sql).await?).await?)
}

fn node<'a>(analysis: &'a Analysis, name: &str) -> Result<&'a NodeRun> {
    analysis.nodes.iter().find(|node| node.name == name).context("the plan has such a node")
}

async fn parts_share_the_time_of_their_stage(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let sql = "SELECT n, kv_get(k, source => 'lance', on_error => 'null') AS p FROM t WHERE n > 0";
    let analysis = analysis(session, sql).await?;
    let [stage] = analysis.stages.as_slice() else { bail!("{:?}", analysis.stages) };
    // Five rows, three a task.
    assert_eq!((stage.stage, stage.tasks, stage.rows), (0, 2, 5));
    assert!((1..=2).contains(&stage.workers), "{stage:?}");
    assert!(analysis.slots > 0, "{analysis:?}");
    assert!(stage.seconds > 0.0 && stage.seconds <= analysis.seconds, "{analysis:?}");
    let slowest = stage.slowest.as_ref().context("there are tasks")?;
    assert!(slowest.seconds <= stage.seconds && slowest.task < 2, "{stage:?}");
    assert!(stage.task_seconds >= slowest.seconds, "{stage:?}");

    let gather = node(&analysis, "RemoteExec")?;
    assert_eq!((gather.depth, gather.stage, gather.rows), (0, Some(0), Some(5)));
    assert_eq!(gather.seconds, stage.seconds);
    let parts: Vec<_> = analysis.nodes.iter().filter(|node| node.depth > 0).collect();
    assert!(parts.iter().all(|node| node.stage == Some(0)), "{parts:?}");
    let sum: f64 = parts.iter().map(|node| node.seconds).sum();
    assert!((sum - stage.seconds).abs() < 1e-6, "{sum} of {}", stage.seconds);
    let lookup = node(&analysis, "KvLookupExec")?;
    assert_eq!(lookup.rows, Some(5));
    assert!(lookup.seconds > 0.0 && lookup.share_percent <= 100.0, "{lookup:?}");
    Ok(())
}

async fn stores_are_told_with_what_was_asked_of_them(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let sql = "SELECT kv_get(k, source => 'lance', on_error => 'null')['name'] AS name,
                      kv_exists(k, source => 'memory') AS known
               FROM t";
    let analysis = analysis(session, sql).await?;
    let [lance, memory] = analysis.stores.as_slice() else { bail!("{:?}", analysis.stores) };
    assert_eq!(
        (lance.store.as_str(), lance.kind.as_str(), lance.key.as_str()),
        ("lance", "lance", "id")
    );
    assert_eq!((lance.rows, lance.columns, lance.columns_used), (Some(3), 4, 1));
    assert_eq!((lance.key_map_bytes, lance.key_paths.len()), (39, 1));
    // Four of five keys are not null.
    assert_eq!(lance.counted("keys"), 4);
    assert_eq!((memory.store.as_str(), memory.rows, memory.columns_used), ("memory", None, 0));
    assert_eq!(memory.counted("keys"), 4);
    let of_columns = analysis.notes.iter().filter(|note| note.kind == NoteKind::Columns);
    let of_columns: Vec<_> = of_columns.map(|note| note.text.as_str()).collect();
    assert_eq!(of_columns, ["lance: 1 of 4 columns used"]);
    Ok(())
}

async fn explain_analyze_shows_times_and_notes(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let sql = "SELECT kv_get(k, source => 'memory', on_error => 'null')['name'] AS name FROM t";
    let statement = session.rows(&format!("EXPLAIN ANALYZE {sql}")).await?.join("\n");
    let method = session.explain(session.sql(sql).await?, true).await?;
    for text in [statement.as_str(), method.as_str()] {
        assert!(text.contains("elapsed: "), "{text}");
        assert!(text.contains("RemoteExec: stage=0, tasks=2, workers="), "{text}");
        assert!(text.contains(", rows=5, elapsed="), "{text}");
        assert!(text.contains("notes:\n- memory: 1 of 4 columns used"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn keys_that_every_request_reads_again_are_noted_with_what_a_map_needs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = dir.path().join("big.lance").to_string_lossy().into_owned();
    let rows = batch([("id", ints(0..2000)), ("n", ints(0..2000))]);
    write_lance(&uri, &[rows], 1000).await?;
    let mut settings = EmbeddedSettings {
        workers: Some(2),
        session: Settings { task_rows: 3, ..Settings::default() },
        ..EmbeddedSettings::default()
    };
    // Each task asks for its own keys.
    settings.coordinator.max_key_set_bytes = 0;
    let session = Session::embedded_with(settings).await?;
    let options = LanceOptions::new(uri).key("id").key_path(KeyPath::Scan);
    session.attach(load_kv("big", options)?, None).await?;
    session.register_batches("t", &[batch([("id", ints(0..60))])])?;
    let analysis =
        analysis(&session, "SELECT kv_get(id, source => 'big')['n'] AS n FROM t").await?;
    let requests = analysis.stores[0].counted("requests");
    assert!(requests >= 20, "{requests} requests of 20 tasks");
    let note = analysis.notes.iter().find(|note| note.kind == NoteKind::KeysReadAgain);
    let expected =
        format!("big: its 2,000 keys were read {requests} times; key_path = map needs 26 kB");
    assert_eq!(note.map(|note| &note.text), Some(&expected), "{:?}", analysis.notes);
    Ok(())
}
