//! Which error it is, of those that somebody does something particular about.

use serde::{Deserialize, Serialize};

/// What is known of an error beside its kind, for programs: messages are for people. Most errors
/// have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A store does not hold a key, and the call is to fail then.
    KeyMissing,
    /// Stores do not hold more keys than a call or a job allows.
    TooManyMisses,
    /// A key of rows in memory stands in several of them.
    KeyRepeated,
    /// No store is attached to the session under an alias.
    StoreNotAttached,
    /// A call names no store, and none is current.
    NoCurrentStore,
    /// A statement names a table that is not registered.
    TableNotFound,
    /// A storage profile does not do, or options were given where only one may stand.
    StorageProfile,
    /// Nobody answers at the coordinator's address, or nobody does any more.
    NoCoordinator,
    /// A handshake arrived damaged: it is worth another try.
    HandshakeDamaged,
    /// The connection to the coordinator failed, whoever's it was.
    ConnectionFailed,
    /// A call was not answered in all the time that it had, whoever's it was.
    NotAnswered,
    /// The coordinator does not hold a blob any more; sent again, it does.
    BlobGone,
    /// The coordinator does not hold the first parts of a blob any more; begun again, it does.
    BlobPartGone,
    /// A job ended while its output was committed, and whether it was is not known.
    CommitUnknown,
    /// A job must be alone where it writes, and another writes there: it may once that has ended.
    PlaceTaken,
}
