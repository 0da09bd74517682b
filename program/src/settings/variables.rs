//! Settings in the environment: variables that begin alike, `__` leading into sections.

use figment::{
    Error, Metadata, Profile, Provider,
    providers::Env,
    value::{Dict, Map, Tag, Value},
};
use keyloom_common::error::may_be_secret;

use super::origin;

/// Variables whose names begin so, as a layer.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) prefix: String,
    /// Where their settings stand, if they are those of a part.
    pub(super) section: Option<&'static str>,
}

impl Variables {
    fn environment(&self) -> Env {
        let variables = Env::prefixed(&self.prefix).split("__");
        match self.section {
            Some(section) => variables.map(move |key| format!("{section}.{key}").into()),
            None => variables,
        }
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        origin::variables(&self.prefix, self.section.is_some())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let environment = self.environment();
        let mut data = environment.data()?;
        for (setting, text) in environment.iter() {
            for settings in data.values_mut() {
                keep_text(settings, setting.as_str(), &text);
            }
        }
        Ok(data)
    }
}

/// Keeps a secret as it is written, also if it looks like a number or a list.
fn keep_text(settings: &mut Dict, setting: &str, text: &str) {
    let (sections, name) = setting.rsplit_once('.').unwrap_or(("", setting));
    if !is_secret(name) {
        return;
    }
    let mut within = settings;
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let Some(Value::Dict(_, inner)) = within.get_mut(section) else { return };
        within = inner;
    }
    match within.get_mut(name) {
        // In quotes, it is text already.
        Some(Value::String(..)) | None => {}
        Some(value) => *value = Value::String(Tag::Default, text.to_owned()),
    }
}

/// Whether it is no bound that is called like a secret, as `distinct_key_bytes`.
fn is_secret(name: &str) -> bool {
    may_be_secret(name) && !name.ends_with("_bytes") && !name.ends_with("_ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(setting: &str, text: &str) -> Value {
        let value = text.parse::<Value>().unwrap();
        let (section, name) = setting.split_once('.').unwrap();
        let section_of = Dict::from([(name.to_owned(), value)]);
        let mut settings =
            Dict::from([(section.to_owned(), Value::Dict(Tag::Default, section_of))]);
        keep_text(&mut settings, setting, text);
        settings.remove(section).and_then(|value| value.into_dict()?.remove(name)).unwrap()
    }

    #[test]
    fn secrets_that_look_like_numbers_stay_text() {
        assert_eq!(kept("security.token", "0012").as_str(), Some("0012"));
        assert_eq!(kept("security.token", "12345678e12345678").as_str(), Some("12345678e12345678"));
        assert_eq!(kept("security.token", "'0012'").as_str(), Some("'0012'"));
        assert_eq!(kept("jobs.distinct_key_bytes", "4096").to_u128(), Some(4096));
        assert_eq!(kept("jobs.slots", "4").to_u128(), Some(4));
    }
}
