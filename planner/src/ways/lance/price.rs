//! What each way is estimated to cost, by the model that chooses, and what would make one cheaper.
//!
//! A map costs what building it costs, though it stays for later jobs: that is why it may be chosen
//! where another way would cost less this once.

use keyloom_common::{
    report::{Advice, Hint, Way, words},
    store::{KEY_MAP_BYTES_A_ROW, KeyIndex, KeyPath, LanceFigures, RowPath, StoreKey, cost::Keys},
};

use super::{
    Question, choose,
    index::{by_index, key_map},
};

/// The settings of workers of which there may be too little.
const COLUMN_CACHE_BYTES: &str = "store.column_cache_bytes";
const MAX_KEY_MAP_BYTES: &str = "store.max_key_map_bytes";

/// Nanoseconds, which costs are, in a second.
const NS: f64 = 1e9;

/// What the ways of a fetch cost, whose keys take so many bytes each.
pub(super) fn advice(store: &str, question: &Question<'_>, key_bytes: u64) -> Advice {
    let count = question.keys.unwrap_or(question.figures.rows);
    let keys = Keys { count, at_once: question.keys_at_once };
    let priced = Priced { question: question.clone(), keys, key_bytes };
    Advice {
        store: store.to_owned(),
        key: question.key.to_string(),
        keys: count,
        keys_are_known: question.keys.is_some(),
        rows: question.figures.rows,
        ways: priced.ways(),
        hints: priced.hints(),
    }
}

/// A question whose keys are counted.
#[derive(Clone, Debug)]
struct Priced<'a> {
    question: Question<'a>,
    keys: Keys,
    /// The bytes of a key.
    key_bytes: u64,
}

/// What a part of a way costs, in nanoseconds, and the bytes that it keeps; or why it is not there.
type Price = Result<(f64, u64), String>;

