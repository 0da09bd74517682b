//! Who may connect to whom: TLS, tokens, and what role a peer has.
//!
//! Whoever dials has [`PeerSecurity`] in its settings and [`Credentials`] in its hands; whoever
//! listens has [`ServerSecurity`] and a [`Gate`], through which every connection comes. Who a peer
//! is (its [`Identity`]) is known from its certificate, or from the token that it proved to have,
//! before any request of it is decoded, and never from what a request says.

mod bearer;
mod credentials;
mod files;
mod gate;
mod identity;
mod own;
mod peer;
mod port_name;
mod reloads;
mod server;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod token;

pub use bearer::BearerTokens;
pub use credentials::Credentials;
pub use gate::{Admitted, Gate, GateFigures};
pub use identity::{Identity, Role, role_uri};
pub use peer::PeerSecurity;
pub use port_name::PortName;
pub use reloads::Reloads;
pub use server::{ServerSecurity, TokenFiles};
pub use stream::Stream;
pub(super) use tls::refused_certificate;
pub(super) use token::{Binding, Nonce, Proof, Side, Token, Transcript};
