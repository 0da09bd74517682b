//! `keyloom stores check`: opens stores and reads all of their keys.

use std::collections::BTreeMap;

use indicatif::{HumanBytes, HumanCount};
use keyloom_client::{Input, KeyNames, OwnKind, Session};
use keyloom_common::store::{AttachedStore, KEY_MAP_BYTES_A_ROW, LANCE, LanceFigures};
use serde::Serialize;

use super::{CLUSTER, Meant, keys::Keys};
use crate::{
    cli::Form,
    error::Failure,
    open,
    request::{Request, Store},
    text,
    watch::Watch,
};

/// Checks stores, one after the other.
pub(super) async fn check(
    session: &Session,
    stores: BTreeMap<String, Meant>,
    form: Form,
    watch: &Watch,
) -> Result<(), Failure> {
    let mut checked = Vec::new();
    for (alias, store) in stores {
        let context = format!("store '{alias}'");
        let check = match store {
            Meant::Own(store) => own(session, alias, *store, watch).await,
            Meant::OfCluster => of_cluster(session, alias, watch).await,
        };
        checked.push(check.map_err(|failure| failure.context(context))?);
    }
    watch.end();
    let texts = checked.iter().map(|check| match form {
        // A tree of numbers and strings can always be written.
        Form::Json => serde_json::to_string(check).unwrap_or_default(),
        Form::Table => check.table(),
    });
    let between = if form == Form::Json { "\n" } else { "\n\n" };
    text::print(&texts.collect::<Vec<_>>().join(between))
}

/// What holds of a store.
#[derive(Debug, Default, Serialize)]
struct Checked {
    alias: String,
    kind: String,
    /// Who describes it, if it is not the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    key: String,
    /// Absent of stores that cannot be read from end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// Absent where no columns are known to be the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    null_keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated_keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated_rows: Option<u64>,
    /// Bytes of a map from all keys to their rows, in a worker's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_map_bytes: Option<u64>,
    /// The most that the worker has for maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_key_map_bytes: Option<u64>,
    /// Whether there is a BTree index on the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<bool>,
}

async fn own(
    session: &Session,
    alias: String,
    store: Store,
    watch: &Watch,
) -> Result<Checked, Failure> {
    match store {
        Store::Memory { input, key } => memory(session, alias, input, &key, watch).await,
        store => attached(session, alias, store, watch).await,
    }
}

/// A store of files, whose rows are read for its keys alone.
async fn memory(
    session: &Session,
    alias: String,
    input: Input,
    key: &KeyNames,
    watch: &Watch,
) -> Result<Checked, Failure> {
    let source = input.path.clone();
    let rows = watch.step(session.read(input)).await?;
    let keys = Keys::count(session, &alias, Some(rows), key.names(), watch).await?;
    let (kind, key) = ("memory".to_owned(), key.names().join(", "));
    Ok(Checked { alias, kind, source, key, ..Checked::default() }.with(keys))
}

/// A store that is attached, and read as a table.
async fn attached(
    session: &Session,
    alias: String,
    store: Store,
    watch: &Watch,
) -> Result<Checked, Failure> {
    let stores = [(alias.clone(), store)].into();
    let request = Request { stores, sql: "SELECT 1".to_owned(), ..Request::default() };
    open::plan(session, request, watch).await?;
    let store = session.get_kv(&alias).map_err(Failure::before)?;
    opened(session, &store, watch).await
}

/// A store of the cluster's catalog.
async fn of_cluster(session: &Session, alias: String, watch: &Watch) -> Result<Checked, Failure> {
    let store = watch.step(session.find_kv(&alias)).await?;
    let origin = Some(CLUSTER.to_owned());
    Ok(Checked { origin, ..opened(session, &store, watch).await? })
}

