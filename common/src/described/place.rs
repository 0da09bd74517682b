//! Where stores and inputs are, as users write it.

use std::path::Path;

use crate::error::{Error, ErrorCode, Result, redact, uri_has_user};

/// A path as workers in other folders find it; a URI as it is.
///
/// # Errors
/// `invalid` if the path is empty or the URI holds credentials, which would travel with plans.
pub fn absolute(path: &str) -> Result<String> {
    if let Some((scheme, rest)) = path.split_once("://") {
        if uri_has_user(scheme, rest) {
            return Err(Error::invalid(format!(
                "the URI {} holds credentials; keep them on the workers, in their environment or \
                 in a storage profile",
                redact(path)
            ))
            .with_code(ErrorCode::StorageProfile));
        }
        return Ok(path.to_owned());
    }
    let absolute = std::path::absolute(Path::new(path))
        .map_err(|error| Error::invalid(format!("path '{path}': {error}")))?;
    // Folders keep their trailing slash: it says that they are folders.
    let slash = if path.ends_with('/') { "/" } else { "" };
    Ok(format!("{}{slash}", absolute.display().to_string().trim_end_matches('/')))
}

/// Refuses what another folder would make another place. That there is a path is checked elsewhere.
///
/// # Errors
/// `invalid`, naming the option, if the path is neither an absolute one nor a URI.
pub fn check_absolute(option: &str, path: &str) -> Result<()> {
    if path.is_empty() || path.contains("://") || Path::new(path).is_absolute() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{option} is an absolute path or a URI here, not '{}', which every folder has another of",
        redact(path)
    )))
}
