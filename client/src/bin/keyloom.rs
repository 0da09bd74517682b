//! `keyloom`: Keyloom's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(keyloom_client::command::run(std::env::args_os()))
}
