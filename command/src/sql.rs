//! `keyloom sql`: a statement, its inputs and its stores from the command line.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, stdin},
    path::PathBuf,
};

use keyloom_client::ShuffleChoice;

use crate::{
    catalog,
    cli::{Sources, SqlArguments, Terms},
    error::Failure,
    params,
    request::Request,
    run, summary_file,
    watch::Watch,
};

/// Runs a statement.
pub(crate) async fn statement(arguments: SqlArguments, watch: &Watch) -> Result<(), Failure> {
    let SqlArguments { sql, file, params, sources, catalog, planning, place, show } = arguments;
    let running = async {
        let Sources { inputs, stores, current } = sources;
        let (inputs, stores) = (named("--input", inputs)?, named("--store", stores)?);
        let sql = text(sql, file)?;
        let mut request = Request {
            inputs,
            stores,
            current_store: current,
            join_path: planning.join_path,
            shuffle: ShuffleChoice { shuffle: planning.shuffle, ..ShuffleChoice::default() },
            sql,
            ..Request::default()
        };
        catalog::complete(&catalog, &mut request)?;
        params::fill(&mut request, params.given)?;
        run::statement(request, &place, false, &show, Terms::default(), watch).await
    };
    summary_file::told(&show, watch, running).await
}

/// The statement: as it is, from a file, or from stdin.
fn text(sql: Option<String>, file: Option<PathBuf>) -> Result<String, Failure> {
    let (from, text) = match (sql, file) {
        (Some(sql), _) if sql != "-" => return Ok(sql),
        (None, Some(file)) if file.as_os_str() != "-" => {
            (file.display().to_string(), fs::read_to_string(&file))
        }
        _ => ("stdin".to_owned(), from_stdin()),
    };
    let text = text.map_err(|error| {
        Failure::mistake(format!("statement from {from}: {error}"))
            .help("-f names a file that holds the statement; --format says how rows are printed")
    })?;
    // Some editors put a byte order mark before it.
    let text = text.strip_prefix('\u{feff}').map_or(text.clone(), ToOwned::to_owned);
    if text.trim().is_empty() {
        return Err(Failure::mistake(format!("statement from {from}: there is none")));
    }
    Ok(text)
}

fn from_stdin() -> io::Result<String> {
    let mut text = String::new();
    stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// What flags gave, by name.
pub(crate) fn named<T>(
    flag: &str,
    given: Vec<(String, T)>,
) -> Result<BTreeMap<String, T>, Failure> {
    let mut named = BTreeMap::new();
    for (name, value) in given {
        if named.contains_key(&name) {
            return Err(Failure::mistake(format!("{flag} names '{name}' twice")));
        }
        named.insert(name, value);
    }
    Ok(named)
}
