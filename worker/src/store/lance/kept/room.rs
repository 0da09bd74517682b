//! How columns share the room for blocks, so that none pushes out what another one keeps.
//!
//! A column that is read in blocks claims room. Small ones are kept whole; what they leave is cut
//! alike among those that are larger, each of which keeps always the same part of its blocks. A
//! column that is not read in blocks any more gives its room back after a while. While others need
//! memory, there is less room, and each keeps a part of that part.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::store::lance::name::ColumnName;

/// How long a column that is not read keeps its room.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How often idle columns are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// The room for the blocks of all columns.
#[derive(Debug)]
pub(in crate::store::lance) struct Room {
    bytes: u64,
    claims: Mutex<Claims>,
}

#[derive(Debug, Default)]
struct Claims {
    by_column: HashMap<ColumnName, Claim>,
    /// How much room there is for now.
    bytes: u64,
    /// The most that each of them may keep.
    most: u64,
    /// The most that another one could keep beside them.
    most_of_another: u64,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Claim {
    bytes: u64,
    last_use: Instant,
}

impl Room {
    pub(in crate::store::lance) fn new(bytes: u64) -> Self {
        let room = Self { bytes, claims: Mutex::default() };
        room.claims().share(bytes);
        room
    }

    /// Says that there is memory for so many bytes now. Less than all is taken as somewhat less
    /// yet, or it would be shared anew for each block that is on its way.
    pub(super) fn fit(&self, there_is: u64) {
        let step = (there_is / 16).next_power_of_two();
        let bytes = if there_is < self.bytes { there_is / step * step } else { self.bytes };
        let mut claims = self.claims();
        if bytes != claims.bytes {
            claims.share(bytes);
        }
    }

    /// How many bytes a column may keep that has so many, or could if it claimed room.
    pub(in crate::store::lance) fn offer(
        &self,
        column: &ColumnName,
        bytes: u64,
        now: Instant,
    ) -> u64 {
        let mut claims = self.claims();
        claims.forget_idle(now);
        let is_known = claims.by_column.contains_key(column);
        claims.wanted(bytes).min(if is_known { claims.most } else { claims.most_of_another })
    }

