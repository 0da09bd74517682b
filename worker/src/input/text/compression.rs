//! Compressed text, told by its first bytes: names may say anything.

use std::{io, pin::Pin};

use async_compression::tokio::bufread::{BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{chunks::Chunks, error::undecodable};

/// Bytes of text that are decoded at once.
const CHUNK: usize = 256 << 10;

/// How a file's text is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// The most bytes that [`Self::of`] looks at.
    pub(super) const LOOK: usize = 10;

    /// The compression of a file that starts like this.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        const BZIP2_BLOCKS: [&[u8]; 2] = [b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"];
        match start {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // Text may begin with "BZh", but not with a block's number.
            [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
                if BZIP2_BLOCKS.iter().any(|block| rest.starts_with(block)) =>
            {
                Some(Self::Bzip2)
            }
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// The text, of all members that the file holds one after the other.
    pub(super) fn decode(self, chunks: Chunks, path: &Path) -> Chunks {
        let reader = StreamReader::new(chunks.map_err(io::Error::other));
        macro_rules! members {
            ($decoder:ident) => {{
                let mut decoder = $decoder::new(reader);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }};
        }
        let text: Pin<Box<dyn AsyncRead + Send>> = match self {
            Self::Gzip => members!(GzipDecoder),
            Self::Zstd => members!(ZstdDecoder),
            Self::Bzip2 => members!(BzDecoder),
            Self::Xz => members!(XzDecoder),
        };
        let path = path.clone();
        ReaderStream::with_capacity(text, CHUNK)
            .map_err(move |error| undecodable(&path, self.name(), error))
            .boxed()
    }
}
