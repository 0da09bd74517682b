//! What daemons refuse at their start: to stand open by accident, and files that are no tokens.

use anyhow::Result;

use crate::harness::{Daemon, Keys, eventually, run_to_end};

#[tokio::test]
async fn what_is_open_is_refused_or_told_at_each_start() -> Result<()> {
    let keys = Keys::tokens()?;
    let file = keys.path("client.token").display().to_string();
    let open = "0.0.0.0:0 can be reached from other machines, and ";
    for (env, expected) in [
        (Vec::new(), "there is neither TLS nor authentication"),
        (
            vec![("KEYLOOM_COORDINATOR_SECURITY__TOKENS__CLIENT", file.as_str())],
            "tokens are asked for without TLS",
        ),
    ] {
        let said = format!("{open}{expected}");
        let line = ["keyloom-coordinator", "--listen", "0.0.0.0:0"];
        let (code, _, stderr) = run_to_end(&line, &env).await?;
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(&format!("error: {said}")), "{stderr}");

        let arguments = ["--insecure-listen", "--listen", "0.0.0.0:0"];
        let mut coordinator = Daemon::start("keyloom-coordinator", &arguments, &env)?;
        coordinator.line_with("tcp://0.0.0.0:")?;
        let log = coordinator.log();
        assert!(log.contains(&format!("--insecure-listen: {said}")), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_named() -> Result<()> {
    let keys = Keys::tokens()?;
    keys.write("short", "hunter2\n")?;
    let file = keys.path("short").display().to_string();
    let short = format!("'{file}' line 1 has 7 characters, and a token has at least 16\n");
    let worker = |address| ["keyloom-worker", "--coordinator", address];
    for (line, variable, setting) in [
        (
            ["keyloom-coordinator", "--listen", "127.0.0.1:0"],
            "KEYLOOM_COORDINATOR_SECURITY__TOKENS__WORKER",
            "security.tokens.worker",
        ),
        (worker("tcp://127.0.0.1:1"), "KEYLOOM_WORKER_SECURITY__TOKEN_FILE", "security.token_file"),
    ] {
        let (code, _, stderr) = run_to_end(&line, &[(variable, file.as_str())]).await?;
        assert_eq!((code, stderr), (Some(2), format!("error: {setting} {short}")));
    }
    let (code, _, stderr) = run_to_end(&worker("tls://127.0.0.1:1"), &[]).await?;
    let expected = "error: coordinator: tls://127.0.0.1:1 needs security.ca_file";
    assert!(code == Some(2) && stderr.starts_with(expected), "{code:?} {stderr}");
    Ok(())
}

#[tokio::test]
async fn a_scheme_that_there_is_not_is_refused_with_those_that_there_are() -> Result<()> {
    let keys = Keys::tokens()?;
    for (setting, list, expected) in [
        (
            "schemes",
            "'s3', 'fiel'",
            "names out of file, s3, gs, az, http, https, memory, not 'fiel'",
        ),
        (
            "endpoints",
            "'s3://lake', 'htps://host'",
            "places of s3, gs, az, http, https, lance, such as \"s3://bucket/prefix\" or \
             \"https://host\", not 'htps://host'",
        ),
    ] {
        keys.write("worker.toml", &format!("[access]\n{setting} = [{list}]\n"))?;
        let config = keys.path("worker.toml").display().to_string();
        let line = ["keyloom-worker", "--coordinator", "tcp://127.0.0.1:1", "--config", &config];
        let (code, _, stderr) = run_to_end(&line, &[]).await?;
        assert_eq!(code, Some(2), "{stderr}");
        let expected = format!("setting access.{setting} must be {expected}");
        assert!(stderr.contains(&expected), "{stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_workers_settings_name_and_is_not_there_is_told_at_the_start() -> Result<()> {
    let keys = Keys::tokens()?;
    let missing = keys.path("data").display().to_string();
    keys.write(
        "worker.toml",
        &format!(
            "[access]\nroots = ['{missing}']\n[store.storage_profiles.lake]\n\
             aws_access_key_id = {{ env = 'KEYLOOM_NO_SUCH_VARIABLE' }}\n"
        ),
    )?;
    let config = keys.path("worker.toml").display().to_string();
    let arguments = ["--coordinator", "tcp://127.0.0.1:1", "--config", &config];
    let worker = Daemon::start("keyloom-worker", &arguments, &[])?;
    let expected = [
        format!("access.roots: {missing} is not there"),
        "storage profile 'lake': aws_access_key_id: the worker's environment has no variable \
         KEYLOOM_NO_SUCH_VARIABLE, or it is no text"
            .to_owned(),
    ];
    let log = async || Ok(worker.log());
    let log = eventually(log, |log| expected.iter().all(|told| log.contains(told))).await?;
    assert!(log.contains("WARN"), "{log}");
    Ok(())
}
