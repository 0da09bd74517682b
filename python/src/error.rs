//! Errors as Python's: a class for each kind, from `keyloom.exceptions`.

use keyloom_common::{Error, ErrorKind};
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
    Ok(PyErr::from_type(class, in_users_words(error.message()).to_owned()))
}

/// A message without what DataFusion and Arrow put around it for those who work on them.
fn in_users_words(message: &str) -> &str {
    const BEFORE: [&str; 7] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Invalid argument error: ",
        "Schema error: ",
        "SQL error: ",
        "Internal error: ",
    ];
    const AFTER: [&str; 2] =
        ["\nThis issue was likely caused by a bug", ".\nThis issue was likely"];
    // A rule of the optimizer that met an error stands before it.
    let mut message = message.rsplit("\ncaused by\n").next().unwrap_or(message);
    while let Some(rest) = BEFORE.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    AFTER.iter().fold(message, |message, after| message.split(after).next().unwrap_or(message))
}
