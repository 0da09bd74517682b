//! Storage profiles: options with which storage is reached, credentials among them, as the worker's
//! settings have them.
//!
//! A value may stand somewhere else, in a file or in a variable of the environment. Files are read
//! each time that the profile is used, so that secrets which are renewed there hold for the next
//! store that is opened: what a profile is known by ([`ReadProfile::version`]) changes with them,
//! and nothing that was opened with the old ones is found under it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use keyloom_common::{Error, ErrorCode, Result, Secret, error::may_be_secret};
use serde::{Deserialize, Serialize};

/// The option that says where credentials come from.
const CREDENTIALS: &str = "credentials";

/// The most bytes of a value in a file.
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// Storage options by name (endpoint, region, credentials, …). Their values are never shown.
///
/// `credentials = "cloud"` takes the machine's own identity, a role of the instance or of the
/// workload, and no others: keys beside it are refused, and those in the worker's environment and
/// files of keys are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StorageProfile(BTreeMap<String, ProfileValue>);

/// The value of a storage option, or where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a string in quotes, { file = \"PATH\" } or { env = \"VARIABLE\" }")]
pub enum ProfileValue {
    /// The value itself.
    Text(Secret),
    /// The first line or all lines of a file, without a line break at the end.
    File(InFile),
    /// A variable of the worker's environment.
    Environment(InEnvironment),
}

/// A value that stands in a file, which may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, PathBuf>")]
pub struct InFile {
    /// Its path.
    pub file: PathBuf,
}

/// A value that stands in the worker's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct InEnvironment {
    /// The variable's name.
    pub env: String,
}

impl TryFrom<BTreeMap<String, PathBuf>> for InFile {
    type Error = &'static str;

    fn try_from(table: BTreeMap<String, PathBuf>) -> std::result::Result<Self, Self::Error> {
        only("file", table).map(|file| Self { file }).ok_or("file alone is wanted")
    }
}

impl TryFrom<BTreeMap<String, String>> for InEnvironment {
    type Error = &'static str;

    fn try_from(table: BTreeMap<String, String>) -> std::result::Result<Self, Self::Error> {
        only("env", table).map(|env| Self { env }).ok_or("env alone is wanted")
    }
}

/// The value under this name, if there is no other. A struct of its own would take a list, too.
fn only<T>(name: &str, mut table: BTreeMap<String, T>) -> Option<T> {
    table.remove(name).filter(|_| table.is_empty())
}

/// What tells the values of a profile at one time from those at another; none if they stay.
pub(crate) type ProfileVersion = Option<[u8; 32]>;

/// A profile as it is now.
#[derive(Clone, Default)]
pub(crate) struct ReadProfile {
    /// The options, but for where credentials come from.
    pub(crate) options: HashMap<String, String>,
    /// Whether the machine's own identity is meant, and nothing else.
    pub(crate) cloud: bool,
    /// What it is known by.
    pub(crate) version: ProfileVersion,
    /// Values that were read elsewhere, under a name by which secrets are told.
    read: Vec<(String, String)>,
}

impl StorageProfile {
    /// The files that values stand in.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.values().filter_map(|value| match value {
            ProfileValue::File(InFile { file }) => Some(file),
            ProfileValue::Text(_) | ProfileValue::Environment(_) => None,
        })
    }

    /// The options as they are now, of a profile of this name. It may read files.
    ///
    /// # Errors
    /// `invalid` if a variable is not there or options do not go together, `store` if a file cannot
    /// be read; the message names the profile, and each such option and where its value should be.
    pub(crate) fn read(&self, name: &str) -> Result<ReadProfile> {
        self.read_values().map_err(|error| {
            let error = error.context(format_args!("storage profile '{name}'"));
            error.with_code(ErrorCode::StorageProfile)
        })
    }

    fn read_values(&self) -> Result<ReadProfile> {
        let (mut profile, mut absent) = (ReadProfile::default(), Vec::new());
        for (option, value) in &self.0 {
            let text = match value.read() {
                Ok(text) => text,
                Err(error) => {
                    absent.push(error.context(option));
                    continue;
                }
            };
            if option.eq_ignore_ascii_case(CREDENTIALS) {
                profile.cloud = is_cloud(&text)?;
                continue;
            }
            if !matches!(value, ProfileValue::Text(_)) {
                profile.read.push(("secret".to_owned(), text.clone()));
            }
            profile.options.insert(option.clone(), text);
        }
        if let Some(error) = together(absent) {
            return Err(error);
        }
        if profile.cloud
            && let Some(option) = profile.options.keys().find(|option| is_credential(option))
        {
            return Err(Error::invalid(format!(
                "{option} stands beside credentials = \"cloud\", which takes the machine's own \
                 identity and nothing else; leave one of them out"
            )));
        }
        if self.0.values().any(|value| matches!(value, ProfileValue::File(_))) {
            profile.version = Some(version(&profile.options));
        }
        Ok(profile)
    }
}

