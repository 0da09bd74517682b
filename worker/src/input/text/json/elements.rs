//! The elements of one array, as if they were rows one after the other: the brackets and the commas
//! between elements become spaces, so that bytes and lines stay where they are.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use keyloom_common::{Error, Result};
use object_store::path::Path;

use super::nesting::{Nesting, is_space};
use crate::input::text::chunks::Chunks;

/// Text as rows. Whether it is an array is told by its first byte that is no space.
pub(super) async fn rows(mut chunks: Chunks, path: &Path) -> Result<Chunks> {
    let mut start = Vec::new();
    let first = loop {
        let Some(chunk) = chunks.try_next().await? else { break None };
        let first = chunk.iter().copied().find(|byte| !is_space(*byte));
        start.push(Ok(chunk));
        if first.is_some() {
            break first;
        }
    };
    let chunks = stream::iter(start).chain(chunks).boxed();
    Ok(if first == Some(b'[') { elements(chunks, path.clone()) } else { chunks })
}

fn elements(chunks: Chunks, path: Path) -> Chunks {
    stream::try_unfold((chunks, Array::default()), move |(mut chunks, mut array)| {
        let path = path.clone();
        async move {
            let wrong = |what| Error::invalid(format!("file '{path}': {what}"));
            let Some(chunk) = chunks.try_next().await? else {
                return array.finish().map(|()| None).map_err(wrong);
            };
            let chunk = array.blank(chunk).map_err(wrong)?;
            Ok(Some((chunk, (chunks, array))))
        }
    })
    .boxed()
}

/// An array that is being read.
#[derive(Default)]
struct Array {
    place: Place,
    nesting: Nesting,
}

#[derive(Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Within,
    Behind,
}

impl Array {
    /// Blanks what is between elements.
    fn blank(&mut self, chunk: Bytes) -> Result<Bytes, &'static str> {
        let mut chunk =
            chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        for byte in chunk.iter_mut() {
            match self.place {
                Place::Within if !self.nesting.is_outside() => self.nesting.step(*byte),
                _ if is_space(*byte) => {}
                Place::Within => match *byte {
                    b',' => *byte = b' ',
                    b']' => {
                        self.place = Place::Behind;
                        *byte = b' ';
                    }
                    other => self.nesting.step(other),
                },
                Place::Before => {
                    self.place = Place::Within;
                    *byte = b' ';
                }
                Place::Behind => return Err("there is text behind the end of the array"),
            }
        }
        Ok(chunk.freeze())
    }

    fn finish(&self) -> Result<(), &'static str> {
        match self.place {
            Place::Behind => Ok(()),
            _ => Err("the array has no end: the file is not whole"),
        }
    }
}
