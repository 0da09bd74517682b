//! How a dataset's rows are reached: which way leads from keys to rows, and which from rows to
//! values.
//!
//! The planner chooses by cost from a store's figures, unless the store's options force a way.
//! Every way gives the same rows; they differ in what they read and keep.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::LanceFigures;
use crate::{
    error::{Error, Result},
    store::{Access, Options, StoreKey},
};

/// The option that forces a way from keys to rows.
const KEY_PATH: &str = "key_path";
/// The option that forces a way from rows to values.
const ROW_PATH: &str = "row_path";

/// The way from keys to rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPath {
    /// Keys are row ids or offsets and say where the rows are.
    Direct,
    /// Maps of all keys, each of some fragments, read once and kept.
    #[default]
    Map,
    /// The key column is scanned for the wanted keys, which a job collects first if it can, so that
    /// it is scanned once. What was found is kept for the job, and no map.
    Scan,
    /// The dataset's own BTree index on the key column.
    Btree,
}

/// The way from rows to values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowPath {
    /// The wanted rows alone are read.
    #[default]
    Take,
    /// Columns are read block by block and kept as far as the workers' settings allow; rows are
    /// picked out of the blocks.
    Scan,
}

/// The ways that a store's options force; the planner chooses where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForcedAccess {
    /// From keys to rows. Nothing is to be forced where row ids or offsets say where the rows are.
    pub keys: Option<KeyPath>,
    /// From rows to values.
    pub rows: Option<RowPath>,
}

/// The way that a fetch takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LanceWay {
    /// From keys to rows.
    pub keys: KeyPath,
    /// From rows to values. A worker takes the other way where it proves to cost less.
    pub rows: RowPath,
}

impl LanceWay {
    /// The way as plans carry it, of a fetch that reads values or none.
    pub fn access(self, expected_keys: Option<u64>, reads_values: bool) -> Access {
        let way = self.to_string();
        let says = if reads_values { way.clone() } else { self.keys.to_string() };
        Access { expected_keys, way: way.into_bytes().into(), says: Some(says) }
    }

    /// The way that a plan carries; the usual one if it carries none.
    ///
    /// # Errors
    /// `internal` if it is no way to a dataset's rows.
    pub fn of(access: &Access) -> Result<Self> {
        if access.way.is_empty() {
            return Ok(Self::default());
        }
        let read = |way: &[u8]| {
            let (keys, rows) = std::str::from_utf8(way).ok()?.split_once('+')?;
            Some(Self {
                keys: KeyPath::ALL.into_iter().find(|path| path.word() == keys)?,
                rows: RowPath::ALL.into_iter().find(|path| path.word() == rows)?,
            })
        };
        read(&access.way).ok_or_else(|| {
            let way = String::from_utf8_lossy(&access.way);
            Error::internal(format!("'{way}' is no way to the rows of a Lance dataset"))
        })
    }
}

