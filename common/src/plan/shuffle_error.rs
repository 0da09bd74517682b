//! Errors that travel as texts, and keep their kinds.
//!
//! Between workers that shuffle, an error of DataFusion arrives as one again, but Keyloom's own
//! only by its words. So these are written in a form that is read again, wherever it stands in a
//! text.

use datafusion::error::DataFusionError;

use crate::error::{Error, ErrorKind};

const BEGINS: &str = "<keyloom-error>";
const ENDS: &str = "</keyloom-error>";

/// The most bytes of a message that is told: it travels as a header, and so does all around it.
const MAX_TOLD_BYTES: usize = 4 << 10;

/// What a worker says that waits for its part of a plan: whoever sends it is slow, or gone.
const NO_PLAN: &str = "timed-out while waiting for the plan";

/// What DataFusion says of a plan that is none it can run, wherever it is begun.
const ASSERTS: &str = "Assertion failed: ";

/// The error in a form of which [`of_shuffle`] finds kind, message and code again. One that is in
/// such a form stays as it is, and so does what only tells that a peer is gone.
pub(super) fn told(error: impl Into<DataFusionError>) -> DataFusionError {
    let error = error.into();
    let text = error.to_string();
    if within(&text).is_some() || text.contains(NO_PLAN) {
        return error;
    }
    let own = Error::from(error);
    // No operator fails by an error of others that says nothing of its kind: a connection does.
    let source = std::error::Error::source(&own);
    if own.kind() == ErrorKind::Internal
        && !text.contains(ASSERTS)
        && source.is_some_and(|source| source.is::<DataFusionError>())
    {
        return own.into();
    }
    let own = short(own);
    match serde_json::to_string(&own) {
        Ok(own) => DataFusionError::Execution(format!("{BEGINS}{own}{ENDS}")),
        Err(_) => own.into(),
    }
}

/// The error that was told; none if no such form is in its text.
fn untold(error: &DataFusionError) -> Option<Error> {
    let text = error.to_string();
    serde_json::from_str(within(&text)?).ok()
}

/// The error of a shuffle: the one that was told, or if there is none, what became of a connection.
/// That is worth another attempt, with the workers that are there then.
pub fn of_shuffle(error: DataFusionError) -> Error {
    if let Some(own) = untold(&error) {
        return own;
    }
    let own = Error::from(error);
    match own.kind() {
        ErrorKind::ResourceExhausted | ErrorKind::Cancelled | ErrorKind::PermissionDenied => own,
        _ => {
            let message = format!("a shuffle between workers broke: {}", own.message());
            Error::unavailable(message)
        }
    }
}

/// The error with as much of its message as travels.
fn short(error: Error) -> Error {
    let message = error.message();
    if message.len() <= MAX_TOLD_BYTES {
        return error;
    }
    let shown = format!("{}…", &message[..message.floor_char_boundary(MAX_TOLD_BYTES)]);
    error.reworded(shown)
}

fn within(text: &str) -> Option<&str> {
    let (_, after) = text.split_once(BEGINS)?;
    after.split_once(ENDS).map(|(within, _)| within)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn an_error_is_read_again_from_whatever_text_it_stands_in() {
        let own = Error::store("store 'emb': \"disk\" on fire").with_code(ErrorCode::BlobGone);
        let once = told(own.clone());
        let text = format!("External error: {once}\nwhile polling");
        let far = DataFusionError::External(text.into());
        let shared = DataFusionError::Shared(Arc::new(told(far)));
        let read = of_shuffle(shared);
        assert_eq!((&read, read.code()), (&own, own.code()));
    }

    #[test]
    fn long_messages_are_cut() {
        let own = Error::not_found("é".repeat(MAX_TOLD_BYTES));
        let read = of_shuffle(told(own));
        assert_eq!(read.kind(), ErrorKind::NotFound);
        assert_eq!(read.message().chars().count(), MAX_TOLD_BYTES / 2 + 1);
    }

    #[test]
    fn a_peer_that_is_gone_is_the_connections_matter_wherever_it_is_noticed() {
        let noticed: [DataFusionError; 2] = [
            DataFusionError::External("transport error".into()),
            DataFusionError::Execution(format!("Worker::execute_task {NO_PLAN} to be set")),
        ];
        for error in noticed {
            // It passes two parts of plans, and a connection between them.
            let far = DataFusionError::External(told(error).to_string().into());
            assert_eq!(of_shuffle(told(far)).kind(), ErrorKind::Unavailable);
        }
    }

    #[test]
    fn an_assertion_is_not_the_connections_matter() {
        let failed = "Assertion failed: partition_count() == 1";
        let far = told(DataFusionError::Internal(failed.to_owned()));
        let read = of_shuffle(told(DataFusionError::External(far.to_string().into())));
        assert_eq!(read.kind(), ErrorKind::Internal);
        assert!(read.message().contains(failed), "{read}");
    }

    #[test]
    fn what_is_not_told_is_the_connections_matter() {
        let broken = DataFusionError::External("h2 protocol error".into());
        let read = of_shuffle(broken);
        assert_eq!(read.kind(), ErrorKind::Unavailable);
        assert!(read.message().contains("h2 protocol error"), "{read}");
        let full = DataFusionError::ResourcesExhausted("no room".to_owned());
        assert_eq!(of_shuffle(full).kind(), ErrorKind::ResourceExhausted);
        // What is in a mark, but no error.
        let odd = DataFusionError::Execution(format!("{BEGINS}nothing{ENDS}"));
        assert_eq!(of_shuffle(odd).kind(), ErrorKind::Unavailable);
    }
}
