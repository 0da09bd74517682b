//! `keyloom-coordinator`: the coordinator as a process that listens on TCP.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(keyloom_coordinator_daemon::run(std::env::args_os()))
}
