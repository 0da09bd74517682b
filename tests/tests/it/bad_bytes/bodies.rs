//! The bodies that fuzzers run, fed with real bytes, with what the fuzzers' corpus holds, and with
//! damage to both.
//!
//! `KEYLOOM_WRITE_CORPUS=1` writes the real bytes into `fuzz/corpus`, where fuzzers begin with them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use keyloom_common::fuzzing;

use super::{
    damage::check_all,
    samples::{self, PLANS_ANYWHERE},
};

/// Where fuzzers begin.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");

/// Where there is a program for each body.
const TARGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");

/// Rows of maps of keys: some pages of both kinds.
const MAP_ROWS: u32 = 2_100;

/// What a body is fed with, and the body.
struct Target {
    name: &'static str,
    body: fn(&[u8]),
    real: Vec<Vec<u8>>,
}

impl Target {
    fn new(name: &'static str, body: fn(&[u8]), real: Vec<Vec<u8>>) -> Self {
        Self { name, body, real }
    }

    fn folder(&self) -> PathBuf {
        Path::new(CORPUS).join(self.name)
    }

    /// Writes the real bytes, and takes away those that were real before.
    fn write(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        for path in files(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Those with other names were found by fuzzers.
            let number = name.strip_prefix("real-");
            if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                fs::remove_file(&path)?;
            }
        }
        for (number, bytes) in self.real.iter().enumerate() {
            fs::write(folder.join(format!("real-{number:02}")), bytes)?;
        }
        Ok(())
    }

    /// Feeds the body with the real bytes, with those that the corpus holds, and with damaged ones.
    fn check(&self) -> Result<()> {
        let mut all = self.real.clone();
        for path in files(&self.folder())? {
            all.push(fs::read(&path).with_context(|| path.display().to_string())?);
        }
        all.iter().for_each(|bytes| (self.body)(bytes));
        check_all(&format!("damaged bytes of {}", self.name), &all, |bytes| (self.body)(&bytes));
        Ok(())
    }
}

/// The files of a folder, if it is there, by their names.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut files = files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// A length of pieces before each stream.
fn streams() -> Vec<Vec<u8>> {
    let lengths = [1_u8, 7, 37, 255].into_iter().cycle();
    let streams = samples::streams().into_iter().zip(lengths);
    streams.map(|(stream, length)| [&[length][..], &stream].concat()).collect()
}

/// All of them, with bytes that are the same whenever they are made.
async fn targets() -> Result<Vec<Target>> {
    let messages = samples::messages();
    let [requests, answers] = messages.written()?;
    let reports = messages.reports.iter().map(fuzzing::message_of);
    let reports = reports.collect::<Result<Vec<_>, _>>()?;
    let slices = samples::slices().into_iter().map(|slice| Ok(slice.encode()?.to_vec()));
    let slices = slices.collect::<Result<Vec<_>>>()?;
    let mut plans = samples::plans().await?;
    plans.truncate(PLANS_ANYWHERE);
    let maps = [true, false].map(|gaps| keyloom_worker::fuzzing::key_map_file(MAP_ROWS, gaps));
    let maps = maps.into_iter().collect::<io::Result<Vec<_>>>()?;
    let segments = vec![b"\0\0xa chunk".to_vec(), b"\x05\0 a chunk".to_vec()];
    Ok(vec![
        Target::new("handshake", fuzzing::handshake, fuzzing::handshakes()),
        Target::new("frame", fuzzing::frame, messages.frames()?),
        Target::new("request", fuzzing::request, requests),
        Target::new("answer", fuzzing::answer, answers),
        Target::new("slice", fuzzing::slice, slices),
        Target::new("stream", fuzzing::stream, streams()),
        Target::new("plan", fuzzing::plan, plans),
        Target::new("report", keyloom_coordinator::fuzzing::report, reports),
        Target::new("segment", keyloom_coordinator::fuzzing::segment, segments),
        Target::new("key_map", keyloom_worker::fuzzing::key_map, maps),
        Target::new("figures", keyloom_worker::fuzzing::figures, samples::figures()?),
    ])
}

/// Checks those with these names.
async fn check(names: &[&str]) -> Result<()> {
    let targets = targets().await?;
    for name in names {
        let target = targets.iter().find(|target| target.name == *name);
        target.with_context(|| format!("no body is called {name}"))?.check()?;
    }
    Ok(())
}

#[tokio::test]
async fn damaged_frames_and_handshakes_are_errors_or_what_was_said() -> Result<()> {
    check(&["handshake", "frame"]).await
}

#[tokio::test]
async fn damaged_messages_are_errors_or_messages() -> Result<()> {
    check(&["request", "answer", "slice", "figures"]).await
}

#[tokio::test]
async fn damaged_streams_of_rows_are_errors_or_rows() -> Result<()> {
    check(&["stream"]).await
}

#[tokio::test]
async fn damaged_plans_are_errors_or_plans() -> Result<()> {
    Target::new("plan", fuzzing::plan, samples::plans().await?).check()
}

#[tokio::test]
async fn damaged_reports_are_errors_or_counted() -> Result<()> {
    check(&["report"]).await
}

#[tokio::test]
async fn damaged_files_of_ours_are_errors_or_what_was_written() -> Result<()> {
    check(&["segment", "key_map"]).await
}

/// What DataFusion numbers anew whenever it plans.
const NUMBERED: &str = "plan";

/// What two processes would write, and what fuzzers have programs for.
#[tokio::test]
async fn the_corpus_is_the_same_whenever_it_is_made() -> Result<()> {
    let by_name = |targets: &[Target]| -> BTreeMap<_, _> {
        targets.iter().map(|target| (target.name.to_owned(), target.real.clone())).collect()
    };
    let targets = targets().await?;
    let (first, second) = (by_name(&targets), by_name(&self::targets().await?));
    for (name, real) in first.iter().filter(|(name, _)| *name != NUMBERED) {
        let again = second.get(name).with_context(|| format!("no {name}"))?;
        let others: Vec<_> =
            (0..real.len().max(again.len())).filter(|at| real.get(*at) != again.get(*at)).collect();
        assert_eq!(others, [0_usize; 0], "of {name}");
    }
    let programs = files(Path::new(TARGETS))?;
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    let programs: Vec<_> = programs.iter().filter_map(stem).collect();
    assert_eq!(programs, first.into_keys().collect::<Vec<_>>());
    if std::env::var_os("KEYLOOM_WRITE_CORPUS").is_some() {
        targets.iter().try_for_each(Target::write)?;
    }
    Ok(())
}
