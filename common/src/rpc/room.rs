//! Room for what is being received: a process reads only so many bytes of frames that it has not
//! dealt with yet. Beyond, the rest stays with its senders, and these wait.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
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
}

impl ReceiveRoom {
    /// Room for so many bytes; a frame that is larger is received alone.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT as u64).unwrap_or(u32::MAX).max(1);
        // A semaphore may have fewer permits than there are addresses.
        let free = Semaphore::new((units as usize).min(Semaphore::MAX_PERMITS));
        Self { free: Arc::new(free), units }
    }
}

/// What one connection takes of the room. Without a room, there is always enough.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    room: Option<(PollSemaphore, u32)>,
    taken: Taken,
}

/// Of the frame at hand.
#[derive(Debug, Default)]
enum Taken {
    #[default]
    Nothing,
    Waiting,
    Some(Occupied),
}

/// Room that is occupied until all clones of this are dropped.
#[derive(Clone, Debug)]
pub(super) struct Occupied {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Receiving {
    pub(super) fn new(room: Option<&ReceiveRoom>) -> Self {
        let room = room.map(|room| (PollSemaphore::new(Arc::clone(&room.free)), room.units));
        Self { room, taken: Taken::Nothing }
    }

    /// Waits until there is room for so many bytes of the frame at hand.
    pub(super) fn poll(&mut self, bytes: usize, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self.taken, Taken::Some(_)) {
            return Poll::Ready(());
        }
        let permit = match &mut self.room {
            Some((free, all)) if bytes > 0 => {
                let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(*all);
                self.taken = Taken::Waiting;
                ready!(free.poll_acquire_many(context, units)).map(Arc::new)
            }
            _ => None,
        };
        self.taken = Taken::Some(Occupied { _permit: permit });
        Poll::Ready(())
    }

    /// Whether the frame at hand waits for room.
    pub(super) fn waits(&self) -> bool {
        matches!(self.taken, Taken::Waiting)
    }

    /// Hands over what the frame at hand has taken.
    pub(super) fn take(&mut self) -> Occupied {
        match std::mem::take(&mut self.taken) {
            Taken::Some(occupied) => occupied,
            Taken::Nothing | Taken::Waiting => Occupied { _permit: None },
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
        assert!(two.waits());
        let clone = first.clone();
        drop(first);
        assert!(poll_fn(|context| two.poll(4 * UNIT, context)).now_or_never().is_none());
        drop(clone);
        poll_fn(|context| two.poll(4 * UNIT, context)).await;
        assert!(!two.waits());
        drop(two.take());
        poll_fn(|context| one.poll(1000 * UNIT, context)).await;
        assert_eq!(room.free.available_permits(), 0, "it is received alone");
    }
}
