//! The commands, which come with the package: one installation makes a machine a worker of this
//! build.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs one of the commands, by its name and its arguments, and returns its exit code. Signals are
/// the command's from here on.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let name = arguments.first().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    py.detach(|| match name.as_str() {
        "keyloom-coordinator" => keyloom_coordinator_daemon::run(arguments),
        "keyloom-worker" => keyloom_worker_daemon::run(arguments),
        _ => keyloom_command::run(arguments),
    })
}
