//! Bytes of a file on their way to where nobody sees them yet.

use std::{
    io::{self, ErrorKind},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use keyloom_common::{Error, Result};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

use super::{
    attempt::Attempt,
    folder::Folder,
    parts::Parts,
    staged::{Staged, made_mark},
};

/// The most parts of a file that is about as large as it should be: object stores take 10,000, and
/// files may become larger.
const PARTS: u64 = 4_000;

/// How often a folder is made, if one above it goes meanwhile: a job that ends removes the folder
/// of all jobs as soon as there is nothing in it.
const MAKING_TRIES: usize = 8;

/// Takes the bytes of a file.
pub(super) enum Sink {
    Local(Local),
    Upload(Upload),
}

/// A file of this machine.
pub(super) struct Local {
    file: File,
    path: PathBuf,
    staged: String,
}

/// An upload in parts of one size.
pub(super) struct Upload {
    shown: String,
    record: String,
    parts: Parts,
    part_bytes: usize,
    waiting: BytesMut,
}

impl Sink {
    /// Begins a file of this name that is to be at a path below the folder.
    pub(super) async fn begin(
        attempt: &Attempt,
        path: &str,
        name: &str,
        part_bytes: u64,
        target_file_bytes: u64,
    ) -> Result<Self> {
        let folder = attempt.folder();
        let staged = format!("{}/{name}", attempt.place());
        match folder.is_local() {
            true => Local::begin(attempt, staged).await.map(Self::Local),
            false => {
                let part_bytes = part_bytes.max(target_file_bytes / PARTS);
                Upload::begin(attempt, path, part_bytes).await.map(Self::Upload)
            }
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `store`, naming the file, if they cannot be written.
    pub(super) async fn push(&mut self, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::Local(Local { file, path, .. }) => {
                file.write_all(&bytes).await.map_err(|error| cannot_write(path, &error))
            }
            Self::Upload(upload) => upload.push(&bytes).await,
        }
    }

    /// How many bytes wait here, or are on their way.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Local(_) => 0,
            Self::Upload(upload) => upload.waiting.len() as u64 + upload.parts.held(),
        }
    }

    /// Waits until nothing is on its way.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) async fn sent(&mut self) -> Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Upload(Upload { parts, shown, .. }) => {
                parts.sent().await.map_err(|error| of_file(shown, error))
            }
        }
    }

    /// All bytes have come: where the file is.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) async fn finish(self) -> Result<Staged> {
        match self {
            Self::Local(Local { mut file, path, staged }) => {
                let failed = |error| cannot_write(&path, &error);
                file.flush().await.map_err(failed)?;
                file.sync_all().await.map_err(failed)?;
                Ok(Staged::File(staged))
            }
            Self::Upload(upload) => upload.finish().await,
        }
    }
}

impl Local {
    async fn begin(attempt: &Attempt, staged: String) -> Result<Self> {
        let folder = attempt.folder();
        folder.check_files(std::slice::from_ref(&staged)).await?;
        let (output, place) = (folder.local(""), folder.local(attempt.place()));
        let (mark, path) = (folder.local(&made_mark(attempt.job())), folder.local(&staged));
        let made = again(|| make(&output, &place, &mark)).await;
        made.map_err(|error| cannot_make(folder, &error))?;
        let file = File::create_new(&path).await.map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { file, path, staged })
    }
}

impl Upload {
    async fn begin(attempt: &Attempt, path: &str, part_bytes: u64) -> Result<Self> {
        let folder = attempt.folder();
        let uploads = Arc::clone(folder.uploads()?);
        let (path, shown) = (folder.path(path)?, folder.shown(path));
        let begun = attempt.begin(&path).await;
        let id = begun.map_err(|error| of_file(&shown, error))?;
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let record = attempt.record(&path);
        let parts = Parts::new(uploads, path, id, attempt.lanes().clone());
        Ok(Self { shown, record, parts, part_bytes, waiting: BytesMut::new() })
    }

    async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(bytes);
        while self.waiting.len() >= self.part_bytes {
            let part = self.waiting.split_to(self.part_bytes).freeze();
            self.put(part).await?;
        }
        Ok(())
    }

    async fn put(&mut self, part: Bytes) -> Result<()> {
        self.parts.send(part).await.map_err(|error| of_file(&self.shown, error))
    }

    async fn finish(mut self) -> Result<Staged> {
        let rest = mem::take(&mut self.waiting).freeze();
        if !rest.is_empty() || self.parts.is_empty() {
            self.put(rest).await?;
        }
        let Self { shown, record, parts, .. } = self;
        let (id, parts) = parts.finish().await.map_err(|error| of_file(&shown, error))?;
        Ok(Staged::Upload { id, parts, record })
    }
}

fn of_file(shown: &str, error: Error) -> Error {
    error.context(format_args!("output file {shown}"))
}

/// Makes a folder, and again if one above it has gone meanwhile.
async fn again<F: Future<Output = io::Result<()>>>(make: impl Fn() -> F) -> io::Result<()> {
    for _ in 1..MAKING_TRIES {
        match make().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => return made,
        }
    }
    make().await
}

/// Makes the place of an attempt below the folder of an output, and a mark if that was made for it.
async fn make(output: &Path, place: &Path, mark: &Path) -> io::Result<()> {
    let is_new = make_output(output).await?;
    fs::create_dir_all(place).await?;
    if is_new { fs::create_dir_all(mark).await } else { Ok(()) }
}

/// Whether the folder of an output was not there, and was made by this.
async fn make_output(output: &Path) -> io::Result<bool> {
    let mut made = fs::create_dir(output).await;
    if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
        && let Some(above) = output.parent()
    {
        fs::create_dir_all(above).await?;
        made = fs::create_dir(output).await;
    }
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // Systems may refuse to make what is there for other reasons.
        Err(error) => match fs::metadata(output).await {
            Ok(found) if found.is_dir() => Ok(false),
            _ => Err(error),
        },
    }
}

/// What is said where not even a folder can be made. What the file system refuses by itself, it
/// refuses the next time, too.
fn cannot_make(folder: &Folder, error: &io::Error) -> Error {
    let message = format!("no files can be written to {}: {error}", folder.given());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::permission_denied(message)
        }
        ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Error::invalid(message),
        _ => Error::store(message),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::store(format!("output file {} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    #[tokio::test]
    async fn a_folder_is_made_again_if_one_above_it_has_gone_meanwhile() {
        for (kind, failures, expected, tries) in [
            (ErrorKind::NotFound, 0, None, 1),
            (ErrorKind::NotFound, 3, None, 4),
            (ErrorKind::NotFound, usize::MAX, Some(ErrorKind::NotFound), MAKING_TRIES),
            (ErrorKind::NotADirectory, usize::MAX, Some(ErrorKind::NotADirectory), 1),
        ] {
            let tried = Cell::new(0);
            let made = again(|| {
                tried.set(tried.get() + 1);
                let fails = tried.get() <= failures;
                ready(if fails { Err(io::Error::from(kind)) } else { Ok(()) })
            });
            let made = made.await.map_err(|error| error.kind());
            assert_eq!((made.err(), tried.get()), (expected, tries), "{kind}, {failures}");
        }
    }
}
