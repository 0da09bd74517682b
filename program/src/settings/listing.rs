//! All settings, each with where it comes from, and without secrets.

use anyhow::{Context, Result};
use figment::value::Value;
use keyloom_common::error::{holds_credentials, may_be_secret, redact};
use serde::Serialize;

use super::{Layers, Origin};
use crate::units::PROFILES;

/// What stands for a secret.
const MASK: &str = "***";

/// A setting as it is, for people and for programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Its path, as `store.read_bytes`.
    pub setting: String,
    /// What it is, as JSON; secrets are `"***"`.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: Origin,
}

impl Layers {
    /// All settings that were read of these layers, by their paths. Secrets know that they are
    /// secrets; of storage profiles, names tell.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn listing(&self, settings: &impl Serialize) -> Result<Vec<Shown>> {
        let settings = Value::serialize(settings).context("settings that cannot be shown")?;
        // What cannot be found was not read, either.
        let given = self.all.find_value("").ok();
        let mut listing = Vec::new();
        self.add(&mut Vec::new(), &settings, given.as_ref(), &mut listing)?;
        Ok(listing)
    }

    fn add(
        &self,
        path: &mut Vec<String>,
        value: &Value,
        given: Option<&Value>,
        listing: &mut Vec<Shown>,
    ) -> Result<()> {
        match value {
            Value::Dict(_, section) if !section.is_empty() => {
                for (name, value) in section {
                    path.push(name.clone());
                    self.add(path, value, within(given, name), listing)?;
                    path.pop();
                }
            }
            _ => {
                let layer = given.and_then(|given| self.all.get_metadata(given.tag()));
                listing.push(Shown {
                    setting: path.join("."),
                    value: showable(path, value, given)?,
                    origin: Origin::of(layer, path),
                });
            }
        }
        Ok(())
    }
}

/// What was given for a setting of a section. A section may have been given as something else, of
/// which it was made.
fn within<'a>(given: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    match given? {
        Value::Dict(_, section) => section.get(name),
        other => Some(other),
    }
}

/// A value as it may be shown. What a storage profile holds may be written as it was given where
/// its name says that it is no secret.
fn showable(
    path: &[String],
    value: &Value,
    given: Option<&Value>,
) -> Result<serde_json::Value, serde_json::Error> {
    let profile: Vec<_> = path.iter().skip_while(|part| *part != PROFILES).skip(2).collect();
    let [option, within @ ..] = profile.as_slice() else { return serde_json::to_value(value) };
    // Within an option stands where its value is to be found.
    if within.is_empty() && may_be_secret(option) {
        return Ok(MASK.into());
    }
    Ok(match serde_json::to_value(given.unwrap_or(value))? {
        serde_json::Value::String(text) if holds_credentials(&text) || text.contains("://") => {
            redact(&text).into()
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(default)]
    struct Settings {
        name: Option<String>,
        slots: u32,
        wait_ms: u64,
        store: Store,
    }

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Store {
        read_bytes: u64,
        storage_profiles: BTreeMap<String, BTreeMap<String, String>>,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { name: None, slots: 2, wait_ms: 5, store: Store::default() }
        }
    }

    #[test]
    fn each_setting_has_its_origin_and_no_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        let text = "wait_ms = '1s'\nslots = 3\n[store.storage_profiles.'a.b']\n\
                    aws_secret_access_key = 'HIDDEN'\naws_endpoint = 'http://u:HIDDEN@host:9000/'";
        fs::write(&path, text).unwrap();
        let layers = Layers::defaults(&Settings::default()).file(Some(&path)).unwrap();
        let layers = layers.flag("--slots", "slots", Some(4));
        let listing = layers.listing(&layers.read::<Settings>().unwrap()).unwrap();
        let lines = listing.iter().map(|shown| {
            let Shown { setting, value, origin } = shown;
            format!("{setting} = {value} ({origin})")
        });
        let file = path.display();
        let expected = [
            "name = null (default)".to_owned(),
            "slots = 4 (flag --slots)".to_owned(),
            "store.read_bytes = 0 (default)".to_owned(),
            format!(
                "store.storage_profiles.a.b.aws_endpoint = \"http://host:9000/\" (file {file})"
            ),
            format!("store.storage_profiles.a.b.aws_secret_access_key = \"***\" (file {file})"),
            format!("wait_ms = 1000 (file {file})"),
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_origin_is_an_object_for_programs() {
        let shown = Shown {
            setting: "slots".to_owned(),
            value: 4.into(),
            origin: Origin::Flag("--slots".to_owned()),
        };
        let json = r#"{"setting":"slots","value":4,"origin":{"kind":"flag","name":"--slots"}}"#;
        assert_eq!(serde_json::to_string(&shown).unwrap(), json);
        let json = serde_json::to_string(&Origin::Default).unwrap();
        assert_eq!(json, r#"{"kind":"default"}"#);
    }
}
