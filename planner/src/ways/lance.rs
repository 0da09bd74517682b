//! The ways to the rows of Lance datasets: the choice, by a dataset's figures and the keys that are
//! expected.

mod index;
mod price;

use keyloom_common::{
    lookup::Fetch,
    report::{Advice, StoreRun},
    store::{
        Access, ForcedAccess, KEY_MAP_BYTES_A_ROW, KeyIndex, KeyPath, LanceFigures, LanceWay,
        RowPath, StoreKey,
        cost::{Keys, Storage},
        is_exact,
    },
};

use self::{
    index::{prefers_index, prefers_key_set},
    price::advice,
};
use super::{Choice, Expected, Ways};

/// The ways of Lance datasets.
#[derive(Debug)]
pub(super) struct Lance;

impl Ways for Lance {
    fn choose(&self, expected: &Expected<'_>) -> Option<Choice> {
        with_question(expected, |question| {
            let (way, reason) = choose(question);
            let access = way.access(question.keys, !question.columns.is_empty());
            Choice { access, reason }
        })
    }

    fn advise(&self, expected: &Expected<'_>) -> Option<Advice> {
        let store = &expected.fetch.store;
        let place = |column: &String| store.schema().index_of(column).ok();
        let key_columns: Vec<_> = store.key().columns().iter().filter_map(place).collect();
        with_question(expected, |question| {
            advice(&store.alias, question, question.row_bytes(&key_columns))
        })
    }

    fn wants_key_set(&self, access: &Access) -> bool {
        LanceWay::of(access).is_ok_and(|way| way.keys == KeyPath::Scan)
    }

    fn report(&self, fetch: &Fetch, run: &mut StoreRun) {
        let (Some(figures), Ok(way)) = (figures_of(fetch), LanceWay::of(&fetch.access)) else {
            return;
        };
        run.key_map_bytes = figures.rows.saturating_mul(KEY_MAP_BYTES_A_ROW);
        run.max_key_map_bytes = figures.max_key_map_bytes;
        run.column_cache_bytes = figures.column_cache_bytes;
        add(&mut run.key_paths, way.keys.to_string());
        if !fetch.columns().is_empty() {
            add(&mut run.row_paths, way.rows.to_string());
        }
    }
}

fn add(paths: &mut Vec<String>, path: String) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// The figures of a fetch's dataset, if it has some. What cannot be read was refused when the store
/// was described.
fn figures_of(fetch: &Fetch) -> Option<LanceFigures> {
    LanceFigures::of(fetch.store.description.figures.as_ref()?).ok()
}

/// Asks something of a fetch; nothing if its dataset has no figures.
fn with_question<T>(expected: &Expected<'_>, ask: impl FnOnce(&Question<'_>) -> T) -> Option<T> {
    let Expected { fetch, keys, keys_at_once, has_key_set } = *expected;
    let (store, figures) = (&fetch.store, figures_of(fetch)?);
    // These were read when the store was described, too.
    let forced = ForcedAccess::of(&store.spec.options).unwrap_or_default();
    let in_flight = store.spec.pace().unwrap_or_default().requests_in_flight;
    let is_exact = is_exact(&store.key_type());
    let key_columns = store.key().columns().iter().filter(|_| !is_exact);
    let compared = key_columns.filter_map(|column| store.schema().index_of(column).ok());
    Some(ask(&Question {
        key: store.key(),
        forced,
        figures: &figures,
        storage: Storage::of(&store.spec.place).with_in_flight(in_flight),
        columns: &fetch.columns(),
        compared: compared.collect(),
        keys,
        keys_at_once,
        has_key_set: has_key_set && figures.uses_key_set(store.key(), is_exact),
    }))
}

/// What is known of a fetch when its way is chosen.
#[derive(Clone, Debug)]
struct Question<'a> {
    /// What the store is keyed by.
    key: &'a StoreKey,
    /// What its options force.
    forced: ForcedAccess,
    /// The store's figures.
    figures: &'a LanceFigures,
    /// Where it is stored.
    storage: Storage,
    /// The columns that are answered; none if only existence is asked for.
    columns: &'a [usize],
    /// The columns of the key, if rows are found by a hash and their keys compared.
    compared: Vec<usize>,
    /// How many keys are expected, if that is known.
    keys: Option<u64>,
    /// The most keys of one request.
    keys_at_once: u64,
    /// Whether the job can collect all keys before it looks them up, and workers make use of that.
    has_key_set: bool,
}

/// Chooses the way, and says by which figures. What is forced must have been checked against the
/// store.
fn choose(question: &Question<'_>) -> (LanceWay, String) {
    let Question { figures, columns, keys: expected_keys, .. } = question;
    let mut reason = vec![match expected_keys {
        Some(1) => format!("1 key of {} rows", figures.rows),
        Some(keys) => format!("{keys} keys of {} rows", figures.rows),
        None => format!("{} rows", figures.rows),
    }];
    if !columns.is_empty() {
        reason.push(format!("{} a row", bytes(question.row_bytes(columns))));
    }
    let (keys, why) = question.key_path();
    reason.extend(why);
    let (rows, why) = question.row_path();
    reason.extend(why);
    (LanceWay { keys, rows }, reason.join(", "))
}

