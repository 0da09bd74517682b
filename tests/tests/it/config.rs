//! The configuration of processes: where each setting may stand and which goes before, what
//! `config show` tells of it, and what nobody knows.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use keyloom_client::Session;
use serde_json::{Value, json};

use crate::harness::{Daemon, eventually, run_to_end};

/// What must be nowhere in what is told.
const HIDDEN: &str = "HIDDEN-0123456789";

/// What a `config show` says of each setting: its value, and where it comes from.
async fn shown(line: &[&str], env: &[(&str, &str)]) -> Result<BTreeMap<String, [Value; 2]>> {
    let (code, stdout, stderr) = run_to_end(line, env).await?;
    ensure!((code, stderr.as_str()) == (Some(0), ""), "{line:?}: {code:?} {stderr}");
    ensure!(!stdout.contains(HIDDEN), "a secret is shown: {stdout}");
    let settings: Vec<BTreeMap<String, Value>> = serde_json::from_str(&stdout)?;
    let entry = |mut setting: BTreeMap<String, Value>| -> Result<(String, [Value; 2])> {
        let mut take = |part: &str| setting.remove(part).with_context(|| format!("no {part}"));
        let name = take("setting")?.as_str().context("a name")?.to_owned();
        Ok((name, [take("value")?, take("origin")?]))
    };
    settings.into_iter().map(entry).collect()
}

#[track_caller]
fn check(shown: &BTreeMap<String, [Value; 2]>, setting: &str, value: Value, origin: Value) {
    assert_eq!(shown.get(setting), Some(&[value, origin]), "{setting}");
}

fn default() -> Value {
    json!({"kind": "default"})
}

fn from(kind: &str, name: &str) -> Value {
    json!({"kind": kind, "name": name})
}

/// A file that goes with its folder.
fn file(name: &str, text: &str) -> Result<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(name);
    fs::write(&path, text)?;
    let path = path.to_string_lossy().into_owned();
    Ok((folder, path))
}

#[tokio::test]
async fn a_coordinators_settings_are_shown_with_their_origins() -> Result<()> {
    let text = "listen = '127.0.0.1:7'\nadvertise = 'tcp://c:7'\nmemory_bytes = '2GiB'\n\
                max_jobs = 5\n[scheduler]\nno_worker_timeout_ms = '5s'\n";
    let (_folder, path) = file("coordinator.toml", text)?;
    let env = [
        ("KEYLOOM_COORDINATOR_MAX_JOBS", "7"),
        ("KEYLOOM_COORDINATOR_SCHEDULER__QUESTION_SLOTS", "2"),
        ("KEYLOOM_COORDINATOR_SECURITY__TOKENS__CLIENT", "/run/secrets/client"),
    ];
    let flags = ["--config", &path, "--listen", "127.0.0.1:9"];
    // Flags stand before the subcommand or after it.
    let (program, show) = (["keyloom-coordinator"], ["config", "show", "-o", "json"]);
    let before = [&program[..], &flags, &show].concat();
    let after = [&program[..], &show, &flags].concat();
    for line in [before, after] {
        let shown = shown(&line, &env).await?;
        check(&shown, "listen", json!("127.0.0.1:9"), from("flag", "--listen"));
        check(&shown, "advertise", json!("tcp://c:7"), from("file", &path));
        check(&shown, "memory_bytes", json!(2_147_483_648_u64), from("file", &path));
        let variable = from("environment", "KEYLOOM_COORDINATOR_MAX_JOBS");
        check(&shown, "max_jobs", json!(7), variable);
        check(&shown, "scheduler.no_worker_timeout_ms", json!(5000), from("file", &path));
        let variable = from("environment", "KEYLOOM_COORDINATOR_SCHEDULER__QUESTION_SLOTS");
        check(&shown, "scheduler.question_slots", json!(2), variable);
        // The file of a token is none.
        let variable = from("environment", "KEYLOOM_COORDINATOR_SECURITY__TOKENS__CLIENT");
        check(&shown, "security.tokens.client", json!("/run/secrets/client"), variable);
        check(&shown, "spill_folder", json!(null), default());
        check(&shown, "slice_rows", json!(32_768), default());
    }
    Ok(())
}

