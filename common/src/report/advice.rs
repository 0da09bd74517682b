//! What the ways to a store's rows are estimated to cost, those not taken among them, and what
//! would make others cheaper. The names of the fields are those of its JSON, and stay.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words;

/// What is known of a fetch of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The alias of its store.
    pub store: String,
    /// What keys are compared with.
    pub key: String,
    /// Keys that are expected; if that is not known, as many as the store has rows.
    pub keys: u64,
    /// Whether that many are known to be expected.
    pub keys_are_known: bool,
    /// The store's rows.
    pub rows: u64,
    /// The ways, the one that is chosen among them.
    pub ways: Vec<Way>,
    /// What would help.
    pub hints: Vec<Hint>,
}

/// A way from keys to values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// From keys to rows, in the words of the store's kind.
    pub key_path: String,
    /// From rows to values; none if no values are read.
    pub row_path: Option<String>,
    /// The estimated time of one worker that makes all the requests, one after the other, in
    /// seconds. Only the order of such times matters.
    pub seconds: f64,
    /// Bytes that a worker keeps for it.
    pub memory_bytes: u64,
    /// Whether the plan takes it.
    pub is_chosen: bool,
    /// Why it cannot be taken, if so.
    pub unavailable: Option<String>,
}

/// What would make a fetch cheaper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Hint {
    /// An index that is not there.
    Index {
        /// The column.
        column: String,
        /// The estimated time with it, in seconds.
        seconds: f64,
    },
    /// More memory for a setting of the workers.
    Memory {
        /// The setting.
        setting: String,
        /// What it is, in bytes.
        bytes: u64,
        /// What it would have to be.
        needed_bytes: u64,
        /// The estimated time with it, in seconds.
        seconds: f64,
    },
}

impl Advice {
    /// The estimated time of the way that is taken, in seconds.
    pub fn chosen_seconds(&self) -> Option<f64> {
        self.ways.iter().find(|way| way.is_chosen).map(|way| way.seconds)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, rows) = (words::plural(self.keys, "key"), words::plural(self.rows, "row"));
        let taken = if self.keys_are_known { "" } else { ", taken to be as many" };
        writeln!(f, "{} by {}: {keys} of {rows}{taken}", self.store, self.key)?;
        self.ways.iter().try_for_each(|way| writeln!(f, "  {way}"))?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "  - {hint}"))
    }
}

impl Way {
    /// The way in words, as EXPLAIN shows it.
    pub fn name(&self) -> String {
        match &self.row_path {
            Some(rows) => format!("{}+{rows}", self.key_path),
            None => self.key_path.clone(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}", self.name())?;
        if let Some(why) = &self.unavailable {
            return write!(f, "not there: {why}");
        }
        let (time, memory) = (words::time(self.seconds), words::bytes(self.memory_bytes));
        let chosen = if self.is_chosen { "  (chosen)" } else { "" };
        write!(f, "{time:>10}  {memory:>8} in memory{chosen}")
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { column, seconds } => {
                write!(f, "a BTree index on '{column}' would make it {}", words::time(*seconds))
            }
            Self::Memory { setting, bytes, needed_bytes, seconds } => write!(
                f,
                "{setting} = {} is too small; {needed_bytes} ({}) would make it {}",
                words::bytes(*bytes),
                words::bytes(*needed_bytes),
                words::time(*seconds)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_told_with_their_estimates_and_what_would_help() {
        let way = Way {
            key_path: "map".to_owned(),
            row_path: Some("take".to_owned()),
            seconds: 0.2,
            memory_bytes: 65_000_000,
            is_chosen: true,
            unavailable: None,
        };
        let no_index = Some("no BTree index on 'id'".to_owned());
        let other = Way {
            key_path: "btree".to_owned(),
            row_path: None,
            is_chosen: false,
            unavailable: no_index,
            ..way.clone()
        };
        let hints = vec![
            Hint::Index { column: "id".to_owned(), seconds: 0.003 },
            Hint::Memory {
                setting: "column_cache_bytes".to_owned(),
                bytes: 1_000_000,
                needed_bytes: 2_500_000,
                seconds: 0.1,
            },
        ];
        let mut advice = Advice {
            store: "emb".to_owned(),
            key: "id".to_owned(),
            keys: 10,
            keys_are_known: true,
            rows: 5_000_000,
            ways: vec![way, other],
            hints,
        };
        let expected = "emb by id: 10 keys of 5,000,000 rows\n\
                        \x20 map+take      200.0 ms     65 MB in memory  (chosen)\n\
                        \x20 btree       not there: no BTree index on 'id'\n\
                        \x20 - a BTree index on 'id' would make it 3.0 ms\n\
                        \x20 - column_cache_bytes = 1.0 MB is too small; 2500000 (2.5 MB) would make \
                        it 100.0 ms\n";
        assert_eq!(advice.to_string(), expected);
        assert_eq!(advice.chosen_seconds(), Some(0.2));
        advice.keys_are_known = false;
        assert!(
            advice
                .to_string()
                .starts_with("emb by id: 10 keys of 5,000,000 rows, taken to be as many\n")
        );
    }
}
