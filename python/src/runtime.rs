//! Waiting for Rust from Python: one runtime a process, other Python threads go on meanwhile, and
//! Ctrl-C ends the wait.
//!
//! A forked child has none of its parent's threads. What belongs to its parent ([`OfProcess`], its
//! runtime among it) refuses to work there, and is never dropped there. A child gets no runtime of
//! its own in its place: locks of this process (`parking_lot`'s) still list the threads that are gone,
//! in memory that is given to new ones.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyloom_common::{Error, Result};
use pyo3::{prelude::*, sync::PyOnceLock};
use tokio::runtime::Runtime;

use crate::error::raise;

/// How often a wait looks whether the user has interrupted it.
const SIGNALS: Duration = Duration::from_millis(100);

/// The runtime of a process. It is only looked at by threads that hold the GIL, as one that forks
/// does: no child finds it locked.
static RUNTIME: Mutex<Option<OfProcess<Arc<Runtime>>>> = Mutex::new(None);

/// The runtime of this process.
///
/// # Errors
/// `invalid` if it was started before this process was forked.
pub(crate) fn runtime() -> Result<Arc<Runtime>> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = runtime.as_ref() {
        return runtime.get().cloned();
    }
    let started = tokio::runtime::Builder::new_multi_thread()
        .thread_name("keyloom-client")
        .enable_all()
        .build()
        .map_err(|error| Error::resource_exhausted(format!("no threads: {error}")))?;
    let started = Arc::new(started);
    *runtime = Some(OfProcess::new(Arc::clone(&started)));
    Ok(started)
}

/// Waits for a future. Ctrl-C drops it and raises `KeyboardInterrupt`, on the main thread, which
/// alone hears signals. Other threads do not touch Python while they wait: it may have ended
/// meanwhile.
pub(crate) fn wait<T, F>(py: Python<'_>, future: F) -> PyResult<T>
where
    T: Send,
    F: Future<Output = PyResult<T>> + Send,
{
    let (runtime, hears) = (runtime().map_err(raise)?, is_main_thread(py)?);
    py.detach(|| match hears {
        true => until_signal(&runtime, future)?,
        false => runtime.block_on(future),
    })
}

pub(crate) fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let threading = THREADING.get_or_try_init(py, || py.import("threading").map(Bound::unbind))?;
    let threading = threading.bind(py);
    let (main, this) =
        (threading.call_method0("main_thread")?, threading.call_method0("current_thread")?);
    Ok(main.is(&this))
}

/// What a future answers, unless a signal comes before. For the main thread.
///
/// Handlers of signals run here, outside of the runtime, as they may wait for something themselves.
pub(crate) fn until_signal<T>(runtime: &Runtime, future: impl Future<Output = T>) -> PyResult<T> {
    let mut future = pin!(future);
    loop {
        match runtime.block_on(async { tokio::time::timeout(SIGNALS, &mut future).await }) {
            Ok(done) => return Ok(done),
            Err(_) => Python::attach(|py| py.check_signals())?,
        }
    }
}

/// What works only in the process that made it.
pub(crate) struct OfProcess<T> {
    /// There until it is dropped.
    value: Option<T>,
    process: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), process: std::process::id() }
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// The value.
    ///
    /// # Errors
    /// `invalid` in another process.
    pub(crate) fn get(&self) -> Result<&T> {
        self.value.as_ref().filter(|_| self.is_ours()).ok_or_else(forked)
    }

    /// As [`Self::get`].
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        let ours = self.is_ours();
        self.value.as_mut().filter(|_| ours).ok_or_else(forked)
    }
}

fn forked() -> Error {
    Error::invalid(
        "keyloom was used before this process was forked, and does not survive fork(): start \
         processes with multiprocessing's 'spawn' or 'forkserver', or fork before its first use",
    )
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.value.take());
        }
    }
}

impl<T> fmt::Debug for OfProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfProcess").field("process", &self.process).finish_non_exhaustive()
    }
}
