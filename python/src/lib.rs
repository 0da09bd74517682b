//! The compiled half of the Python package `keyloom`: sessions, frames, expressions, stores and
//! jobs of `keyloom-client` as Python classes. What users see is the Python half, in
//! `python/keyloom`: names, defaults, docstrings and types live there, and this module checks
//! nothing twice.
//!
//! In reading order: [`session`] is where everything begins; [`frame`] and [`expr`] build plans,
//! with [`bind`], [`aggregate`] and [`join`] beside them;
//! [`job`] runs them, and [`handle`] is for those that go on by themselves; [`lookup`] asks
//! stores without any; [`arrow`] carries rows in and out without copies; [`runtime`] waits without
//! holding Python up; [`error`] says in Python what went wrong.
//! [`command`] runs Keyloom's programs.

mod aggregate;
mod arrow;
mod bind;
mod command;
mod error;
mod expr;
mod frame;
mod handle;
mod job;
mod join;
mod lookup;
mod runtime;
mod session;
mod store;

use pyo3::prelude::*;

#[pymodule]
fn _keyloom(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("BUILD", keyloom_common::BUILD)?;
    module.add_function(wrap_pyfunction!(command::run_command, module)?)?;
    module.add_class::<arrow::Batches>()?;
    module.add_class::<expr::Expr>()?;
    module.add_class::<frame::Frame>()?;
    module.add_class::<handle::JobHandle>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<lookup::Lookup>()?;
    module.add_class::<lookup::OpenStore>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<store::Store>()?;
    Ok(())
}
