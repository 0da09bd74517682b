//! Stores as they are described, before they are attached.

use std::collections::BTreeMap;

use keyloom_client::{KeyNames, KvStore, LanceOptions, MemoryOptions, OtherOptions, load_kv};
use keyloom_common::Error;
use pyo3::prelude::*;

use crate::{arrow::Batches, error::raise};

/// A store that can be attached.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Store(pub(crate) KvStore);

#[pymethods]
impl Store {
    /// A Lance dataset, by the options of job files in JSON.
    #[staticmethod]
    fn lance(name: &str, options: &str) -> PyResult<Self> {
        let options: LanceOptions = options_from_json(options, &format!("KV store '{name}'"))?;
        load_kv(name, options).map(Self).map_err(raise)
    }

    /// Rows in memory, keyed by columns.
    #[staticmethod]
    fn memory(py: Python<'_>, name: &str, rows: &Batches, key: Vec<String>) -> PyResult<Self> {
        let batches = rows.to_vec();
        let options = MemoryOptions::batches(batches, KeyNames::Several(key));
        py.detach(|| load_kv(name, options)).map(Self).map_err(raise)
    }

    /// A store of a kind that the workers know by its word.
    #[staticmethod]
    fn other(
        name: &str,
        kind: String,
        place: String,
        key: Option<Vec<String>>,
        options: BTreeMap<String, String>,
    ) -> PyResult<Self> {
        let key = key.map(KeyNames::Several);
        load_kv(name, OtherOptions { kind, uri: place, key, options }).map(Self).map_err(raise)
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }
}

/// Options by their names, which are the same in job files.
pub(crate) fn options_from_json<T: serde::de::DeserializeOwned>(
    json: &str,
    of: &str,
) -> PyResult<T> {
    serde_json::from_str(json).map_err(|error| {
        // A user has not written the JSON, and knows no place in it.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        raise(Error::invalid(format!("{of}: {message}")))
    })
}