impl Priced<'_> {
    fn ways(&self) -> Vec<Way> {
        let (chosen_keys, chosen_rows) = self.chosen();
        let key_paths = match self.question.key {
            StoreKey::Columns(_) => vec![KeyPath::Map, KeyPath::Btree, KeyPath::Scan],
            StoreKey::RowId | StoreKey::Offset => vec![chosen_keys],
        };
        let row_paths = match chosen_rows {
            None => vec![None],
            Some(_) => vec![Some(RowPath::Take), Some(RowPath::Scan)],
        };
        let mut ways = Vec::new();
        for &key_path in &key_paths {
            for &row_path in &row_paths {
                let price = self.price(key_path, row_path);
                let (cost, memory_bytes) = price.clone().unwrap_or_default();
                ways.push(Way {
                    key_path: key_path.to_string(),
                    row_path: row_path.map(|path| path.to_string()),
                    seconds: cost / NS,
                    memory_bytes,
                    is_chosen: (key_path, row_path) == (chosen_keys, chosen_rows),
                    unavailable: price.err(),
                });
            }
        }
        ways
    }

    /// The way that the plan takes.
    fn chosen(&self) -> (KeyPath, Option<RowPath>) {
        let (way, _) = choose(&self.question);
        (way.keys, (!self.question.columns.is_empty()).then_some(way.rows))
    }

    fn price(&self, key_path: KeyPath, row_path: Option<RowPath>) -> Price {
        let (finding, kept) = self.key_price(key_path)?;
        let (reading, columns) = self.row_price(row_path);
        Ok((finding + reading, kept + columns))
    }

    fn key_price(&self, path: KeyPath) -> Price {
        let Question { figures, key, storage, has_key_set, .. } = &self.question;
        let (rows, Keys { count, .. }) = (figures.rows, self.keys);
        match path {
            KeyPath::Direct => Ok((0.0, 0)),
            KeyPath::Map => {
                let (map, most) = (map_bytes(rows), figures.max_key_map_bytes);
                if map > most && matches!(key, StoreKey::Columns(_)) {
                    let (map, most) = (words::bytes(map), words::bytes(most));
                    return Err(format!("a map of {map} is over {MAX_KEY_MAP_BYTES} = {most}"));
                }
                let is_there = figures.mapped.contains(key.columns());
                Ok((if is_there { 0.0 } else { key_map(rows) }, map))
            }
            KeyPath::Scan => {
                let times = if *has_key_set { 1.0 } else { self.keys.requests() };
                let kept = if *has_key_set { map_bytes(count.min(rows)) } else { 0 };
                Ok((times * storage.scan(rows, self.key_bytes), kept))
            }
            KeyPath::Btree => match (self.question.key_index(), key.columns()) {
                (Some(_), _) => Ok((by_index(count, rows, self.question.unindexed_rows()), 0)),
                (None, [column]) => Err(format!("no BTree index on '{column}'")),
                (None, _) => Err("no BTree index is on several columns".to_owned()),
            },
        }
    }

    fn row_price(&self, path: Option<RowPath>) -> (f64, u64) {
        match path {
            None => (0.0, 0),
            Some(RowPath::Take) => (self.question.takes(self.keys), 0),
            Some(RowPath::Scan) => {
                let room = self.question.figures.column_cache_bytes;
                (self.question.scans(self.keys), self.question.columns_bytes().min(room))
            }
        }
    }

    /// What would make the fetch cheaper.
    fn hints(&self) -> Vec<Hint> {
        let (keys, rows) = self.chosen();
        let Ok((now, _)) = self.price(keys, rows) else { return Vec::new() };
        let hints = [self.index(now), self.larger_map(now, rows), self.larger_cache(now, keys)];
        hints.into_iter().flatten().collect()
    }

    /// An index that would be chosen if it were there.
    fn index(&self, now: f64) -> Option<Hint> {
        let [column] = self.question.key.columns() else { return None };
        if self.question.key_index().is_some() {
            return None;
        }
        let mut figures = self.question.figures.clone();
        let index = KeyIndex { fragments: figures.fragments };
        figures.btrees.insert(column.clone(), index);
        let with = self.with(&figures);
        let (keys, rows) = with.chosen();
        let cost = with.price(keys, rows).ok()?.0;
        let helps = keys == KeyPath::Btree && cost < now;
        helps.then(|| Hint::Index { column: column.clone(), seconds: cost / NS })
    }

    /// Room for a map of all keys.
    fn larger_map(&self, now: f64, rows: Option<RowPath>) -> Option<Hint> {
        let bytes = self.question.figures.max_key_map_bytes;
        let needed_bytes = map_bytes(self.question.figures.rows);
        if needed_bytes <= bytes || !matches!(self.question.key, StoreKey::Columns(_)) {
            return None;
        }
        let figures =
            LanceFigures { max_key_map_bytes: needed_bytes, ..self.question.figures.clone() };
        let cost = self.with(&figures).price(KeyPath::Map, rows).ok()?.0;
        memory(MAX_KEY_MAP_BYTES, (bytes, needed_bytes), (now, cost))
    }

    /// Room for all columns that are read.
    fn larger_cache(&self, now: f64, keys: KeyPath) -> Option<Hint> {
        let bytes = self.question.figures.column_cache_bytes;
        let needed_bytes = self.question.columns_bytes();
        if needed_bytes <= bytes || self.question.columns.is_empty() {
            return None;
        }
        let figures =
            LanceFigures { column_cache_bytes: needed_bytes, ..self.question.figures.clone() };
        let cost = self.with(&figures).price(keys, Some(RowPath::Scan)).ok()?.0;
        memory(COLUMN_CACHE_BYTES, (bytes, needed_bytes), (now, cost))
    }

    /// The same with other figures.
    fn with<'b>(&'b self, figures: &'b LanceFigures) -> Priced<'b> {
        let question = Question { figures, ..self.question.clone() };
        Priced { question, keys: self.keys, key_bytes: self.key_bytes }
    }
}

/// More memory, if what it leads to costs less than now.
fn memory(
    setting: &str,
    (bytes, needed_bytes): (u64, u64),
    (now, cost): (f64, f64),
) -> Option<Hint> {
    let setting = setting.to_owned();
    (cost < now).then(|| Hint::Memory { setting, bytes, needed_bytes, seconds: cost / NS })
}

