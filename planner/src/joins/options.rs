//! What a session, or one statement of it, says of joins with stores.

use std::any::Any;

use datafusion::{
    common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions},
    error::Result,
};
use keyloom_common::{Error, store::JoinPath};

/// The options of joins, among DataFusion's: `keyloom.join_path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinOptions {
    /// How joins with stores are made.
    pub path: JoinPath,
}

impl JoinOptions {
    /// The options among others; the usual ones if nobody gave any.
    pub(super) fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().copied().unwrap_or_default()
    }
}

impl ConfigExtension for JoinOptions {
    const PREFIX: &'static str = "keyloom";
}

impl ExtensionOptions for JoinOptions {
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
        if key != "join_path" {
            let message = format!("keyloom has the option join_path, not '{key}'");
            return Err(Error::invalid(message).into());
        }
        self.path = JoinPath::parse(value)?;
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![ConfigEntry {
            key: format!("{}.join_path", Self::PREFIX),
            value: Some(self.path.to_string()),
            description: "How joins with stores are made: auto, lookup or scan",
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_set_by_its_name() {
        let mut options = ConfigOptions::new();
        assert_eq!(JoinOptions::of(&options).path, JoinPath::Auto);
        options.extensions.insert(JoinOptions::default());
        options.set("keyloom.join_path", "scan").unwrap();
        assert_eq!(JoinOptions::of(&options).path, JoinPath::Scan);
        let wrong = options.set("keyloom.join_path", "fast").unwrap_err().to_string();
        assert!(wrong.contains("join_path is auto, lookup or scan, not 'fast'"), "{wrong}");
        let wrong = options.set("keyloom.path", "scan").unwrap_err().to_string();
        assert!(wrong.contains("keyloom has the option join_path, not 'path'"), "{wrong}");
    }
}