/// A store that is open.
async fn opened(
    session: &Session,
    store: &AttachedStore,
    watch: &Watch,
) -> Result<Checked, Failure> {
    let checked = Checked {
        alias: store.alias.clone(),
        kind: store.spec.kind.clone(),
        source: store.spec.place.clone(),
        snapshot: Some(store.description.snapshot.to_string()),
        key: store.key_in_words(),
        ..Checked::default()
    };
    let checked = with_figures(checked, store);
    let columns = store.key().map_or(&[][..], |(key, _)| key.columns());
    let can_be_read = OwnKind::of(&store.spec.kind).is_some();
    if columns.is_empty() || !can_be_read {
        return Ok(checked);
    }
    Ok(checked.with(Keys::count(session, &store.alias, None, columns, watch).await?))
}

/// What the worker that opened the store knows without reading keys.
fn with_figures(checked: Checked, store: &AttachedStore) -> Checked {
    let Some(figures) = &store.description.figures else { return checked };
    let checked = Checked { rows: Some(figures.rows), ..checked };
    let key = store.key().map(|(key, _)| key).filter(|key| !key.columns().is_empty());
    let is_dataset = store.spec.kind == LANCE;
    // What cannot be read was refused when the store was attached.
    let figures = is_dataset.then(|| LanceFigures::of(figures).ok()).flatten();
    let Some((key, figures)) = key.zip(figures) else { return checked };
    Checked {
        key_map_bytes: Some(figures.rows.saturating_mul(KEY_MAP_BYTES_A_ROW)),
        max_key_map_bytes: Some(figures.max_key_map_bytes),
        index: Some(figures.key_index(key).is_some()),
        ..checked
    }
}

impl Checked {
    fn with(self, keys: Keys) -> Self {
        Self {
            rows: Some(keys.rows),
            null_keys: Some(keys.nulls),
            repeated_keys: Some(keys.repeated),
            repeated_rows: Some(keys.repeated_rows),
            ..self
        }
    }

    fn table(&self) -> String {
        let counted = |count: Option<u64>| count.map(|count| HumanCount(count).to_string());
        let repeated = self.repeated_keys.zip(self.repeated_rows).map(|(keys, rows)| match keys {
            0 => "0".to_owned(),
            keys => format!("{} in {} rows", HumanCount(keys), HumanCount(rows)),
        });
        let map = self.key_map_bytes.zip(self.max_key_map_bytes).map(|(bytes, most)| {
            let fits = if bytes <= most { "fits into" } else { "is more than" };
            format!("{} {fits} max_key_map_bytes = {}", HumanBytes(bytes), HumanBytes(most))
        });
        let index = self.index.map(|index| if index { "btree" } else { "none" }.to_owned());
        let facts = [
            ("origin", self.origin.clone()),
            ("snapshot", self.snapshot.clone()),
            ("key", Some(self.key.clone())),
            ("rows", counted(self.rows)),
            ("null keys", counted(self.null_keys)),
            ("repeated", repeated),
            ("key map", map),
            ("index", index),
        ];
        let facts = facts.into_iter().filter_map(|(fact, value)| Some((fact, value?)));
        let mut lines = vec![format!("{}  {}  {}", self.alias, self.kind, self.source)];
        lines.extend(facts.map(|(fact, value)| format!("{fact:9}  {value}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_in_lines() {
        let keys = Keys { rows: 2000, nulls: 1, repeated: 2, repeated_rows: 5 };
        let checked = Checked {
            alias: "p".to_owned(),
            kind: "lance".to_owned(),
            source: "p.lance".to_owned(),
            snapshot: Some("v1".to_owned()),
            key: "id".to_owned(),
            key_map_bytes: Some(26_000),
            max_key_map_bytes: Some(1 << 30),
            index: Some(false),
            ..Checked::default()
        };
        assert_eq!(
            checked.with(keys).table(),
            "p  lance  p.lance\n\
             snapshot   v1\n\
             key        id\n\
             rows       2,000\n\
             null keys  1\n\
             repeated   2 in 5 rows\n\
             key map    25.39 KiB fits into max_key_map_bytes = 1.00 GiB\n\
             index      none"
        );
    }
}
