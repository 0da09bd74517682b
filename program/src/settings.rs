//! Settings in layers: defaults, then a file, then the environment, then flags. Each goes before
//! those under it.

mod listing;
mod origin;
mod syntax;
mod unknown;
mod variables;

use std::{env, fmt, path::Path};

use anyhow::{Context, Result, anyhow};
use figment::{
    Error, Figment, Provider,
    error::Kind,
    providers::{Format, Serialized, Toml},
    value::Value,
};
use serde::{Serialize, de::DeserializeOwned};

use self::{origin::Known, variables::Variables};
use crate::units::{PROFILES, Units};

pub use listing::Shown;
pub use origin::Origin;

/// Layers of settings. Sizes and times may have units.
#[derive(Clone)]
pub struct Layers {
    defaults: Figment,
    all: Figment,
    /// Those above the defaults.
    given: Figment,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There may be secrets among them.
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Layers {
    /// The lowest layer.
    pub fn defaults(defaults: &impl Serialize) -> Self {
        let defaults = Figment::from(Serialized::defaults(defaults));
        Self { all: defaults.clone(), defaults, given: Figment::new() }
    }

    /// The file that `--config` names, if it names one.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn file(self, config: Option<&Path>) -> Result<Self> {
        let Some(path) = config else { return Ok(self) };
        // A missing file would pass for an empty one.
        std::fs::metadata(path).with_context(|| format!("--config {}", path.display()))?;
        Ok(self.with(Units(Toml::file_exact(path))))
    }

    /// Variables whose names begin so; `__` leads into a section.
    #[must_use]
    pub fn environment(self, prefix: &str) -> Self {
        self.with(Units(Variables { prefix: prefix.to_owned(), section: None }))
    }

    /// The same, for settings of a part that stand in a section of their own.
    #[must_use]
    pub fn environment_of(self, section: &'static str, prefix: &str) -> Self {
        self.with(Units(Variables { prefix: prefix.to_owned(), section: Some(section) }))
    }

    /// A setting that has a variable of its own, as text. One that is empty says nothing.
    ///
    /// # Errors
    /// If the variable is no text.
    pub fn variable(self, name: &'static str, setting: &str) -> Result<Self> {
        let text = match env::var(name) {
            Ok(text) if !text.is_empty() => text,
            Ok(_) | Err(env::VarError::NotPresent) => return Ok(self),
            Err(env::VarError::NotUnicode(_)) => return Err(anyhow!("{name} is no UTF-8")),
        };
        let layer = Serialized::default(setting, text);
        Ok(self.with(Known { layer, metadata: origin::variable(name) }))
    }

    /// A setting that a flag says, if it is there.
    #[must_use]
    pub fn flag(self, name: &'static str, setting: &str, value: Option<impl Serialize>) -> Self {
        let Some(value) = value else { return self };
        let layer = Serialized::default(setting, value);
        self.with(Known { layer, metadata: origin::flag(name) })
    }

    /// Forgets what the layers so far say of a setting that may be absent.
    #[must_use]
    pub fn without(self, setting: &str) -> Self {
        self.with(Serialized::default(setting, None::<()>))
    }

    fn with(self, layer: impl Provider) -> Self {
        let Self { defaults, all, given } = self;
        Self { defaults, all: all.merge(&layer), given: given.merge(&layer) }
    }

    /// The settings of a section that a file, the environment or a flag gives, by their paths.
    pub fn given(&self, section: &str) -> Vec<String> {
        let mut paths = Vec::new();
        // What cannot be read is told by `read`.
        if let Ok(value) = self.given.find_value(section) {
            add_paths(section, &value, &mut paths);
        }
        paths
    }

    /// What the layers say together. The parts' own bounds are not checked.
    ///
    /// # Errors
    /// If a name is unknown or a value is of another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        self.all.extract().map_err(|error| self.shown(error)).context("settings")
    }

    /// What is wrong with the settings. What a storage profile holds may be a secret and is not
    /// shown.
    fn shown(&self, error: Error) -> anyhow::Error {
        if let Kind::UnknownField(_, choices) = error.kind {
            let known = self.defaults.find_value("").unwrap_or(Value::from(false));
            return anyhow!(unknown::unknown(&error, &known, choices));
        }
        let (path, from) = (error.path.join("."), unknown::told(&error));
        if let Some(at) = error.path.iter().position(|part| part == PROFILES) {
            let wanted = match error.path.len() - at {
                // The profiles, and one of them.
                ..3 => "a section: options by their names",
                _ => "a string in quotes, { file = \"PATH\" } or { env = \"VARIABLE\" }",
            };
            return anyhow!("{path} must be {wanted}{from}");
        }
        if let Kind::Message(message) = &error.kind
            && let Some(message) = syntax::without_source(message)
        {
            return anyhow!("{message}{from}");
        }
        if path.is_empty() {
            return anyhow!("{}{from}", error.kind.to_string().trim_end());
        }
        anyhow!("{} for setting '{path}'{from}", error.kind)
    }
}

