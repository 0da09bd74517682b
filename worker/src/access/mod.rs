//! What jobs may make a worker touch: the one room that says whether a path, a host or a bucket may
//! be read, be it of an input or of a store. Who writes for jobs asks here, too: what is not there
//! yet is judged like what is.
//!
//! **What is promised.** Nothing is opened, listed or asked before it is allowed, and a refusal is
//! the same whether there is something or not. Links are followed before a path is compared with
//! the roots, those within folders that are listed as well. A path is looked at just before it is
//! opened, and not by the handle that is opened, for Lance and object stores open by name: who can
//! change folders within a root while a job runs could put a link there in between. Roots are for
//! folders that only those can write to who may read what the worker may. Hard links and mounts
//! within a root belong to it: nothing tells them from files. The files that the worker's own
//! settings name are in no root and never allowed.
//!
//! Hosts are judged by their names as jobs write them; a host that is allowed may send on to
//! others.

mod endpoint;
mod files;
mod own;
mod place;
mod settings;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use keyloom_common::{
    Error, Result,
    error::redact,
    store::{LANCE, STORAGE_OPTIONS, StoreSpec},
};
use tokio::{task::spawn_blocking, time::timeout};
use url::Url;

use self::{
    endpoint::{Endpoint, authority, canonical},
    files::{Below, resolved},
    own::OwnFiles,
    place::Place,
};
use crate::store::Patience;

pub use settings::AccessSettings;

/// The schemes of files and of contents that travel with sessions.
const FILE: &str = "file";
const MEMORY: &str = "memory";

/// The longest path that is looked at, name by name. Systems take half of that.
const MAX_PATH_BYTES: usize = 8 << 10;

/// What jobs may touch, as the settings have it. By default, everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    schemes: Option<Vec<String>>,
    roots: Option<Vec<PathBuf>>,
    endpoints: Option<Vec<Endpoint>>,
    own: OwnFiles,
}

impl Access {
    /// What settings allow, but for files of the worker's own.
    ///
    /// # Errors
    /// `invalid`, naming the setting that is no rule.
    pub(crate) fn new(settings: &AccessSettings, own: Vec<PathBuf>) -> Result<Self> {
        Ok(Self(Arc::new(Rules {
            schemes: settings.schemes().map_err(|rule| no_rule("schemes", &rule))?,
            roots: settings.roots().map_err(|rule| no_rule("roots", &rule))?,
            endpoints: settings.endpoints().map_err(|rule| no_rule("endpoints", &rule))?,
            own: OwnFiles::new(own),
        })))
    }

    /// Whether not every file may be read.
    pub(crate) fn limits_files(&self) -> bool {
        self.0.roots.is_some()
    }

