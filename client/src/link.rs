//! What a session and its plans share: the connection, the contents of in-memory tables and stores,
//! the bounds, and who hears of warnings.

use crate::{connection::Connection, contents::Contents, settings::Settings, told::Told};

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) contents: Contents,
    pub(crate) settings: Settings,
    /// Where it is said what jobs ask for in vain, and what others have left.
    pub(crate) warnings: Told,
}
