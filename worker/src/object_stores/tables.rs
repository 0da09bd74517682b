//! Tables that are more than the files in their folders. Some of those files may be old versions,
//! or rows that were deleted: reading them all would answer wrongly.

use std::collections::BTreeMap;

use keyloom_common::{Error, Result};
use object_store::path::Path;

/// What makes a folder a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lance,
    Delta,
    Iceberg,
    Hudi,
}

impl Kind {
    /// The kind of table that has a folder or file of this name in its folder.
    fn of(name: &str, below: Option<&str>) -> Option<Self> {
        match (name, below) {
            ("_delta_log", _) => Some(Self::Delta),
            ("_versions", Some(file)) if file.ends_with(".manifest") => Some(Self::Lance),
            ("metadata", Some(file)) if file.ends_with(".metadata.json") => Some(Self::Iceberg),
            (".hoodie", _) => Some(Self::Hudi),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lance => "a Lance dataset",
            Self::Delta => "a Delta table",
            Self::Iceberg => "an Iceberg table",
            Self::Hudi => "a Hudi table",
        }
    }
}

/// The tables that a listing showed, by their folders.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<String, Kind>);

impl Tables {
    /// Looks at a file's path below the input's folder.
    pub(crate) fn see(&mut self, path: &str) {
        let mut start = 0;
        while let Some(length) = path[start..].find('/') {
            let (name, rest) = (&path[start..start + length], &path[start + length + 1..]);
            if let Some(kind) = Kind::of(name, Some(rest)) {
                self.0.insert(path[..start].trim_end_matches('/').to_owned(), kind);
            }
            start += length + 1;
        }
    }

    /// Looks at a folder of the input's folder of which the files are not listed.
    pub(crate) fn see_folder(&mut self, base: &Path, folder: &Path) {
        let name = folder.filename().filter(|_| folder.parent().as_ref() == Some(base));
        if let Some(kind) = name.and_then(|name| Kind::of(name, None)) {
            self.0.insert(String::new(), kind);
        }
    }

    /// A table among them: its folder, and what it is.
    pub(crate) fn any(&self) -> Option<(&str, &'static str)> {
        self.0.iter().next().map(|(folder, kind)| (folder.as_str(), kind.name()))
    }

    /// Refuses a file that is part of a table.
    ///
    /// # Errors
    /// `invalid`, naming the kind of table and what to do.
    pub(crate) fn check(&self, path: &str) -> Result<()> {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            folder = parent;
            if let Some(kind) = self.0.get(folder) {
                return Err(refusal(*kind, &format!("its folder {folder}")));
            }
        }
        match self.0.get("") {
            Some(kind) => Err(refusal(*kind, "it")),
            None => Ok(()),
        }
    }
}

fn refusal(kind: Kind, what: &str) -> Error {
    let way = match kind {
        Kind::Lance => "read it with format = \"lance\", and other files with a pattern",
        Kind::Iceberg => "name the files of one snapshot, or export it",
        Kind::Delta | Kind::Hudi => "name the files of one version, or export it",
    };
    let kind = kind.name();
    Error::invalid(format!(
        "{what} is {kind}, whose files are not all rows of its newest version; {way}"
    ))
}
