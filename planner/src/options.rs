//! What a session, or one statement of it, says of how its queries are planned.

use std::{any::Any, str::FromStr};

use datafusion::{
    common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions},
    error::Result,
};
use keyloom_common::{
    Error,
    group_keys::GroupKeys,
    shuffle::{Shuffle, ShuffleChoice, ShuffleOptions},
    store::JoinPath,
};

/// The options of planning, among DataFusion's: `keyloom.join_path`, `keyloom.shuffle` and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// How joins with stores are made.
    pub join_path: JoinPath,
    /// Whether workers shuffle rows among themselves.
    pub shuffle: ShuffleOptions,
    /// Whether rows are grouped by their keys below lookups.
    pub group_keys: GroupKeys,
    /// Whether workers are in the process that plans. It is no option that is set by a name.
    pub is_together: bool,
}

impl PlanOptions {
    /// The options among others; the usual ones if nobody gave any.
    pub fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().copied().unwrap_or_default()
    }
}

impl ConfigExtension for PlanOptions {
    const PREFIX: &'static str = "keyloom";
}

impl ExtensionOptions for PlanOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(*self)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let mut choice = ShuffleChoice::default();
        match key {
            "group_keys" => self.group_keys = GroupKeys::parse(value)?,
            "join_path" => self.join_path = JoinPath::parse(value)?,
            "shuffle" => choice.shuffle = Some(Shuffle::parse(value)?),
            "shuffle_min_rows" => choice.min_rows = Some(number(key, value)?),
            "shuffle_partitions" => choice.partitions = Some(number(key, value)?),
            _ => {
                let message = format!(
                    "keyloom has the options group_keys, join_path, shuffle, shuffle_min_rows and \
                     shuffle_partitions, not '{key}'"
                );
                return Err(Error::invalid(message).into());
            }
        }
        self.shuffle = choice.over(self.shuffle)?;
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: &dyn ToString, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value.to_string()),
            description,
        };
        let ShuffleOptions { shuffle, min_rows, partitions } = &self.shuffle;
        let groups = "Whether rows are grouped by keys below lookups: never, auto or always";
        let joins = "How joins with stores are made: auto, lookup or scan";
        let shuffles = "Whether workers shuffle rows among themselves: never, auto or always";
        let least = "How many rows the largest input has at least where shuffle = auto shuffles";
        let parts = "Into how many parts each worker's rows are shuffled";
        vec![
            entry("group_keys", &self.group_keys, groups),
            entry("join_path", &self.join_path, joins),
            entry("shuffle", shuffle, shuffles),
            entry("shuffle_min_rows", min_rows, least),
            entry("shuffle_partitions", partitions, parts),
        ]
    }
}

fn number<N: FromStr>(key: &str, value: &str) -> keyloom_common::Result<N> {
    value.parse().map_err(|_| Error::invalid(format!("{key} is a number, not '{value}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_wrong(options: &mut ConfigOptions, key: &str, value: &str, words: &str) {
        let wrong = options.set(key, value).unwrap_err().to_string();
        assert!(wrong.contains(words), "{wrong}");
    }

    #[test]
    fn options_are_set_by_their_names() {
        let mut options = ConfigOptions::new();
        assert_eq!(PlanOptions::of(&options), PlanOptions::default());
        options.extensions.insert(PlanOptions::default());
        for (key, value) in [
            ("keyloom.group_keys", "always"),
            ("keyloom.join_path", "scan"),
            ("keyloom.shuffle", "always"),
            ("keyloom.shuffle_min_rows", "7"),
            ("keyloom.shuffle_partitions", "3"),
        ] {
            options.set(key, value).unwrap();
            let told = options.entries().into_iter().find(|entry| entry.key == key).unwrap();
            assert_eq!(told.value.as_deref(), Some(value), "{key}");
        }
        let shuffle = ShuffleOptions { shuffle: Shuffle::Always, min_rows: 7, partitions: 3 };
        let group_keys = GroupKeys::Always;
        let join_path = JoinPath::Scan;
        let expected = PlanOptions { join_path, shuffle, group_keys, ..PlanOptions::default() };
        assert_eq!(PlanOptions::of(&options), expected);
        let groups = "group_keys is never, auto or always, not 'once'";
        check_wrong(&mut options, "keyloom.group_keys", "once", groups);
        let path = "join_path is auto, lookup or scan, not 'fast'";
        check_wrong(&mut options, "keyloom.join_path", "fast", path);
        let way = "shuffle is never, auto or always, not 'yes'";
        check_wrong(&mut options, "keyloom.shuffle", "yes", way);
        let few = "shuffle_partitions must be between 2 and 256, not 1";
        check_wrong(&mut options, "keyloom.shuffle_partitions", "1", few);
        let many = "shuffle_min_rows is a number, not 'many'";
        check_wrong(&mut options, "keyloom.shuffle_min_rows", "many", many);
        check_wrong(&mut options, "keyloom.path", "scan", "shuffle_partitions, not 'path'");
        assert_eq!(PlanOptions::of(&options), expected);
    }
}