/// What is wrong with several options as one error, which says all: it is none that may pass by
/// itself if one of them does not.
fn together(errors: Vec<Error>) -> Option<Error> {
    let words = errors.iter().map(Error::message).collect::<Vec<_>>().join("; ");
    let lasts = |error: &Error| !error.kind().is_transient();
    let error = errors.into_iter().reduce(|one, other| if lasts(&one) { one } else { other })?;
    Some(error.reworded(words))
}

impl ProfileValue {
    /// The value as it is now.
    fn read(&self) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text.expose().to_owned()),
            Self::File(InFile { file }) => read_file(file).map_err(|error| {
                Error::store(format!("file {} cannot be read: {error}", file.display()))
            }),
            Self::Environment(InEnvironment { env }) => match std::env::var(env) {
                Ok(text) if !text.is_empty() => Ok(text),
                Ok(_) => Err(Error::invalid(format!("the variable {env} is empty"))),
                Err(_) => Err(Error::invalid(format!(
                    "the worker's environment has no variable {env}, or it is no text"
                ))),
            },
        }
    }
}

impl ReadProfile {
    /// The values by names by which secrets are told, for who keeps them out of messages.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&String, &String)> {
        self.options.iter().chain(self.read.iter().map(|(name, value)| (name, value)))
    }
}

/// The text of a file as somebody wrote it into an editor.
fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_VALUE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_VALUE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_VALUE_BYTES} bytes")));
    }
    // Editors write line ends, and some of them a mark before the text.
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(text.to_owned())
}

/// What else it says is not told: somebody may have written a key there.
fn is_cloud(text: &str) -> Result<bool> {
    match text {
        "cloud" => Ok(true),
        _ => Err(Error::invalid(
            "credentials is \"cloud\", for the machine's own identity, or is left out",
        )),
    }
}

/// Whether an option is a key, a token or a file of them, or does without any: what an identity of
/// the machine's own has no use for. Files of tokens that the platform writes are part of that.
pub(crate) fn is_credential(option: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["sas", "service_account", "application_credentials", "azure_cli", "skip_signature"];
    // Where identities are found, and keys by which servers encrypt what they keep.
    const NONE: [&str; 3] = ["_token_file", "container_credentials", "sse_"];
    let option = option.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| option.contains(word));
    (may_be_secret(&option) || any(&OTHERS)) && !any(&NONE)
}

