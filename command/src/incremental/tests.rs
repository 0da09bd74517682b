//! What is remembered of runs that end, fail, overlap or are interrupted.

use super::*;

fn mark(file: &str) -> FileMark {
    FileMark { file: file.to_owned(), size: 1, e_tag: None, modified_ns: 7 }
}

fn open(folder: &Path) -> Result<Remembered, String> {
    let opened = Remembered::open_in(folder, "nightly", "visits", "/a/nightly.toml");
    opened.map_err(|failure| failure.message.unwrap_or_default())
}

#[test]
fn what_was_read_is_remembered_once_the_job_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut first = open(&state).unwrap();
    assert_eq!(first.read, BTreeSet::new());
    first.new = vec![mark("/a"), mark("/b")];
    // It failed.
    drop(first);
    let mut again = open(&state).unwrap();
    assert_eq!(again.read, BTreeSet::new());
    again.new = vec![mark("/a"), mark("/b")];
    again.keep().unwrap();
    let mut next = open(&state).unwrap();
    assert_eq!(next.read, BTreeSet::from([mark("/a"), mark("/b")]));
    next.new = vec![mark("/c")];
    next.keep().unwrap();
    assert_eq!(open(&state).unwrap().read.len(), 3);
    let other = Remembered::open_in(&state, "nightly", "items", "").unwrap();
    assert_eq!(other.read, BTreeSet::new());
}

#[test]
fn two_runs_do_not_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(refused.starts_with("another run of the job"), "{refused}");
    drop(first);
    assert!(open(folder.path()).is_ok());
}

#[test]
fn a_state_that_cannot_be_read_is_no_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("nightly.visits.json"), "{\"files\": 7}").unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(refused.contains("nightly.visits.json: invalid type"), "{refused}");
}

/// A run whose end nobody heard of.
fn interrupted(folder: &Path, appends: bool) -> HandedIn {
    let job = HandedIn { id: JobId::from_u128(7), output: "/out/".to_owned(), appends };
    let mut run = open(folder).unwrap();
    run.new = vec![mark("/b")];
    run.hand_in(job.clone()).unwrap();
    job
}

fn settle(folder: &Path, fate: Fate) -> Result<BTreeSet<FileMark>, String> {
    let mut next = open(folder).unwrap();
    let before = next.before.take().unwrap();
    let settled = next.settled(before, fate);
    settled.map_err(|failure| failure.message.unwrap_or_default())?;
    drop(next);
    let after = open(folder).unwrap();
    assert_eq!(after.before, None, "it is settled");
    Ok(after.read)
}

#[test]
fn what_a_job_read_of_whose_end_nobody_heard_is_neither_read_twice_nor_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path()).unwrap();
    first.new = vec![mark("/a")];
    first.keep().unwrap();
    let (old, all) = (BTreeSet::from([mark("/a")]), BTreeSet::from([mark("/a"), mark("/b")]));

    let job = interrupted(folder.path(), true);
    assert_eq!(open(folder.path()).unwrap().before.unwrap().pending, Some(job));
    let refused = settle(folder.path(), Fate::UnderWay).unwrap_err();
    assert!(refused.contains("has not ended"), "{refused}");
    for fate in [Fate::Unknown, Fate::NotTold] {
        let refused = settle(folder.path(), fate).unwrap_err();
        assert!(refused.contains("were appended to /out/ is not known"), "{refused}");
    }
    assert_eq!(settle(folder.path(), Fate::Nothing), Ok(old.clone()));
    // What replaces bears that the same is read again.
    interrupted(folder.path(), false);
    assert_eq!(settle(folder.path(), Fate::NotTold), Ok(old));
    interrupted(folder.path(), true);
    assert_eq!(settle(folder.path(), Fate::Committed), Ok(all.clone()));

    interrupted(folder.path(), true);
    let path = folder.path().join("nightly.visits.json");
    fs::rename(pending_path(&path), &path).unwrap();
    let moved = open(folder.path()).unwrap();
    assert_eq!((moved.before, moved.read), (None, all), "it was said to be committed");
}

#[test]
fn what_another_job_file_has_read_is_not_taken_for_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).unwrap().keep().unwrap();
    let other = |file: &str| {
        let opened = Remembered::open_in(folder.path(), "nightly", "visits", file);
        opened.map_err(|failure| failure.message.unwrap_or_default()).map(drop)
    };
    let refused = other("/b/nightly.toml").unwrap_err();
    let words = "it is what /a/nightly.toml has read, and not /b/nightly.toml";
    assert!(refused.ends_with(words), "{refused}");
    assert_eq!((other("/a/nightly.toml"), other("nightly.toml")), (Ok(()), Ok(())));
    // As it was written before job files were named.
    fs::write(folder.path().join("nightly.visits.json"), "{\"files\": []}").unwrap();
    assert_eq!(other("/b/nightly.toml"), Ok(()));
}
