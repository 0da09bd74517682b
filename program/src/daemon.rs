//! What the coordinator's program and the worker's do alike.

use std::io::{Write, stderr};

use anyhow::{Context, Result};
use keyloom_common::stack::{BLOCKING_THREADS, STACK_BYTES};
use tokio::runtime::{Builder, Runtime};

/// What daemons log unless `KEYLOOM_LOG` says otherwise.
pub const LOG: &str = "info,lance=warn,datafusion=warn,tarpc=warn";

/// Threads with room for deep plans: so many that compute, or one a core.
///
/// # Errors
/// If there are no threads to be had.
pub fn runtime(threads: Option<usize>) -> Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES);
    runtime.max_blocking_threads(BLOCKING_THREADS).build().context("no threads")
}

/// Says on stderr why the program ends, and gives the exit code.
pub fn fail(code: u8, error: &anyhow::Error) -> u8 {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(stderr(), "error: {error:#}");
    code
}
