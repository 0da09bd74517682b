//! The files of an input: one, those of a folder, or those whose names fit a pattern.
//!
//! Folders are read with all that is below them; what is hidden, with a name that starts with `.`
//! or `_`, is passed over, unless it is called `name=value`. Every listing asks the object store:
//! what was there for the job before may be gone.

mod fingerprint;
mod path;
mod pattern;

use std::collections::HashSet;

use futures::TryStreamExt;
use keyloom_common::{
    Error, Result,
    input::{InputSpec, Location},
};
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

pub(super) use self::fingerprint::fingerprint;
use self::path::{InputPath, Target};
use super::{from_store, is_local, local_file};
use crate::object_stores::{
    ObjectStores, Tables,
    path::{below as below_path, is_hidden, names_local},
};

/// The longest path of an input: systems take half of that. Each name of a pattern takes memory.
const MAX_PATH_BYTES: usize = 8 << 10;

/// The most files of an input.
const MAX_FILES: usize = 100_000;

/// The most names that are looked at to find them.
const MAX_LISTED: usize = 1_000_000;

/// The files of an input.
pub(super) struct Listed {
    /// Their object store.
    pub(super) location: Location,
    /// The folder below which the names of folders are columns.
    pub(super) base: Path,
    /// In the order of their paths. Empty ones are among them.
    pub(super) files: Vec<ObjectMeta>,
}

/// The files that a user means now.
///
/// # Errors
/// `not_found` if there is none; `invalid` if the path is no path, or names a table of another kind
/// or too many files; `permission_denied` if it, or something that it stands for, may not be read.
pub(super) async fn list(stores: &ObjectStores, spec: &InputSpec) -> Result<Listed> {
    if spec.path.len() > MAX_PATH_BYTES {
        let bytes = spec.path.len();
        let wrong = format!("its path takes {bytes} bytes, more than {MAX_PATH_BYTES}");
        return Err(Error::invalid(wrong));
    }
    if names_local(&spec.path) {
        // Before anybody looks what is there: taking the path apart does.
        stores.access().check_local(&spec.path, stores.patience()).await?;
    }
    let InputPath { url, base, target } = InputPath::parse(&spec.path)?;
    let location = Location { url, profile: spec.storage_profile.clone() };
    // Whatever was looked at above: this is what is read.
    stores.check_any(&location, base.as_ref(), &spec.path).await?;
    let store = stores.get(&location)?;
    check_links(stores, &location, &base, &target, &spec.path).await?;
    let files = find(store.as_ref(), &base, &target).await?;
    if is_local(&location) {
        let found = files.iter().map(|file| local_file(file.location.as_ref())).collect();
        stores.access().check_not_own(found, stores.patience()).await?;
    }
    if files.is_empty() {
        return Err(match target {
            Target::Pattern(_) => Error::not_found("no file fits the pattern"),
            _ => Error::not_found("no such file, or a folder without files"),
        });
    }
    let base = match &target {
        Target::Any if files[0].location == base => base.parent().unwrap_or_default(),
        Target::File => base.parent().unwrap_or_default(),
        _ => base,
    };
    Ok(Listed { location, base, files })
}

/// Refuses links that lead to where nothing may be read from, among what is listed: they are told
/// from files before they are followed.
async fn check_links(
    stores: &ObjectStores,
    location: &Location,
    base: &Path,
    target: &Target,
    given: &str,
) -> Result<()> {
    let access = stores.access();
    if !access.limits_files() || !is_local(location) {
        return Ok(());
    }
    let (folder, patience) = (local_file(base.as_ref()), stores.patience());
    match target {
        // The path itself was looked at.
        Target::File => Ok(()),
        Target::Any | Target::Folder => {
            access.check_below(folder, is_visible, true, given, patience).await
        }
        Target::Pattern(pattern) if pattern.is_flat() => {
            let pattern = pattern.clone();
            let fits = move |path: &str| pattern.fits(path);
            access.check_below(folder, fits, false, given, patience).await
        }
        // What a folder's name has to do with the pattern is not known before what is in there.
        Target::Pattern(_) => access.check_below(folder, |_| true, true, given, patience).await,
    }
}

async fn find(store: &dyn ObjectStore, base: &Path, target: &Target) -> Result<Vec<ObjectMeta>> {
    match target {
        Target::File => Ok(head(store, base).await?.into_iter().collect()),
        Target::Any => match head(store, base).await? {
            Some(file) => Ok(vec![file]),
            None => below(store, base, is_visible).await,
        },
        Target::Folder => below(store, base, is_visible).await,
        Target::Pattern(pattern) if pattern.is_flat() => {
            let listed = store.list_with_delimiter(Some(base)).await.map_err(from_store)?;
            let mut found = Found::default();
            for folder in &listed.common_prefixes {
                found.tables.see_folder(base, folder);
            }
            for file in listed.objects {
                found.take(base, file, |path| pattern.fits(path))?;
            }
            found.finish(base)
        }
        Target::Pattern(pattern) => below(store, base, |path| pattern.fits(path)).await,
    }
}

async fn head(store: &dyn ObjectStore, path: &Path) -> Result<Option<ObjectMeta>> {
    match store.head(path).await {
        Ok(file) => Ok(Some(file)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(from_store(error)),
    }
}

/// The files at any depth below a folder whose paths from there are wanted.
async fn below(
    store: &dyn ObjectStore,
    base: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<ObjectMeta>> {
    let mut found = Found::default();
    let mut listed = store.list(Some(base));
    while let Some(file) = listed.try_next().await.map_err(from_store)? {
        found.take(base, file, &wanted)?;
    }
    found.finish(base)
}

/// What a listing gave so far.
#[derive(Default)]
struct Found {
    listed: usize,
    files: Vec<ObjectMeta>,
    tables: Tables,
}

impl Found {
    fn take(&mut self, base: &Path, file: ObjectMeta, wanted: impl Fn(&str) -> bool) -> Result<()> {
        self.listed += 1;
        if self.listed > MAX_LISTED {
            return Err(Error::invalid(format!(
                "more than {MAX_LISTED} names to look through; name a folder further down"
            )));
        }
        // The object that some tools write for a folder has the folder's own path.
        let Some(path) = below_path(base, &file.location) else { return Ok(()) };
        self.tables.see(path);
        if wanted(path) && !path.ends_with("_$folder$") {
            self.files.push(file);
        }
        if self.files.len() > MAX_FILES {
            return Err(Error::invalid(format!(
                "more than {MAX_FILES} files; name fewer of them, or write larger ones"
            )));
        }
        Ok(())
    }

    fn finish(mut self, base: &Path) -> Result<Vec<ObjectMeta>> {
        self.files.sort_unstable_by(|one, other| one.location.cmp(&other.location));
        for file in &self.files {
            self.tables.check(below_path(base, &file.location).unwrap_or_default())?;
        }
        drop_folders(&mut self.files);
        Ok(self.files)
    }
}

fn is_visible(path: &str) -> bool {
    !path.split('/').any(is_hidden)
}

/// Drops empty objects that stand for folders: those with the path of a folder of others.
fn drop_folders(files: &mut Vec<ObjectMeta>) {
    if files.iter().all(|file| file.size > 0) {
        return;
    }
    let mut folders = HashSet::new();
    for file in files.iter() {
        let mut folder = file.location.parent();
        while let Some(path) = folder.take_if(|path| !path.is_root()) {
            folder = path.parent();
            if !folders.insert(path) {
                break;
            }
        }
    }
    files.retain(|file| file.size > 0 || !folders.contains(&file.location));
}

#[cfg(test)]
mod tests;
