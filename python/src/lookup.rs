//! Stores that answer without a query.

use arrow::array::Array;
use arrow_pyarrow::ToPyArrow;
use keyloom_client::{CallOptions, Function, OnError};
use keyloom_common::store::KeyColumns;
use pyo3::prelude::*;

use crate::{
    arrow::array,
    error::raise,
    runtime::{OfProcess, wait},
};

/// An open store.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct OpenStore(OfProcess<keyloom_client::OpenStore>);

impl OpenStore {
    pub(crate) fn new(store: keyloom_client::OpenStore) -> Self {
        Self(OfProcess::new(store))
    }
}

#[pymethods]
impl OpenStore {
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        crate::arrow::schema(py, self.0.get().map_err(raise)?.schema())
    }

    /// The version of a Lance dataset.
    fn version(&self) -> PyResult<Option<u64>> {
        Ok(self.0.get().map_err(raise)?.version())
    }

    /// Prepares one of the three functions.
    #[pyo3(signature = (function, columns, on_error, batch_size, key))]
    fn prepare(
        &self,
        function: &str,
        columns: Option<Vec<String>>,
        on_error: &str,
        batch_size: Option<usize>,
        key: Option<Vec<String>>,
    ) -> PyResult<Lookup> {
        let function = function_named(function);
        let on_error = OnError::parse(on_error).map_err(raise)?;
        let options = CallOptions { columns, on_error, batch_size };
        let key = key.map(KeyColumns::try_new).transpose().map_err(raise)?;
        let store = self.0.get().map_err(raise)?;
        let lookup = store.prepare(function, options, key.as_ref()).map_err(raise)?;
        Ok(Lookup(OfProcess::new(lookup)))
    }
}

/// The function of a name, which only this package gives.
pub(crate) fn function_named(name: &str) -> Function {
    match name {
        "kv_get" => Function::Get,
        "kv_batch_get" => Function::BatchGet,
        "kv_get_all" => Function::GetAll,
        _ => Function::Exists,
    }
}

/// One of the functions on one store.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Lookup(OfProcess<keyloom_client::Lookup>);

#[pymethods]
impl Lookup {
    /// The answers for an array of keys, as a pyarrow array.
    fn answers<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (lookup, keys) = (self.0.get().map_err(raise)?, array(keys)?);
        let answers = wait(py, async { lookup.answers(&keys).await.map_err(raise) })?;
        answers.to_data().to_pyarrow(py)
    }
}
