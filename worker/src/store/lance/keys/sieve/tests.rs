use super::*;
use crate::store::lance::keys::coder::spread;

const POLICIES: [OnDuplicateKey; 3] =
    [OnDuplicateKey::First, OnDuplicateKey::Last, OnDuplicateKey::Error];

fn codes(keys: u64) -> Vec<u64> {
    (0..keys).map(spread).collect()
}

fn wanted(keys: u64, policy: OnDuplicateKey) -> Arc<Wanted> {
    Arc::new(Wanted::new(&codes(keys), None, Need::of(policy)))
}

fn row(number: usize) -> Row {
    Row::new(number / 1000, (number % 1000) as u32)
}

fn sorted(found: Sieve) -> Matches {
    let mut matches = found.finish();
    matches.sort_unstable();
    matches
}

/// What is kept of a key that these rows hold.
fn kept(policy: OnDuplicateKey, rows: impl Iterator<Item = usize>) -> Vec<Row> {
    let mut all: Vec<Row> = rows.map(row).collect();
    all.sort_unstable();
    match policy {
        OnDuplicateKey::First => all.truncate(1),
        OnDuplicateKey::Error => all.truncate(2),
        OnDuplicateKey::Last => all = all.pop().into_iter().collect(),
    }
    all
}

#[test]
fn what_is_held_depends_on_the_keys_and_not_on_their_rows() {
    // Storage order, and another one.
    let orders: [fn(usize) -> usize; 2] = [|at| at, |at| at * 7919 % 300_007];
    for (policy, order) in POLICIES.into_iter().flat_map(|p| orders.map(|o| (p, o))) {
        let wanted = wanted(10, policy);
        let (mut all, mut most) = (Sieve::new(wanted.clone()), 0);
        // Three parts hold the heavy key, and a fourth one another key.
        for part in 0..3 {
            let mut found = Sieve::new(wanted.clone());
            for at in (0..300_007).filter(|at| at % 3 == part) {
                found.push(4, row(order(at)));
                most = most.max(found.matches.len());
            }
            all.append(found);
            most = most.max(all.matches.len());
        }
        let mut last = Sieve::new(wanted.clone());
        last.push(9, row(17));
        all.append(last);
        assert!(most <= 2 * all.most && all.most < 70_000, "{most} for {policy:?}");
        let of_heavy = kept(policy, 0..300_007).into_iter().map(|row| (4, row));
        let expected: Matches = of_heavy.chain([(9, row(17))]).collect();
        assert_eq!(sorted(all), expected, "{policy:?}");
    }
}

#[test]
fn a_row_for_each_key_is_held_as_it_was_found() {
    for policy in POLICIES {
        let mut found = Sieve::new(wanted(3, policy));
        let (mut rows, elsewhere) = (vec![(2, row(9)), (0, row(5))], (1, row(2)));
        rows.iter().for_each(|(key, row)| found.push(*key, *row));
        let mut other = Sieve::new(found.wanted().clone());
        other.push(elsewhere.0, elsewhere.1);
        found.append(other);
        rows.push(elsewhere);
        assert_eq!(found.finish(), rows);
    }
}

#[test]
fn few_rows_of_several_keys_are_picked_by_the_policy() {
    for policy in POLICIES {
        let mut found = Sieve::new(wanted(3, policy));
        // More rows than keys, in no order.
        for at in [8, 3, 7, 5, 1, 6] {
            found.push(u32::from(at % 2 == 0), row(at));
        }
        let of_key = |key, rows: &[usize]| {
            let rows = kept(policy, rows.iter().copied());
            rows.into_iter().map(move |row| (key, row))
        };
        let expected: Matches = of_key(0, &[1, 3, 5, 7]).chain(of_key(1, &[6, 8])).collect();
        assert_eq!(sorted(found), expected, "{policy:?}");
    }
}

#[test]
fn all_rows_are_held_where_all_are_wanted() {
    let codes = codes(3);
    let all = Need::all(MostRows::ANY);
    let wanted = Arc::new(Wanted::new(&codes, None, all));
    let mut found = Sieve::new(wanted);
    let rows = [(2, row(9)), (0, row(5)), (2, row(1)), (0, row(7)), (2, row(4))];
    rows.iter().for_each(|(key, row)| found.push(*key, *row));
    let found = sorted(found);
    let expected = [(0, row(5)), (0, row(7)), (2, row(1)), (2, row(4)), (2, row(9))];
    assert_eq!(found, expected);
    // Nor are there others, if some of them hold another key.
    let holds = [true, false, true, true, false];
    assert!(all.further(&codes, &found, &holds).is_none());
}

#[test]
fn keys_whose_rows_hold_others_need_further_ones() {
    let (codes, first) = (codes(4), Need::of(OnDuplicateKey::First));
    let found = vec![(0, row(5)), (2, row(3)), (3, row(8))];
    assert!(first.further(&codes, &found, &[true; 3]).is_none());
    let further = Arc::new(first.further(&codes, &found, &[true, false, false]).unwrap());
    let left: Vec<u32> = (0..4).filter(|key| is_wanted(&further, &codes, *key)).collect();
    assert_eq!((left.as_slice(), further.need.rows), (&[2, 3][..], ROWS_AT_ONCE / 2));
    // Rows up to those that were found do not count again.
    let mut again = Sieve::new(further.clone());
    for at in [9, 3, 4, 1, 8] {
        again.push(2, row(at));
        again.push(3, row(at));
    }
    let found = sorted(again);
    assert_eq!(found, [(2, row(4)), (2, row(8)), (2, row(9)), (3, row(9))]);
    // There are no others, whoever holds these.
    assert!(further.need.further(&codes, &found, &[false; 4]).is_none());
}

#[test]
fn further_rows_are_before_the_last_and_an_error_needs_two() {
    let codes = codes(2);
    let last = Need::of(OnDuplicateKey::Last);
    let further = last.further(&codes, &[(1, row(5))], &[false]).unwrap();
    assert!(further.is_new(1, row(4)) && !further.is_new(1, row(5)));

    let error = Need::of(OnDuplicateKey::Error);
    let one = [(0, row(1)), (1, row(2))];
    assert!(error.further(&codes, &one, &[false, false]).is_none());
    let two = [(0, row(7)), (0, row(1)), (1, row(1)), (1, row(2))];
    let further = error.further(&codes, &two, &[true, false, true, true]).unwrap();
    assert!(is_wanted(&further, &codes, 0) && !is_wanted(&further, &codes, 1));
    assert!(further.is_new(0, row(8)) && !further.is_new(0, row(7)));
}

fn is_wanted(wanted: &Wanted, codes: &[u64], key: u32) -> bool {
    wanted.codes.find(codes[key as usize]).any(|found| found == key)
}
