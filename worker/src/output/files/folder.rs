//! The folder of an output: where it is, whether jobs may write there, and how.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use keyloom_common::{Error, Result, error::redact, input::Location, output::OutputSpec};
use object_store::{ObjectStore, multipart::MultipartStore, path::Path};
use tokio::{task::spawn_blocking, time::timeout};

use crate::object_stores::{
    ObjectStores, Opened, is_local, local_file,
    path::{LOCAL, Named, below, local_path, names_local},
};

/// The schemes of object stores that are written to.
const WRITTEN: [&str; 7] = ["file", "s3", "s3a", "gs", "az", "abfs", "abfss"];

/// The longest path of an output: systems take half of that.
const MAX_PATH_BYTES: usize = 8 << 10;

/// A folder that jobs may write to.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    stores: Arc<ObjectStores>,
    location: Location,
    base: Path,
    /// As the user named it.
    given: String,
    opened: Opened,
}

impl Folder {
    /// The folder of an output, if jobs may write there, whether it is there or not. Who writes
    /// there checks the files, too ([`Self::check_files`]).
    ///
    /// # Errors
    /// `invalid` if the path names no folder that can be written to, `permission_denied` if jobs
    /// may not touch it.
    pub(super) async fn open(stores: &Arc<ObjectStores>, spec: &OutputSpec) -> Result<Self> {
        let path = spec.path.as_str();
        check_text(path)?;
        if names_local(path) {
            stores.access().check_local(path, stores.patience()).await?;
        }
        let (url, base) = match Named::parse(path)? {
            Named::Local(path) => (LOCAL.to_owned(), local_path(&path)?),
            Named::Web(url) => return Err(not_written(url.scheme())),
            Named::Keyed { url, key } => {
                let base = Path::parse(&key).map_err(|error| Error::invalid(error.to_string()))?;
                (url, base)
            }
        };
        let location = Location { url, profile: spec.storage_profile.clone() };
        stores.check_any(&location, base.as_ref(), path).await?;
        let opened = stores.opened(&location)?;
        let stores = Arc::clone(stores);
        let folder = Self { stores, location, base, given: redact(path), opened };
        folder.check_kind().await?;
        Ok(folder)
    }

    /// As [`Self::open`], and with all that is below it: for who makes something of what is there.
    /// It looks at each name, where jobs may not touch everything.
    ///
    /// # Errors
    /// Also `permission_denied` if a link below it leads to where jobs may not go.
    pub(super) async fn open_whole(stores: &Arc<ObjectStores>, spec: &OutputSpec) -> Result<Self> {
        let folder = Self::open(stores, spec).await?;
        if folder.is_local() {
            let (access, patience) = (stores.access(), stores.patience());
            access.check_below(folder.local(""), |_| true, true, &folder.given, patience).await?;
        }
        Ok(folder)
    }

    /// Refuses a file, and object stores that take no uploads.
    async fn check_kind(&self) -> Result<()> {
        if !self.is_local() {
            return self.uploads().map(|_| ());
        }
        let folder = self.local("");
        if self.base.is_root() {
            return Err(Error::invalid("an output is a folder below /, and not / itself"));
        }
        if tokio::fs::metadata(&folder).await.is_ok_and(|found| !found.is_dir()) {
            return Err(Error::invalid(format!("{} is a file; name a folder", self.given)));
        }
        Ok(())
    }

    /// Whether jobs may write these files below the folder: something may have become a link.
    pub(super) async fn check_files(&self, files: &[String]) -> Result<()> {
        if !self.is_local() {
            return Ok(());
        }
        let files = files.iter().map(|file| self.local(file)).collect();
        self.stores.access().check_files(files, self.stores.patience()).await
    }

    /// Refuses files to be removed that only seem to be below the folder, for a link within it
    /// leads to theirs: they are somebody else's.
    ///
    /// # Errors
    /// `invalid`, naming such a folder.
    pub(super) async fn check_within(&self, files: &[String]) -> Result<()> {
        if !self.is_local() || files.is_empty() {
            return Ok(());
        }
        let parents = files.iter().filter_map(|file| Some(file.rsplit_once('/')?.0));
        let parents: BTreeSet<&str> = parents.collect();
        let parents: Vec<_> = parents.into_iter().map(|parent| self.local(parent)).collect();
        let folder = self.local("");
        let look = move || {
            let folder = folder.canonicalize().ok()?;
            let leads_out = |parent: &PathBuf| {
                parent.canonicalize().is_ok_and(|parent| !parent.starts_with(&folder))
            };
            parents.into_iter().find(leads_out)
        };
        let patience = self.stores.patience();
        let looked = timeout(patience.answer, spawn_blocking(look)).await;
        match looked.map_err(|_| patience.no_answer())?.map_err(Error::from_join)? {
            None => Ok(()),
            Some(parent) => Err(Error::invalid(format!(
                "{} is a link or behind one that leads out of {}, and if_exists = \"overwrite\" \
                 would remove the files there; choose another folder, or remove the link",
                parent.display(),
                self.given
            ))),
        }
    }

    pub(super) fn is_local(&self) -> bool {
        is_local(&self.location)
    }

    /// As the user named it.
    pub(super) fn given(&self) -> &str {
        &self.given
    }

    /// Its path within the object store.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.opened.store
    }

    /// The uploads to it.
    ///
    /// # Errors
    /// `invalid` if it takes none.
    pub(super) fn uploads(&self) -> Result<&Arc<dyn MultipartStore>> {
        let none = || Error::invalid(format!("{} takes no uploads in parts", self.given));
        self.opened.uploads.as_ref().ok_or_else(none)
    }

    /// What is below it, within the object store.
    ///
    /// # Errors
    /// `invalid` if the path leads out of the folder, or is none.
    pub(super) fn path(&self, below: &str) -> Result<Path> {
        Path::parse(format!("{}/{below}", self.base))
            .map_err(|error| Error::invalid(format!("a file of the output: {error}")))
    }

    /// What is below it, as a path of this machine.
    pub(super) fn local(&self, below: &str) -> PathBuf {
        let folder = local_file(self.base.as_ref());
        if below.is_empty() { folder } else { folder.join(below) }
    }

    /// What is below it, as users name it.
    pub(super) fn shown(&self, below: &str) -> String {
        match self.path(below) {
            Ok(path) => self.location.shown(path.as_ref()),
            Err(_) => below.to_owned(),
        }
    }

    /// A path from the folder on.
    pub(super) fn below<'a>(&self, path: &'a Path) -> Option<&'a str> {
        below(&self.base, path)
    }
}

/// Refuses what cannot be a folder that is written to.
fn check_text(path: &str) -> Result<()> {
    if path.len() > MAX_PATH_BYTES {
        let bytes = path.len();
        return Err(Error::invalid(format!(
            "the path of an output takes {bytes} bytes, more than {MAX_PATH_BYTES}"
        )));
    }
    let is_local = std::path::Path::new(path).is_absolute();
    if let Some((scheme, _)) = path.split_once("://").filter(|_| !is_local) {
        let scheme = scheme.to_ascii_lowercase();
        if !WRITTEN.contains(&scheme.as_str()) {
            return Err(not_written(&scheme));
        }
    }
    match path.contains(['*', '?', '[']) {
        true => {
            Err(Error::invalid(format!("output {} has a wildcard; name one folder", redact(path))))
        }
        false => Ok(()),
    }
}

fn not_written(scheme: &str) -> Error {
    Error::invalid(format!(
        "outputs are written to local paths, file://, s3://, gs:// and az:// (also abfs:// and \
         abfss://), not to {scheme}://"
    ))
}