impl ForcedAccess {
    /// What a store's options force.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(options: &Options) -> Result<Self> {
        Self::read(options.text(KEY_PATH), options.text(ROW_PATH))
    }

    /// Reads the options `key_path` and `row_path`. Of the first, programs may say `direct`, too,
    /// and are told why not once the key is known.
    ///
    /// # Errors
    /// `invalid` if one is none of the choices, which the message lists.
    pub fn read(key_path: Option<&str>, row_path: Option<&str>) -> Result<Self> {
        let keys = match key_path {
            Some("direct") => Some(KeyPath::Direct),
            word => word.map(Self::parse_keys).transpose()?.flatten(),
        };
        Ok(Self { keys, rows: row_path.map(Self::parse_rows).transpose()?.flatten() })
    }

    /// Says so in a store's options.
    pub fn set(self, options: &mut Options) {
        options.set(KEY_PATH, self.keys);
        options.set(ROW_PATH, self.rows);
    }

    /// Reads the option `key_path`: nothing for `auto`.
    ///
    /// # Errors
    /// `invalid` if it is none of the choices, which the message lists.
    pub fn parse_keys(word: &str) -> Result<Option<KeyPath>> {
        match word {
            "auto" => Ok(None),
            "map" => Ok(Some(KeyPath::Map)),
            "scan" => Ok(Some(KeyPath::Scan)),
            "btree" => Ok(Some(KeyPath::Btree)),
            other => {
                Err(Error::invalid(format!("key_path is auto, map, scan or btree, not '{other}'")))
            }
        }
    }

    /// Reads the option `row_path`: nothing for `auto`.
    ///
    /// # Errors
    /// `invalid` if it is none of the choices, which the message lists.
    pub fn parse_rows(word: &str) -> Result<Option<RowPath>> {
        match word {
            "auto" => Ok(None),
            "take" => Ok(Some(RowPath::Take)),
            "scan" => Ok(Some(RowPath::Scan)),
            other => Err(Error::invalid(format!("row_path is auto, take or scan, not '{other}'"))),
        }
    }

    /// Refuses ways that a store with this key does not have.
    pub(super) fn check(self, key: &StoreKey, figures: &LanceFigures) -> Result<()> {
        let Some(path) = self.keys else { return Ok(()) };
        let refuse = |why: String| Err(Error::invalid(format!("key_path is '{path}', but {why}")));
        match (key, path) {
            (StoreKey::Columns(_), KeyPath::Map | KeyPath::Scan) => Ok(()),
            (StoreKey::Columns(_), KeyPath::Btree) if figures.key_index(key).is_some() => Ok(()),
            (StoreKey::Columns(columns), KeyPath::Btree) => refuse(match columns.single() {
                Some(column) => format!(
                    "key column '{column}' has no BTree index; create one, or choose auto, map or \
                     scan"
                ),
                None => "a key of several columns has no BTree index; choose auto, map or scan"
                    .to_owned(),
            }),
            (StoreKey::Columns(_), KeyPath::Direct) => refuse(
                "a column's values do not say where rows are; choose auto, map, scan or \
                        btree"
                    .to_owned(),
            ),
            (StoreKey::RowId, KeyPath::Map) if figures.stable_row_ids => Ok(()),
            (StoreKey::RowId, _) if figures.stable_row_ids => {
                refuse("stable row ids are found by a map alone; choose auto or map".to_owned())
            }
            (StoreKey::RowId | StoreKey::Offset, _) => {
                refuse(format!("{key} says by itself where rows are; choose auto"))
            }
        }
    }
}

impl KeyPath {
    const ALL: [Self; 4] = [Self::Direct, Self::Map, Self::Scan, Self::Btree];

    fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Map => "map",
            Self::Scan => "scan",
            Self::Btree => "btree",
        }
    }
}

impl RowPath {
    const ALL: [Self; 2] = [Self::Take, Self::Scan];

