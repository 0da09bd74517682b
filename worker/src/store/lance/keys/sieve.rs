//! Of what a search finds only as much as is needed: of a key that stands in many rows those that
//! its store's policy goes by, unless all are asked for.
//!
//! Where a code tells its key, one row is enough, or two if that is an error. Else rows are
//! candidates until their keys were compared, and as many may turn out to hold another key: then
//! the search goes on beyond them ([`Need::further`]). So a request holds rows by its keys, and
//! not by the rows of the store that hold these.
//!
//! Where all rows are asked for, those of so many keys are held as there is room for: the first
//! ones of the request. The others are left for another one ([`Wanted::limit`]).

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use arrow::buffer::NullBuffer;
use keyloom_common::store::OnDuplicateKey;

use super::code_index::CodeIndex;
use crate::store::{MostRows, lance::row::Row};

/// Rows that are held beyond those that keys need, before these are picked out; and candidates that
/// are tried together for keys whose first ones hold another key.
const ROWS_AT_ONCE: usize = 1 << 16;

/// Keys, by their positions in a request, and rows that hold them or another key of the same code.
/// They come in any order.
pub(super) type Matches = Vec<(u32, Row)>;

/// In the place of a key of which no row was found yet.
const NOWHERE: u32 = u32::MAX;

/// The limit of a search that answers all its keys.
pub(super) const NO_LIMIT: u32 = u32::MAX;

/// Which rows of a key are needed, if it stands in many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    policy: OnDuplicateKey,
    /// The most of them.
    rows: usize,
    /// The bounds of all keys' rows, if none is left out of those of a key.
    all: Option<MostRows>,
}

/// Keys of a request by their codes, and which of their rows are needed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) codes: CodeIndex,
    /// How many keys the request has, those that are not wanted among them.
    of_request: usize,
    pub(super) need: Need,
    /// For each key of the request the row beyond which its rows are needed, if it is not all.
    beyond: Vec<Row>,
    /// Where all rows are needed, the key from which on they are not, as there are too many. What
    /// looks for them in several parts shares it.
    limit: AtomicU32,
}

impl Need {
    /// As many rows as the policy goes by.
    pub(super) fn of(policy: OnDuplicateKey) -> Self {
        Self { policy, rows: needed(policy), all: None }
    }

    /// All rows, in the order in which they are stored, of as many of the first keys as may be.
    pub(super) fn all(most: MostRows) -> Self {
        Self { policy: OnDuplicateKey::First, rows: usize::MAX, all: Some(most) }
    }

    /// Whether none is left out of those of a key.
    pub(super) fn is_all(self) -> bool {
        self.all.is_some()
    }

    /// The same, and of each key so many rows at least, if it has as many.
    pub(super) fn at_least(self, rows: usize) -> Self {
        Self { rows: self.rows.max(rows), ..self }
    }

    /// The most rows that are found of a key, before some are left out.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Leaves out rows of a request of so many keys that are more than may be held at once, and
    /// tells from which key on.
    pub(super) fn bound(self, matches: &mut Matches, keys: usize) -> u32 {
        let Some(most) = self.all.filter(|most| matches.len() > most.at_once) else {
            return NO_LIMIT;
        };
        let limit = first_keys(matches, keys, most.at_once);
        matches.retain(|(key, _)| *key < limit);
        limit
    }

    /// The same for each of so many parts of a request.
    pub(super) fn shared_by(self, parts: usize) -> Self {
        Self { all: self.all.map(|most| most.shared_by(parts)), ..self }
    }

    /// The keys of the request, which has these codes, that need rows beyond those that were found,
    /// because too few of these hold the key. None if there are no such keys.
    pub(super) fn further(
        self,
        codes: &[u64],
        found: &[(u32, Row)],
        holds: &[bool],
    ) -> Option<Wanted> {
        if !holds.contains(&false) {
            return None;
        }
        let mut counts = vec![(0, 0); codes.len()];
        let mut beyond = vec![Row::new(0, 0); codes.len()];
        for ((key, row), holds) in found.iter().zip(holds) {
            let (of_code, of_key): &mut (usize, usize) = &mut counts[*key as usize];
            let last = &mut beyond[*key as usize];
            if *of_code == 0 || self.order(*last, *row).is_lt() {
                *last = *row;
            }
            *of_code += 1;
            *of_key += usize::from(*holds);
        }
        // Where fewer were found than were asked for, there are no others.
        let is_left = |(of_code, of_key): &(usize, usize)| {
            *of_code >= self.rows && *of_key < needed(self.policy)
        };
        let is_left: Vec<bool> = counts.iter().map(is_left).collect();
        let left = is_left.iter().filter(|is_left| **is_left).count();
        let rows = ROWS_AT_ONCE.checked_div(left)?.max(needed(self.policy));
        let need = Self { rows, ..self };
        Some(Wanted { beyond, ..Wanted::new(codes, Some(&NullBuffer::from(is_left)), need) })
    }

    /// Rows as the policy prefers them: where it goes by any, those come first that are stored so.
    pub(super) fn order(self, row: Row, other: Row) -> Ordering {
        match self.policy {
            OnDuplicateKey::First | OnDuplicateKey::Error => row.cmp(&other),
            OnDuplicateKey::Last => other.cmp(&row),
        }
    }
}

impl Wanted {
    /// Keys with these codes, but for those at nulls.
    pub(super) fn new(codes: &[u64], nulls: Option<&NullBuffer>, need: Need) -> Self {
        let of_request = codes.len();
        let codes = CodeIndex::new(codes, nulls);
        Self { codes, of_request, need, beyond: Vec::new(), limit: AtomicU32::new(NO_LIMIT) }
    }

