//! The commit of an output of files, which only goes forward.
//!
//! The manifest is the point of no return. What comes behind it can be done again and again, by
//! whoever, with the same end: each file is looked for where it is to be before it is missed where
//! it was staged.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{
    Error, ErrorKind, JobId, Result,
    output::{Committed, FileFormat, IfExists, Piece},
};
use object_store::{Error as StoreError, ObjectStoreExt, multipart::PartId, path::Path};
use tokio::fs;

use super::{
    check, claim, clean, durable,
    file::empty,
    folder::Folder,
    manifest::{self, Entry, Manifest},
    present::{Present, SUCCESS},
    shape::Shape,
    staged::{Staged, Token, file_name},
};
use crate::{object_stores::from_store, output::OutputSettings};

/// An output that is to be seen.
pub(super) struct Commit<'a> {
    pub(super) folder: &'a Folder,
    pub(super) job: JobId,
    pub(super) shape: &'a Shape,
    pub(super) settings: &'a OutputSettings,
    /// In the order of their rows.
    pub(super) files: Vec<(Token, Piece)>,
}

impl Commit<'_> {
    /// Makes it visible.
    ///
    /// # Errors
    /// `invalid` if the folder is in use and must not be; whatever else stands in the way may be
    /// out of it the next time. Behind the manifest, nothing is refused any more.
    pub(super) async fn run(&self) -> Result<Committed> {
        let before = Manifest::read(self.folder, self.job).await?;
        let (manifest, again) = self.decided(before).await?;
        if !again || !self.is_done().await? {
            let shown = async {
                durable::file(self.folder, &manifest::name(self.job)).await?;
                self.publish(&manifest, again).await?;
                let paths: Vec<_> =
                    manifest.files.iter().map(|entry| entry.path.as_str()).collect();
                // Before what they replace goes.
                durable::names(self.folder, &paths).await?;
                self.remove(&manifest.replaces).await?;
                self.succeed().await
            };
            shown.await.map_err(behind_the_manifest)?;
        }
        self.release().await;
        clean::leftovers(self.folder, self.job, &self.uploads(), self.settings).await;
        Ok(manifest.committed())
    }

    /// The manifest that holds, of which there was this one before, and whether somebody else may
    /// have begun to carry it out.
    pub(super) async fn decided(&self, before: Option<Manifest>) -> Result<(Manifest, bool)> {
        if let Some(manifest) = before {
            return Ok((manifest, true));
        }
        let refused = match self.begin().await {
            Ok(manifest) => return Ok((manifest, false)),
            Err(error) => error,
        };
        // A worker that was asked before may have committed meanwhile, and what stood in the way is
        // what it has shown or taken away.
        match Manifest::read(self.folder, self.job).await? {
            Some(manifest) => Ok((manifest, true)),
            None => {
                self.release().await;
                Err(refused)
            }
        }
    }

    /// Lets others commit to the folder, if they were kept out.
    async fn release(&self) {
        if self.shape.files.if_exists != IfExists::Error {
            return;
        }
        if let Err(error) = claim::release(self.folder, self.job).await {
            let (job, place) = (self.job, self.folder.shown(&claim::name()));
            tracing::warn!(%job, %place, %error, "a file that keeps other jobs out stays");
        }
    }

    /// Commits, if what is there allows it and all files are staged.
    async fn begin(&self) -> Result<Manifest> {
        self.check_staged().await?;
        // Of this job, which may be committed by somebody else meanwhile.
        let mut own: HashSet<_> = self.files.iter().map(|(token, _)| token.path.clone()).collect();
        own.insert(manifest::name(self.job));
        let mode = self.shape.files.if_exists;
        let present = match (mode, self.files.is_empty()) {
            (IfExists::Append, false) => Present::default(),
            (IfExists::Error, _) => self.claimed().await?,
            _ => Present::look(self.folder).await?,
        };
        let mut replaces = Vec::new();
        match mode {
            IfExists::Error => present.refuse_any(self.folder)?,
            IfExists::Append => {}
            IfExists::Overwrite => {
                let (data, manifests) = (present.data.iter(), present.manifests.iter());
                replaces.extend(data.chain(manifests).filter(|path| !own.contains(*path)).cloned());
            }
        }
        // Behind the manifest it would be too late to be refused.
        self.folder.check_files(&replaces).await?;
        self.folder.check_within(&replaces).await?;
        let entries = self.files.iter().map(|(token, piece)| Entry {
            path: token.path.clone(),
            rows: piece.rows,
            bytes: piece.bytes,
        });
        let mut entries: Vec<_> = entries.collect();
        if self.wants_empty(&present) {
            entries.push(self.empty().await?.0);
        }
        let manifest = Manifest {
            job: self.job.to_string(),
            format: self.shape.files.format.name().to_owned(),
            rows: entries.iter().map(|entry| entry.rows).sum(),
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
            files: entries,
            replaces,
        };
        manifest.create(self.folder, self.job).await
    }

    /// What is in a folder that must be empty, once no other job can find it empty, too.
    async fn claimed(&self) -> Result<Present> {
        // One that is in use stays as it is.
        Present::look(self.folder).await?.refuse_any(self.folder)?;
        claim::take(self.folder, self.job).await?;
        Present::look(self.folder).await
    }

    /// Whether a file without rows tells of the columns. JSON has no place for them, names of
    /// folders need rows, and files that are there tell of them already.
    fn wants_empty(&self, present: &Present) -> bool {
        let stays = self.shape.files.if_exists == IfExists::Append && !present.data.is_empty();
        let fits = self.shape.files.format != FileFormat::Json && self.shape.partitions.is_empty();
        self.files.is_empty() && fits && !stays
    }

    async fn empty(&self) -> Result<(Entry, Vec<u8>)> {
        let bytes = empty(self.shape, self.settings.row_group_bytes).await?;
        let path = file_name(self.job, 0, 0, &self.shape.ending());
        Ok((Entry { path, rows: 0, bytes: bytes.len() as u64 }, bytes))
    }

    /// Looks for what is staged.
    async fn check_staged(&self) -> Result<()> {
        let paths = self.files.iter().flat_map(|(token, _)| {
            let staged = match &token.staged {
                Staged::File(file) => Some(file.clone()),
                // What is not of this machine has no links.
                Staged::Upload { .. } => None,
            };
            staged.into_iter().chain([token.path.clone()])
        });
        let others = [manifest::name(self.job), SUCCESS.to_owned(), claim::name()];
        let paths: Vec<_> = paths.chain(others).collect();
        self.folder.check_files(&paths).await?;
        let missing = check::gone(self.folder, self.job, &self.files).await?;
        match missing.first().and_then(|place| self.files.get(*place)) {
            None => Ok(()),
            Some((token, _)) => Err(gone(&self.folder.shown(match &token.staged {
                Staged::File(file) => file,
                Staged::Upload { .. } => &token.path,
            }))),
        }
    }

    /// Whether the last step has been done.
    async fn is_done(&self) -> Result<bool> {
        match self.folder.store().get(&self.folder.path(SUCCESS)?).await {
            Ok(found) => {
                let text = found.bytes().await.map_err(from_store)?;
                Ok(text.trim_ascii() == self.job.to_string().as_bytes())
            }
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(from_store(error)),
        }
    }

    async fn publish(&self, manifest: &Manifest, again: bool) -> Result<()> {
        if self.shape.files.if_exists == IfExists::Overwrite {
            // While files come and go, nobody is to take the folder for whole.
            delete(self.folder, SUCCESS).await?;
        }
        if self.files.is_empty() && !manifest.files.is_empty() {
            let (entry, bytes) = self.empty().await?;
            let path = self.folder.path(&entry.path)?;
            let put = self.folder.store().put(&path, Bytes::from(bytes).into()).await;
            put.map_err(from_store)?;
            durable::file(self.folder, &entry.path).await?;
        }
        let files: Vec<_> =
            self.files.iter().map(|(token, piece)| self.show(token, piece.bytes, again)).collect();
        let files = stream::iter(files).buffer_unordered(self.settings.requests_in_flight.max(1));
        files.try_collect::<Vec<()>>().await.map(drop)
    }

    /// Makes a file visible.
    async fn show(&self, token: &Token, bytes: u64, again: bool) -> Result<()> {
        let shown = self.folder.shown(&token.path);
        match &token.staged {
            Staged::File(staged) => {
                let (from, to) = (self.folder.local(staged), self.folder.local(&token.path));
                let failed = |error: std::io::Error| {
                    Error::store(format!("output file {shown} cannot be made visible: {error}"))
                };
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).await.map_err(failed)?;
                }
                match fs::rename(&from, &to).await {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        match check::size(self.folder, &token.path).await == Some(bytes) {
                            true => Ok(()),
                            false => Err(gone(&shown)),
                        }
                    }
                    Err(error) => Err(failed(error)),
                }
            }
            Staged::Upload { id, parts, .. } => {
                let path = self.folder.path(&token.path)?;
                if again && self.is_there(&path, bytes).await {
                    return Ok(());
                }
                let parts = parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
                let completed = self.folder.uploads()?.complete_multipart(&path, id, parts).await;
                let Err(error) = completed else { return Ok(()) };
                // The answer to what succeeded may have been lost.
                match self.is_there(&path, bytes).await {
                    true => Ok(()),
                    false => Err(from_store(error).context(format_args!("output file {shown}"))),
                }
            }
        }
    }

    async fn is_there(&self, path: &Path, bytes: u64) -> bool {
        self.folder.store().head(path).await.is_ok_and(|found| found.size == bytes)
    }

    /// Removes what is replaced.
    async fn remove(&self, replaced: &[String]) -> Result<()> {
        self.folder.check_files(replaced).await?;
        let deleted: Vec<_> = replaced.iter().map(|path| delete(self.folder, path)).collect();
        let deleted =
            stream::iter(deleted).buffer_unordered(self.settings.requests_in_flight.max(1));
        deleted.try_collect::<Vec<()>>().await?;
        if self.folder.is_local() {
            remove_empty(self.folder, replaced).await;
        }
        Ok(())
    }

    async fn succeed(&self) -> Result<()> {
        let path = self.folder.path(SUCCESS)?;
        let text = Bytes::from(format!("{}\n", self.job));
        self.folder.store().put(&path, text.into()).await.map_err(from_store)?;
        durable::file(self.folder, SUCCESS).await
    }

    /// The uploads that are completed.
    fn uploads(&self) -> HashSet<&str> {
        let uploads = self.files.iter().filter_map(|(token, _)| match &token.staged {
            Staged::Upload { id, .. } => Some(id.as_str()),
            Staged::File(_) => None,
        });
        uploads.collect()
    }
}

