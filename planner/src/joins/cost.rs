//! Whether a join with a store is cheaper as a lookup or as a scan, by what either is priced at.

use std::sync::Arc;

use keyloom_common::store::{JoinPath, ResolvedStore};

use super::price::{Asked, Prices};

/// So many of the keys that a condition names, for each of a store's rows, make a scan of it
/// cheaper. Fewer are looked up whatever a scan costs: the next condition finds the map there.
const POINTS_A_ROW: u64 = 16;

/// How a store's rows are reached, and the figures that decide, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) is_lookup: bool,
    pub(super) why: Arc<str>,
}

/// Whether to look the keys of a join up.
pub(super) fn choose(path: JoinPath, asked: &Asked<'_>) -> Choice {
    if let Some(choice) = settled(path, asked.store) {
        return choice;
    }
    let figures = figures(asked.keys, asked.store);
    match Prices::of(asked) {
        Some(prices) => {
            Choice { is_lookup: prices.is_lookup(), why: format!("{figures}: {prices}").into() }
        }
        // Where nothing is known, the store is what is large.
        None => Choice { is_lookup: true, why: figures.into() },
    }
}

/// Whether to look up so many keys that a condition names.
pub(super) fn choose_points(path: JoinPath, keys: u64, store: &ResolvedStore) -> Choice {
    settled(path, store).unwrap_or_else(|| Choice {
        is_lookup: rows(store).is_none_or(|rows| keys <= rows.saturating_mul(POINTS_A_ROW)),
        why: figures(Some(keys), store).into(),
    })
}

/// What is forced, or the only way.
fn settled(path: JoinPath, store: &ResolvedStore) -> Option<Choice> {
    let (is_lookup, why) = match path {
        _ if !store.spec.can_be_scanned() => {
            (true, format!("a {} store is never scanned", store.spec.kind))
        }
        JoinPath::Auto => return None,
        JoinPath::Lookup | JoinPath::Scan => {
            (path == JoinPath::Lookup, format!("join_path = {path}"))
        }
    };
    Some(Choice { is_lookup, why: why.into() })
}

/// How many keys are asked for, of how many rows.
fn figures(keys: Option<u64>, store: &ResolvedStore) -> String {
    let keys = keys.map_or("any number of".to_owned(), |keys| format!("about {keys}"));
    let rows = rows(store).map_or("any number of".to_owned(), |rows| rows.to_string());
    format!("{keys} keys, {rows} rows")
}

/// How many rows a store has, if that is known.
pub(super) fn rows(store: &ResolvedStore) -> Option<u64> {
    store.description.figures.as_ref().map(|figures| figures.rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joins::samples::{attached, store};

    /// Whether so many keys are looked up, and why.
    fn chosen(path: JoinPath, keys: Option<u64>, rows: Option<u64>) -> (bool, String) {
        let store = attached(store("s", &["id"]), rows, &[]).resolve(None).unwrap();
        let asked = Asked {
            store: &store,
            columns: vec!["name".to_owned()],
            keys,
            are_gathered: false,
            store_is_right: false,
            is_filtered: false,
            is_unique: false,
        };
        let Choice { is_lookup, why } = choose(path, &asked);
        (is_lookup, why.to_string())
    }

    #[test]
    fn the_cheaper_way_is_chosen_and_both_prices_are_shown() {
        let check = |keys, rows, is_lookup, figures: &str| {
            let (chosen, why) = chosen(JoinPath::Auto, Some(keys), Some(rows));
            assert_eq!(chosen, is_lookup, "{why}");
            let prices = why.strip_prefix(figures).unwrap_or_default();
            assert!(prices.starts_with(": lookup ") && prices.contains(", scan "), "{why}");
        };
        check(10, 1000, true, "about 10 keys, 1000 rows");
        check(10_000, 10_000_000, true, "about 10000 keys, 10000000 rows");
        check(10_000_000, 1000, false, "about 10000000 keys, 1000 rows");
    }

    #[test]
    fn what_is_forced_is_done_and_what_is_not_known_is_looked_up() {
        let looked_up = |why: &str| (true, why.to_owned());
        let unknown = chosen(JoinPath::Auto, None, Some(10));
        assert_eq!(unknown, looked_up("any number of keys, 10 rows"));
        let unknown = chosen(JoinPath::Auto, Some(1), None);
        assert_eq!(unknown, looked_up("about 1 keys, any number of rows"));
        let many = Some(10_000_000);
        assert_eq!(chosen(JoinPath::Lookup, many, Some(1)), looked_up("join_path = lookup"));
        let few = chosen(JoinPath::Scan, Some(1), many);
        assert_eq!(few, (false, "join_path = scan".to_owned()));
    }

    #[test]
    fn conditions_look_their_keys_up_unless_the_store_is_tiny() {
        let store = attached(store("s", &["id"]), Some(10), &[]).resolve(None).unwrap();
        let check = |keys, is_lookup, why: &str| {
            let choice = choose_points(JoinPath::Auto, keys, &store);
            assert_eq!(choice, Choice { is_lookup, why: why.into() });
        };
        check(160, true, "about 160 keys, 10 rows");
        check(161, false, "about 161 keys, 10 rows");
    }
}
