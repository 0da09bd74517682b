//! Turns at the handshakes, of which there are only so many at once.
//!
//! Those who have connected and say nothing, or too little to begin with, take none: a connection
//! costs whoever opens it nothing, and many that are silent must not hold up one that speaks. Where
//! there are too many, the one that is silent for the longest time goes; where none is silent, one
//! of the network that most of them come from. A handshake that takes long gives way where others
//! wait.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How many may be connected without having a turn, for each turn there is.
pub(super) const PER_HANDSHAKE: usize = 4;

/// How long a handshake may take where others wait for their turn.
const UNDISTURBED: Duration = Duration::from_millis(500);

/// All turns.
#[derive(Debug)]
pub(super) struct Turns {
    max_handshakes: usize,
    handshakes: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By when they came.
    strangers: BTreeMap<u64, Waiting>,
    /// By when their turn came.
    turns: BTreeMap<u64, (Instant, CancellationToken)>,
}

#[derive(Debug)]
struct Waiting {
    displaced: CancellationToken,
    phase: Phase,
    network: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not said all of what it opens with.
    Silent,
    /// It waits for its turn.
    Waits,
    /// It has its turn.
    Shakes,
}

/// A peer that has connected, until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    turns: Arc<Turns>,
    id: u64,
    displaced: CancellationToken,
}

/// A turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    id: u64,
    displaced: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new(max_handshakes: usize) -> Arc<Self> {
        let permits = max_handshakes.min(Semaphore::MAX_PERMITS);
        let handshakes = Arc::new(Semaphore::new(permits));
        Arc::new(Self { max_handshakes, handshakes, state: Mutex::default() })
    }

    /// Takes note of somebody who has connected from somewhere.
    ///
    /// # Errors
    /// `resource_exhausted` if too many wait for their turn.
    pub(super) fn arrive(self: &Arc<Self>, from: IpAddr) -> Result<Stranger> {
        let (mut state, network) = (self.lock(), network(from));
        let max = self.max_handshakes.saturating_mul(PER_HANDSHAKE);
        if state.strangers.len() >= max {
            let Some(id) = state.silent().or_else(|| state.of_the_most(network)) else {
                return Err(Error::resource_exhausted(format!(
                    "{max} others wait for their handshakes, four times \
                     security.max_handshakes = {}",
                    self.max_handshakes
                )));
            };
            if let Some(waiting) = state.strangers.remove(&id) {
                waiting.displaced.cancel();
            }
        }
        let (id, displaced) = (state.next, CancellationToken::new());
        state.next += 1;
        let waiting = Waiting { displaced: displaced.clone(), phase: Phase::Silent, network };
        state.strangers.insert(id, waiting);
        Ok(Stranger { turns: Arc::clone(self), id, displaced })
    }

    fn begin(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Turn {
        let mut state = self.lock();
        let (id, displaced) = (state.next, CancellationToken::new());
        state.next += 1;
        state.turns.insert(id, (Instant::now(), displaced.clone()));
        Turn { turns: Arc::clone(self), id, displaced, _permit: permit }
    }

    /// When the handshake that has taken longest has to give way.
    fn next_displaced(&self) -> Instant {
        let state = self.lock();
        let oldest = state.turns.first_key_value().map_or_else(Instant::now, |(_, turn)| turn.0);
        oldest + UNDISTURBED
    }

    /// Has it give way, if it has to, and says whether it had.
    fn displace(&self) -> bool {
        let mut state = self.lock();
        let oldest = state.turns.first_entry();
        let Some(oldest) = oldest.filter(|turn| turn.get().0.elapsed() >= UNDISTURBED) else {
            return false;
        };
        oldest.remove().1.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who is silent for the longest time.
    fn silent(&self) -> Option<u64> {
        self.in_phase(Phase::Silent).map(|(id, _)| id).next()
    }

    /// Who waits for the longest time of those that come from where most do, if these are more than
    /// those of a newcomer's network: a single one does not keep all others out.
    fn of_the_most(&self, newcomer: IpAddr) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, waiting) in self.in_phase(Phase::Waits) {
            *counts.entry(waiting.network).or_default() += 1;
        }
        let own = counts.get(&newcomer).copied().unwrap_or_default();
        let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let mut others = self.in_phase(Phase::Waits).filter(|(_, other)| other.network == most);
        // With one more and one less, they must not change places.
        if own + 1 < count { others.next().map(|(id, _)| id) } else { None }
    }

    fn in_phase(&self, phase: Phase) -> impl Iterator<Item = (u64, &Waiting)> {
        let all = self.strangers.iter().map(|(id, waiting)| (*id, waiting));
        all.filter(move |(_, waiting)| waiting.phase == phase)
    }
}

/// What one peer has for itself: a whole network of IPv6, where addresses cost nothing.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

impl Stranger {
    /// Waits for something, unless the peer has to go for others: then it is said what it was at.
    ///
    /// # Errors
    /// `unavailable` if it has to.
    pub(super) async fn unless_displaced<T>(
        &self,
        at: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        self.displaced
            .run_until_cancelled(work)
            .await
            .ok_or_else(|| Error::unavailable(format!("it {at} when too many others came")))
    }