    /// Says that a column with so many bytes is read in blocks.
    pub(in crate::store::lance) fn claim(&self, column: &ColumnName, bytes: u64, now: Instant) {
        let mut claims = self.claims();
        match claims.by_column.get_mut(column) {
            Some(claim) if claim.bytes == bytes => claim.last_use = now,
            _ => {
                claims.by_column.insert(column.clone(), Claim { bytes, last_use: now });
                let room = claims.bytes;
                claims.share(room);
            }
        }
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        // No change leaves them half-done, so a poisoned lock guards sound contents.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claims {
    /// No column takes all, or there would be nothing at first for the next.
    fn wanted(&self, bytes: u64) -> u64 {
        bytes.min(self.bytes / 4 * 3)
    }

    /// Cuts so much room, some of which is left because blocks weigh somewhat more or less than
    /// they are expected to.
    fn share(&mut self, bytes: u64) {
        self.bytes = bytes;
        let room = bytes / 8 * 7;
        let wanted = self.by_column.values().map(|claim| self.wanted(claim.bytes));
        let mut wanted: Vec<u64> = wanted.collect();
        wanted.sort_unstable();
        self.most = most(&wanted, room);
        wanted.push(self.wanted(u64::MAX));
        self.most_of_another = most(&wanted, room);
    }

    /// Forgets the columns that are not read.
    fn forget_idle(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK) {
            return;
        }
        self.looked = Some(now);
        let before = self.by_column.len();
        self.by_column.retain(|_, claim| now.saturating_duration_since(claim.last_use) < IDLE);
        if self.by_column.len() < before {
            self.share(self.bytes);
        }
    }
}

/// The most that each may have, if some want this, from the smallest on.
fn most(wanted: &[u64], room: u64) -> u64 {
    let (mut left, mut count) = (room, wanted.len() as u64);
    for wanted in wanted {
        let most = left / count;
        if *wanted > most {
            return most;
        }
        left -= wanted;
        count -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> ColumnName {
        ("/rows.lance".into(), name.into())
    }

    /// What columns with so many bytes may keep of a room of 800, once all have claimed some.
    fn kept(bytes: &[u64]) -> Vec<u64> {
        let (room, now) = (Room::new(800), Instant::now());
        let name = |at: usize| column(&at.to_string());
        for (at, bytes) in bytes.iter().enumerate() {
            // What is offered to one that comes is what it gets.
            let offered = room.offer(&name(at), *bytes, now);
            room.claim(&name(at), *bytes, now);
            assert_eq!(room.offer(&name(at), *bytes, now), offered);
        }
        bytes.iter().enumerate().map(|(at, bytes)| room.offer(&name(at), *bytes, now)).collect()
    }

    #[test]
    fn what_fits_is_kept_and_large_columns_share_the_rest() {
        assert_eq!(kept(&[600]), [600]);
        assert_eq!(kept(&[601]), [600]);
        assert_eq!(kept(&[u64::MAX, u64::MAX]), [350, 350]);
        assert_eq!(kept(&[300, 300, 100]), [300, 300, 100]);
        assert_eq!(kept(&[1000, 100, 0, 2000]), [300, 100, 0, 300]);
        assert_eq!(kept(&[250, 1000, 250]), [233, 233, 233]);
        assert_eq!(Room::new(0).offer(&column("a"), 8, Instant::now()), 0);
    }

    #[test]
    fn where_there_is_less_memory_each_keeps_less() {
        let (room, now) = (Room::new(800), Instant::now());
        let [large, larger, small] = [("a", 700), ("b", 1000), ("c", 100)];
        for (name, bytes) in [large, larger, small] {
            room.claim(&column(name), bytes, now);
        }
        let offers =
            || [large, larger, small].map(|(name, bytes)| room.offer(&column(name), bytes, now));
        assert_eq!(offers(), [300, 300, 100]);
        for there_is in [384, 400, 415] {
            room.fit(there_is);
            assert_eq!(offers(), [118, 118, 100], "{there_is}");
        }
        room.fit(0);
        assert_eq!(offers(), [0, 0, 0]);
        for there_is in [800, u64::MAX] {
            room.fit(there_is);
            assert_eq!(offers(), [300, 300, 100], "{there_is}");
        }
    }

    #[test]
    fn who_only_asks_takes_nothing_from_others() {
        let (room, now) = (Room::new(800), Instant::now());
        room.claim(&column("a"), 700, now);
        assert_eq!(room.offer(&column("b"), 700, now), 350);
        assert_eq!(room.offer(&column("a"), 700, now), 600);
    }

    #[test]
    fn columns_keep_what_they_have_while_they_take_turns() {
        let (room, start) = (Room::new(800), Instant::now());
        room.claim(&column("a"), 700, start);
        for turn in 0..100 {
            let now = start + Duration::from_secs(turn);
            let name = column(if turn % 2 == 0 { "b" } else { "a" });
            assert_eq!(room.offer(&name, 700, now), 350, "turn {turn}");
            room.claim(&name, 700, now);
        }
    }

    #[test]
    fn a_column_that_is_not_read_any_more_gives_its_room_back() {
        let (room, start) = (Room::new(800), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let turn = |name: &str, bytes, now| {
            room.claim(&column(name), bytes, now);
            room.offer(&column(name), bytes, now)
        };
        assert_eq!(turn("a", 700, at(0)), 600);
        assert_eq!(turn("b", 700, at(1)), 350);
        assert_eq!(turn("b", 700, at(59)), 350);
        assert_eq!(turn("b", 700, at(70)), 600);
        assert_eq!(turn("a", 700, at(71)), 350);
        // One that grows or shrinks shares anew.
        assert_eq!(turn("a", 100, at(72)), 100);
        assert_eq!(turn("b", 700, at(73)), 600);
    }
}
