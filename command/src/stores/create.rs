//! `keyloom stores create`: a Lance store of an input's rows.

use indicatif::HumanCount;
use keyloom_client::NewStore;
use serde::Serialize;

use super::keys::Keys;
use crate::{
    cli::{CreateArguments, Form},
    error::Failure,
    open, store_flag, text,
    watch::Watch,
};

/// A store that was made, as `-o json` shows it.
#[derive(Debug, Serialize)]
struct Created {
    source: String,
    rows: u64,
    version: u64,
    key: Vec<String>,
    /// Whether the key is the dataset's primary key.
    primary_key: bool,
    null_keys: u64,
    repeated_keys: u64,
    repeated_rows: u64,
}

/// Makes a store, after telling what is wrong with its keys.
pub(super) async fn create(arguments: CreateArguments, watch: &Watch) -> Result<(), Failure> {
    let CreateArguments { store, from, key, index, overwrite, storage_options, place, print } =
        arguments;
    let input = store_flag::unnamed_input(&from)
        .map_err(|message| Failure::mistake(format!("--from {from}: {message}")))?;
    let (settings, _) = open::layered(&place)?;
    let new = NewStore::new(&store, key.clone()).map_err(Failure::before)?;
    let new = new.index(index).overwrite(overwrite).storage_options(storage_options);
    if !overwrite && watch.step(new.is_there(&settings)).await? {
        let message = format!("there is a Lance dataset at {store}, which is not overwritten");
        return Err(Failure::mistake(message)
            .help("--overwrite replaces it by a new version; the old one can still be read"));
    }
    let session = open::session(&place, watch).await?;
    let rows = watch.step(session.read(input)).await?;
    watch.step(new.check(&rows, &settings)).await?;
    let keys = Keys::count(&session, "rows", Some(rows.clone()), &key, watch).await?;
    if let Some(complaint) = keys.complaint() {
        let key = key.join(", ");
        watch.aside(|| text::note(&format!("warning: {complaint}: {key} is no primary key")));
    }
    let new = new.declare_key(keys.are_unique());
    let (rows, version) = watch.step(new.write(&session, rows, &settings)).await?;
    watch.end();
    if rows != keys.rows {
        let (written, counted) = (HumanCount(rows), HumanCount(keys.rows));
        let message = format!(
            "{store} was made of {written} rows, and the keys of {counted} were counted: the input \
             changed meanwhile"
        );
        return Err(Failure::failed(message).help("make it again, with --overwrite"));
    }
    let created = Created {
        source: store,
        rows,
        version,
        key,
        primary_key: keys.are_unique(),
        null_keys: keys.nulls,
        repeated_keys: keys.repeated,
        repeated_rows: keys.repeated_rows,
    };
    match print.format {
        // A tree of numbers and strings can always be written.
        Form::Json => text::print(&serde_json::to_string(&created).unwrap_or_default()),
        Form::Table => text::print(&created.text()),
    }
}

impl Created {
    fn text(&self) -> String {
        let Self { source, rows, version, .. } = self;
        let (key, count) = (self.key.join(","), HumanCount(*rows));
        let rows = if *rows == 1 { "row" } else { "rows" };
        let by = if self.primary_key { String::new() } else { format!("?key={key}") };
        format!(
            "{source}: version {version}, {count} {rows} by {key}\n\
             to use it: --store 'ALIAS=lance:{source}{by}'"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_to_use_the_store() {
        let created = |primary_key| Created {
            source: "stock.lance".to_owned(),
            rows: 1234,
            version: 1,
            key: vec!["store".to_owned(), "article".to_owned()],
            primary_key,
            null_keys: 0,
            repeated_keys: 0,
            repeated_rows: 0,
        };
        let head = "stock.lance: version 1, 1,234 rows by store,article";
        let use_it = "to use it: --store 'ALIAS=lance:stock.lance";
        assert_eq!(created(true).text(), format!("{head}\n{use_it}'"));
        assert_eq!(created(false).text(), format!("{head}\n{use_it}?key=store,article'"));
    }
}
