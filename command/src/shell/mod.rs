//! `keyloom shell`: statements as they are typed, in one session.
//!
//! [`split`] tells where statements end, [`words`] what names complete to; the [`editor`] is what
//! users type into. Inputs and stores are opened when a statement first names them.

mod editor;
mod split;
mod words;

use std::{
    collections::BTreeSet,
    io::{IsTerminal, Read, stdin},
};

use datafusion::sql::TableReference;
use keyloom_client::{ClusterCatalog, Function, Session};
use keyloom_program::signals::{Ending, Signals};
use tokio::task::spawn_blocking;

use self::{
    editor::{Terminal, Typed},
    split::{Piece, split},
    words::Words,
};
use crate::{
    catalog::Catalog,
    cli::{RowForm, ShellArguments, Sources, Summary},
    error::Failure,
    interruptible, open,
    request::Request,
    run::{self, Goals},
    sink::Goal,
    sql, stores, text,
    watch::Watch,
};

const COMMANDS: [&str; 4] = [".help", ".quit", ".stores", ".tables"];

const HELP: &str = "\
Statements end with ; and may have several lines. Tables are inputs and stores by their names, and
paths in single quotes: SELECT * FROM 'items.parquet';
Ctrl-C cancels the statement that runs, Ctrl-D ends the shell, Tab completes names.
.stores  the stores that statements can name
.tables  the inputs that statements can name
.quit    ends the shell";

/// Runs statements until there are no more.
pub(crate) async fn start(
    arguments: ShellArguments,
    quiet: bool,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let ShellArguments { sources, format, all, catalog, place } = arguments;
    let Sources { inputs, stores, current } = sources;
    let mut known = Catalog::open(&catalog)?.unwrap_or_default();
    // What flags name goes before.
    known.inputs.extend(sql::named("--input", inputs)?);
    known.stores.extend(sql::named("--store", stores)?);
    let watch = Watch::start(quiet);
    let mut opened = None;
    let opening = async {
        let session = open::session(&place, &watch).await?;
        let cluster = watch.step(session.cluster_catalog()).await?;
        opened = Some((session, cluster));
        Ok::<(), Failure>(())
    };
    let (ended, ending) = interruptible(opening, &watch, signals).await;
    ended.map_err(|failure| match ending {
        Some(ending) => failure.ended_by(ending),
        None => failure,
    })?;
    watch.end();
    let Some((session, cluster)) = opened else { return Ok(()) };
    let on_cluster = place.cluster().is_some();
    let shell = Shell { session, known, cluster, current, format, all, on_cluster, quiet };
    match stdin().is_terminal() {
        true => shell.converse(signals).await,
        false => shell.obey(signals).await,
    }
}

/// All that stdin says.
fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::mistake(format!("statements from stdin: {error}")))?;
    Ok(text)
}

/// A session, and what its statements may name.
struct Shell {
    session: Session,
    known: Catalog,
    /// What statements may name that the cluster describes.
    cluster: ClusterCatalog,
    current: Option<String>,
    format: RowForm,
    all: bool,
    on_cluster: bool,
    /// Whether no progress is shown.
    quiet: bool,
}

/// Whether a shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Quit,
}

impl Shell {
    /// Reads a terminal. What fails is told, and the next statement is read.
    async fn converse(self, signals: &mut Signals) -> Result<(), Failure> {
        let mut terminal = Terminal::open()?;
        text::note("statements end with ; and .help tells more");
        loop {
            terminal.set_words(self.words().await);
            let typed = tokio::select! {
                typed = terminal.read() => typed,
                ending = signals.next() => match ending {
                    Ending::Interrupted => continue,
                    Ending::Terminated => return Err(Failure::interrupted().ended_by(ending)),
                },
            };
            let text = match typed {
                Typed::Text(text) => text,
                Typed::Nothing => continue,
                Typed::End => return Ok(()),
                Typed::Failed(error) => {
                    return Err(Failure::failed(format!("the terminal cannot be read: {error}")));
                }
            };
            for piece in split(&text).0 {
                match self.piece(piece, signals).await {
                    (Ok(Next::Quit), _) => return Ok(()),
                    // Also if the statement was done before it could be cancelled.
                    (ended, Some(ending @ Ending::Terminated)) => {
                        let failure = ended.err().unwrap_or_else(Failure::interrupted);
                        return Err(failure.ended_by(ending));
                    }
                    (Ok(Next::GoOn), None) => {}
                    (Ok(Next::GoOn), Some(Ending::Interrupted)) => break,
                    (Err(failure), _) => {
                        failure.tell();
                        break;
                    }
                }
            }
        }
    }

