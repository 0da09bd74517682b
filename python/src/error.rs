//! Errors as Python's: a class for each kind, from `keyloom.exceptions`.

use keyloom_common::{Error, ErrorKind, error::in_users_words};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyType};

/// The exceptions' module, once it was needed.
static EXCEPTIONS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "InvalidError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::PermissionDenied => "PermissionDeniedError",
        ErrorKind::Store => "StoreError",
        ErrorKind::Unavailable => "UnavailableError",
        ErrorKind::Cancelled => "CancelledError",
        ErrorKind::Timeout => "KeyloomTimeoutError",
        ErrorKind::ResourceExhausted => "ResourceExhaustedError",
        ErrorKind::Internal => "InternalError",
    }
}

/// The exception that an error is in Python.
pub(crate) fn raise(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    Python::attach(|py| exception(py, &error).unwrap_or_else(|failed| failed))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let module = EXCEPTIONS
        .get_or_try_init(py, || py.import("keyloom.exceptions").map(Bound::unbind))?
        .bind(py);
    let class = module.getattr(class_name(error.kind()))?.cast_into::<PyType>()?;
    Ok(PyErr::from_type(class, in_users_words(error.message())))
}
