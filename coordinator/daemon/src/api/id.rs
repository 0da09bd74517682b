//! The id in a path: of a job, or of a worker.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use keyloom_common::Error;
use keyloom_program::http::Refusal;

/// An id that a path has. What is none is refused as all is, whichever bytes it has.
pub(super) struct Id<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr<Err = Error>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = read.map_err(|error| Error::invalid(error.body_text()))?;
        Ok(Self(id.parse()?))
    }
}
