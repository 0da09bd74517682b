//! `keyloom`: Keyloom's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(keyloom_command::run(std::env::args_os()))
}
