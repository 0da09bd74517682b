//! From settings to a catalog.

use std::collections::BTreeMap;

use keyloom_common::{
    Error, Result,
    described::{Written, check_alias},
    error::redact,
    input::FilesOfInput,
    output::Place,
    rpc::bincode,
};

use super::{Catalog, CatalogSettings, Entry, OfferedInput, is_dataset};

/// The most stores, and the most inputs.
const MAX_NAMES: usize = 4_096;

/// The most bytes of all of them together, as clients get them: well below the largest frame.
const MAX_BYTES: u64 = 4 << 20;

impl Catalog {
    /// The catalog that settings describe. Nothing is opened.
    ///
    /// # Errors
    /// `invalid`, naming all entries that are wrong.
    pub(crate) fn open(settings: &CatalogSettings) -> Result<Self> {
        let CatalogSettings { stores, inputs, outputs, only } = settings;
        let mut wrong = Vec::new();
        let stores =
            entries("catalog.stores", stores, &mut wrong, |alias, store| store.store(alias));
        let inputs = entries("catalog.inputs", inputs, &mut wrong, |_, input| {
            let spec = input.input()?;
            let files = FilesOfInput::of(&spec.path, spec.storage_profile.as_deref());
            let files = files.filter(|_| !is_dataset(&spec));
            if files.is_none() && !is_dataset(&spec) {
                return Err(Error::invalid("path is none that workers can read files from"));
            }
            Ok(OfferedInput { spec, files })
        });
        let twice = inputs.keys().filter(|name| stores.contains_key(*name));
        wrong.extend(twice.map(|name| format!("catalog.inputs.{name}: a store is called so, too")));
        let outputs = places(outputs, &mut wrong);
        if !wrong.is_empty() {
            return Err(Error::invalid(wrong.join("; ")));
        }
        let catalog = Self { stores, inputs, outputs, only: *only };
        catalog.check_size()?;
        Ok(catalog)
    }

    fn check_size(&self) -> Result<()> {
        let stores: Vec<_> = self.stores.values().map(|store| &store.what).collect();
        let inputs: Vec<_> = self.inputs.values().map(|input| &input.what.spec).collect();
        let bytes = bincode::encoded_bytes(&(stores, inputs))?;
        if bytes > MAX_BYTES {
            return Err(Error::invalid(format!(
                "what catalog.stores and catalog.inputs say takes {bytes} bytes, and clients get \
                 {MAX_BYTES} at most"
            )));
        }
        Ok(())
    }
}

/// The entries of a section, and what is wrong with others.
fn entries<T>(
    section: &str,
    written: &BTreeMap<String, Written>,
    wrong: &mut Vec<String>,
    read: impl Fn(&str, &Written) -> Result<T>,
) -> BTreeMap<String, Entry<T>> {
    if written.len() > MAX_NAMES {
        wrong.push(format!("{section} names {}, and {MAX_NAMES} at most", written.len()));
        return BTreeMap::new();
    }
    let mut entries = BTreeMap::new();
    for (name, written) in written {
        let entry = check_alias(name).and_then(|()| check_clients(written.clients.as_deref()));
        match entry.and_then(|()| read(name, written)) {
            Ok(what) => {
                entries.insert(name.clone(), Entry { what, clients: written.clients.clone() });
            }
            Err(error) => wrong.push(format!("{section}.{name}: {}", error.message())),
        }
    }
    entries
}

/// Where may be written, and what is wrong with others.
fn places(written: &[String], wrong: &mut Vec<String>) -> Vec<Place> {
    if written.len() > MAX_NAMES {
        wrong.push(format!("catalog.outputs names {}, and {MAX_NAMES} at most", written.len()));
        return Vec::new();
    }
    let mut places = Vec::new();
    for path in written {
        match Place::of(path) {
            Some(place) => places.push(place),
            None => wrong.push(format!(
                "catalog.outputs has '{}', which is no place: write an absolute path or a URL, \
                 without empty names and '..' in it",
                redact(path)
            )),
        }
    }
    places
}

/// Refuses what is no name of a client, and no pattern of one.
fn check_clients(clients: Option<&[String]>) -> Result<()> {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
    let is_name = |name: &&String| !name.is_empty() && name.chars().all(is_usual);
    match clients.unwrap_or_default().iter().find(|name| !is_name(name)) {
        Some(name) => Err(Error::invalid(format!(
            "clients has {name:?}, which is no name of letters, digits, '.', '_' and '-', in which \
             '*' stands for whatever is there"
        ))),
        None => Ok(()),
    }
}
