//! The line editor, on a thread of its own: reading a line blocks. It completes names, goes on over
//! several lines until a statement ends, and keeps what was typed for the next shell.

use std::{
    env, fs,
    io::{self, IsTerminal, Write, stdin, stdout},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc as asking},
    thread,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::sync::mpsc;

use super::{split::split, words::Words};
use crate::{error::Failure, text};

const PROMPT: &str = "keyloom> ";

/// Tells a terminal not to mark any more what is pasted.
const NO_PASTE_MARKS: &[u8] = b"\x1b[?2004l\n";

/// How many statements are kept.
const HISTORY: usize = 1000;

/// What a user typed.
#[derive(Debug)]
pub(super) enum Typed {
    Text(String),
    /// Ctrl-C: what was typed is not wanted.
    Nothing,
    /// Ctrl-D.
    End,
    /// The terminal cannot be read.
    Failed(String),
}

/// Who reads what is typed.
#[derive(Debug)]
pub(super) struct Terminal {
    asking: asking::Sender<()>,
    typed: mpsc::Receiver<Typed>,
    /// Whether it was asked and has not answered: who waited for it gave up.
    is_asked: bool,
    words: Arc<Mutex<Words>>,
    /// How the terminal was before anything was read.
    before: Option<Termios>,
}

/// A thread that is still reading leaves the terminal as it needs it, without echo.
impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = self.before.as_ref().filter(|_| self.is_asked) {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
            if stdout().is_terminal() {
                let _ = stdout().write_all(NO_PASTE_MARKS);
            }
        }
    }
}

impl Terminal {
    pub(super) fn open() -> Result<Self, Failure> {
        let (words, before) = (Arc::<Mutex<Words>>::default(), tcgetattr(stdin()).ok());
        let (asking, asked) = asking::channel();
        let (answers, typed) = mpsc::channel(1);
        let names = Names(Arc::clone(&words));
        let started = thread::Builder::new().name("keyloom-shell".to_owned());
        let started = started.spawn(move || read(names, &asked, &answers));
        started.map_err(|error| Failure::failed(format!("no threads: {error}")))?;
        Ok(Self { asking, typed, is_asked: false, words, before })
    }

    /// What names complete to from now on.
    pub(super) fn set_words(&self, words: Words) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Waits for what is typed next.
    pub(super) async fn read(&mut self) -> Typed {
        if !self.is_asked {
            // A thread that is gone has said why.
            let _ = self.asking.send(());
            self.is_asked = true;
        }
        let typed = self.typed.recv().await;
        self.is_asked = false;
        typed.unwrap_or(Typed::End)
    }
}

/// Reads as often as it is asked to.
fn read(names: Names, asked: &asking::Receiver<()>, answers: &mpsc::Sender<Typed>) {
    let mut lines = match Lines::open(names) {
        Ok(lines) => lines,
        Err(error) => {
            let _ = answers.blocking_send(Typed::Failed(error.to_string()));
            return;
        }
    };
    while asked.recv().is_ok() {
        let typed = lines.read();
        if answers.blocking_send(typed).is_err() {
            break;
        }
    }
}

/// The editor and where its history is kept.
struct Lines {
    editor: Editor<Names, FileHistory>,
    history: Option<PathBuf>,
}

impl Lines {
    fn open(names: Names) -> rustyline::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(names));
        let history = history();
        if let Some(path) = history.as_deref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            text::note(&format!("warning: {} cannot be read: {error}", path.display()));
        }
        Ok(Self { editor, history })
    }

    fn read(&mut self) -> Typed {
        match self.editor.readline(PROMPT) {
            Ok(text) => {
                self.keep(&text);
                Typed::Text(text)
            }
            Err(ReadlineError::Interrupted) => Typed::Nothing,
            Err(ReadlineError::Eof) => Typed::End,
            // As what is pasted from elsewhere may be.
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                text::note("warning: what was typed is no UTF-8, and is left out");
                Typed::Nothing
            }
            Err(error) => Typed::Failed(error.to_string()),
        }
    }

    /// Keeps a text for this shell and for the next. Where that fails, it is said once.
    fn keep(&mut self, text: &str) {
        if text.trim().is_empty() || !self.editor.add_history_entry(text).unwrap_or(false) {
            return;
        }
        let Some(path) = &self.history else { return };
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| e.to_string());
        // Other shells may have kept something since, which stays.
        let kept =
            made.and_then(|()| self.editor.append_history(path).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            text::note(&format!("warning: {} cannot be written: {error}", path.display()));
            self.history = None;
        }
    }
}

/// The file of what was typed before, where the XDG base directories have it.
fn history() -> Option<PathBuf> {
    let folder =
        |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("keyloom").join("history"))
}

/// What names complete to, as the editor asks for it.
struct Names(Arc<Mutex<Words>>);

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).complete(line, pos))
    }
}

impl Validator for Names {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let (_, rest) = split(typed.input());
        Ok(if rest.is_empty() {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Helper for Names {}
