//! Jobs that read what has come since they last ran: which files were read is remembered beside the
//! job file, once the job is done.
//!
//! A job that fails changes nothing, so that the next run reads the same again. What a job reads
//! whose rows the workers write is put down before it is handed in, and the next run asks what
//! became of that job, if nobody heard of its end: so nothing is read twice, and nothing is lost.

mod pending;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use keyloom_client::{FileMark, JobId, Session};
use serde::{Deserialize, Serialize};

use crate::{error::Failure, request::Request, text, watch::Watch};
use pending::Fate;
pub(crate) use pending::HandedIn;

/// Where it is remembered, from the job file's folder.
const FOLDER: &str = ".keyloom/state";

/// What a job file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incremental {
    /// The input of which only new files are read.
    pub(crate) input: String,
    /// What the job is called where this is remembered.
    pub(crate) job: String,
    /// The job file.
    pub(crate) file: PathBuf,
    /// Where it is remembered, if not beside the job file.
    pub(crate) folder: Option<PathBuf>,
}

impl Incremental {
    /// Of an input, in a job that has no name yet.
    pub(crate) fn of(input: String) -> Self {
        Self { input, job: String::new(), file: PathBuf::new(), folder: None }
    }
}

/// What was read before, and what is read now. While it lives, no other run of the job begins.
#[derive(Debug)]
pub(crate) struct Remembered {
    input: String,
    path: PathBuf,
    /// The job file, as far as its folder does not tell it.
    job_file: String,
    read: BTreeSet<FileMark>,
    new: Vec<FileMark>,
    /// What the last run read, if nobody heard of its job's end.
    before: Option<State>,
    /// The job of this run, once it is handed in.
    handed_in: Option<HandedIn>,
    /// Locked.
    _running: File,
}

/// What is remembered, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    files: BTreeSet<FileMark>,
    #[serde(default)]
    job_file: String,
    /// The job that these are read by, in the file of what is pending. That one, moved to the
    /// other's place, says that the job was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<HandedIn>,
}

impl Remembered {
    /// What a job remembers that reads only new files; nothing for others.
    pub(crate) fn open(request: &Request) -> Result<Option<Self>, Failure> {
        let Some(Incremental { input, job, file, folder }) = &request.incremental else {
            return Ok(None);
        };
        if !request.inputs.contains_key(input) {
            let known: Vec<_> = request.inputs.keys().map(String::as_str).collect();
            return Err(Failure::mistake(format!(
                "incremental names '{input}', which is no input; there are: {}",
                known.join(", ")
            )));
        }
        // A folder with the job file and what it remembers may be moved.
        let (folder, file) = match folder {
            Some(folder) => (folder.clone(), file.as_os_str()),
            None => (request.folder.join(FOLDER), file.file_name().unwrap_or_default()),
        };
        Self::open_in(&folder, job, input, &file.to_string_lossy()).map(Some)
    }

    fn open_in(folder: &Path, job: &str, input: &str, job_file: &str) -> Result<Self, Failure> {
        let path = folder.join(format!("{job}.{input}.json"));
        let failed = |error: io::Error| state_failed(&path, &error);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = path.with_extension("lock");
        let running = File::options().create(true).append(true).open(lock).map_err(failed)?;
        if running.try_lock().is_err() {
            return Err(Failure::failed(format!(
                "another run of the job reads the new files of input '{input}' at this moment"
            )));
        }
        let state = read(&path)?.unwrap_or_default();
        check_job_file(&path, &state.job_file, job_file)?;
        let before = read(&pending_path(&path))?;
        let (input, job_file) = (input.to_owned(), job_file.to_owned());
        let (read, new, handed_in) = (state.files, Vec::new(), None);
        Ok(Self { input, path, job_file, read, new, before, handed_in, _running: running })
    }

