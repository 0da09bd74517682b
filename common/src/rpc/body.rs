//! Bytes that travel beside a message instead of in it, so that they are copied neither into it nor
//! out of it.
//!
//! serde has no room for this, so a connection says for the time of one message where bodies go to
//! or come from. Without a connection a body is bytes like others.

use std::{cell::RefCell, result};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// Bytes in a message: a chunk of rows, a plan, a part of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// Where the bodies of the message at hand are.
enum Beside {
    /// Those of a message that is being written.
    Written(Vec<Bytes>),
    /// Those of a message that is being read and that were not taken yet.
    Unread(Bytes),
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
pub(super) fn together<T>(bodies: Bytes, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let (message, beside) = with(Beside::Unread(bodies), read);
    match beside {
        Some(Beside::Unread(rest)) if !rest.is_empty() => {
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
                bodies.push(self.0.clone());
                true
            }
            _ => false,
        });
        if apart {
            (self.0.len() as u64).serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        if !BESIDE.with_borrow(|beside| matches!(beside, Some(Beside::Unread(_)))) {
            return Bytes::deserialize(deserializer).map(Self);
        }
        let length = u64::deserialize(deserializer)?;
        let body = BESIDE.with_borrow_mut(|beside| match beside {
            Some(Beside::Unread(rest)) if length <= rest.len() as u64 => {
                Some(rest.split_to(length as usize))
            }
            _ => None,
        });
        body.map(Self).ok_or_else(|| de::Error::custom("a body is longer than what was sent"))
    }
}
