//! `keyloom-worker`: a worker as a process that serves a coordinator.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(keyloom_worker_daemon::run(std::env::args_os()))
}
