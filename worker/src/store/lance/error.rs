//! Lance's errors in Keyloom's words: a kind that says whether to try again, and a message without
//! source locations or secrets.

use std::{error::Error as StdError, iter};

use keyloom_common::{
    Error,
    error::{may_be_secret, redact},
};

/// What a failed access to a dataset means. What does not exist will not exist the next time;
/// everything else may be a disk or a network that was slow.
pub(crate) fn from_lance(error: lance::Error) -> Error {
    use lance::Error as Lance;
    if let Some(own) = chain(&error).find_map(|error| error.downcast_ref::<Error>()) {
        return own.clone();
    }
    let message = without_locations(&error.to_string());
    match error {
        Lance::DatasetNotFound { .. }
        | Lance::NotFound { .. }
        | Lance::VersionNotFound { .. }
        | Lance::RefNotFound { .. } => Error::not_found(message),
        Lance::InvalidTableLocation { .. }
        | Lance::InvalidRef { .. }
        | Lance::InvalidInput { .. } => Error::invalid(message),
        // What object_store's client was waiting for, it tells in the last of its causes alone.
        error if chain(&error).any(|error| error.to_string().contains("timed out")) => {
            Error::timeout(format!("{message}: timed out"))
        }
        _ => Error::store(message),
    }
}

/// An error and its causes.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}

/// Lance ends its messages with `, path/to/source.rs:12:34`, once for each error in a chain.
fn without_locations(message: &str) -> String {
    let is_location = |part: &&str| {
        let mut ends = part.rsplitn(3, ':');
        let mut number = || ends.next().is_some_and(|end| end.parse::<u32>().is_ok());
        number() && number() && ends.next().is_some_and(|path| path.ends_with(".rs"))
    };
    let kept: Vec<_> = message.split(", ").filter(|part| !is_location(part)).collect();
    kept.join(", ")
}

/// Removes from messages what a dataset's URI and storage options must not tell.
#[derive(Clone)]
pub(crate) struct Scrub {
    uri: String,
    secrets: Vec<String>,
}

impl Scrub {
    /// Takes the options that sound secret. A value too short to be one would only maim messages.
    pub(crate) fn new<'a>(
        uri: &str,
        options: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        const SHORTEST_SECRET: usize = 4;
        // Here a name that is no secret's costs no more than a word of a message.
        let secret = |name: &str| may_be_secret(name) || name.to_ascii_lowercase().contains("key");
        let secrets = options
            .into_iter()
            .filter(|(name, value)| secret(name) && value.len() >= SHORTEST_SECRET);
        Self { uri: uri.to_owned(), secrets: secrets.map(|(_, value)| value.clone()).collect() }
    }

    /// The same error without secrets.
    pub(crate) fn clean(&self, error: Error) -> Error {
        let mut message = error.message().replace(&self.uri, &redact(&self.uri));
        for secret in &self.secrets {
            message = message.replace(secret, "***");
        }
        error.reworded(message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn locations_are_dropped_and_the_rest_is_kept() {
        let message = "LanceError(IO): a, b: c, /home/x/src/io.rs:12:3, src/lib.rs:4:55";
        assert_eq!(without_locations(message), "LanceError(IO): a, b: c");
        assert_eq!(without_locations("at 10:20:30, as ever"), "at 10:20:30, as ever");
    }

    #[test]
    fn errors_of_our_own_pass_through_lance() {
        let own = Error::timeout("data/a.lance: no answer in 40 s");
        let stored =
            lance_object_store::Error::Generic { store: "Lance", source: Box::new(own.clone()) };
        assert_eq!(from_lance(lance::Error::from(stored)), own);
    }

    #[test]
    fn a_request_that_timed_out_says_so() {
        #[derive(Debug)]
        struct Sending(std::io::Error);
        impl std::fmt::Display for Sending {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("error sending request")
            }
        }
        impl StdError for Sending {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let sending = |cause: &str| {
            let source = Box::new(Sending(std::io::Error::other(cause.to_owned())));
            from_lance(lance_object_store::Error::Generic { store: "S3", source }.into())
        };
        let message = "LanceError(IO): Generic S3 error: error sending request";
        let timed_out = Error::timeout(format!("{message}: timed out"));
        assert_eq!(sending("operation timed out"), timed_out);
        assert_eq!(sending("connection refused"), Error::store(message));
    }

    #[test]
    fn secrets_are_dropped_from_messages() {
        let options = HashMap::from([
            ("aws_secret_access_key".to_owned(), "hunter22".to_owned()),
            ("region".to_owned(), "us-east-1".to_owned()),
        ]);
        let scrub = Scrub::new("s3://user:pw@bucket/a", &options);
        let error = scrub.clean(Error::store("s3://user:pw@bucket/a in us-east-1 with hunter22"));
        assert_eq!(error, Error::store("s3://bucket/a in us-east-1 with ***"));
    }
}