    /// Runs all that stdin says, until something fails.
    async fn obey(self, signals: &mut Signals) -> Result<(), Failure> {
        let text = tokio::select! {
            read = spawn_blocking(from_stdin) => {
                read.map_err(|error| Failure::failed(format!("stdin cannot be read: {error}")))??
            }
            ending = signals.next() => return Err(Failure::interrupted().ended_by(ending)),
        };
        let (mut pieces, rest) = split(&text);
        // The last statement may end with the text.
        if !rest.is_empty() {
            pieces.push(Piece::Statement(rest.to_owned()));
        }
        for piece in pieces {
            match self.piece(piece, signals).await {
                (Ok(Next::Quit), _) => return Ok(()),
                (Ok(Next::GoOn), None) => {}
                // It was done before it could be cancelled; what follows it is not wanted.
                (Ok(Next::GoOn), Some(ending)) => {
                    return Err(Failure::interrupted().ended_by(ending));
                }
                (Err(failure), Some(ending)) => return Err(failure.ended_by(ending)),
                (Err(failure), None) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn piece(
        &self,
        piece: Piece,
        signals: &mut Signals,
    ) -> (Result<Next, Failure>, Option<Ending>) {
        let sql = match piece {
            Piece::Command(command) => return (self.command(&command), None),
            Piece::Statement(sql) => sql,
        };
        let watch = Watch::start(self.quiet);
        if self.on_cluster {
            watch.on_cluster(&self.session);
        }
        let (ended, ending) = interruptible(self.statement(sql, &watch), &watch, signals).await;
        watch.end();
        (ended.map(|()| Next::GoOn), ending)
    }

    async fn statement(&self, sql: String, watch: &Watch) -> Result<(), Failure> {
        let current_store = self.current.clone();
        let mut request = Request { sql, current_store, ..Request::default() };
        self.known.clone().complete(&mut request);
        request.inputs.retain(|name, _| !self.has_table(name));
        request.stores.retain(|alias, _| !self.session.has_kv(alias));
        let goal = Goal::Print { form: self.format, all: self.all };
        let goals = Goals::of_rows(goal);
        run::on_session(&self.session, request, goals, Summary::Text, watch).await.map(drop)
    }

    fn has_table(&self, name: &str) -> bool {
        // One that cannot be asked for is told of when a statement is planned.
        self.session.context().table_exist(TableReference::bare(name)).unwrap_or_default()
    }

    fn command(&self, command: &str) -> Result<Next, Failure> {
        match command {
            ".quit" | ".exit" => return Ok(Next::Quit),
            ".help" => text::print(HELP)?,
            ".stores" => {
                let (own, of_cluster) = (&self.known.stores, &self.cluster.stores);
                text::print(&match own.is_empty() && of_cluster.is_empty() {
                    true => "there are no stores".to_owned(),
                    false => stores::in_columns(own.clone(), of_cluster.clone()),
                })?;
            }
            ".tables" => {
                let names = self.known.inputs.keys().chain(self.cluster.inputs.keys());
                let names: BTreeSet<_> = names.map(String::as_str).collect();
                match Vec::from_iter(names).as_slice() {
                    [] => text::print("there are no inputs")?,
                    names => text::print(&names.join("\n"))?,
                }
            }
            other => {
                let message = format!("there is no command '{other}'");
                return Err(
                    Failure::mistake(message).help(format!("there are {}", COMMANDS.join(", ")))
                );
            }
        }
        Ok(Next::GoOn)
    }

    /// What names complete to: what there is, and the columns of what was opened.
    async fn words(&self) -> Words {
        let mut names: BTreeSet<String> =
            self.known.inputs.keys().chain(self.known.stores.keys()).cloned().collect();
        names.extend(self.cluster.inputs.keys().chain(self.cluster.stores.keys()).cloned());
        for alias in self.session.list_kv() {
            if let Ok(store) = self.session.get_kv(&alias) {
                names.extend(store.schema().fields().iter().map(|field| field.name().clone()));
            }
        }
        for name in self.known.inputs.keys().filter(|name| self.has_table(name)) {
            let table = self.session.context().table_provider(TableReference::bare(name.as_str()));
            if let Ok(table) = table.await {
                names.extend(table.schema().fields().iter().map(|field| field.name().clone()));
            }
        }
        let state = self.session.context().state();
        names.extend(state.scalar_functions().keys().cloned());
        names.extend(state.aggregate_functions().keys().cloned());
        names.extend(state.window_functions().keys().cloned());
        names.extend(Function::ALL.iter().map(|function| function.name().to_owned()));
        Words { names, commands: &COMMANDS }
    }
}