    /// Whether a place of this machine may be read, in whichever way its text is taken. Of a
    /// pattern, the folder before it counts, too.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) async fn check_local(&self, text: &str, patience: Patience) -> Result<()> {
        let given = redact(text);
        self.check_scheme(FILE, &given)?;
        let mut paths = local_paths(text);
        if let Some((folder, _)) = text.split_once(['*', '?', '[']) {
            let folder = folder.rfind('/').map_or("", |slash| &folder[..=slash]);
            paths.extend(local_paths(folder));
        }
        self.check_paths(paths, given, patience).await
    }

    /// Whether files may be read, all of which are absolute paths.
    ///
    /// # Errors
    /// `permission_denied`, naming the first that may not.
    pub(crate) async fn check_files(&self, files: Vec<PathBuf>, patience: Patience) -> Result<()> {
        self.check_scheme(FILE, "a file")?;
        if !self.limits_files() {
            return self.check_not_own(files, patience).await;
        }
        let this = self.clone();
        apart(patience, move || match files.iter().find(|file| !this.allows(file)) {
            None => this.keep_own(&files, None),
            Some(file) => Err(refused(&file.display().to_string(), "access.roots")),
        })
        .await
    }

    /// Whether none of these files is one of the worker's own.
    ///
    /// # Errors
    /// `permission_denied`, naming the first that is.
    pub(crate) async fn check_not_own(
        &self,
        files: Vec<PathBuf>,
        patience: Patience,
    ) -> Result<()> {
        if self.0.own.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        apart(patience, move || this.keep_own(&files, None)).await
    }

    /// Refuses the worker's own files, by the name under which one was given, if that is another.
    /// It looks at the disk.
    fn keep_own(&self, paths: &[PathBuf], given: Option<&str>) -> Result<()> {
        let Some(own) = self.0.own.among(paths) else { return Ok(()) };
        let given = given.map_or_else(|| own.display().to_string(), ToOwned::to_owned);
        Err(Error::permission_denied(format!(
            "{given} is refused: it is a file that the worker's own settings name"
        )))
    }

    /// Whether nothing that matters below a folder leads to where nothing may be read.
    ///
    /// # Errors
    /// `permission_denied`, naming the place as it was given and not what is in there; `invalid` if
    /// there is too much in there.
    pub(crate) async fn check_below(
        &self,
        folder: PathBuf,
        matters: impl Fn(&str) -> bool + Send + 'static,
        deep: bool,
        given: &str,
        patience: Patience,
    ) -> Result<()> {
        if !self.limits_files() {
            return Ok(());
        }
        let (this, given) = (self.clone(), redact(given));
        apart(patience, move || {
            let allows = |path: &Path| this.allows(path);
            let below = Below { matters: &matters, deep, allows: &allows };
            match below.leads_out(&folder).map_err(|error| error.context(&given))? {
                true => Err(refused(&given, "access.roots")),
                false => Ok(()),
            }
        })
        .await
    }

    /// Whether a host or a bucket may be asked for something.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) fn check_url(&self, url: &Url, path: &str, given: &str) -> Result<()> {
        let given = redact(given);
        self.check_scheme(url.scheme(), &given)?;
        self.check_endpoint(url.scheme(), &authority(url), path, &given)
    }

    /// Whether the credentials of a storage profile may go to a host that a job names beside it:
    /// only if the settings name that host. That they allow it is checked before.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) fn check_beside_profile(&self, profile: &str, given: &str) -> Result<()> {
        match self.0.endpoints {
            Some(_) => Ok(()),
            None => Err(Error::permission_denied(format!(
                "{} is refused beside storage profile '{profile}', whose credentials would go \
                 there: the worker's access.endpoints do not name it",
                redact(given)
            ))),
        }
    }

    /// Whether a store may be opened: where it is, and the hosts that its options name.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place or the option as it was given.
    pub(crate) async fn check_store(&self, spec: &StoreSpec, patience: Patience) -> Result<()> {
        if spec.content.is_some() {
            self.check_scheme(MEMORY, &format!("a {} store", spec.kind))?;
        }
        // No place is one, too: to Lance, the folder that the worker was started in.
        if !spec.place.is_empty() || spec.content.is_none() {
            self.check_place(spec, patience).await?;
        }
        let profile = spec.options.text(STORAGE_OPTIONS);
        for (name, value) in spec.options.entries().filter(|(name, value)| is_host(name, value)) {
            let given = format!("option {name} = \"{}\"", redact(value));
            let place = match Place::of(value) {
                Place::Url(url) => (url.scheme().to_owned(), authority(&url)),
                Place::Local(_) | Place::Other => (spec.kind.clone(), value.to_owned()),
            };
            self.check_endpoint(&place.0, &place.1, "", &given)?;
            if let Some(profile) = profile {
                self.check_beside_profile(profile, &given)?;
            }
        }
        Ok(())
    }

    /// Whether a Lance dataset may be read, wherever it is, with all that is in its folder.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) async fn check_dataset(&self, place: &str, patience: Patience) -> Result<()> {
        match Place::of_file(place) {
            Place::Url(url) => {
                self.check_url(&url, &decoded(url.path()), place)?;
                self.check_url(&url, url.path(), place)
            }
            Place::Local(_) | Place::Other => {
                self.check_local_or_relative(place, patience).await?;
                let paths = local_paths(place);
                for folder in paths.into_iter().filter(|path| path.is_absolute()) {
                    self.check_below(folder, |_| true, true, place, patience).await?;
                }
                Ok(())
            }
        }
    }

    async fn check_place(&self, spec: &StoreSpec, patience: Patience) -> Result<()> {
        let StoreSpec { kind, place, options, .. } = spec;
        if kind == LANCE {
            return self.check_dataset(place, patience).await;
        }
        match Place::of(place) {
            Place::Local(_) => return self.check_dataset(place, patience).await,
            Place::Url(url) => {
                self.check_url(&url, &decoded(url.path()), place)?;
                self.check_url(&url, url.path(), place)?;
            }
            Place::Other => {
                let given = redact(place);
                self.check_scheme(kind, &given)?;
                let (host, path) = place.split_once('/').unwrap_or((place, ""));
                self.check_endpoint(kind, host, path, &given)?;
            }
        }
        match options.text(STORAGE_OPTIONS) {
            Some(profile) => self.check_beside_profile(profile, place),
            None => Ok(()),
        }
    }

    /// As [`Self::check_local`]. What is relative is within no root: who reads it decides to what.
    async fn check_local_or_relative(&self, text: &str, patience: Patience) -> Result<()> {
        let given = redact(text);
        self.check_scheme(FILE, &given)?;
        self.check_paths(local_paths(text), given, patience).await
    }

    fn check_scheme(&self, scheme: &str, given: &str) -> Result<()> {
        let scheme = canonical(scheme);
        match &self.0.schemes {
            Some(schemes) if !schemes.iter().any(|allowed| allowed == scheme) => {
                let allowed = match schemes.as_slice() {
                    [] => "nothing".to_owned(),
                    schemes => schemes.join(", "),
                };
                Err(Error::permission_denied(format!(
                    "{given} is refused: the worker's access.schemes allow {allowed}, not {scheme}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_endpoint(&self, scheme: &str, host: &str, path: &str, given: &str) -> Result<()> {
        match &self.0.endpoints {
            Some(endpoints) if !endpoints.iter().any(|one| one.fits(scheme, host, path)) => {
                Err(refused(given, "access.endpoints"))
            }
            _ => Ok(()),
        }
    }

    async fn check_paths(
        &self,
        paths: Vec<PathBuf>,
        given: String,
        patience: Patience,
    ) -> Result<()> {
        if !self.limits_files() && self.0.own.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        apart(patience, move || match paths.iter().all(|path| this.allows(path)) {
            true => this.keep_own(&paths, Some(&given)),
            false => Err(refused(&given, "access.roots")),
        })
        .await
    }

    /// Whether a path leads into a root. It looks at the disk.
    fn allows(&self, path: &Path) -> bool {
        let Some(roots) = &self.0.roots else { return true };
        // What is relative is so to something that nobody has judged.
        let may_be = path.is_absolute() && path.as_os_str().len() <= MAX_PATH_BYTES;
        let Some(path) = may_be.then(|| resolved(path)).flatten() else { return false };
        // Roots may be links, which are followed anew: whoever set them may point them elsewhere.
        let within = |root: &PathBuf| resolved(root).is_some_and(|root| path.starts_with(root));
        roots.iter().any(within)
    }
}

/// The paths that a text of a file may mean.
fn local_paths(text: &str) -> Vec<PathBuf> {
    match Place::of_file(text) {
        Place::Local(paths) => paths,
        Place::Url(_) | Place::Other => vec![PathBuf::from(text)],
    }
}

fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Whether an option says which host is asked: by its name, or by what it says.
fn is_host(name: &str, value: &str) -> bool {
    const HOSTS: [&str; 4] = ["endpoint", "host", "url", "proxy"];
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    value.contains("://") || words.any(|word| HOSTS.contains(&word))
}

fn no_rule(name: &str, rule: &str) -> Error {
    Error::invalid(format!("setting access.{name} must be {rule}"))
}

fn refused(given: &str, setting: &str) -> Error {
    Error::permission_denied(format!("{given} is refused: the worker's {setting} do not allow it"))
}

/// Looks at the disk where that keeps nobody waiting, for as long as storage is waited for.
async fn apart(
    patience: Patience,
    look: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    match timeout(patience.answer, spawn_blocking(look)).await {
        Ok(looked) => looked.map_err(Error::from_join)?,
        Err(_) => Err(patience.no_answer()),
    }
}

#[cfg(test)]
mod tests;
