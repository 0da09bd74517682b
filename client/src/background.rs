//! The runtime of a cluster within the process: what it runs goes on, whichever runtimes its callers use
//! and drop meanwhile.

use keyloom_common::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    pub(crate) fn start(threads: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("keyloom")
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|error| Error::resource_exhausted(format!("no threads: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(crate) fn handle(&self) -> &Handle {
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
