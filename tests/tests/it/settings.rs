//! Settings that nothing can run with: whoever is started with them says so at once, by name.

use std::fs;

use anyhow::{Context, Result};
use keyloom_client::{EmbeddedSettings, ErrorKind, Session, Settings};

use crate::harness::run_to_end;

/// Nobody listens there, and nobody is asked.
const NOBODY: &str = "tcp://127.0.0.1:1";

const COORDINATOR: (&str, &[&str]) = ("keyloom-coordinator", &["--listen", "127.0.0.1:0"]);
const WORKER: (&str, &[&str]) = ("keyloom-worker", &["--coordinator", NOBODY, "--slots", "1"]);
const COMMAND: (&str, &[&str]) = ("keyloom", &["sql", "SELECT 1"]);

/// Starts a program with an environment that must not let it run: exit code 2, nothing on stdout,
/// and this on stderr.
async fn check(
    (name, arguments): (&str, &[&str]),
    env: &[(&str, &str)],
    expected: &str,
) -> Result<()> {
    let line = [&[name][..], arguments].concat();
    let (code, stdout, stderr) = run_to_end(&line, env).await?;
    let expected = format!("error: {expected}\n");
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (Some(2), "", expected.as_str()),
        "{name} with {env:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_coordinator_names_a_wrong_setting() -> Result<()> {
    let wrong = [
        ("RPC__CHUNK_BYTES", "0", "rpc.chunk_bytes must be between 1 and 2147483648, not 0"),
        ("RPC__LONG_POLL_MS", "0", "rpc.long_poll_ms must be between 1 and 86400000, not 0"),
        ("MAX_CONNECTIONS", "0", "max_connections must be between 1 and 1048576, not 0"),
        ("MEMORY_BYTES", "0", "memory_bytes must be between 1 and 140737488355328, not 0"),
        ("MAX_QUEUED_JOBS", "0", "max_queued_jobs must be between 1 and 1048576, not 0"),
        ("SLICE_ROWS", "0", "slice_rows must be between 1 and 4294967295, not 0"),
        (
            "SCHEDULER__MAX_TASKS_AHEAD",
            "0",
            "scheduler.max_tasks_ahead must be between 1 and 1048576, not 0",
        ),
        (
            "CLIENT_TIMEOUT_MS",
            "18446744073709551615",
            "client_timeout_ms must be between 1 and 31536000000, not 18446744073709551615",
        ),
    ];
    for (setting, value, expected) in wrong {
        let variable = format!("KEYLOOM_COORDINATOR_{setting}");
        check(COORDINATOR, &[(variable.as_str(), value)], &format!("setting {expected}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_names_a_wrong_setting() -> Result<()> {
    let wrong = [
        ("RPC__CHUNK_BYTES", "0", "rpc.chunk_bytes must be between 1 and 2147483648, not 0"),
        ("HEARTBEAT_MS", "0", "heartbeat_ms must be between 1 and 31536000000, not 0"),
        ("MEMORY_BYTES", "0", "memory_bytes must be between 1 and 140737488355328, not 0"),
        (
            "LOOKUP__MEMORY_BYTES",
            "0",
            "lookup.memory_bytes must be between 1 and 140737488355328, not 0",
        ),
        ("LOOKUP__WINDOW_ROWS", "0", "lookup.window_rows must be between 1 and 4294967295, not 0"),
        ("STORE__READ_BYTES", "0", "store.read_bytes must be between 1 and 1073741824, not 0"),
        (
            "DRAIN_TIMEOUT_MS",
            "18446744073709551615",
            "drain_timeout_ms must be between 0 and 31536000000, not 18446744073709551615",
        ),
    ];
    for (setting, value, expected) in wrong {
        let variable = format!("KEYLOOM_WORKER_{setting}");
        check(WORKER, &[(variable.as_str(), value)], &format!("setting {expected}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn all_wrong_settings_of_a_file_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    fs::write(
        &config,
        "blob_ttl_ms = 0\n\
         [rpc]\ncall_timeout_ms = 1000\nlong_poll_ms = 501\n\
         [scheduler]\nretry_backoff_ms = 6000\nretry_backoff_max_ms = 5000\n",
    )?;
    let config = config.to_string_lossy();
    let (name, arguments) = COORDINATOR;
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", &*config]).collect();
    let expected = "setting rpc.long_poll_ms must be at most half of rpc.call_timeout_ms = 1000, \
                    not 501; \
                    setting scheduler.retry_backoff_ms must be at most \
                    scheduler.retry_backoff_max_ms = 5000, not 6000; \
                    setting blob_ttl_ms must be between 1 and 31536000000, not 0";
    check((name, arguments.as_slice()), &[], expected).await
}

#[tokio::test]
async fn the_command_names_a_wrong_setting_by_its_section() -> Result<()> {
    let env = [("KEYLOOM_COORDINATOR_RPC__CHUNK_BYTES", "0")];
    let expected = "setting coordinator.rpc.chunk_bytes must be between 1 and 2147483648, not 0";
    check(COMMAND, &env, expected).await?;

    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    fs::write(&config, "[session]\nbatch_rows = 0\n")?;
    let config = config.to_string_lossy();
    let expected = "setting session.batch_rows must be between 1 and 16777216, not 0";
    for cluster in ["", NOBODY] {
        let env = [("KEYLOOM_CONFIG", &*config), ("KEYLOOM_CLUSTER", cluster)];
        check(COMMAND, &env, expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_names_a_wrong_setting() -> Result<()> {
    let mut embedded = EmbeddedSettings::default();
    embedded.worker.lookup.window_rows = 0;
    let error = Session::embedded_with(embedded).await.err().context("it started")?;
    let message = "setting worker.lookup.window_rows must be between 1 and 4294967295, not 0";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));

    let settings = Settings { task_rows: 0, ..Settings::default() };
    let error = Session::connect_with(NOBODY, settings).await.err().context("it connected")?;
    let message = "setting task_rows must be between 1 and 4294967295, not 0";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}
