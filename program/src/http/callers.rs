//! Who asks for what only those get who may submit jobs.

use axum::http::{HeaderMap, StatusCode};
use keyloom_common::{
    ErrorKind,
    rpc::{Gate, Identity, Role},
};

use super::{guard::token, refusal::Refusal};

/// Why nobody is known where tokens would be read on the way.
const IN_CLEAR: &str = "jobs are not taken at this port: other machines reach it without TLS, and \
                        tokens would cross the network in clear; set http.cert_file and \
                        http.key_file, or listen on 127.0.0.1";

/// Why nobody is known where nothing is asked for.
const OPEN: &str = "jobs are not taken at this port: other machines reach it, and nothing says who \
                    may ask; set security.cert_file and security.key_file with security.tokens or \
                    security.ca_file, or add --insecure-listen on a network that you trust";

/// What is said to pages in browsers.
const NO_PAGES: &str = "jobs are for programs: pages in browsers may not ask for them";

/// What a browser tells of whoever has it ask.
const ORIGIN: &str = "origin";
const SITE: &str = "sec-fetch-site";

/// How those who ask are known.
#[derive(Clone, Debug)]
pub(super) enum Callers {
    /// All are the same, and may do everything.
    Anybody,
    /// By what they show, which is what they would show to whoever has this gate.
    Known(Gate),
    /// Nobody gets anything, for this reason.
    Nobody(&'static str),
}

impl Callers {
    /// How they are known at a port: whether the daemon asks who connects, what knows them, if they
    /// can be asked here, and whether strangers reach the port, or may.
    pub(super) fn of(asks: bool, gate: Option<Gate>, is_local: bool, insecure: bool) -> Self {
        match gate {
            Some(gate) => Self::Known(gate),
            None if asks => Self::Nobody(IN_CLEAR),
            None if is_local || insecure => Self::Anybody,
            None => Self::Nobody(OPEN),
        }
    }

    /// Who asks.
    ///
    /// # Errors
    /// What is said to whoever has shown too little, or may not ask.
    pub(super) fn identify(
        &self,
        certified: Option<Identity>,
        headers: &HeaderMap,
    ) -> Result<Identity, Refusal> {
        refuse_pages(headers)?;
        let identity = match self {
            Self::Anybody => return Ok(Identity::anybody()),
            Self::Nobody(reason) => return Err(forbidden(*reason)),
            Self::Known(gate) => gate.identify(certified, token(headers)),
        };
        let identity = identity.map_err(|error| Refusal::unknown(error.message()))?;
        match identity.role {
            Role::Client | Role::Operator => Ok(identity),
            Role::Worker => Err(forbidden(format!(
                "{identity} may not submit jobs: that takes the role client or operator"
            ))),
        }
    }
}

/// Refuses what a page has a browser ask for: it would be answered as whoever sits at the browser
/// is, where certificates are shown or nothing is asked for.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = headers.get(SITE).map(|site| site.as_bytes());
    let is_own = site.is_none_or(|site| matches!(site, b"none" | b"same-origin"));
    if is_own && !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    Err(forbidden(NO_PAGES))
}

fn forbidden(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn strangers_are_known_or_get_nothing() {
        let callers = |asks, is_local, insecure| Callers::of(asks, None, is_local, insecure);
        assert!(matches!(callers(false, true, false), Callers::Anybody));
        assert!(matches!(callers(false, false, true), Callers::Anybody));
        assert!(matches!(callers(false, false, false), Callers::Nobody(OPEN)));
        assert!(matches!(callers(true, false, true), Callers::Nobody(IN_CLEAR)));
    }

    #[test]
    fn pages_in_browsers_are_refused() {
        let asked = |header: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header, HeaderValue::from_static(value));
            Callers::Anybody.identify(None, &headers).map(|identity| identity.name.to_string())
        };
        assert_eq!(asked("accept", "application/json").as_deref(), Ok("anybody"));
        assert_eq!(asked(SITE, "none").as_deref(), Ok("anybody"));
        for (header, value) in [(ORIGIN, "http://localhost:80"), (SITE, "cross-site")] {
            assert_eq!(asked(header, value).unwrap_err(), forbidden(NO_PAGES), "{header}");
        }
    }
}