    /// Registers the new files of the input; how many there are.
    pub(crate) async fn register(
        &mut self,
        session: &Session,
        request: &mut Request,
        watch: &Watch,
    ) -> Result<usize, Failure> {
        if let Some(before) = self.before.take() {
            self.settle(before, session, watch).await?;
        }
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

    /// Finds out what became of the last run's job.
    async fn settle(
        &mut self,
        before: State,
        session: &Session,
        watch: &Watch,
    ) -> Result<(), Failure> {
        let fate = match &before.pending {
            Some(job) => watch.step(pending::fate(session, job.id)).await?,
            None => Fate::NotTold,
        };
        self.settled(before, fate)
    }

    fn settled(&mut self, before: State, fate: Fate) -> Result<(), Failure> {
        let (input, State { files, pending, .. }) = (&self.input, before);
        let Some(HandedIn { id, output, appends }) = pending else {
            let path = pending_path(&self.path);
            return Err(Failure::mistake(format!("{} names no job", path.display())));
        };
        match fate {
            Fate::Committed => {
                text::note(&format!(
                    "job {id}, which read new files of input '{input}', is done: they are \
                     remembered now"
                ));
                self.read.extend(files);
                self.write_read().map_err(|error| state_failed(&self.path, &error))?;
            }
            Fate::Nothing => {}
            Fate::UnderWay => {
                let message = format!(
                    "job {id} of an earlier run reads new files of input '{input}', and has not \
                     ended"
                );
                return Err(Failure::failed(message)
                    .help(format!("keyloom jobs wait {id}, or keyloom jobs cancel {id}")));
            }
            Fate::Unknown | Fate::NotTold if appends => return Err(self.unknown(id, &output)),
            Fate::Unknown | Fate::NotTold => text::note(&format!(
                "whether job {id} of an earlier run was committed is not known: the new files of \
                 input '{input}' are read again, which {output} bears"
            )),
        }
        self.forget_pending().map_err(|error| state_failed(&self.path, &error))
    }

    /// What is said where files would be read twice, or not at all.
    fn unknown(&self, id: JobId, output: &str) -> Failure {
        let (state, pending) = (self.path.display(), pending_path(&self.path));
        let pending = pending.display();
        Failure::failed(format!(
            "whether the rows of job {id}, which read new files of input '{}', were appended to \
             {output} is not known to the coordinator",
            self.input
        ))
        .help(format!(
            "look there (files have the job's id in their names): if the rows are there, move \
             {pending} to {state}; if not, remove {pending}"
        ))
    }

    /// Puts down what a job is about to read, before it is handed in.
    pub(crate) fn hand_in(&mut self, job: HandedIn) -> Result<(), Failure> {
        let files = self.read.iter().chain(&self.new).cloned().collect();
        let state = State { files, job_file: self.job_file.clone(), pending: Some(job.clone()) };
        self.handed_in = Some(job);
        let path = pending_path(&self.path);
        write(&path, &state).map_err(|error| state_failed(&path, &error))
    }

    /// Finds out whether the job of this run was committed all the same, of which no good end was
    /// heard, and remembers what it read, if so. Whether the coordinator had taken it is known.
    pub(crate) async fn recover(
        self,
        session: &Session,
        was_taken: bool,
        failure: Failure,
    ) -> Failure {
        let Some(HandedIn { id, .. }) = &self.handed_in else { return failure };
        let id = *id;
        let fate = pending::fate(session, id).await.unwrap_or(Fate::Unknown);
        match fate {
            Fate::Committed => match self.keep() {
                Ok(()) => failure.help(format!(
                    "job {id} was committed all the same, and what it read is remembered"
                )),
                Err(not_kept) => not_kept,
            },
            Fate::NotTold if was_taken => failure.help(unsettled(id)),
            Fate::Nothing | Fate::NotTold => match self.forget_pending() {
                Ok(()) => failure,
                Err(_) => failure.help(unsettled(id)),
            },
            Fate::UnderWay | Fate::Unknown => failure.help(unsettled(id)),
        }
    }

    /// Remembers what was read, now that the job is done.
    pub(crate) fn keep(mut self) -> Result<(), Failure> {
        self.read.extend(std::mem::take(&mut self.new));
        let kept = self.write_read().and_then(|()| self.forget_pending());
        kept.map_err(|error| {
            let help = match &self.handed_in {
                Some(job) => unsettled(job.id),
                None => "the next run reads the same files again".to_owned(),
            };
            Failure::failed(format!(
                "the job is done, but what it read cannot be remembered in {}: {error}",
                self.path.display()
            ))
            .help(help)
        })
    }

    fn write_read(&self) -> io::Result<()> {
        let (files, job_file) = (self.read.clone(), self.job_file.clone());
        write(&self.path, &State { files, job_file, pending: None })
    }

    fn forget_pending(&self) -> io::Result<()> {
        match fs::remove_file(pending_path(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn unsettled(id: JobId) -> String {
    format!("whether job {id} was committed is asked when the next run begins")
}

/// Where it is put down what a job reads of whose end nobody has heard.
fn pending_path(path: &Path) -> PathBuf {
    path.with_extension("pending.json")
}

fn state_failed(path: &Path, error: &io::Error) -> Failure {
    Failure::mistake(format!("state of incremental, {}: {error}", path.display()))
        .help("--state-folder names a folder that can be written")
}

/// A state, if there is one.
fn read(path: &Path) -> Result<Option<State>, Failure> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            Failure::mistake(format!("state of incremental, {}: {error}", path.display()))
                .help("without this file, all files of the input are read again")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(state_failed(path, &error)),
    }
}

/// The file is whole, whatever happens.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // Or a machine that stops might come back with what was there before. Not every file system
    // does that for folders.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Refuses what another job file has remembered. In the folder beside them, their names are enough.
fn check_job_file(path: &Path, known: &str, own: &str) -> Result<(), Failure> {
    let is_told = !known.is_empty() && !own.is_empty();
    if !is_told || Path::new(known).ends_with(own) || Path::new(own).ends_with(known) {
        return Ok(());
    }
    Err(Failure::mistake(format!(
        "state of incremental, {}: it is what {} has read, and not {}",
        path.display(),
        known,
        own
    ))
    .help(
        "--state-folder names a folder for each; if the job file was moved, change job_file there",
    ))
}

#[cfg(test)]
mod tests;
