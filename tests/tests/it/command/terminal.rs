//! A command on a pseudo-terminal: keys that are pressed there, and what it shows.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};
use tokio::{
    process::Child,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Keyloom, TIMEOUT};

const ESCAPE: u8 = 0x1b;

/// A terminal of 80 columns with a command in front. Dropping it kills the command.
pub(super) struct Terminal {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    /// All that the command wrote.
    written: Vec<u8>,
    /// How many bytes of what is shown were seen.
    seen: usize,
}

impl Terminal {
    pub(super) fn start(mut command: Keyloom) -> Result<Self> {
        // Programs of other tests do not inherit it, so that it is gone when the command is.
        let own = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&own)?;
        unlockpt(&own)?;
        let mut of_command = OpenOptions::new();
        of_command.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        let of_command = of_command.open(ptsname_r(&own)?)?;
        command.0.stdin(of_command.try_clone()?).stdout(of_command.try_clone()?).stderr(of_command);
        let child = command.env("TERM", "xterm").start()?;
        let keyboard = File::from(OwnedFd::from(own));
        let (shown, screen) = mpsc::channel(64);
        let mut reader = keyboard.try_clone()?;
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Once nobody has the command's side open, reading is an error.
            while let Ok(count) = reader.read(&mut bytes) {
                if count == 0 || shown.blocking_send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, keyboard, screen, written: Vec::new(), seen: 0 })
    }

    /// Presses keys.
    pub(super) fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits until a text is shown behind what was seen before, for a bounded time.
    pub(super) async fn sees(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let shown = self.shown();
            let rest = shown.get(self.seen..).unwrap_or_default();
            if let Some(at) = rest.find(text) {
                self.seen += at + text.len();
                return Ok(());
            }
            let more = timeout_at(deadline, self.screen.recv()).await;
            let more = more.with_context(|| format!("no {text:?} in {rest:?}"))?;
            let more = more.with_context(|| format!("it ended without {text:?} in {rest:?}"))?;
            self.written.extend(more);
        }
    }

    /// All that was shown: without control characters, but for the ends of lines, and without what
    /// moves the cursor. What was shown over something else stands behind it.
    pub(super) fn shown(&self) -> String {
        let (mut shown, mut bytes) = (Vec::new(), self.written.iter().copied());
        while let Some(byte) = bytes.next() {
            match byte {
                ESCAPE if bytes.next() == Some(b'[') => {
                    for byte in bytes.by_ref() {
                        if (b'@'..=b'~').contains(&byte) {
                            break;
                        }
                    }
                }
                byte if byte.is_ascii_control() && byte != b'\n' => {}
                byte => shown.push(byte),
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until the command has ended, for a bounded time. Its exit code.
    pub(super) async fn ends(mut self) -> Result<Option<i32>> {
        let ended = timeout(TIMEOUT, self.child.wait()).await;
        Ok(ended.context("it does not end")??.code())
    }
}
