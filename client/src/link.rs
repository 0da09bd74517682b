//! What a session and its plans share: the connection, the contents of in-memory tables and stores,
//! and the bounds.

use crate::{connection::Connection, contents::Contents, settings::Settings};

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) contents: Contents,
    pub(crate) settings: Settings,
}
