//! The machine's own identity on Amazon, for profiles that say `credentials = "cloud"`.
//!
//! Without a word of credentials, Lance takes keys of the environment and of files in the home
//! folder before an identity, and object_store those of the environment. Here nothing but an
//! identity is taken: the role of a workload (a token that the platform writes into a file), of a
//! container, or of the instance, in this order.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use keyloom_common::{Error, Result};
use lance_object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};

use crate::store::{ReadProfile, is_credential};

/// How variables of the environment start that are options of S3.
const VARIABLES: &str = "aws_";

/// The identities that were asked for, by the profiles that say so. One that is known renews its
/// credentials by itself.
#[derive(Default)]
pub(super) struct Identities(Mutex<HashMap<String, AwsCredentialProvider>>);

impl Identities {
    /// The identity of a profile of this name.
    ///
    /// # Errors
    /// As [`identity`].
    pub(super) fn of(&self, name: &str, profile: &ReadProfile) -> Result<AwsCredentialProvider> {
        // No change leaves them half-done, so a poisoned lock guards sound contents.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = known.get(name) {
            return Ok(AwsCredentialProvider::clone(identity));
        }
        let identity = identity(profile)?;
        known.insert(name.to_owned(), AwsCredentialProvider::clone(&identity));
        Ok(identity)
    }
}

/// Whoever prints it shall see no token.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").finish_non_exhaustive()
    }
}

/// The identity that a profile's options and the environment say how to find. Nothing is asked yet.
///
/// # Errors
/// `invalid` if an option is not what it can be.
pub(super) fn identity(profile: &ReadProfile) -> Result<AwsCredentialProvider> {
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .map(lower)
        .filter(|(name, value)| name.starts_with(VARIABLES) && !value.is_empty());
    let mut options = HashMap::new();
    // What the profile says goes before what the environment does.
    for (name, value) in environment.chain(profile.options.clone().into_iter().map(lower)) {
        if is_credential(&name) {
            continue;
        }
        if let Ok(key) = AmazonS3ConfigKey::from_str(&name) {
            options.insert(key, value);
        }
    }
    let mut builder = AmazonS3Builder::new();
    for (key, value) in options {
        builder = builder.with_config(key, value);
    }
    // A bucket must be named, and none is asked.
    let store = builder.with_bucket_name("identity").build();
    let store = store.map_err(|error| {
        Error::invalid(format!("the machine's own identity cannot be asked for: {error}"))
    })?;
    Ok(AwsCredentialProvider::clone(store.credentials()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StorageProfile;

    #[tokio::test]
    async fn an_identity_is_made_once_a_profile_and_takes_no_keys() {
        let options = [("aws_region", "eu-west-1"), ("credentials", "cloud")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let profile = StorageProfile::from(options).read("p").unwrap();
        let identities = Identities::default();
        let one = identities.of("p", &profile).unwrap();
        assert!(std::sync::Arc::ptr_eq(&one, &identities.of("p", &profile).unwrap()));
        assert!(!format!("{one:?}").contains("StaticCredentialProvider"), "{one:?}");
        assert_eq!(format!("{identities:?}"), "Identities { .. }");
    }
}
