//! The stores and inputs that the settings name for all clients of the cluster, and who may use
//! them.
//!
//! Names are offered to the clients for whom they are. Where the settings say `only`, a client may
//! use nothing else: what it asks workers to look at, and each store and file that its plans read,
//! must be one of those that it is offered. It may have workers write to some places alone.
//! In-memory tables and stores are a client's own and touch no place. Operators may use everything.

mod open;
mod plans;
mod settings;

use std::{collections::BTreeMap, fmt, sync::Arc};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    Error, Result,
    described::ClusterCatalog,
    error::redact,
    input::{FilesOfInput, Format, InputSpec, Location, name_fits},
    output::{OutputSpec, Place},
    rpc::{Identity, Role},
    store::{LANCE, MEMORY, STORAGE_OPTIONS, StoreSpec},
};

pub use settings::CatalogSettings;

/// The catalog of a coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    stores: BTreeMap<String, Entry<StoreSpec>>,
    inputs: BTreeMap<String, Entry<OfferedInput>>,
    /// Where may be written.
    outputs: Vec<Place>,
    only: bool,
}

/// A store or an input, and for whom it is.
#[derive(Clone, Debug)]
struct Entry<T> {
    what: T,
    /// Patterns of names; everybody's if absent.
    clients: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
struct OfferedInput {
    spec: InputSpec,
    /// Of what is no dataset.
    files: Option<FilesOfInput>,
}

/// What one client may use.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    catalog: Arc<Catalog>,
    identity: Identity,
}

impl Catalog {
    /// What a client is offered.
    pub(crate) fn offered(&self, to: &Identity) -> ClusterCatalog {
        let named = |(name, spec): (&String, &StoreSpec)| (name.clone(), spec.clone());
        let stores = visible(&self.stores, to).map(named).collect();
        let named = |(name, input): (&String, &OfferedInput)| (name.clone(), input.spec.clone());
        let inputs = visible(&self.inputs, to).map(named).collect();
        ClusterCatalog { stores, inputs, only: self.limits(to) }
    }

    /// Whether a client may use nothing that it is not offered.
    fn limits(&self, client: &Identity) -> bool {
        self.only && client.role != Role::Operator
    }

    /// What a client may use, if that is not everything.
    pub(crate) fn rights(self: &Arc<Self>, of: &Identity) -> Option<Rights> {
        let rights = || Rights { catalog: Arc::clone(self), identity: of.clone() };
        self.limits(of).then(rights)
    }
}

/// Those that a client is offered.
fn visible<'a, T>(
    entries: &'a BTreeMap<String, Entry<T>>,
    to: &Identity,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    let seen = entries.iter().filter(move |(_, entry)| entry.is_for(to));
    seen.map(|(name, entry)| (name, &entry.what))
}

impl<T> Entry<T> {
    fn is_for(&self, client: &Identity) -> bool {
        let fits = |pattern: &String| name_fits(pattern, &client.name);
        let named = || self.clients.as_ref().is_none_or(|clients| clients.iter().any(fits));
        client.role == Role::Operator || named()
    }
}

impl Rights {
    /// Refuses a store that is not offered.
    ///
    /// # Errors
    /// `permission_denied`, naming it and the setting.
    pub(crate) fn check_store(&self, spec: &StoreSpec) -> Result<()> {
        // Contents are the client's own, whatever else is said of them.
        let is_own = spec.content.is_some() && spec.kind == MEMORY && spec.place.is_empty();
        let bare = spec.bare();
        if is_own || self.stores().any(|offered| offered.bare() == bare) {
            return Ok(());
        }
        let StoreSpec { name, kind, place, .. } = spec;
        let is_there =
            self.stores().any(|offered| offered.kind == *kind && offered.place == *place);
        let what = format!("the {kind} store '{name}' at {}", redact(place));
        Err(self.refusal(&what, is_there))
    }