#[tokio::test]
async fn a_workers_secrets_are_masked() -> Result<()> {
    let text = format!(
        "name = 'w'\n[store.storage_profiles.prod]\naws_secret_access_key = '{HIDDEN}'\n\
         aws_endpoint = 'http://user:{HIDDEN}@minio:9000'\nregion = 'r'\n"
    );
    let (_folder, path) = file("worker.toml", &text)?;
    let env = [
        ("KEYLOOM_WORKER_SECURITY__TOKEN", HIDDEN),
        ("KEYLOOM_WORKER_STORE__STORAGE_PROFILES__TEST__AWS_SESSION_TOKEN", HIDDEN),
        ("KEYLOOM_LOG_FORMAT", "json"),
    ];
    let line = ["keyloom-worker", "--config", &path, "--slots", "3", "config", "show"];
    let shown = shown(&[&line[..], &["-o", "json"]].concat(), &env).await?;
    check(&shown, "name", json!("w"), from("file", &path));
    check(&shown, "slots", json!(3), from("flag", "--slots"));
    check(&shown, "coordinator", json!(null), default());
    check(&shown, "log.format", json!("json"), from("environment", "KEYLOOM_LOG_FORMAT"));
    let variable = from("environment", "KEYLOOM_WORKER_SECURITY__TOKEN");
    check(&shown, "security.token", json!("***"), variable);
    let prod = "store.storage_profiles.prod";
    check(&shown, &format!("{prod}.aws_secret_access_key"), json!("***"), from("file", &path));
    check(&shown, &format!("{prod}.region"), json!("r"), from("file", &path));
    let endpoint = &shown[&format!("{prod}.aws_endpoint")][0];
    assert_eq!(endpoint, &json!("http://minio:9000/"));
    let test = "store.storage_profiles.test.aws_session_token";
    let variable = "KEYLOOM_WORKER_STORE__STORAGE_PROFILES__TEST__AWS_SESSION_TOKEN";
    check(&shown, test, json!("***"), from("environment", variable));

    let (code, table, _) = run_to_end(&line, &env).await?;
    assert_eq!(code, Some(0));
    assert!(!table.contains(HIDDEN), "{table}");
    let slots = table.lines().find(|line| line.starts_with("slots ")).context("a line of slots")?;
    let words: Vec<_> = slots.split_whitespace().collect();
    assert_eq!(words, ["slots", "3", "flag", "--slots"]);
    Ok(())
}

#[tokio::test]
async fn a_commands_settings_are_shown_and_a_flag_goes_before_a_token() -> Result<()> {
    let text = "workers = 2\n[session]\nbatch_rows = 8\n[session.security]\nca_file = 'file.pem'\n\
                token_file = 'file.token'\n[worker]\nmemory_bytes = '1GiB'\n";
    let (_folder, path) = file("config.toml", text)?;
    let env = [
        ("KEYLOOM_CONFIG", path.as_str()),
        ("KEYLOOM_CLUSTER", "tls://c:7"),
        ("KEYLOOM_CERT_FILE", "mine.pem"),
        ("KEYLOOM_KEY_FILE", ""),
        ("KEYLOOM_TOKEN", HIDDEN),
        ("KEYLOOM_WORKER_MEMORY_BYTES", "2GiB"),
    ];
    let line = ["keyloom", "config", "show", "-o", "json"];
    let here = shown(&line, &env).await?;
    check(&here, "cluster", json!("tls://c:7"), from("environment", "KEYLOOM_CLUSTER"));
    check(&here, "workers", json!(2), from("file", &path));
    check(&here, "session.batch_rows", json!(8), from("file", &path));
    check(&here, "session.security.ca_file", json!("file.pem"), from("file", &path));
    let variable = from("environment", "KEYLOOM_CERT_FILE");
    check(&here, "session.security.cert_file", json!("mine.pem"), variable);
    check(&here, "session.security.key_file", json!(null), default());
    // The token of the environment goes before the file's, which is of another form.
    check(&here, "session.security.token", json!("***"), from("environment", "KEYLOOM_TOKEN"));
    check(&here, "session.security.token_file", json!(null), default());
    let variable = from("environment", "KEYLOOM_WORKER_MEMORY_BYTES");
    check(&here, "worker.memory_bytes", json!(2_147_483_648_u64), variable);

    let flags = ["--ca-file", "flag.pem", "--token-file", "flag.token", "--cluster", "tls://d:7"];
    let here = shown(&[&line[..], &flags].concat(), &env).await?;
    check(&here, "cluster", json!("tls://d:7"), from("flag", "--cluster"));
    check(&here, "session.security.ca_file", json!("flag.pem"), from("flag", "--ca-file"));
    let file = "session.security.token_file";
    check(&here, file, json!("flag.token"), from("flag", "--token-file"));
    check(&here, "session.security.token", json!(null), default());
    Ok(())
}

