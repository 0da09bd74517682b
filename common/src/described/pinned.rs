//! Which version of a dataset is meant.

use crate::{
    error::{Error, Result},
    store::Pin,
};

/// What a version or a tag says; none for the newest version.
///
/// # Errors
/// `invalid` if both are there, naming who names them.
pub(super) fn pin(who: &str, version: Option<u64>, tag: Option<String>) -> Result<Option<Pin>> {
    match (version, tag) {
        (Some(_), Some(_)) => {
            Err(Error::invalid(format!("{who} names both a version and a tag; give one")))
        }
        (Some(version), None) => Ok(Some(Pin::Version(version))),
        (None, tag) => Ok(tag.map(Pin::Tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_a_version_or_a_tag_or_neither() {
        let tag = || Some("v1".to_owned());
        assert_eq!(pin("an input", None, None), Ok(None));
        assert_eq!(pin("an input", Some(3), None), Ok(Some(Pin::Version(3))));
        assert_eq!(pin("an input", None, tag()), Ok(Some(Pin::Tag("v1".to_owned()))));
        let both = "an input names both a version and a tag; give one";
        assert_eq!(pin("an input", Some(3), tag()), Err(Error::invalid(both)));
    }
}
