//! Takes a row of JSON into account without keeping it.

use std::{collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::shape::{Fields, Scalars, Shape};

/// Integers beyond this are not all numbers with a fraction, too.
const EXACT: u64 = 1 << 53;

/// What goes for a whole row.
struct Row<'a> {
    text: &'a [u8],
    /// Whether its text holds integers beyond 64 bits; found out when it matters.
    has_long: Option<bool>,
    /// Whether a field came that does not go with what there was.
    mixed: bool,
}

/// Takes a row into account, but not the values of some fields; whether its values go with those
/// before.
///
/// # Errors
/// If it is no JSON, or no object.
pub(super) fn observe(
    text: &[u8],
    fields: &mut Fields,
    given: &HashSet<&str>,
) -> serde_json::Result<bool> {
    let mut row = Row { text, has_long: None, mixed: false };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.deserialize_map(Object { fields, given: Some(given), row: &mut row })?;
    deserializer.end()?;
    Ok(!row.mixed)
}

/// An object, whose fields are taken into account one by one.
struct Object<'a, 'r> {
    fields: &'a mut Fields,
    /// Fields whose values do not matter.
    given: Option<&'a HashSet<&'a str>>,
    row: &'a mut Row<'r>,
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some((place, ignored)) =
            map.next_key_seed(Name { fields: &mut *self.fields, given: self.given, expected })?
        {
            if ignored {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Value {
                    shape: self.fields.shape(place),
                    row: &mut *self.row,
                })?;
            }
            expected = place + 1;
        }
        Ok(())
    }
}

/// The name of a field: its place, and whether its values do not matter.
struct Name<'a> {
    fields: &'a mut Fields,
    given: Option<&'a HashSet<&'a str>>,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (usize, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = (usize, bool);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let ignored = self.given.is_some_and(|given| given.contains(name));
        Ok((self.fields.place(name, self.expected), ignored))
    }
}

/// A value.
struct Value<'a, 'r> {
    shape: &'a mut Shape,
    row: &'a mut Row<'r>,
}

impl Value<'_, '_> {
    fn add(self, scalars: Scalars) {
        self.row.mixed |= !self.shape.add(scalars);
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.add(Scalars::BOOLEAN);
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        let sign = if value < 0 { Scalars::NEGATIVE } else { Scalars::default() };
        let long = if value.unsigned_abs() > EXACT { Scalars::LONG } else { Scalars::default() };
        self.add(Scalars::INTEGER.and(sign).and(long));
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        let long = if value > EXACT { Scalars::LONG } else { Scalars::default() };
        let unsigned =
            if i64::try_from(value).is_err() { Scalars::UNSIGNED } else { Scalars::default() };
        self.add(Scalars::INTEGER.and(unsigned).and(long));
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        // serde gives integers beyond 64 bits as this, too; only text holds all their digits.
        let beyond = value.abs() >= i64::MAX as f64;
        let row = &mut *self.row;
        let long = beyond && *row.has_long.get_or_insert_with(|| has_long_integer(row.text));
        self.add(if long { Scalars::TEXT } else { Scalars::FLOAT });
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.add(Scalars::TEXT);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some(shape) = self.shape.elements() else {
            self.row.mixed = true;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while seq.next_element_seed(Value { shape: &mut *shape, row: &mut *self.row })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(fields) = self.shape.fields() else {
            self.row.mixed = true;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        Object { fields, given: None, row: self.row }.visit_map(map)
    }
}

/// Whether JSON text holds a number of more than 18 digits without point and exponent.
fn has_long_integer(text: &[u8]) -> bool {
    let mut outside = true;
    let mut escaped = false;
    let unquoted = text.split(|byte| {
        let quote = *byte == b'"' && !escaped;
        escaped = !outside && *byte == b'\\' && !escaped;
        outside ^= quote;
        quote
    });
    let is_number =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    unquoted.step_by(2).any(|part| {
        let mut numbers = part.split(|byte| !is_number(*byte));
        numbers.any(|number| {
            let digits = number.strip_prefix(b"-").unwrap_or(number);
            digits.len() > 18 && digits.iter().all(u8::is_ascii_digit)
        })
    })
}
