//! Who may ask what.

use std::{net::IpAddr, sync::Arc};

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
    pub(super) tokens: Option<Arc<BearerTokens>>,
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
        // Of several, who passes a request on may have gone by another.
        let are_ours = headers.get_all(HOST).iter().all(|host| is_ours(host.as_bytes()));
        match are_ours || !self.is_local {
            true => Ok(()),
            false => Err("this port is for this machine: ask for localhost or 127.0.0.1\n"),
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
        let token = token(headers).ok_or("a token is needed: Authorization: Bearer …\n")?;
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

/// The token that a request shows.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).and_then(|shown| shown.to_str().ok()).and_then(bearer)
}

/// The token of `Bearer TOKEN`; the word's case does not matter.
fn bearer(shown: &str) -> Option<&str> {
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// Whether a host, with or without a port, is a name of this machine that nobody else can give.
fn is_local(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
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
        for host in ["127.0.0.1:evil.example", "[::1]evil.example", "[::1", "localhost:8 0"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn of_several_hosts_all_must_be_this_machine() {
        let guard = Guard { is_local: true, asks: false, tokens: None, operators: None };
        let hosts = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, axum::http::HeaderValue::from_static(host));
            }
            guard.check_host(&headers).is_ok()
        };
        assert!(hosts(&[]) && hosts(&["localhost"]) && hosts(&["localhost", "[::1]:80"]));
        assert!(!hosts(&["localhost", "evil.example"]) && !hosts(&["evil.example", "localhost"]));
    }

    #[test]
    fn a_token_stands_behind_its_scheme() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!((bearer("Basic abc"), bearer("abc")), (None, None));
    }
}
