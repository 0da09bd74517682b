//! `keyloom certs token`: a secret to share.

use std::fmt::Write;

use ring::rand::{SecureRandom, SystemRandom};

use crate::{error::Failure, text};

/// Bytes of a token.
const BYTES: usize = 32;

/// Prints a token: on stdout, so that it can go to a file that only its owner reads.
pub(super) fn print() -> Result<(), Failure> {
    text::print(&draw()?)
}

/// A token, in hexadecimal digits, which need no quotes anywhere.
fn draw() -> Result<String, Failure> {
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::failed("this machine draws no random numbers"))?;
    let mut token = String::with_capacity(2 * BYTES);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_another_one_of_32_bytes() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_eq!((one.len(), other.len()), (64, 64));
        assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }
}
