//! Rows in and out by Arrow's C data interface, without copies.

use std::sync::Arc;

use arrow::{
    array::{ArrayData, ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader, make_array},
    datatypes::{DataType, Schema, SchemaRef},
    ffi_stream::FFI_ArrowArrayStream,
};
use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use pyo3::{prelude::*, types::PyCapsule};

/// The batches of an object that exports an Arrow stream. pyarrow reads it, and buffers that are
/// not aligned are copied.
pub(crate) fn batches(stream: &Bound<'_, PyAny>) -> PyResult<Batches> {
    let py = stream.py();
    let reader = py.import("pyarrow")?.getattr("RecordBatchReader")?;
    let reader = reader.call_method1("from_stream", (stream,))?;
    let schema = Arc::new(Schema::from_pyarrow_bound(&reader.getattr("schema")?)?);
    let batches = reader.try_iter()?.map(|batch| RecordBatch::from_pyarrow_bound(&batch?));
    Ok(Batches { schema, batches: batches.collect::<PyResult<_>>()? })
}

/// An array of an object that exports one.
pub(crate) fn array(array: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let mut data = ArrayData::from_pyarrow_bound(array)?;
    // Some libraries export buffers that are not aligned.
    data.align_buffers();
    Ok(make_array(data))
}

/// A pyarrow type.
pub(crate) fn data_type(data_type: &Bound<'_, PyAny>) -> PyResult<DataType> {
    DataType::from_pyarrow_bound(data_type)
}

/// Columns as a pyarrow schema.
pub(crate) fn schema<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyAny>> {
    schema.to_pyarrow(py)
}

/// A stream that other libraries take.
pub(crate) fn export<'py>(
    py: Python<'py>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let stream = FFI_ArrowArrayStream::new(reader);
    PyCapsule::new(py, stream, Some(c"arrow_array_stream".to_owned()))
}

/// Rows in memory.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Batches {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Batches {
    /// The batches under one schema, of which there is at least one, which may be empty.
    pub(crate) fn to_vec(&self) -> Vec<RecordBatch> {
        match self.batches.as_slice() {
            [] => vec![RecordBatch::new_empty(Arc::clone(&self.schema))],
            batches => batches.to_vec(),
        }
    }
}

#[pymethods]
impl Batches {
    /// Takes the batches of an object that exports an Arrow stream.
    #[new]
    fn from_stream(stream: &Bound<'_, PyAny>) -> PyResult<Self> {
        batches(stream)
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        schema(py, &self.schema)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol allows to export another schema than the requested one.
        drop(requested_schema);
        let batches = self.batches.clone().into_iter().map(Ok);
        export(py, Box::new(RecordBatchIterator::new(batches, Arc::clone(&self.schema))))
    }
}
