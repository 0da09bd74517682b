//! The one place that names the checksum of what crosses a wire or a disk: CRC-32C.
//!
//! It tells every change of one bit, or of up to 32 bits in a row, for certain. It protects from
//! faults and not from people.

use crc_fast::{CrcAlgorithm, Digest};

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// The checksum of bytes that come piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(Digest);

impl Default for Checksum {
    fn default() -> Self {
        Self(Digest::new(ALGORITHM))
    }
}

impl Checksum {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces.
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// The checksum of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(ALGORITHM, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc_32c_however_the_bytes_come() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        let mut pieces = Checksum::default();
        pieces.update(b"1234");
        pieces.update(b"");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xe306_9283);
    }
}
