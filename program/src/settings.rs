//! Settings in layers: defaults, then a file, then the environment. Each goes before those under
//! it.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Serialize, de::DeserializeOwned};

/// Layers of settings.
#[derive(Clone, Debug)]
pub struct Layers(Figment);

impl Layers {
    /// The lowest layer.
    pub fn defaults(defaults: &impl Serialize) -> Self {
        Self(Figment::from(Serialized::defaults(defaults)))
    }

    /// The file that `--config` names, if it names one.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn file(self, config: Option<&Path>) -> Result<Self> {
        let Some(path) = config else { return Ok(self) };
        // A missing file would pass for an empty one.
        std::fs::metadata(path).with_context(|| format!("--config {}", path.display()))?;
        Ok(Self(self.0.merge(Toml::file_exact(path))))
    }

    /// Variables whose names begin so; `__` leads into a section.
    #[must_use]
    pub fn environment(self, prefix: &str) -> Self {
        Self(self.0.merge(Env::prefixed(prefix).split("__")))
    }

    /// The same, for settings of a part that stand in a section of their own.
    #[must_use]
    pub fn environment_of(self, section: &'static str, prefix: &str) -> Self {
        let variables = Env::prefixed(prefix).split("__");
        Self(self.0.merge(variables.map(move |key| format!("{section}.{key}").into())))
    }

    /// What the layers say together. The parts' own bounds are not checked.
    ///
    /// # Errors
    /// If a name is unknown or a value is of another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        self.0.extract().map_err(shown).context("settings")
    }
}

/// What is wrong with the settings. What a storage profile holds may be a secret and is not shown.
fn shown(error: figment::Error) -> anyhow::Error {
    if error.path.iter().any(|part| part == "storage_profiles") {
        anyhow!("{} must be a string in quotes", error.path.join("."))
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        slots: u32,
        rows: u32,
        storage_profiles: BTreeMap<String, BTreeMap<String, String>>,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { slots: 1, rows: 2, storage_profiles: BTreeMap::new() }
        }
    }

    fn read(file: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        fs::write(&path, file).unwrap();
        let layers = Layers::defaults(&Settings::default()).file(Some(&path)).unwrap();
        layers.read().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_file_goes_before_the_defaults() {
        assert_eq!(read("rows = 7").unwrap(), Settings { rows: 7, ..Settings::default() });
        assert_eq!(read("").unwrap(), Settings::default());
    }

    #[test]
    fn mistakes_name_the_setting_but_never_what_may_be_a_secret() {
        let unknown = read("slotz = 3").unwrap_err();
        assert!(unknown.starts_with("settings: ") && unknown.contains("slotz"), "{unknown}");
        let secret = read("[storage_profiles.prod]\nkey = 4711").unwrap_err();
        assert_eq!(secret, "settings: storage_profiles.prod.key must be a string in quotes");
    }

    #[test]
    fn a_file_that_is_missing_is_no_empty_one() {
        let missing = Path::new("/keyloom-no-such-file.toml");
        let refused = Layers::defaults(&Settings::default()).file(Some(missing)).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.starts_with("--config /keyloom-no-such-file.toml: "), "{refused}");
    }
}
