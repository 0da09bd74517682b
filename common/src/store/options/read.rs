//! Options as serde sees them: a map whose values are read from text, each as its field wants it.

use std::{
    collections::{BTreeMap, btree_map::Iter},
    error, fmt,
};

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error, Expected, MapAccess, Unexpected, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::error::may_be_secret;

/// The options of a kind, among others.
pub(super) struct Own<'a> {
    pub(super) options: &'a BTreeMap<String, String>,
    /// The word for the kind.
    pub(super) kind: &'a str,
    /// The names of options that are none of its own.
    pub(super) beside: &'a [&'a str],
}

/// Why options are refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// What an option is, and what it says instead. Its name belongs before that.
    Value(String),
    /// A whole sentence.
    Whole(String),
}

impl Own<'_> {
    /// Refuses options that the kind does not have. Its own are those that are read.
    fn check_names(&self, own: &[&str]) -> Result<(), Refused> {
        let known = || own.iter().chain(self.beside).copied();
        let unknown = self.options.keys().find(|name| known().all(|known| known != name.as_str()));
        let Some(name) = unknown else { return Ok(()) };
        let choices: Vec<_> = ["key"].into_iter().chain(known()).map(quoted).collect();
        Err(Refused::Whole(format!(
            "'{name}' is no option of a {} store; the options are {}",
            self.kind,
            choices.join(", ")
        )))
    }
}

fn quoted(name: &str) -> String {
    format!("'{name}'")
}

impl<'de> Deserializer<'de> for Own<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(Entries { left: self.options.iter(), beside: self.beside, value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.check_names(fields)?;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The options that are left to read.
struct Entries<'a> {
    left: Iter<'a, String, String>,
    beside: &'a [&'a str],
    /// The one whose value is read next.
    value: Option<(&'a str, &'a str)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let beside = self.beside;
        let Some((name, text)) = self.left.find(|(name, _)| !beside.contains(&name.as_str()))
        else {
            return Ok(None);
        };
        self.value = Some((name.as_str(), text.as_str()));
        seed.deserialize(StrDeserializer::<Refused>::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let Some((name, text)) = self.value.take() else {
            return Err(Refused::custom("a value has no name"));
        };
        seed.deserialize(Text(text)).map_err(|refused| match refused {
            // What it says stands in why it is refused.
            Refused::Value(_) if may_be_secret(name) => {
                Refused::Whole(format!("{name} cannot be what it says, which may be a secret"))
            }
            Refused::Value(why) => Refused::Whole(format!("{name} {why}")),
            whole @ Refused::Whole(_) => whole,
        })
    }
}

/// What an option says.
struct Text<'a>(&'a str);

/// Reads the text as a number, which the visitor may find too large or too small.
macro_rules! read_numbers {
    ($($read:ident $number:ty, $what:literal => $visit:ident;)*) => {$(
        fn $read<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            match self.0.parse::<$number>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(self.is_no($what)),
            }
        }
    )*};
}

impl Text<'_> {
    fn is_no(&self, expected: &str) -> Refused {
        Refused::Value(format!("is {expected}, not '{}'", self.0))
    }
}

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_enum(StrDeserializer::<Refused>::new(self.0))
    }

    read_numbers! {
        deserialize_bool bool, "true or false" => visit_bool;
        deserialize_i8 i64, "a whole number" => visit_i64;
        deserialize_i16 i64, "a whole number" => visit_i64;
        deserialize_i32 i64, "a whole number" => visit_i64;
        deserialize_i64 i64, "a whole number" => visit_i64;
        deserialize_u8 u64, "a number" => visit_u64;
        deserialize_u16 u64, "a number" => visit_u64;
        deserialize_u32 u64, "a number" => visit_u64;
        deserialize_u64 u64, "a number" => visit_u64;
        deserialize_f32 f64, "a number" => visit_f64;
        deserialize_f64 f64, "a number" => visit_f64;
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

impl Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Whole(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Value(format!("is {expected}, not {unexpected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let choices = match expected.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => expected.join(", "),
        };
        Self::Value(format!("is {choices}, not '{variant}'"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Whole(format!("it needs {field}"))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) | Self::Whole(text) => f.write_str(text),
        }
    }
}

impl error::Error for Refused {}
