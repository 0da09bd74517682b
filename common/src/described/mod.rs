//! Stores, inputs and outputs as users describe them: by names and options, in job files, in
//! catalogs and in programs. All that is said of one becomes a
//! [`StoreSpec`](crate::store::StoreSpec), an [`InputSpec`](crate::input::InputSpec) or an
//! [`OutputSpec`](crate::output::OutputSpec), which travel.
//!
//! Clients read them for themselves, and a coordinator for those that its settings name for a
//! whole cluster ([`Written`]), which clients get as a [`ClusterCatalog`].

mod alias;
mod cluster;
mod input;
mod key_names;
mod lance;
mod other;
mod output;
mod own_kind;
mod pinned;
mod place;
mod store;
mod written;

pub use alias::{check_alias, is_alias};
pub use cluster::ClusterCatalog;
pub use input::{Columns, Input};
pub use key_names::KeyNames;
pub use lance::LanceOptions;
pub use other::OtherOptions;
pub use output::{Mode, Output, OutputFormat};
pub use own_kind::OwnKind;
pub use place::{absolute, check_absolute};
pub use store::{Store, told};
pub use written::Written;
