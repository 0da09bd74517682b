//! Choices of words, as the API's description has them: their words are those that serde knows of
//! the types that are read and told, so that none is listed twice.

use std::{borrow::Cow, marker::PhantomData};

use keyloom_client::Format;
use keyloom_common::{
    ErrorKind,
    described::{Mode, OutputFormat},
    group_keys::GroupKeys,
    output::Compression,
    report::{JobState, LogKind},
    shuffle::Shuffle,
    store::JoinPath,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor, value::Error},
    forward_to_deserialize_any,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

/// What is one of some words.
pub(super) trait Choice: DeserializeOwned {
    /// What the description calls it.
    const NAME: &'static str;
    /// What is chosen.
    const ABOUT: &'static str;

    /// The words.
    fn words() -> Vec<&'static str> {
        read::<Self>()
    }
}

/// The words of a choice.
#[allow(dead_code, reason = "it stands for its description alone")]
pub(super) struct Words<T>(PhantomData<T>);

/// A table of choices: what stands for each, what the description calls it, and what is chosen.
macro_rules! choices {
    ($($described:ident: $choice:ty, $name:literal, $about:literal;)*) => {$(
        pub(super) type $described = Words<$choice>;

        impl Choice for $choice {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about;
        }
    )*};
}

choices! {
    CompressionDescribed: Compression, "Compression", "How files are compressed.";
    FormatDescribed: Format, "InputFormat", "The formats of inputs.";
    GroupKeysDescribed: GroupKeys, "GroupKeys",
        "Whether rows are grouped by their keys below lookups.";
    JoinDescribed: JoinPath, "JoinPath", "How joins with stores are made.";
    LogKindDescribed: LogKind, "LogKind", "What may happen to a job.";
    ModeDescribed: Mode, "IfExists", "What becomes of what is there.";
    OutputFormatDescribed: OutputFormat, "OutputFormat", "The formats of outputs.";
    ShuffleDescribed: Shuffle, "Shuffle", "Whether workers shuffle rows among themselves.";
    StateDescribed: JobState, "JobState",
        "How a job is: `queued` until its turn comes, `running`, or over: `done`, `failed`, \
         `cancelled`, or `interrupted`, if the coordinator ended before it. With an output, it can \
         be resumed then.";
}

pub(super) type ErrorKindDescribed = Words<ErrorKind>;

impl Choice for ErrorKind {
    const NAME: &'static str = "ErrorKind";
    const ABOUT: &'static str = "What can be done about an error.";

    /// It is told by its names.
    fn words() -> Vec<&'static str> {
        let kind = |word: &'static str| -> Result<Self, Error> {
            Self::deserialize(word.into_deserializer())
        };
        read::<Self>().into_iter().filter_map(|word| kind(word).ok()).map(Self::name).collect()
    }
}

impl<T: Choice> PartialSchema for Words<T> {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(T::words()));
        words.description(Some(T::ABOUT)).into()
    }
}

impl<T: Choice> ToSchema for Words<T> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(T::NAME)
    }
}

/// The words that a type is read from; none if it is no choice of words.
fn read<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut asked = Asked(&[]);
    // Nothing is there to be read: it only says what it would read.
    let _ = T::deserialize(&mut asked);
    asked.0.to_vec()
}

/// Holds nothing, and notes from which words it was asked for one.
struct Asked(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Asked {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is nothing"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0 = words;
        Err(Error::custom("there is nothing"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_type() {
        assert_eq!(Shuffle::words(), ["auto", "never", "always"]);
        assert_eq!(LogKind::words(), LogKind::ALL.map(LogKind::name));
        assert_eq!(Format::words(), Format::ALL.map(Format::name));
        let kinds = ErrorKind::words();
        assert_eq!((kinds.first(), kinds.last()), (Some(&"invalid"), Some(&"internal")));
        assert!(kinds.contains(&"permission_denied"), "{kinds:?}");
        assert!(read::<String>().is_empty());
    }
}
