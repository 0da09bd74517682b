//! Bytes of a file on their way to where nobody sees them yet.

use std::{mem, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use keyloom_common::{Error, Result};
use object_store::{
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

use super::{attempt::Attempt, folder::Folder, staged::Staged};
use crate::object_stores::from_store;

/// The most parts of a file that is about as large as it should be: object stores take 10,000, and
/// files may become larger.
const PARTS: u64 = 4_000;

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
    uploads: Arc<dyn MultipartStore>,
    path: Path,
    shown: String,
    id: String,
    record: String,
    parts: Vec<String>,
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
            true => Local::begin(folder, attempt.place(), staged).await.map(Self::Local),
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

    /// How many bytes wait here.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Local(_) => 0,
            Self::Upload(upload) => upload.waiting.len() as u64,
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
    async fn begin(folder: &Folder, place: &str, staged: String) -> Result<Self> {
        folder.check_files(std::slice::from_ref(&staged)).await?;
        let (place, path) = (folder.local(place), folder.local(&staged));
        fs::create_dir_all(&place).await.map_err(|error| cannot_write(&place, &error))?;
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
        let id = begun.map_err(|error| error.context(format_args!("output file {shown}")))?;
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let (parts, waiting) = (Vec::new(), BytesMut::new());
        let record = attempt.record(&path);
        Ok(Self { uploads, path, shown, id, record, parts, part_bytes, waiting })
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
        let number = self.parts.len();
        let put = self.uploads.put_part(&self.path, &self.id, number, part.into()).await;
        let PartId { content_id } = put.map_err(|error| {
            from_store(error).context(format_args!("output file {}", self.shown))
        })?;
        self.parts.push(content_id);
        Ok(())
    }

    async fn finish(mut self) -> Result<Staged> {
        let rest = mem::take(&mut self.waiting).freeze();
        if !rest.is_empty() || self.parts.is_empty() {
            self.put(rest).await?;
        }
        Ok(Staged::Upload { id: self.id, parts: self.parts, record: self.record })
    }
}

fn cannot_write(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::store(format!("output file {} cannot be written: {error}", path.display()))
}
