//! Bytes that travel beside a message instead of in it, so that they are copied neither into it nor
//! out of it.
//!
//! serde has no room for this, so a connection says for the time of one message where bodies go to
//! or come from. Without a connection a body is bytes like others.

use std::{cell::RefCell, result};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::room::Occupied;
use crate::error::{Error, Result};

/// Bytes in a message: a chunk of rows, a plan, a part of a blob. Where the receiver has only so
/// much room, they take some of it until this is dropped, or its bytes are taken out.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Bytes,
    _room: Option<Occupied>,
}

impl Body {
    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes alone, for whoever keeps them in other room.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Body {}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _room: None }
    }
}

/// Where the bodies of the message at hand are.
enum Beside {
    /// Those of a message that is being written.
    Written(Vec<Bytes>),
    /// Those of a message that is being read and that were not taken yet, and the room of all.
    Unread(Bytes, Option<Occupied>),
}

thread_local! {
    static BESIDE: RefCell<Option<Beside>> = const { RefCell::new(None) };
}

/// Writes a message and returns its bodies apart.
pub(super) fn apart<T>(write: impl FnOnce() -> T) -> (T, Vec<Bytes>) {
    match with(Beside::Written(Vec::new()), write) {
        (written, Some(Beside::Written(bodies))) => (written, bodies),
        (written, _) => (written, Vec::new()),
    }
}

/// Reads a message whose bodies are these, one after the other.
///
/// # Errors
/// What `read` says, or `internal` if the message has other bodies.
pub(super) fn together<T>(
    bodies: Bytes,
    room: Option<Occupied>,
    read: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (message, beside) = with(Beside::Unread(bodies, room), read);
    match beside {
        Some(Beside::Unread(rest, _)) if !rest.is_empty() => {
            message.and(Err(Error::internal("bad message from a peer: a body that is not in it")))
        }
        _ => message,
    }
}

fn with<T>(beside: Beside, run: impl FnOnce() -> T) -> (T, Option<Beside>) {
    /// Takes the bodies away, also after a panic.
    struct Away;
    impl Drop for Away {
        fn drop(&mut self) {
            BESIDE.take();
        }
    }
    BESIDE.set(Some(beside));
    let away = Away;
    let output = run();
    let beside = BESIDE.take();
    drop(away);
    (output, beside)
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> result::Result<S::Ok, S::Error> {
        let apart = BESIDE.with_borrow_mut(|beside| match beside {
            Some(Beside::Written(bodies)) => {
                bodies.push(self.bytes.clone());
                true
            }
            _ => false,
        });
        if apart {
            (self.bytes.len() as u64).serialize(serializer)
        } else {
            self.bytes.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        if !BESIDE.with_borrow(|beside| matches!(beside, Some(Beside::Unread(..)))) {
            return Bytes::deserialize(deserializer).map(Self::from);
        }
        let length = u64::deserialize(deserializer)?;
        let body = BESIDE.with_borrow_mut(|beside| match beside {
            Some(Beside::Unread(rest, room)) if length <= rest.len() as u64 => {
                Some(Self { bytes: rest.split_to(length as usize), _room: room.clone() })
            }
            _ => None,
        });
        body.ok_or_else(|| de::Error::custom("a body is longer than what was sent"))
    }
}