    fn word(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Scan => "scan",
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for RowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for LanceWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.keys, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::lance::KeyIndex;

    #[test]
    fn options_say_what_is_forced() {
        let forced = |keys, rows| ForcedAccess { keys: Some(keys), rows: Some(rows) };
        for forced in [
            forced(KeyPath::Btree, RowPath::Scan),
            forced(KeyPath::Direct, RowPath::Take),
            ForcedAccess::default(),
        ] {
            let mut options = Options::default();
            forced.set(&mut options);
            assert_eq!(ForcedAccess::of(&options), Ok(forced));
        }
        let mut options = Options::default();
        options.set("key_path", Some("auto"));
        assert_eq!(ForcedAccess::of(&options), Ok(ForcedAccess::default()));
    }

    #[test]
    fn a_plan_carries_every_way_and_nothing_else() {
        for keys in KeyPath::ALL {
            for rows in RowPath::ALL {
                let way = LanceWay { keys, rows };
                let access = way.access(Some(3), true);
                assert_eq!(access.says, Some(format!("{keys}+{rows}")));
                assert_eq!((LanceWay::of(&access), access.expected_keys), (Ok(way), Some(3)));
                let exists = way.access(None, false);
                assert_eq!(exists.says, Some(keys.to_string()));
                assert_eq!(LanceWay::of(&exists), Ok(way));
            }
        }
        assert_eq!(LanceWay::of(&Access::default()), Ok(LanceWay::default()));
        let read = |way: &[u8]| LanceWay::of(&Access { way: way.into(), ..Access::default() });
        for way in ["map", "map+", "map+take+scan", "hash+take"] {
            let message = format!("'{way}' is no way to the rows of a Lance dataset");
            assert_eq!(read(way.as_bytes()), Err(Error::internal(message)));
        }
        assert!(read(&[0xff, b'+']).is_err());
    }

    #[test]
    fn options_force_a_way_or_none() {
        let keys = |word: &str| ForcedAccess::parse_keys(word).map_err(|error| error.to_string());
        assert_eq!(keys("auto"), Ok(None));
        for path in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
            assert_eq!(keys(&path.to_string()), Ok(Some(path)));
        }
        let refused = "key_path is auto, map, scan or btree, not 'direct'";
        assert_eq!(keys("direct"), Err(refused.to_owned()));

        let rows = |word: &str| ForcedAccess::parse_rows(word).map_err(|error| error.to_string());
        assert_eq!(rows("auto"), Ok(None));
        for path in [RowPath::Take, RowPath::Scan] {
            assert_eq!(rows(&path.to_string()), Ok(Some(path)));
        }
        assert_eq!(rows("Scan"), Err("row_path is auto, take or scan, not 'Scan'".to_owned()));
    }

    #[test]
    fn a_way_that_the_store_does_not_have_is_refused() {
        let plain = LanceFigures::default();
        let btrees = [("id".to_owned(), KeyIndex { fragments: 1 })].into();
        let indexed = LanceFigures { btrees, ..LanceFigures::default() };
        let stable = LanceFigures { stable_row_ids: true, ..LanceFigures::default() };
        let column = StoreKey::column("id");
        let several = StoreKey::parse(["id", "day"]).unwrap();
        let check = |path, key: &StoreKey, figures: &LanceFigures| {
            let forced = ForcedAccess { keys: path, rows: Some(RowPath::Scan) };
            forced.check(key, figures).map_err(|error| error.message().to_owned())
        };
        for key in [&column, &StoreKey::RowId, &StoreKey::Offset] {
            assert_eq!(check(None, key, &plain), Ok(()));
        }
        for path in [KeyPath::Map, KeyPath::Scan, KeyPath::Btree] {
            assert_eq!(check(Some(path), &column, &indexed), Ok(()));
        }
        assert_eq!(check(Some(KeyPath::Map), &StoreKey::RowId, &stable), Ok(()));
        let refusals = [
            (
                check(Some(KeyPath::Btree), &column, &plain),
                "key_path is 'btree', but key column 'id' has no BTree index; create one, or \
                 choose auto, map or scan",
            ),
            (
                check(Some(KeyPath::Btree), &several, &indexed),
                "key_path is 'btree', but a key of several columns has no BTree index; choose \
                 auto, map or scan",
            ),
            (
                check(Some(KeyPath::Direct), &column, &plain),
                "key_path is 'direct', but a column's values do not say where rows are; choose \
                 auto, map, scan or btree",
            ),
            (
                check(Some(KeyPath::Scan), &StoreKey::RowId, &stable),
                "key_path is 'scan', but stable row ids are found by a map alone; choose auto or \
                 map",
            ),
            (
                check(Some(KeyPath::Map), &StoreKey::RowId, &plain),
                "key_path is 'map', but _rowid says by itself where rows are; choose auto",
            ),
            (
                check(Some(KeyPath::Map), &StoreKey::Offset, &stable),
                "key_path is 'map', but _offset says by itself where rows are; choose auto",
            ),
        ];
        for (refused, message) in refusals {
            assert_eq!(refused, Err(message.to_owned()));
        }
    }
}
