//! No path takes parameters in its query: who sends one is told so, and not answered as if it had
//! been left out.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use keyloom_common::{Error, Result};
use keyloom_program::http::Refusal;

/// Passes on what is asked without parameters.
pub(super) async fn without(request: Request, next: Next) -> Response {
    match check(request.uri().query().unwrap_or_default()) {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// Refuses the first parameter, by its name alone: its value may be a secret.
fn check(query: &str) -> Result<()> {
    let Some(first) = query.split('&').find(|parameter| !parameter.is_empty()) else {
        return Ok(());
    };
    let name = first.split('=').next().unwrap_or_default();
    let instead = match name {
        "format" => ": rows are at results as JSON, at results.csv and at results.arrow",
        _ => "",
    };
    Err(Error::invalid(format!(
        "unknown query parameter '{name}', no path here takes any{instead}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_refused_by_their_names() {
        for nothing in ["", "&", "&&"] {
            assert_eq!(check(nothing), Ok(()));
        }
        let format = "unknown query parameter 'format', no path here takes any: rows are at \
                      results as JSON, at results.csv and at results.arrow";
        for (query, expected) in [
            ("limit=1&state=done", "unknown query parameter 'limit', no path here takes any"),
            ("&token=secret", "unknown query parameter 'token', no path here takes any"),
            ("newest", "unknown query parameter 'newest', no path here takes any"),
            ("=1", "unknown query parameter '', no path here takes any"),
            ("format=csv", format),
        ] {
            assert_eq!(check(query), Err(Error::invalid(expected)), "{query}");
        }
    }
}