    /// Refuses an input that is not offered. A dataset that is offered as a store is one as an
    /// input, too: so its rows are read where they are not looked up.
    ///
    /// # Errors
    /// `permission_denied`, naming it and the setting.
    pub(crate) fn check_input(&self, spec: &InputSpec) -> Result<()> {
        let is_it = |offered: &InputSpec| {
            // How large pieces are, sessions choose.
            let (pin, piece_bytes) = (offered.pin.clone(), offered.piece_bytes);
            InputSpec { pin, piece_bytes, ..spec.clone() } == *offered
        };
        let profile = spec.storage_profile.as_deref();
        let is_of_dataset = || is_dataset(spec) && self.has_dataset(&spec.path, profile);
        if self.inputs().any(|offered| is_it(&offered.spec)) || is_of_dataset() {
            return Ok(());
        }
        let is_there = self.inputs().any(|offered| offered.spec.path == spec.path);
        Err(self.refusal(&format!("the input {}", redact(&spec.path)), is_there))
    }

    /// Refuses an output elsewhere than in the places for outputs.
    ///
    /// # Errors
    /// `permission_denied`, naming it and the setting.
    pub(crate) fn check_output(&self, spec: &OutputSpec) -> Result<()> {
        let place = Place::of(&spec.path);
        let is_in = |allowed: &Place| place.as_ref().is_some_and(|place| allowed.holds(place));
        if self.catalog.outputs.iter().any(is_in) {
            return Ok(());
        }
        Err(Error::permission_denied(format!(
            "the output {} is in none of the places of catalog.outputs, and catalog.only = true on \
             the coordinator: {} may write nowhere else",
            redact(&spec.path),
            self.identity
        )))
    }

    /// Refuses a plan that reads what is not offered, or writes elsewhere than it may.
    ///
    /// # Errors
    /// `permission_denied`, naming what it reads or writes and the setting.
    pub(crate) fn check_plan(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        plans::check(self, plan)
    }

    fn stores(&self) -> impl Iterator<Item = &StoreSpec> {
        visible(&self.catalog.stores, &self.identity).map(|(_, spec)| spec)
    }

    fn inputs(&self) -> impl Iterator<Item = &OfferedInput> {
        visible(&self.catalog.inputs, &self.identity).map(|(_, input)| input)
    }

    /// Whether a Lance dataset is offered, as a store or as an input.
    fn has_dataset(&self, uri: &str, profile: Option<&str>) -> bool {
        let is_store = |store: &StoreSpec| {
            let has_profile = store.options.text(STORAGE_OPTIONS) == profile;
            store.kind == LANCE && store.place == uri && has_profile
        };
        let is_input = |input: &OfferedInput| {
            let has_profile = input.spec.storage_profile.as_deref() == profile;
            is_dataset(&input.spec) && input.spec.path == uri && has_profile
        };
        self.stores().any(is_store) || self.inputs().any(is_input)
    }

    /// Whether all of these files are offered, as those of one input.
    fn have_files(&self, format: Format, location: &Location, paths: &[&str]) -> bool {
        self.inputs().any(|OfferedInput { spec, files }| {
            let is_of_format = spec.format.is_none_or(|offered| offered == format);
            let files = files.as_ref().filter(|files| is_of_format && files.are_in(location));
            files.is_some_and(|files| paths.iter().all(|path| files.have(path)))
        })
    }

    /// Why something is refused, which may be offered with other options.
    fn refusal(&self, what: &impl fmt::Display, is_there: bool) -> Error {
        let why = match is_there {
            true => "is offered by the cluster's catalog with other options",
            false => "is not offered by the cluster's catalog",
        };
        Error::permission_denied(format!(
            "{what} {why}, and catalog.only = true on the coordinator: {} may use what the catalog \
             offers by name, and tables and stores in memory",
            self.identity
        ))
    }
}

/// Whether an input is a Lance dataset: it says so, or its name does.
fn is_dataset(spec: &InputSpec) -> bool {
    spec.format.or_else(|| Format::of_path(&spec.path)) == Some(Format::Lance)
}

#[cfg(test)]
mod tests;
