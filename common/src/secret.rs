//! A value that nobody sees but who needs it: whatever prints, logs or writes settings prints a
//! mask.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands for a secret wherever one would be seen.
pub const MASK: &str = "***";

/// A string whose `Debug`, `Display` and `Serialize` are [`MASK`]: what was written of it and is read
/// again is the mask, and no secret any more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for those who show it to nobody.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

/// Takes text alone. What serde says of any other value shows it, so all are refused here.
struct Text;

impl Text {
    fn refuse<E: de::Error>() -> Result<Secret, E> {
        Err(E::custom("a secret must be text in quotes"))
    }
}

impl<'de> de::Visitor<'de> for Text {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Self::refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it_but_who_asks_for_it() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(secret, Secret::new("hunter2"));
        let shown = format!("{secret} {secret:?} {:#?}", Some(&secret));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }

    #[test]
    fn what_is_no_text_is_refused_and_not_shown() {
        for value in ["4711", "-4711", "47.11", "true"] {
            let error = serde_json::from_str::<Secret>(value).unwrap_err().to_string();
            assert!(error.starts_with("a secret must be text in quotes"), "{error}");
            assert!(!error.contains("47"), "{error}");
        }
    }
}
