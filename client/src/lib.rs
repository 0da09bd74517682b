//! Keyloom for programs: a [`Session`] with stores under aliases, inputs as DataFusion's
//! `DataFrame`s, and the functions `kv_get`, `kv_batch_get` and `kv_exists`.
//!
//! ```no_run
//! use keyloom_client::{LanceOptions, OnError, Session, load_kv};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::embedded().await?;
//! let metadata = load_kv("metadata", LanceOptions::new("metadata.lance").key("item_id"))?;
//! session.attach(metadata, "lance_metadata").await?;
//!
//! let items = session.read("items.parquet").await?;
//! let name = session.kv_get("item_id").source("lance_metadata").columns(["name"]);
//! let enriched = items.with_column("metadata", name.on_error(OnError::Null).build()?)?;
//! enriched.show().await?;
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: [`session`] is what users hold; [`store`] describes stores; [`functions`]
//! build expressions, and [`open_store`] asks stores without a query; [`input`] reads tables;
//! [`query`] hands plans to a coordinator.
//!
//! With the feature `embedded`, which is a default, a session can be its own cluster
//! (`Session::embedded`). Without it, the client depends on neither the coordinator nor the
//! worker, and not on Lance: it is for sessions on clusters ([`Session::connect`]) alone, and for
//! those of a coordinator that plans for others ([`Session::near`]).

mod cluster;
mod connection;
mod contents;
#[cfg(feature = "embedded")]
mod embedded;
pub mod functions;
pub mod input;
mod link;
mod near;
pub mod open_store;
mod peer;
mod placeholders;
pub mod query;
pub mod session;
mod settings;
pub mod store;
mod told;
mod validate;
mod waits;

pub use datafusion;
#[cfg(feature = "embedded")]
pub use embedded::{EmbeddedSettings, NewStore};
pub use functions::{KvExpr, name_calls};
pub use input::{FileMark, Input, listed_with, read_inputs};
pub use keyloom_common::{
    Error, ErrorCode, ErrorKind, JobId, Result, Secret, WorkerId,
    described::{ClusterCatalog, Mode, OtherOptions, Output, OutputFormat, OwnKind},
    functions::{CallOptions, Function, OnError},
    group_keys::GroupKeys,
    input::Format,
    misses::{MaxMisses, missed_schema},
    output::{Committed, Compression, committed_schema},
    report,
    rpc::PeerSecurity,
    shuffle::{Shuffle, ShuffleChoice},
    store::{JoinPath, KeyPath, OnDuplicateKey, RowPath},
};
pub use open_store::{Lookup, OpenStore};
pub use placeholders::placeholders;
pub use query::{Job, JobHandle, JobOptions, with_group_keys, with_join_path, with_shuffle};
pub use session::Session;
pub use settings::Settings;
pub use store::{KeyNames, KvStore, LanceOptions, MemoryOptions, load_kv};