/// Removes a file below a folder, if it is there.
async fn delete(folder: &Folder, path: &str) -> Result<()> {
    match folder.store().delete(&folder.path(path)?).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => {
            Err(from_store(error).context(format_args!("replacing {}", folder.shown(path))))
        }
    }
}

/// Removes the folders below the output's that these files left empty.
async fn remove_empty(folder: &Folder, files: &[String]) {
    let mut parents: HashSet<&str> = HashSet::new();
    for file in files {
        let mut path = file.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            parents.insert(parent);
            path = parent;
        }
    }
    let mut parents: Vec<_> = parents.into_iter().collect();
    parents.sort_unstable_by_key(|parent| std::cmp::Reverse(parent.len()));
    for parent in parents {
        // What is not empty stays.
        drop(fs::remove_dir(folder.local(parent)).await);
    }
}

/// What goes wrong behind the manifest, whatever it is: some of the output may be seen, so that it
/// must not pass for a refusal.
fn behind_the_manifest(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::ResourceExhausted => Error::store(error.message()),
        ErrorKind::Store
        | ErrorKind::Unavailable
        | ErrorKind::Cancelled
        | ErrorKind::Timeout
        | ErrorKind::Internal => error,
    }
}

fn gone(path: &str) -> Error {
    Error::not_found(format!(
        "output file {path} is not there any more as it was written; run the job again"
    ))
}
