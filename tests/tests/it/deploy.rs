//! The files of `deploy/`: settings, variables, flags and metrics are called as these say, their
//! settings start a cluster, and who stops a worker waits for longer than it may drain. What their
//! own tools have to say of them, `scripts/check-deploy` asks.

mod metrics;
mod started;
mod text;

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use keyloom_client::EmbeddedSettings;
use tokio::process::Command;

use self::text::{after, embedded, files, flags, read, seconds, with_examples, words};
use crate::harness::{bare, program};

/// Variables that are no setting of a daemon: those of the command, and of the compose file itself.
const OTHER_VARIABLES: [&str; 9] = [
    "KEYLOOM_CA_FILE",
    "KEYLOOM_CERT_FILE",
    "KEYLOOM_CLUSTER",
    "KEYLOOM_CONFIG",
    "KEYLOOM_DATA",
    "KEYLOOM_IMAGE",
    "KEYLOOM_KEY_FILE",
    "KEYLOOM_LOG",
    "KEYLOOM_TOKEN_FILE",
];

/// Runs a program to its end, with nothing of the environment's settings.
fn run(name: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = bare(Command::new(program(name)?));
    Ok(command.as_std_mut().args(arguments).output()?)
}

/// Has a program read its settings, and tell them.
fn check_settings(name: &str, settings: &str, what: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("settings.toml");
    fs::write(&path, settings)?;
    let path = path.to_string_lossy();
    let output = run(name, &["config", "show", "--config", &*path])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {said}");
    Ok(())
}

#[test]
fn settings_of_the_examples_are_known_also_those_that_are_commented_out() -> Result<()> {
    for (name, file) in [
        ("keyloom-coordinator", "config/coordinator.toml"),
        ("keyloom-worker", "config/worker.toml"),
        ("keyloom", "config/keyloom.toml"),
    ] {
        let text = read(file)?;
        check_settings(name, &text, file)?;
        let all = with_examples(&text);
        assert_ne!(all, text, "{file} has no examples");
        check_settings(name, &all, &format!("{file}, with its examples"))?;
    }
    Ok(())
}

#[test]
fn settings_of_the_manifests_are_known() -> Result<()> {
    let manifest = read("kubernetes/settings.yaml")?;
    for (name, file) in
        [("keyloom-coordinator", "coordinator.toml"), ("keyloom-worker", "worker.toml")]
    {
        let text = embedded(&manifest, file).with_context(|| file.to_owned())?;
        check_settings(name, &text, file)?;
    }
    Ok(())
}

#[test]
fn what_is_no_setting_is_refused() {
    let refused = check_settings("keyloom-worker", "memory_bites = 1\n", "a typo").unwrap_err();
    assert!(refused.to_string().contains("memory_bites"), "{refused}");
}

#[test]
fn variables_name_settings() -> Result<()> {
    let settings = serde_json::to_value(EmbeddedSettings::default())?;
    let mut checked = 0;
    for file in files()? {
        for variable in words(&file.text, "KEYLOOM_") {
            let of = |owner: &str| {
                let rest = variable.strip_prefix(&format!("KEYLOOM_{}_", owner.to_uppercase()))?;
                Some(format!("/{owner}/{}", rest.to_lowercase().replace("__", "/")))
            };
            match of("worker").or_else(|| of("coordinator")) {
                // As the beginning of others' names.
                Some(pointer) if pointer.ends_with('/') => {}
                Some(pointer) => {
                    checked += 1;
                    let is_known = settings.pointer(&pointer).is_some();
                    assert!(is_known, "{}: {variable} is no setting", file.path);
                }
                None => {
                    let is_known = OTHER_VARIABLES.contains(&variable);
                    assert!(is_known, "{}: nobody reads {variable}", file.path);
                }
            }
        }
    }
    assert!(checked > 0, "no variable of a setting");
    Ok(())
}

#[test]
fn flags_are_those_of_the_programs() -> Result<()> {
    let mut all = BTreeSet::new();
    for file in files()? {
        let is_run = file.path.ends_with(".service") || file.path.ends_with(".yaml");
        if is_run {
            all.extend(flags(&file.text));
        }
    }
    let named: BTreeSet<_> = all.iter().filter_map(|(words, _)| words.first()).collect();
    assert_eq!(named.len(), 3, "{all:?}");
    for (words, flag) in &all {
        let (name, rest) = words.split_first().context("a program")?;
        let mut arguments: Vec<_> = rest.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = run(name, &arguments)?;
        ensure!(output.status.success(), "there is no '{}'", words.join(" "));
        let help = String::from_utf8(output.stdout)?;
        let mut known = help.split(|c: char| c.is_whitespace() || c == ',' || c == '=');
        assert!(known.any(|word| word == flag), "{} has no {flag}", words.join(" "));
    }
    Ok(())
}

#[test]
fn who_stops_a_worker_waits_for_longer_than_it_may_drain() -> Result<()> {
    let drain = |settings: &str| seconds(after(settings, "drain_timeout_ms = ")?);
    let settings = read("config/worker.toml")?;
    let (unit, compose) = (read("systemd/keyloom-worker.service")?, read("docker/compose.yaml")?);
    for wait in [after(&unit, "TimeoutStopSec=")?, after(&compose, "stop_grace_period: ")?] {
        assert!(seconds(wait)? > drain(&settings)?, "{wait}");
    }
    let (settings, worker) = (read("kubernetes/settings.yaml")?, read("kubernetes/worker.yaml")?);
    let grace = after(&worker, "terminationGracePeriodSeconds: ")?;
    assert!(seconds(grace)? > drain(&settings)?, "{grace}");
    Ok(())
}

#[test]
fn the_image_is_built_with_the_oldest_rust_that_will_do() -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest = fs::read_to_string(manifest)?;
    let wanted = after(&manifest, "rust-version = ")?.trim_matches('"').to_owned();
    assert_eq!(after(&read("docker/Dockerfile")?, "ARG RUST_VERSION=")?, wanted);
    Ok(())
}

/// Units and pods leave no core dumps, become nobody else, and write to nothing but what is theirs.
#[test]
fn what_is_started_is_locked_in() -> Result<()> {
    let unit = ["NoNewPrivileges=yes", "ProtectSystem=strict", "LimitCORE=0", "LimitNOFILE="];
    let pod =
        ["runAsNonRoot: true", "readOnlyRootFilesystem: true", "drop: [ALL]", "path: /readyz"];
    for (files, wanted) in [
        (["systemd/keyloom-coordinator.service", "systemd/keyloom-worker.service"], unit),
        (["kubernetes/coordinator.yaml", "kubernetes/worker.yaml"], pod),
    ] {
        for file in files {
            let text = read(file)?;
            let missing: Vec<_> = wanted.iter().filter(|line| !text.contains(**line)).collect();
            assert!(missing.is_empty(), "{file}: {missing:?}");
        }
    }
    Ok(())
}