fn map_bytes(rows: u64) -> u64 {
    rows.saturating_mul(KEY_MAP_BYTES_A_ROW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ways::lance::tests::question;

    const MIB: u64 = 1 << 20;

    /// A store of a key and a vector of 128 floats.
    fn figures(rows: u64) -> LanceFigures {
        LanceFigures {
            rows,
            fragments: 10,
            value_bytes: vec![8, 512],
            max_key_map_bytes: 4096 * MIB,
            column_cache_bytes: 1024 * MIB,
            ..LanceFigures::default()
        }
    }

    fn asked(figures: &LanceFigures, columns: &[usize], keys: Option<u64>) -> Advice {
        let key = StoreKey::column("id");
        advice("emb", &question(&key, figures, columns, keys), 8)
    }

    fn way<'a>(advice: &'a Advice, name: &str) -> &'a Way {
        advice.ways.iter().find(|way| way.name() == name).expect("the way is priced")
    }

    #[test]
    fn every_way_is_priced_and_the_chosen_one_marked() {
        let advice = asked(&figures(1_000_000), &[1], Some(100));
        let names: Vec<_> = advice.ways.iter().map(Way::name).collect();
        let all = ["map+take", "map+scan", "btree+take", "btree+scan", "scan+take", "scan+scan"];
        assert_eq!(names, all);
        let chosen: Vec<_> = advice.ways.iter().filter(|way| way.is_chosen).collect();
        assert_eq!(chosen, [way(&advice, "map+take")]);
        assert_eq!(chosen[0].memory_bytes, 13_000_000);
        assert!(way(&advice, "map+scan").seconds > chosen[0].seconds, "{advice}");
        let missing = way(&advice, "btree+take").unavailable.as_deref();
        assert_eq!(missing, Some("no BTree index on 'id'"));
    }

    #[test]
    fn existence_has_no_ways_to_values() {
        let advice = asked(&figures(1_000_000), &[], Some(100));
        let names: Vec<_> = advice.ways.iter().map(Way::name).collect();
        assert_eq!(names, ["map", "btree", "scan"]);
    }

    #[test]
    fn keys_that_are_not_known_are_as_many_as_rows() {
        let advice = asked(&figures(5000), &[1], None);
        assert_eq!((advice.keys, advice.keys_are_known), (5000, false));
    }

    #[test]
    fn a_map_that_is_there_costs_nothing() {
        let mut mapped = figures(1_000_000);
        mapped.mapped.insert(vec!["id".to_owned()]);
        let advice = asked(&mapped, &[], Some(100));
        assert_eq!(way(&advice, "map").seconds, 0.0);
    }

    #[test]
    fn an_index_helps_where_few_keys_are_asked_of_many_rows() {
        let is_index = |hint: &Hint| matches!(hint, Hint::Index { column, .. } if column == "id");
        let few = asked(&figures(5_000_000), &[1], Some(10));
        assert!(few.hints.iter().any(is_index), "{few}");
        let many = asked(&figures(5_000_000), &[1], Some(100_000));
        assert!(!many.hints.iter().any(is_index), "{many}");
        let mut indexed = figures(5_000_000);
        indexed.btrees.insert("id".to_owned(), KeyIndex { fragments: 10 });
        let advice = asked(&indexed, &[1], Some(10));
        assert!(advice.hints.is_empty(), "{advice}");
        assert!(way(&advice, "btree+take").is_chosen, "{advice}");
    }

    #[test]
    fn a_map_and_columns_that_do_not_fit_say_what_they_need() {
        let small = LanceFigures { max_key_map_bytes: MIB, ..figures(1_000_000) };
        let advice = asked(&small, &[1], Some(100_000));
        let unavailable = way(&advice, "map+take").unavailable.as_deref();
        let why = "a map of 13 MB is over store.max_key_map_bytes = 1.0 MB";
        assert_eq!(unavailable, Some(why));
        let map = |hint: &Hint| match hint {
            Hint::Memory { setting, needed_bytes, .. } if setting == MAX_KEY_MAP_BYTES => {
                Some(*needed_bytes)
            }
            _ => None,
        };
        assert_eq!(advice.hints.iter().find_map(map), Some(13_000_000), "{advice}");

        let small = LanceFigures { column_cache_bytes: MIB, ..figures(1_000_000) };
        let advice = asked(&small, &[1], Some(10_000_000));
        let cache = |hint: &Hint| match hint {
            Hint::Memory { setting, bytes, needed_bytes, .. } if setting == COLUMN_CACHE_BYTES => {
                Some((*bytes, *needed_bytes))
            }
            _ => None,
        };
        assert_eq!(advice.hints.iter().find_map(cache), Some((MIB, 512_000_000)), "{advice}");
    }
}
