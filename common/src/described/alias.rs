//! The names by which statements find stores and inputs.

use crate::error::{Error, Result};

/// Whether a word is what SQL would take for a name.
pub fn is_alias(word: &str) -> bool {
    let mut characters = word.chars();
    let starts = characters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    starts && characters.all(|next| next.is_alphanumeric() || next == '_')
}

/// Refuses what can be no alias.
///
/// # Errors
/// `invalid`, with what an alias is made of.
pub fn check_alias(alias: &str) -> Result<()> {
    if is_alias(alias) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{alias}' cannot be an alias: use letters, digits and underscores, not a digit first"
    )))
}
