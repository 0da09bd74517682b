//! Jobs that read what has come since they last ran: which files were read is remembered beside the
//! job file, once the job is done.
//!
//! A job that fails changes nothing, so that the next run reads the same again. If what was read
//! cannot be remembered though the job is done, that is an error, and the next run reads it twice.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use keyloom_client::{FileMark, Session};
use serde::{Deserialize, Serialize};

use crate::{error::Failure, request::Request, watch::Watch};

/// Where it is remembered, from the job file's folder.
const FOLDER: &str = ".keyloom/state";

/// What a job file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incremental {
    /// The input of which only new files are read.
    pub(crate) input: String,
    /// What the job is called where this is remembered.
    pub(crate) job: String,
    /// Where it is remembered, if not beside the job file.
    pub(crate) folder: Option<PathBuf>,
}

impl Incremental {
    /// Of an input, in a job that has no name yet.
    pub(crate) fn of(input: String) -> Self {
        Self { input, job: String::new(), folder: None }
    }
}

/// What was read before, and what is read now. While it lives, no other run of the job begins.
#[derive(Debug)]
pub(crate) struct Remembered {
    input: String,
    path: PathBuf,
    read: BTreeSet<FileMark>,
    new: Vec<FileMark>,
    /// Locked.
    _running: File,
}

/// What is remembered, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    files: BTreeSet<FileMark>,
}

impl Remembered {
    /// What a job remembers that reads only new files; nothing for others.
    pub(crate) fn open(request: &Request) -> Result<Option<Self>, Failure> {
        let Some(Incremental { input, job, folder }) = &request.incremental else {
            return Ok(None);
        };
        if !request.inputs.contains_key(input) {
            let known: Vec<_> = request.inputs.keys().map(String::as_str).collect();
            return Err(Failure::mistake(format!(
                "incremental names '{input}', which is no input; there are: {}",
                known.join(", ")
            )));
        }
        let folder = folder.clone().unwrap_or_else(|| request.folder.join(FOLDER));
        Self::open_in(&folder, job, input).map(Some)
    }

    fn open_in(folder: &Path, job: &str, input: &str) -> Result<Self, Failure> {
        let path = folder.join(format!("{job}.{input}.json"));
        let failed = |error: io::Error| {
            Failure::mistake(format!("state of incremental, {}: {error}", path.display()))
                .help("--state-folder names a folder that can be written")
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = path.with_extension("lock");
        let running = File::options().create(true).append(true).open(lock).map_err(failed)?;
        if running.try_lock().is_err() {
            return Err(Failure::failed(format!(
                "another run of the job reads the new files of input '{input}' at this moment"
            )));
        }
        let state: State = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                Failure::mistake(format!("state of incremental, {}: {error}", path.display()))
                    .help("without this file, all files of the input are read again")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(failed(error)),
        };
        let (input, read) = (input.to_owned(), state.files);
        Ok(Self { input, path, read, new: Vec::new(), _running: running })
    }

    /// Registers the new files of the input; how many there are.
    pub(crate) async fn register(
        &mut self,
        session: &Session,
        request: &mut Request,
        watch: &Watch,
    ) -> Result<usize, Failure> {
        // It was looked for before.
        if let Some(input) = request.inputs.remove(&self.input) {
            let registering = session.register_new(&self.input, input, &self.read);
            let registered = watch.step(registering).await;
            let place = format!("table '{}'", self.input);
            self.new = registered.map_err(|failure| failure.context(place))?;
        }
        Ok(self.new_files())
    }

    /// How many files are read now.
    pub(crate) fn new_files(&self) -> usize {
        self.new.len()
    }

    /// The input of which there is nothing new, in words.
    pub(crate) fn nothing_new(&self) -> String {
        format!("nothing new: each file of input '{}' was read before", self.input)
    }

    /// Remembers what was read, now that the job is done.
    pub(crate) fn keep(mut self) -> Result<(), Failure> {
        self.read.extend(std::mem::take(&mut self.new));
        let state = State { files: std::mem::take(&mut self.read) };
        self.write(&state).map_err(|error| {
            Failure::failed(format!(
                "the job is done, but what it read cannot be remembered in {}: {error}",
                self.path.display()
            ))
            .help("the next run reads the same files again")
        })
    }

    /// The file is whole, whatever happens.
    fn write(&self, state: &State) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(file: &str) -> FileMark {
        FileMark { file: file.to_owned(), size: 1, e_tag: None, modified_ns: 7 }
    }

    fn open(folder: &Path) -> Result<Remembered, String> {
        let opened = Remembered::open_in(folder, "nightly", "visits");
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
        let other = Remembered::open_in(&state, "nightly", "items").unwrap();
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
}
