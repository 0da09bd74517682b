//! Who may ask what.

use std::net::IpAddr;

use axum::http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
};
use keyloom_common::rpc::{BearerTokens, Gate, Role};

/// What a request must show.
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether only this machine reaches the port.
    pub(super) is_local: bool,
    /// Whether what is counted is told for a token alone.
    pub(super) asks: bool,
    pub(super) tokens: Option<BearerTokens>,
    /// What knows the tokens of the cluster's operators, if it has some.
    pub(super) operators: Option<Gate>,
}

impl Guard {
    /// Refuses what a page in a browser of this machine asks for by a name of its own that it made
    /// point here: such a page could read the answers. Whoever is no browser names the host that it
    /// asks, or none.
    ///
    /// # Errors
    /// What is said to whoever asks.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let is_ours = |host: &[u8]| std::str::from_utf8(host).is_ok_and(is_local);
        match headers.get(HOST) {
            Some(host) if self.is_local && !is_ours(host.as_bytes()) => {
                Err("this port is for this machine: ask for localhost or 127.0.0.1\n")
            }
            _ => Ok(()),
        }
    }

    /// Refuses whoever shows no token, where one is asked for.
    ///
    /// # Errors
    /// What is said to whoever asks.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !self.asks {
            return Ok(());
        }
        let token = headers.get(AUTHORIZATION).and_then(|shown| shown.to_str().ok());
        let token = token.and_then(bearer).ok_or("a token is needed: Authorization: Bearer …\n")?;
        let is_operators = || {
            let known = self.operators.as_ref().and_then(|gate| gate.bearer(token));
            known.is_some_and(|identity| identity.role == Role::Operator)
        };
        match self.tokens.as_ref().is_some_and(|tokens| tokens.know(token)) || is_operators() {
            true => Ok(()),
            false => Err("the token is not known\n"),
        }
    }
}

/// The token of `Bearer TOKEN`; the word's case does not matter.
fn bearer(shown: &str) -> Option<&str> {
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// Whether a host, with or without a port, is a name of this machine that nobody else can give.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost", "LOCALHOST:9000", "127.0.0.1:9000", "127.1.2.3", "[::1]:80"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example:9000", "localhost.evil.example", "10.0.0.5", "[::2]:80"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn a_token_stands_behind_its_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!((bearer("Basic abc"), bearer("abc")), (None, None));
    }
}