    fn enter(&self, phase: Phase) {
        if let Some(waiting) = self.turns.lock().strangers.get_mut(&self.id) {
            waiting.phase = phase;
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// `unavailable` if there are no turns any more.
    pub(super) async fn turn(&self) -> Result<Turn> {
        self.enter(Phase::Waits);
        let mut permit = pin!(Arc::clone(&self.turns.handshakes).acquire_owned());
        // For each who waits one gives way at most.
        let mut has_displaced = false;
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => {
                    let gone = |_| Error::unavailable("the coordinator is stopping");
                    let turn = self.turns.begin(permit.map_err(gone)?);
                    self.enter(Phase::Shakes);
                    return Ok(turn);
                }
                () = sleep_until(self.turns.next_displaced()), if !has_displaced => {
                    has_displaced = self.turns.displace();
                }
            }
        }
    }
}

impl Turn {
    /// Shakes hands, unless the peer has to give way to others.
    ///
    /// # Errors
    /// `unavailable` if it has to.
    pub(super) async fn unless_displaced<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.displaced.run_until_cancelled(work).await.ok_or_else(|| {
            Error::unavailable(format!(
                "its handshake took more than {UNDISTURBED:?} while others waited for theirs"
            ))
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.turns.lock().strangers.remove(&self.id);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().turns.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, net::Ipv4Addr};

    use futures::FutureExt;

    use super::*;
    use crate::ErrorKind;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const SILENT: &str = "had said nothing";

    #[tokio::test]
    async fn who_is_silent_for_longest_goes_for_another() {
        let turns = Turns::new(1);
        let strangers: Vec<_> = (0..PER_HANDSHAKE).map(|_| turns.arrive(HERE).unwrap()).collect();
        let _turn = strangers[0].turn().await.unwrap();
        let _new = turns.arrive(HERE).unwrap();
        let silent = |stranger: &Stranger| stranger.displaced.is_cancelled();
        // The first one has spoken.
        assert_eq!(strangers.iter().map(silent).filter(|gone| *gone).count(), 1);
        let gone = strangers[1].unless_displaced(SILENT, pending::<()>()).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Unavailable);
        assert_eq!(turns.lock().strangers.len(), PER_HANDSHAKE);
    }

    #[tokio::test]
    async fn where_all_wait_for_their_turn_another_is_refused() {
        let turns = Turns::new(1);
        let strangers: Vec<_> = (0..PER_HANDSHAKE).map(|_| turns.arrive(HERE).unwrap()).collect();
        let _turn = strangers[0].turn().await.unwrap();
        for stranger in &strangers[1..] {
            assert!(stranger.turn().now_or_never().is_none());
        }
        let error = turns.arrive(HERE).unwrap_err();
        let expected = "4 others wait for their handshakes, four times security.max_handshakes = 1";
        assert_eq!((error.kind(), error.message()), (ErrorKind::ResourceExhausted, expected));
    }

    #[tokio::test]
    async fn only_so_many_shake_hands_and_one_that_takes_long_gives_way() {
        let turns = Turns::new(2);
        let [one, two, three] = [(); 3].map(|()| turns.arrive(HERE).unwrap());
        let first = one.turn().await.unwrap();
        let second = two.turn().await.unwrap();
        assert!(three.turn().now_or_never().is_none());
        let hang = async {
            let gone = first.unless_displaced(pending::<()>()).await;
            drop(first);
            gone
        };
        let (third, gone) = tokio::join!(three.turn(), hang);
        third.unwrap();
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!second.displaced.is_cancelled());
    }

    #[tokio::test]
    async fn whose_handshake_ends_makes_room_for_the_next() {
        let turns = Turns::new(1);
        let [one, two] = [(); 2].map(|()| turns.arrive(HERE).unwrap());
        let first = one.turn().await.unwrap();
        let end = async { drop(first) };
        let (second, ()) = tokio::join!(two.turn(), end);
        assert!(!second.unwrap().displaced.is_cancelled());
        drop((one, two));
        assert!(turns.lock().strangers.is_empty());
    }
    #[tokio::test]
    async fn a_network_from_which_many_wait_makes_room_for_another() {
        let turns = Turns::new(1);
        let strangers: Vec<_> = (0..PER_HANDSHAKE).map(|_| turns.arrive(HERE).unwrap()).collect();
        let _turn = strangers[0].turn().await.unwrap();
        for stranger in &strangers[1..] {
            assert!(stranger.turn().now_or_never().is_none());
        }
        let other: IpAddr = "10.0.0.1".parse().unwrap();
        let _new = turns.arrive(other).unwrap();
        let silent = |stranger: &&Stranger| stranger.displaced.is_cancelled();
        assert_eq!(strangers.iter().filter(silent).count(), 1);
        let gone = strangers[1].unless_displaced("waited for its turn", pending::<()>()).await;
        let expected = Error::unavailable("it waited for its turn when too many others came");
        assert_eq!(gone, Err(expected));
        assert_eq!(turns.lock().strangers.len(), PER_HANDSHAKE);
    }

    #[test]
    fn whoever_has_a_network_is_one() {
        let same = |one: &str, other: &str| {
            network(one.parse().unwrap()) == network(other.parse().unwrap())
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1") && !same("10.0.0.1", "10.0.0.2"));
    }
}
