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
mod tests;
