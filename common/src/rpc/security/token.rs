//! Shared tokens, and how both sides prove that they have one without sending it.
//!
//! A proof is a keyed hash over both sides' nonces, what the connection is for, who proves it, and
//! the TLS session if there is one: so it is worth nothing on another connection, for another
//! service, in the other direction, or to somebody between the two who has a TLS session with each.

use std::fmt;

use tokio_rustls::rustls::crypto::ring;

use crate::{
    error::{Error, Result},
    rpc::handshake::Service,
};

/// What keys are derived under, which are used for nothing else.
const CONTEXT: &str = "keyloom 2026-01 token of a handshake";

/// The fewest characters of a token.
const MIN_CHARS: usize = 16;

/// The most bytes of a token.
const MAX_BYTES: usize = 1024;

/// A token. The key that is derived of it is all that is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(blake3::Hash);

/// A number that is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonce([u8; 32]);

/// What only both ends of one TLS session know; zero without TLS.
#[derive(Clone, Copy, Default)]
pub(crate) struct Binding(pub(crate) [u8; 32]);

/// That somebody has a token. Comparing takes the same time whatever is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof(blake3::Hash);

/// Who proves it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Connecting,
    Accepting,
}

/// What is proved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transcript {
    pub(crate) service: Service,
    pub(crate) accepting: Nonce,
    pub(crate) connecting: Nonce,
    pub(crate) binding: Binding,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not show it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let chars = text.chars().count();
        if chars < MIN_CHARS {
            return Err(format!("has {chars} characters, and a token has at least {MIN_CHARS}"));
        }
        if text.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("holds a blank or a control character".to_owned());
        }
        Ok(Self::of(text))
    }

    /// The token of any text: also of one that a peer has shown.
    pub(crate) fn of(text: &str) -> Self {
        Self(blake3::Hash::from_bytes(blake3::derive_key(CONTEXT, text.as_bytes())))
    }

    /// Proves that this side has it.
    pub(crate) fn prove(&self, side: Side, transcript: &Transcript) -> Proof {
        let Transcript { service, accepting, connecting, binding } = transcript;
        // All parts are of fixed lengths: no two transcripts have the same bytes.
        let mut hasher = blake3::Hasher::new_keyed(self.0.as_bytes());
        hasher.update(&[match side {
            Side::Connecting => 1,
            Side::Accepting => 2,
        }]);
        hasher.update(&[match service {
            Service::Client => 1,
            Service::Worker => 2,
            Service::Shuffle => 3,
        }]);
        hasher.update(&accepting.0).update(&connecting.0).update(&binding.0);
        Proof(hasher.finalize())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Nonce {
    /// Draws one.
    ///
    /// # Errors
    /// `internal` if the system has no random numbers.
    pub(crate) fn draw() -> Result<Self> {
        let mut bytes = [0; 32];
        let drawn = ring::default_provider().secure_random.fill(&mut bytes);
        drawn.map_err(|_| Error::internal("the system has no random numbers"))?;
        Ok(Self(bytes))
    }

    pub(crate) fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(|read| Self(*read.as_bytes()))
    }
}

impl Proof {
    pub(crate) fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "correct-horse-battery";

    fn nonce(byte: u8) -> Nonce {
        Nonce([byte; 32])
    }

    #[test]
    fn a_proof_holds_for_one_connection_one_service_and_one_side() {
        let token = Token::read(TEXT).unwrap();
        let transcript = Transcript {
            service: Service::Client,
            accepting: nonce(1),
            connecting: nonce(2),
            binding: Binding([3; 32]),
        };
        let proof = token.prove(Side::Connecting, &transcript);
        assert_eq!(Token::of(TEXT).prove(Side::Connecting, &transcript), proof);
        let others = [
            Transcript { service: Service::Worker, ..transcript },
            Transcript { accepting: nonce(4), ..transcript },
            Transcript { connecting: nonce(4), ..transcript },
            Transcript { accepting: nonce(2), connecting: nonce(1), ..transcript },
            Transcript { binding: Binding::default(), ..transcript },
        ];
        for other in &others {
            assert_ne!(token.prove(Side::Connecting, other), proof, "{other:?}");
        }
        assert_ne!(token.prove(Side::Accepting, &transcript), proof);
        let other = Token::read("correct-horse-batterz").unwrap();
        assert_ne!(other.prove(Side::Connecting, &transcript), proof);
        assert_eq!(Proof::from_hex(&proof.to_hex()), Some(proof));
    }

    #[test]
    fn nonces_are_drawn_anew_and_travel_as_text() {
        let [one, other] = [Nonce::draw().unwrap(), Nonce::draw().unwrap()];
        assert_ne!(one, other);
        assert_eq!(Nonce::from_hex(&one.to_hex()), Some(one));
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"x".repeat(64)] {
            assert_eq!(Nonce::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_that_are_short_long_or_cut_are_refused_without_being_shown() {
        let long = "x".repeat(MAX_BYTES + 1);
        for (text, expected) in [
            ("hunter2", "has 7 characters, and a token has at least 16"),
            ("correct horse battery", "holds a blank or a control character"),
            (long.as_str(), "is longer than 1024 bytes"),
        ] {
            assert_eq!(Token::read(text).unwrap_err(), expected);
        }
        assert_eq!(format!("{:?}", Token::of(TEXT)), "***");
    }
}