/// Stands for options and their values.
fn version(options: &HashMap<String, String>) -> [u8; 32] {
    let sorted: BTreeMap<_, _> = options.iter().collect();
    let mut hasher = blake3::Hasher::new();
    for text in sorted.into_iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

impl FromIterator<(String, String)> for StorageProfile {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(options: I) -> Self {
        let text = |(name, value)| (name, ProfileValue::Text(Secret::new(value)));
        Self(options.into_iter().map(text).collect())
    }
}

impl From<HashMap<String, String>> for StorageProfile {
    fn from(options: HashMap<String, String>) -> Self {
        options.into_iter().collect()
    }
}

impl<const N: usize> From<[(String, String); N]> for StorageProfile {
    fn from(options: [(String, String); N]) -> Self {
        options.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keyloom_common::ErrorKind;

    use super::*;

    fn profile(json: serde_json::Value) -> StorageProfile {
        serde_json::from_value(json).unwrap()
    }

    fn refused(json: serde_json::Value) -> (ErrorKind, String) {
        let error = profile(json).read("p").err().unwrap();
        assert_eq!(error.code(), Some(ErrorCode::StorageProfile));
        (error.kind(), error.message().to_owned())
    }

    #[test]
    fn values_are_read_where_they_stand_and_anew_when_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "\u{feff}first\r\n").unwrap();
        let profile = profile(serde_json::json!({
            "region": "r", "aws_secret_access_key": {"file": file}, "path": {"env": "PATH"},
        }));
        let one = profile.read("p").unwrap();
        assert_eq!(one.options["aws_secret_access_key"], "first");
        assert_eq!(one.options["path"], std::env::var("PATH").unwrap());
        assert_eq!((one.options["region"].as_str(), one.cloud), ("r", false));
        assert_eq!(profile.read("p").unwrap().version, one.version);
        fs::write(&file, "second\n").unwrap();
        let other = profile.read("p").unwrap();
        assert_eq!(other.options["aws_secret_access_key"], "second");
        assert_ne!(other.version, one.version);
        assert!(other.secrets().any(|(name, value)| name == "secret" && value == "second"));
        // What does not change is known without its values.
        let fixed = StorageProfile::from([("region".to_owned(), "r".to_owned())]);
        assert_eq!(fixed.read("p").unwrap().version, None);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_shown() {
        let (kind, message) = refused(serde_json::json!({"key": {"file": "/no/such/file"}}));
        assert_eq!(kind, ErrorKind::Store);
        let start = "storage profile 'p': key: file /no/such/file cannot be read: ";
        assert!(message.starts_with(start), "{message}");
        let variable = "KEYLOOM_NO_SUCH_VARIABLE";
        assert_eq!(
            refused(serde_json::json!({"key": {"env": variable}})),
            (
                ErrorKind::Invalid,
                format!(
                    "storage profile 'p': key: the worker's environment has no variable \
                     {variable}, or it is no text"
                )
            )
        );
        let (kind, message) = refused(serde_json::json!({
            "a": {"env": variable}, "b": "text", "c": {"file": "/no/such/file"},
            "d": {"env": variable},
        }));
        assert_eq!(kind, ErrorKind::Invalid);
        let (prefix, parts) = message.split_once("': ").unwrap();
        let parts: Vec<_> = parts.split("; ").collect();
        let absent = |option: &str| {
            format!(
                "{option}: the worker's environment has no variable {variable}, or it is no text"
            )
        };
        assert_eq!((prefix, parts.len()), ("storage profile 'p", 3), "{message}");
        assert_eq!([parts[0], parts[2]], [&absent("a"), &absent("d")]);
        assert!(parts[1].starts_with("c: file /no/such/file cannot be read: "), "{message}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let (_, message) = refused(serde_json::json!({"key": {"file": empty.path()}}));
        assert!(message.ends_with("cannot be read: it is empty"), "{message}");
        let (_, message) = refused(serde_json::json!({"credentials": "hunter2"}));
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn nothing_prints_or_writes_a_value() {
        let profile =
            profile(serde_json::json!({"a": "hunter2", "b": {"file": "/f"}, "c": {"env": "E"}}));
        let written = serde_json::to_value(&profile).unwrap();
        let expected = serde_json::json!({"a": "***", "b": {"file": "/f"}, "c": {"env": "E"}});
        assert_eq!(written, expected);
        assert!(!format!("{profile:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_value_is_refused_without_being_shown() {
        let wrong = [
            serde_json::json!({"a": 4711}),
            serde_json::json!({"a": {"fiel": "x4711"}}),
            serde_json::json!({"a": {"file": "x4711", "env": "B"}}),
            serde_json::json!({"a": ["4711"]}),
        ];
        for json in wrong {
            let error = serde_json::from_value::<StorageProfile>(json).unwrap_err().to_string();
            let choices = "a string in quotes, { file = \"PATH\" } or { env = \"VARIABLE\" }";
            assert!(error.contains(choices) && !error.contains("4711"), "{error}");
        }
    }

    #[test]
    fn the_machines_own_identity_stands_alone() {
        let cloud = profile(serde_json::json!({
            "credentials": "cloud", "aws_region": "r", "aws_role_arn": "arn",
            "aws_web_identity_token_file": "/f", "allow_http": "false",
        }));
        let read = cloud.read("p").unwrap();
        assert!(read.cloud && !read.options.contains_key("credentials"));
        assert_eq!(read.options.len(), 4);
        for key in [
            "aws_secret_access_key",
            "AWS_ACCESS_KEY_ID",
            "aws_session_token",
            "aws_skip_signature",
            "google_service_account",
            "google_application_credentials",
            "azure_storage_account_key",
            "azure_storage_sas_key",
            "azure_storage_client_secret",
        ] {
            let (kind, message) = refused(serde_json::json!({"credentials": "cloud", key: "x"}));
            let start = format!("storage profile 'p': {key} stands beside credentials = \"cloud\"");
            assert_eq!(kind, ErrorKind::Invalid);
            assert!(message.starts_with(&start), "{message}");
        }
    }
}