/// Adds the paths of all settings within a value.
fn add_paths(path: &str, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Dict(_, section) => {
            for (name, value) in section {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                add_paths(&path, value, paths);
            }
        }
        _ => paths.push(path.to_owned()),
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
        memory_bytes: u64,
        wait_ms: u64,
        storage_profiles: BTreeMap<String, BTreeMap<String, String>>,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self {
                slots: 1,
                rows: 2,
                memory_bytes: 3,
                wait_ms: 4,
                storage_profiles: BTreeMap::new(),
            }
        }
    }

    fn layers(file: &str) -> Layers {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        fs::write(&path, file).unwrap();
        Layers::defaults(&Settings::default()).file(Some(&path)).unwrap()
    }

    fn read(file: &str) -> Result<Settings, String> {
        layers(file).read().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_file_goes_before_the_defaults() {
        assert_eq!(read("rows = 7").unwrap(), Settings { rows: 7, ..Settings::default() });
        assert_eq!(read("").unwrap(), Settings::default());
    }

    #[test]
    fn sizes_and_times_may_have_units_but_not_what_others_read() {
        let settings = read(
            "memory_bytes = '2GiB'\nwait_ms = '30s'\n[storage_profiles.s]\ntimeout_ms = '30s'",
        )
        .unwrap();
        assert_eq!((settings.memory_bytes, settings.wait_ms), (2 << 30, 30_000));
        assert_eq!(settings.storage_profiles["s"]["timeout_ms"], "30s");
        let wrong = read("wait_ms = '30 parsecs'").unwrap_err();
        assert!(wrong.starts_with("settings: '30 parsecs' is no time, as \"30s\""), "{wrong}");
        assert!(wrong.contains("wait_ms"), "{wrong}");
    }

    #[test]
    fn what_is_given_is_known_by_its_paths() {
        let layers = layers("rows = 7\n[storage_profiles.s]\nregion = 'r'");
        assert_eq!(layers.given("storage_profiles"), ["storage_profiles.s.region"]);
        assert_eq!(layers.given("rows"), ["rows"]);
        assert!(layers.given("slots").is_empty());
    }

    #[test]
    fn mistakes_name_the_setting_but_never_what_may_be_a_secret() {
        let unknown = read("slotz = 3").unwrap_err();
        let expected = "settings: unknown setting 'slotz'; did you mean 'slots'? (file ";
        assert!(unknown.starts_with(expected), "{unknown}");
        let unknown = read("colour = 3").unwrap_err();
        let expected = "settings: unknown setting 'colour'; there are 'slots', 'rows', ";
        assert!(unknown.starts_with(expected), "{unknown}");
        let secret = read("[storage_profiles.prod]\nkey = 4711").unwrap_err();
        let expected = "settings: storage_profiles.prod.key must be a string in quotes, { file = ";
        assert!(secret.starts_with(expected) && !secret.contains("4711"), "{secret}");
        let secret = read("[storage_profiles]\nprod = 'HIDDEN'").unwrap_err();
        let expected = "settings: storage_profiles.prod must be a section: ";
        assert!(secret.starts_with(expected) && !secret.contains("HIDDEN"), "{secret}");
        let wrong = read("slots = 'many'").unwrap_err();
        assert!(wrong.contains(" for setting 'slots' (file "), "{wrong}");
        let unread = read("rows = 7\n[storage_profiles.prod]\nkey = HIDDEN").unwrap_err();
        let expected = "settings: TOML parse error at line 3, column 7: ";
        assert!(unread.starts_with(expected) && !unread.contains("HIDDEN"), "{unread}");
        assert!(!unread.contains('\n') && unread.contains("(file "), "{unread}");
    }

    #[test]
    fn flags_go_before_the_file_and_what_is_forgotten_is_absent() {
        let layers = layers("rows = 7\nslots = 3");
        let flagged = layers.flag("--rows", "rows", Some(8)).flag("--slots", "slots", None::<u32>);
        let settings: Settings = flagged.read().unwrap();
        assert_eq!((settings.rows, settings.slots), (8, 3));

        #[derive(Serialize, Deserialize)]
        struct Named {
            name: Option<String>,
        }
        let layers = Layers::defaults(&Named { name: Some("default".to_owned()) });
        let name = |layers: &Layers| layers.read::<Named>().unwrap().name;
        assert_eq!(name(&layers).as_deref(), Some("default"));
        let layers = layers.flag("--name", "name", Some("mine"));
        assert_eq!(name(&layers).as_deref(), Some("mine"));
        assert_eq!(name(&layers.without("name")), None);
    }

    #[test]
    fn a_debug_print_shows_nothing() {
        let layers = layers("[storage_profiles.prod]\nkey = 'HIDDEN'");
        assert_eq!(format!("{layers:?}"), "Layers { .. }");
    }

    #[test]
    fn a_file_that_is_missing_is_no_empty_one() {
        let missing = Path::new("/keyloom-no-such-file.toml");
        let refused = Layers::defaults(&Settings::default()).file(Some(missing)).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.starts_with("--config /keyloom-no-such-file.toml: "), "{refused}");
    }
}
