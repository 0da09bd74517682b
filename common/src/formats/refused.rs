//! Why a format does not hold something.

use std::fmt;

use crate::error::Error;

/// A column or a value that a format cannot hold, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whether what was asked is wrong, and not a value that came.
    pub is_mistake: bool,
    /// What was refused.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the format holds it for readers that know Arrow's types.
    pub may_be_kept: bool,
}

impl Refused {
    /// What was asked is wrong.
    pub(super) fn mistake(message: impl Into<String>) -> Self {
        Self { is_mistake: true, message: message.into(), help: None, may_be_kept: false }
    }

    /// A value that came cannot be held.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { is_mistake: false, ..Self::mistake(message) }
    }

    /// The same, with what to do about it.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same for what could be held as Arrow has it.
    pub(super) fn unless_kept(self) -> Self {
        Self { may_be_kept: true, ..self }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

impl std::error::Error for Refused {}

/// As all that will stay wrong however often it is tried.
impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::invalid(refused.to_string())
    }
}