impl Question<'_> {
    fn key_path(&self) -> (KeyPath, Option<String>) {
        let LanceFigures { rows, stable_row_ids, .. } = *self.figures;
        match self.key {
            StoreKey::RowId if stable_row_ids => return (KeyPath::Map, None),
            StoreKey::RowId | StoreKey::Offset => return (KeyPath::Direct, None),
            StoreKey::Columns(_) => {}
        }
        if let Some(forced) = self.forced.keys {
            return (forced, Some("key path forced".to_owned()));
        }
        let map = rows.saturating_mul(KEY_MAP_BYTES_A_ROW);
        // One that is there was made, and fits.
        let is_there = self.figures.mapped.contains(self.key.columns());
        if map > self.figures.max_key_map_bytes && !is_there {
            let path = if self.key_index().is_some() { KeyPath::Btree } else { KeyPath::Scan };
            let bound = bytes(self.figures.max_key_map_bytes);
            return (path, Some(format!("key map of {} over {bound}", bytes(map))));
        }
        let few = |keys| prefers_index(keys, rows, self.unindexed_rows());
        match (self.key_index(), self.keys) {
            (Some(_), Some(keys)) if few(keys) => (KeyPath::Btree, None),
            (_, Some(keys)) if self.has_key_set && prefers_key_set(keys, rows) => {
                (KeyPath::Scan, Some("keys collected first".to_owned()))
            }
            _ => (KeyPath::Map, None),
        }
    }

    fn row_path(&self) -> (RowPath, Option<String>) {
        if self.columns.is_empty() {
            return (RowPath::Take, None);
        }
        if let Some(forced) = self.forced.rows {
            return (forced, Some("row path forced".to_owned()));
        }
        let Some(count) = self.keys else { return (RowPath::Take, None) };
        let keys = Keys { count, at_once: self.keys_at_once };
        let takes = self.takes(keys);
        if takes <= self.scan() {
            return (RowPath::Take, None);
        }
        let (size, room) = (self.columns_bytes(), self.figures.column_cache_bytes);
        if size <= room {
            return (RowPath::Scan, None);
        }
        let path = if takes <= self.scans(keys) { RowPath::Take } else { RowPath::Scan };
        (path, Some(format!("columns of {} over {}", bytes(size), bytes(room))))
    }

    /// What it costs to take the values of the keys' rows.
    fn takes(&self, keys: Keys) -> f64 {
        let take = |&column: &usize| {
            self.storage.take_keys(keys, self.figures.rows, self.value_bytes(column))
        };
        self.columns_read().iter().map(take).sum()
    }

    /// What it costs to read the columns from end to end, once.
    fn scan(&self) -> f64 {
        let scan = |&column: &usize| self.storage.scan(self.figures.rows, self.value_bytes(column));
        self.columns_read().iter().map(scan).sum()
    }

    /// The same for all requests: what is not kept is read at every one.
    fn scans(&self, keys: Keys) -> f64 {
        let (size, room) = (self.columns_bytes(), self.figures.column_cache_bytes);
        let kept = if size <= room { 1.0 } else { room as f64 / size as f64 };
        self.scan() * (kept + (1.0 - kept) * keys.requests())
    }

    /// The bytes of the columns that are read.
    fn columns_bytes(&self) -> u64 {
        self.row_bytes(&self.columns_read()).saturating_mul(self.figures.rows)
    }

    fn key_index(&self) -> Option<KeyIndex> {
        self.figures.key_index(self.key)
    }

    /// The columns that are answered or compared.
    fn columns_read(&self) -> Vec<usize> {
        let mut columns = self.columns.to_vec();
        columns.extend(self.compared.iter().filter(|compared| !self.columns.contains(compared)));
        columns
    }

    fn value_bytes(&self, column: usize) -> u64 {
        self.figures.value_bytes.get(column).copied().unwrap_or_default()
    }

    fn row_bytes(&self, columns: &[usize]) -> u64 {
        columns.iter().map(|&column| self.value_bytes(column)).sum()
    }

    /// About how many rows stand in fragments that the index does not cover.
    fn unindexed_rows(&self) -> u64 {
        let LanceFigures { rows, fragments, .. } = self.figures;
        let covered = self.key_index().map_or(0, |index| index.fragments).min(*fragments);
        let share = (fragments - covered) as f64 / (*fragments).max(1) as f64;
        (*rows as f64 * share) as u64
    }
}

/// A number of bytes, as people read it.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    const LEAST_WITH_UNIT: u64 = 10_240;
    if bytes < LEAST_WITH_UNIT {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests;