#[tokio::test]
async fn settings_that_nobody_knows_are_refused_with_the_nearest() -> Result<()> {
    let refused = async |line: &[&str], env: &[(&str, &str)], expected: &str| -> Result<()> {
        let (code, stdout, stderr) = run_to_end(line, env).await?;
        let expected = format!("error: settings: {expected}\n");
        assert_eq!((code, stdout.as_str(), stderr), (Some(2), "", expected), "{line:?}");
        Ok(())
    };
    let wrong = [
        ("memroy_bytes = 1\n", "'memroy_bytes'; did you mean 'memory_bytes'?"),
        (
            "[scheduler]\nheartbeat_timeout = 1\n",
            "'scheduler.heartbeat_timeout'; did you mean 'scheduler.heartbeat_timeout_ms'?",
        ),
        ("question_slots = 1\n", "'question_slots'; did you mean 'scheduler.question_slots'?"),
        (
            "[security.tokens]\nclints = 'f'\n",
            "'security.tokens.clints'; did you mean \
                                                 'security.tokens.client'?",
        ),
    ];
    for (text, expected) in wrong {
        let (_folder, path) = file("coordinator.toml", text)?;
        let line = ["keyloom-coordinator", "--listen", "127.0.0.1:0", "--config", &path];
        refused(&line, &[], &format!("unknown setting {expected} (file {path})")).await?;
    }
    let worker = ["keyloom-worker", "--coordinator", "tcp://127.0.0.1:1"];
    let wrong = [
        ("KEYLOOM_WORKER_SLOTZ", "'slotz'; did you mean 'slots'?"),
        (
            "KEYLOOM_WORKER_LOOKUP_WINDOW_ROWS",
            "'lookup_window_rows'; did you mean \
                                               'lookup.window_rows'?",
        ),
        (
            "KEYLOOM_WORKER_STORE__RAED_BYTES",
            "'store.raed_bytes'; did you mean \
                                              'store.read_bytes'?",
        ),
    ];
    for (variable, expected) in wrong {
        let expected = format!("unknown setting {expected} (environment {variable})");
        refused(&worker, &[(variable, "1")], &expected).await?;
    }
    let (_folder, path) = file("config.toml", "[worker.lookup]\nwindow_row = 1\n")?;
    let line = ["keyloom", "sql", "SELECT 1", "--config", &path];
    let expected = "unknown setting 'worker.lookup.window_row'; did you mean \
                    'worker.lookup.window_rows'?";
    refused(&line, &[], &format!("{expected} (file {path})")).await
}

