//! The files of an input.

use datafusion::datasource::listing::ListingTableUrl;
use futures::TryStreamExt;
use keyloom_common::{
    Error, Result,
    input::{Fingerprint, InputSpec, Location},
};
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};

use super::stores::ObjectStores;

pub(super) struct Listed {
    pub(super) location: Location,
    pub(super) base: Path,
    pub(super) files: Vec<ObjectMeta>,
}

pub(super) async fn list(stores: &ObjectStores, spec: &InputSpec) -> Result<Listed> {
    let url = ListingTableUrl::parse(&spec.path)?;
    let location = Location {
        url: url.object_store().as_str().to_owned(),
        profile: spec.storage_profile.clone(),
    };
    let store = stores.get(&location)?;
    let base = url.prefix().clone();
    let mut files: Vec<ObjectMeta> = match store.head(&base).await {
        Ok(file) if !url.is_collection() => vec![file],
        _ => store.list(Some(&base)).try_collect().await.map_err(super::from_store)?,
    };
    files.retain(|file| url.contains(&file.location, false) || file.location == base);
    files.sort_by(|one, other| one.location.cmp(&other.location));
    if files.is_empty() {
        return Err(Error::not_found("no such file, or a folder or pattern without files"));
    }
    Ok(Listed { location, base, files })
}

pub(super) fn fingerprint(files: &[ObjectMeta]) -> Fingerprint {
    let mut hash = [0; 32];
    hash[0] = files.len() as u8;
    Fingerprint(hash)
}
