//! How the log of a program is written, as its settings say. Whoever embeds Keyloom writes a log of
//! his own.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The settings of a program's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// How lines are written. `--log-format` and `KEYLOOM_LOG_FORMAT` go before it. Default `text`.
    pub format: LogFormat,
}

/// How lines of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// The format of this name.
    ///
    /// # Errors
    /// `invalid` if there is none, naming those that there are.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid(format!("a log is written as text or json, not as '{name}'"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_the_same_names_in_settings_and_flags() {
        for (name, format) in [("text", LogFormat::Text), ("json", LogFormat::Json)] {
            assert_eq!(LogFormat::parse(name).unwrap(), format);
            assert_eq!(serde_json::to_value(format).unwrap(), name);
        }
        let error = LogFormat::parse("JSON").unwrap_err();
        assert_eq!(error.message(), "a log is written as text or json, not as 'JSON'");
    }
}
