//! How processes talk: one handshake, one framing, two services.
//!
//! A connection opens with a [`handshake`] that refuses peers of another build and, where
//! [`security`] says so, those who do not show who they are; and then carries one service:
//! [`ClientApi`] for programs that submit jobs, [`WorkerApi`] for workers. What is large in a
//! message travels beside it, as a [`Body`]; rows travel as [`Chunk`]s. In one process the same
//! services run over channels.

mod acceptor;
pub mod bincode;
mod body;
mod chunk;
mod client_api;
mod counts;
mod deadline;
mod frame;
pub(crate) mod fuzzing;
pub mod handshake;
mod limits;
mod refusals;
mod room;
pub mod security;
mod transport;
mod validate;
mod worker_api;

pub use acceptor::{Entrance, accepting};
pub use body::Body;
pub use chunk::{Chunk, ChunkWriter, under};
pub use client_api::{
    ClientApi, ClientApiClient, ClientApiRequest, ClientApiResponse, JobTerms, Next, Submission,
};
pub use counts::{ConnectionCounts, SecurityReloads};
pub use deadline::{connection_failed, guarded, in_time, not_answered};
pub use limits::Limits;
pub use room::ReceiveRoom;
pub use security::{
    Admitted, BearerTokens, Credentials, Gate, GateFigures, Identity, PeerSecurity, PortName,
    Reloads, Role, ServerSecurity, Stream, TokenFiles, role_uri,
};
pub use transport::{Transport, connect, dial, framed, is_tls, parse_address};
pub use worker_api::{
    Assignment, BlobPart, Order, PlannedOutput, ResumedJob, TaskReport, Work, WorkerApi,
    WorkerApiClient, WorkerApiRequest, WorkerApiResponse, WorkerInfo, WrittenOutput,
};
