//! Settings with units: what they count in bytes or milliseconds may be written as `"2GiB"` or
//! `"30s"`, wherever it stands.

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Num, Value},
};
use keyloom_common::units::number;

/// Where values are text, whatever they are called: what is in there is for others.
pub(crate) const PROFILES: &str = "storage_profiles";

/// Where stores and inputs are described: their options are read with units, and their columns may
/// be called as what has some.
const CATALOG: &str = "catalog";

/// A layer of settings whose sizes and times are numbers afterwards.
#[derive(Debug)]
pub(crate) struct Units<P>(pub(crate) P);

impl<P: Provider> Provider for Units<P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut data = self.0.data()?;
        let counted = data.values_mut().try_for_each(|settings| count(settings, ""));
        counted.map_err(|Wrong { path, message }| Error::from(message).with_path(&path))?;
        Ok(data)
    }

    fn profile(&self) -> Option<Profile> {
        self.0.profile()
    }
}

/// A size or a time that is none.
#[derive(Debug)]
struct Wrong {
    path: String,
    message: String,
}

/// Replaces sizes and times of a section by what the settings count.
fn count(section: &mut Dict, within: &str) -> Result<(), Wrong> {
    for (name, value) in section {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        match value {
            Value::Dict(..) if name == PROFILES || name == CATALOG => {}
            Value::Dict(_, inner) => count(inner, &path)?,
            Value::String(tag, text) => {
                if let Some(number) = number(name, text) {
                    let number = number.map_err(|message| Wrong { path, message })?;
                    *value = Value::Num(*tag, Num::U64(number));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
