//! Room for what is being received: a process reads only so many bytes of frames that it has not
//! dealt with yet. Beyond, the rest stays with its senders, and these wait.
//!
//! A frame takes the room for all of it before it is read, so that one that is partly in can always
//! be read to its end: it waits for no other. Whoever sends it must not be slow while others wait
//! for room, which is known here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// Room is counted in units of so many bytes.
const UNIT: usize = 1024;

/// The room of a process, for all its connections.
#[derive(Clone, Debug)]
pub struct ReceiveRoom {
    free: Arc<Semaphore>,
    units: u32,
    /// How many frames wait for room.
    waiting: Arc<AtomicUsize>,
}

impl ReceiveRoom {
    /// Room for so many bytes; a frame that is larger is received alone.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT as u64).unwrap_or(u32::MAX).max(1);
        // A semaphore may have fewer permits than there are addresses.
        let free = Semaphore::new((units as usize).min(Semaphore::MAX_PERMITS));
        Self { free: Arc::new(free), units, waiting: Arc::default() }
    }

    /// How many bytes of it are taken, and how many there are, about.
    pub fn taken(&self) -> (u64, u64) {
        let bytes = |units: usize| (units as u64).saturating_mul(UNIT as u64);
        let all = (self.units as usize).min(Semaphore::MAX_PERMITS);
        (bytes(all.saturating_sub(self.free.available_permits())), bytes(all))
    }
}

/// What one connection takes of the room. Without a room, there is always enough.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    room: Option<(ReceiveRoom, PollSemaphore)>,
    taken: Taken,
}

/// Of the frame at hand.
#[derive(Debug, Default)]
enum Taken {
    #[default]
    Nothing,
    Waiting {
        _counted: Waiting,
    },
    Some(Occupied),
}

/// A frame that is counted among those that wait, until this is dropped.
#[derive(Debug)]
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn of(room: &ReceiveRoom) -> Self {
        room.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&room.waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room that is occupied until all clones of this are dropped.
#[derive(Clone, Debug)]
pub(super) struct Occupied {
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Receiving {
    pub(super) fn new(room: Option<&ReceiveRoom>) -> Self {
        let room = room.map(|room| (room.clone(), PollSemaphore::new(Arc::clone(&room.free))));
        Self { room, taken: Taken::Nothing }
    }

    /// Waits until there is room for so many bytes of the frame at hand.
    pub(super) fn poll(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self.taken, Taken::Some(_)) {
            return Poll::Ready(());
        }
        let permit = match &mut self.room {
            Some((room, free)) if bytes > 0 => {
                let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(room.units);
                let Poll::Ready(permit) = free.poll_acquire_many(context, units) else {
                    if !matches!(self.taken, Taken::Waiting { .. }) {
                        self.taken = Taken::Waiting { _counted: Waiting::of(room) };
                    }
                    return Poll::Pending;
                };
                permit.map(Arc::new)
            }
            _ => None,
        };
        self.taken = Taken::Some(Occupied { permit });
        Poll::Ready(())
    }

    /// Whether the frame at hand waits for room.
    pub(super) fn waits(&self) -> bool {
        matches!(self.taken, Taken::Waiting { .. })
    }

    /// Whether the frame at hand has taken room.
    pub(super) fn has_taken(&self) -> bool {
        matches!(&self.taken, Taken::Some(occupied) if occupied.permit.is_some())
    }

    /// Whether others wait for room.
    pub(super) fn others_wait(&self) -> bool {
        let own = usize::from(self.waits());
        self.room.as_ref().is_some_and(|(room, _)| room.waiting.load(Ordering::Relaxed) > own)
    }

    /// Hands over what the frame at hand has taken.
    pub(super) fn take(&mut self) -> Occupied {
        match std::mem::take(&mut self.taken) {
            Taken::Some(occupied) => occupied,
            Taken::Nothing | Taken::Waiting { .. } => Occupied { permit: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn beyond_the_room_a_frame_waits_until_another_is_dealt_with() {
        let room = ReceiveRoom::new(10 * UNIT as u64);
        let [mut one, mut two] = [(); 2].map(|()| Receiving::new(Some(&room)));
        poll_fn(|context| one.poll(7 * UNIT - 1, context)).await;
        let first = one.take();
        assert!(poll_fn(|context| two.poll(4 * UNIT, context)).now_or_never().is_none());
        assert!(two.waits() && !two.has_taken() && !two.others_wait());
        assert!(one.others_wait());
        let clone = first.clone();
        drop(first);
        assert!(poll_fn(|context| two.poll(4 * UNIT, context)).now_or_never().is_none());
        drop(clone);
        poll_fn(|context| two.poll(4 * UNIT, context)).await;
        assert!(!two.waits() && two.has_taken() && !one.others_wait());
        drop(two.take());
        poll_fn(|context| one.poll(1000 * UNIT, context)).await;
        assert_eq!(room.free.available_permits(), 0, "it is received alone");
    }

    #[tokio::test]
    async fn whoever_gives_up_waits_no_more() {
        let room = ReceiveRoom::new(UNIT as u64);
        let [mut one, mut two] = [(); 2].map(|()| Receiving::new(Some(&room)));
        poll_fn(|context| one.poll(UNIT, context)).await;
        for _ in 0..2 {
            assert!(poll_fn(|context| two.poll(UNIT, context)).now_or_never().is_none());
        }
        assert!(one.others_wait());
        drop(two);
        assert!(one.has_taken() && !one.others_wait());
    }
}