#[tokio::test]
async fn a_coordinator_says_the_address_that_it_is_to_advertise() -> Result<()> {
    let advertised = "tcp://coordinator.example:7700";
    let arguments = ["--listen", "127.0.0.1:0", "--advertise", advertised];
    let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &[])?;
    assert_eq!(coordinator.line_with("tcp://")?, advertised);
    let log = async || Ok(coordinator.log());
    eventually(log, |log| log.contains(&format!("listening at {advertised}"))).await?;

    let listen = ["keyloom-coordinator", "--listen", "127.0.0.1:0", "--advertise", "nowhere"];
    let (code, _, stderr) = run_to_end(&listen, &[]).await?;
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("error: advertise: a cluster's address is "), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn what_flags_say_may_stand_in_files_and_flags_go_before() -> Result<()> {
    let (_folder, path) = file("coordinator.toml", "listen = '127.0.0.1:0'\n")?;
    let mut coordinator = Daemon::start("keyloom-coordinator", &["--config", &path], &[])?;
    let address = coordinator.line_with("tcp://")?;
    let text = format!("coordinator = '{address}'\nslots = 3\nname = 'of the file'\n");
    let (_folder, path) = file("worker.toml", &text)?;
    let _first = Daemon::start("keyloom-worker", &["--config", &path], &[])?;
    let arguments = ["--config", &path, "--name", "of the flag", "--slots", "1"];
    let env = [("KEYLOOM_WORKER_NAME", "of the environment")];
    let _second = Daemon::start("keyloom-worker", &arguments, &env)?;
    let session = Session::connect(&address).await?;
    let workers = async || {
        let workers = session.workers().await?.into_iter();
        let mut workers: Vec<_> = workers.map(|worker| (worker.name, worker.slots)).collect();
        workers.sort();
        Ok(workers)
    };
    let expected = [("of the file".to_owned(), 3), ("of the flag".to_owned(), 1)];
    eventually(workers, |workers| workers.as_slice() == expected).await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_without_a_coordinator_says_how_to_name_one() -> Result<()> {
    let (code, stdout, stderr) = run_to_end(&["keyloom-worker"], &[]).await?;
    let expected = "error: no coordinator is named: --coordinator tcp://HOST:PORT, or coordinator \
                    in the settings, says whom to work for\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(2), "", expected));
    Ok(())
}

#[tokio::test]
async fn a_token_is_named_by_a_flag_or_the_environment_and_without_it_nobody_is_let_in()
-> Result<()> {
    let (_folder, path) = file("token", &format!("{HIDDEN}\n"))?;
    let env = [("KEYLOOM_COORDINATOR_SECURITY__TOKENS__CLIENT", path.as_str())];
    let mut coordinator = Daemon::start("keyloom-coordinator", &["--listen", "127.0.0.1:0"], &env)?;
    let address = coordinator.line_with("tcp://")?;
    let workers = ["keyloom", "workers", "--cluster", &address];
    let with_flag = [&workers[..], &["--token-file", &path]].concat();
    let of_another = ("KEYLOOM_TOKEN", "not-0123456789-this");
    let let_in: [(&[&str], &[_]); 4] = [
        (&workers, &[("KEYLOOM_TOKEN", HIDDEN)]),
        (&workers, &[("KEYLOOM_TOKEN_FILE", path.as_str())]),
        (&with_flag, &[]),
        (&with_flag, &[of_another]),
    ];
    for (line, env) in let_in {
        let expected = (Some(0), "no worker is registered\n".to_owned(), String::new());
        assert_eq!(run_to_end(line, env).await?, expected, "{line:?}");
    }
    let none: [(&str, &str); 0] = [];
    for env in [&none[..], &[of_another]] {
        let (code, stdout, stderr) = run_to_end(&workers, env).await?;
        assert!(code != Some(0) && stdout.is_empty(), "{code:?} {stdout}");
        assert!(stderr.starts_with("error: ") && stderr.contains("token"), "{stderr}");
        let help = "\nhelp: what whoever runs the cluster gave you is named by --token-file FILE";
        assert!(stderr.contains(help), "{stderr}");
        assert!(![HIDDEN, of_another.1].iter().any(|token| stderr.contains(token)), "{stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_go_with_an_address_is_named_before_anybody_is_asked() -> Result<()> {
    let (plain, tls) = ("tcp://127.0.0.1:1", "tls://127.0.0.1:1");
    let wrong: [(&str, &[&str], &str); 4] = [
        (tls, &[], "security.ca_file"),
        (plain, &["--token-file", "/nowhere/token"], "'/nowhere/token'"),
        (tls, &["--cert-file", "c.pem"], "security.cert_file and security.key_file go together"),
        (tls, &["--ca-file", "/nowhere/ca.pem"], "'/nowhere/ca.pem'"),
    ];
    for (address, flags, words) in wrong {
        let line = [&["keyloom", "workers", "--cluster", address][..], flags].concat();
        let (code, stdout, stderr) = run_to_end(&line, &[]).await?;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(words), "no {words} in {stderr}");
    }
    Ok(())
}
