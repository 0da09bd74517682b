//! All rows of as many of the first keys as there is room for.

use super::*;
use crate::store::lance::keys::coder::spread;

fn row(number: usize) -> Row {
    Row::new(number / 1000, (number % 1000) as u32)
}

/// What is found of keys in turn, each with so many rows, and from which key on nothing is.
fn all_found(rows: &[usize], most: MostRows) -> (Matches, u32) {
    let codes: Vec<u64> = (0..rows.len() as u64).map(spread).collect();
    let wanted = Arc::new(Wanted::new(&codes, None, Need::all(most)));
    let mut all = Sieve::new(wanted.clone());
    // The last keys first, in two parts.
    for part in [0, 1] {
        let mut found = Sieve::new(wanted.clone());
        for (key, rows) in rows.iter().enumerate().rev() {
            let numbers = (0..*rows).filter(|number| number % 2 == part);
            numbers.for_each(|number| found.push(key as u32, row(number)));
        }
        all.append(found);
    }
    (all.finish(), wanted.limit())
}

#[test]
fn of_keys_with_too_many_rows_the_first_are_answered() {
    let most = MostRows { at_once: 10, of_a_key: 1 << 20 };
    let count = |found: &Matches, key| found.iter().filter(|(of, _)| *of == key).count();
    let (found, limit) = all_found(&[3, 0, 4, 3], most);
    assert_eq!((found.len(), limit), (10, NO_LIMIT));
    let (found, limit) = all_found(&[3, 0, 4, 4, 1], most);
    assert_eq!((count(&found, 0), count(&found, 2), found.len(), limit), (3, 4, 7, 3));
    // So many that they are cut while they are found.
    let (found, limit) = all_found(&[2, 4 * ROWS_AT_ONCE, 3], most);
    assert_eq!((found.len(), limit), (2, 1));
    let (found, limit) = all_found(&[0, 4 * ROWS_AT_ONCE, 3], most);
    assert_eq!((found.len(), limit), (4 * ROWS_AT_ONCE, 2));
}

#[test]
fn of_a_key_with_too_many_rows_one_more_is_held() {
    let most = MostRows { at_once: 10, of_a_key: 100 };
    let (found, limit) = all_found(&[5 * ROWS_AT_ONCE, 3], most);
    assert_eq!((found.len(), limit), (101, 1));
}

#[test]
fn rows_that_were_found_in_turn_are_bounded_together() {
    let all = |at_once| Need::all(MostRows { at_once, of_a_key: 100 });
    let found = vec![(2, row(5)), (0, row(1)), (2, row(7)), (0, row(2)), (3, row(4))];
    let bound = |need: Need| {
        let mut matches = found.clone();
        (need.bound(&mut matches, 4), matches.len())
    };
    assert_eq!(
        [5, 4, 3, 1].map(|at_once| bound(all(at_once))),
        [(NO_LIMIT, 5), (3, 4), (2, 2), (1, 2)]
    );
    assert_eq!(bound(Need::of(OnDuplicateKey::First)), (NO_LIMIT, 5));
}