    /// The key from which on not all rows are found.
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Whether the row is none of those that were found before.
    fn is_new(&self, key: u32, row: Row) -> bool {
        if key >= self.limit() {
            return false;
        }
        let beyond = self.beyond.get(key as usize);
        beyond.is_none_or(|last| self.need.order(*last, row).is_lt())
    }
}

/// Up to which key, of so many, all matches together are no more than these; the first one that
/// has any is among them.
fn first_keys(matches: &Matches, keys: usize, most: usize) -> u32 {
    let mut counts = vec![0_usize; keys];
    matches.iter().for_each(|(key, _)| counts[*key as usize] += 1);
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let mut rows = 0;
    let too_many = counts.iter().position(|count| {
        rows += count;
        rows > most
    });
    too_many.map_or(NO_LIMIT, |key| key.max(first + 1) as u32)
}

/// How many rows of a key the policy goes by.
fn needed(policy: OnDuplicateKey) -> usize {
    match policy {
        OnDuplicateKey::First | OnDuplicateKey::Last => 1,
        OnDuplicateKey::Error => 2,
    }
}

/// What a search found so far. As long as no key stands in many rows, that is all.
#[derive(Debug)]
pub(super) struct Sieve {
    wanted: Arc<Wanted>,
    matches: Matches,
    /// About the most that are held.
    most: usize,
    /// Whether rows may have been left out: others that come behind these must be, too.
    is_cut: bool,
}

impl Sieve {
    /// Nothing yet.
    pub(super) fn new(wanted: Arc<Wanted>) -> Self {
        // Twice as many as are needed, so that each time about half of them are left out.
        let needed = match wanted.need.all {
            Some(most) => most.at_once,
            None => wanted.codes.len().saturating_mul(wanted.need.rows),
        };
        let most = needed.saturating_mul(2).saturating_add(ROWS_AT_ONCE);
        Self { wanted, matches: Matches::new(), most, is_cut: false }
    }

    /// What the search is for.
    pub(super) fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    /// Adds a row that has the code of a key. It must be live, or others are left out for it.
    pub(super) fn push(&mut self, key: u32, row: Row) {
        if !self.wanted.is_new(key, row) {
            return;
        }
        if self.matches.len() >= self.most {
            self.cut();
        }
        self.matches.push((key, row));
    }

    /// Adds what a search for the same keys found elsewhere.
    pub(super) fn append(&mut self, other: Self) {
        self.is_cut |= other.is_cut;
        if self.matches.is_empty() {
            self.matches = other.matches;
        } else {
            self.matches.extend(other.matches);
        }
        if self.matches.len() >= self.most {
            self.cut();
        }
    }

    /// The rows of each key: all, or of more than are needed those that the policy prefers.
    pub(super) fn finish(mut self) -> Matches {
        // Without duplicates there are no more rows than keys, and nothing to do.
        let enough = self.wanted.need.all.map_or(self.wanted.codes.len(), |most| most.at_once);
        let is_cut = self.is_cut || self.wanted.limit() < NO_LIMIT;
        if is_cut || self.matches.len() > enough {
            self.cut();
        }
        self.matches
    }

    /// Leaves out rows that are not needed.
    fn cut(&mut self) {
        self.is_cut = true;
        let need = self.wanted.need;
        match need {
            Need { all: Some(most), .. } => self.keep_first(most),
            Need { rows: 1, .. } => self.keep_one(),
            _ => self.keep_some(),
        }
    }

    /// Keeps the rows of as many of the first keys as may have so many, and of one in any case. If
    /// that one has too many, one more is kept than it may have.
    fn keep_first(&mut self, most: MostRows) {
        let Self { wanted, matches, .. } = self;
        let limit = wanted.limit();
        matches.retain(|(key, _)| *key < limit);
        if matches.len() > most.at_once {
            let limit = first_keys(matches, wanted.of_request, most.at_once);
            wanted.limit.fetch_min(limit, Relaxed);
            matches.retain(|(key, _)| *key < limit);
        }
        if matches.len() > most.at_once {
            // They are all of one key.
            matches.truncate(most.of_a_key.saturating_add(1));
        }
        // What must be held is not counted anew with each row.
        self.most = self.most.max(matches.len().saturating_mul(2));
    }

    /// Keeps the best row of each key.
    fn keep_one(&mut self) {
        let Self { wanted, matches, .. } = self;
        let mut places = vec![NOWHERE; wanted.of_request];
        let mut kept = 0;
        for at in 0..matches.len() {
            let (key, row) = matches[at];
            let place = &mut places[key as usize];
            if *place == NOWHERE {
                *place = kept as u32;
                matches[kept] = (key, row);
                kept += 1;
                continue;
            }
            let held = &mut matches[*place as usize].1;
            if wanted.need.order(row, *held).is_lt() {
                *held = row;
            }
        }
        matches.truncate(kept);
    }

    /// Keeps the best rows of each key. That takes longer, but happens only where keys are to stand
    /// in one row each, or where their hashes collide.
    fn keep_some(&mut self) {
        let Self { wanted, matches, .. } = self;
        matches.sort_unstable_by(|(key, row), (other, than)| {
            key.cmp(other).then_with(|| wanted.need.order(*row, *than))
        });
        let (mut last, mut count) = (None, 0);
        matches.retain(|(key, _)| {
            count = if last == Some(*key) { count + 1 } else { 1 };
            last = Some(*key);
            count <= wanted.need.rows
        });
    }
}

#[cfg(test)]
mod all_rows;

#[cfg(test)]
mod tests {
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
}
