//! Runtimes beside the caller's: what they run goes on, whichever runtimes callers use and drop
//! meanwhile, and however long it takes.

use crate::{
    error::{Error, Result},
    stack::{BLOCKING_THREADS, STACK_BYTES},
};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that stop when this is dropped.
#[derive(Debug)]
pub struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts threads under a name.
    ///
    /// # Errors
    /// `resource_exhausted` if there are no more threads to be had.
    pub fn start(name: &str, threads: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name(name)
            .worker_threads(threads)
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .map_err(|error| Error::resource_exhausted(format!("no threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed here if the session is dropped within a runtime.
            runtime.shutdown_background();
        }
    }
}
