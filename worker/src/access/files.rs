//! Where paths of this machine lead.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use keyloom_common::{Error, Result};

/// As many links as the system follows.
const MAX_LINKS: usize = 40;

/// The most names that are looked at below one folder.
const MAX_NAMES: usize = 1_000_000;

/// Where an absolute path leads when its links are followed, whether there is something or not:
/// what is not there leads where it would be made. None if links lead in circles.
pub(super) fn resolved(path: &Path) -> Option<PathBuf> {
    let mut left: Vec<OsString> = parts(path).collect();
    let mut resolved = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        // What is no link, is not there or may not be looked at stands for itself.
        let Ok(target) = fs::read_link(&next) else {
            resolved = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        left.extend(parts(&target));
    }
    Some(resolved)
}

/// The names of a path, the last one first.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

/// The same path with its `..` resolved by name, as URLs have it.
pub(super) fn by_name(path: &Path) -> PathBuf {
    let mut named = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => named.push(name),
            Component::ParentDir => {
                named.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    named
}

/// What is looked for below a folder.
pub(super) struct Below<'a> {
    /// Which paths matter, from the folder on. Nothing below others does.
    pub(super) matters: &'a dyn Fn(&str) -> bool,
    /// Whether what is in folders within matters, too.
    pub(super) deep: bool,
    /// Whether a path may be read.
    pub(super) allows: &'a dyn Fn(&Path) -> bool,
}

impl Below<'_> {
    /// Whether a link that matters leads to where nothing may be read, there or not.
    ///
    /// # Errors
    /// `invalid` if there are too many names to look at.
    pub(super) fn leads_out(&self, folder: &Path) -> Result<bool> {
        let mut folders = vec![(folder.to_owned(), String::new())];
        let mut followed = HashSet::new();
        let mut looked_at = 0;
        while let Some((folder, within)) = folders.pop() {
            // What cannot be listed is not read, either, and whoever lists it says why.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                looked_at += 1;
                if looked_at > MAX_NAMES {
                    return Err(Error::invalid(format!(
                        "more than {MAX_NAMES} names to look through"
                    )));
                }
                let name = format!("{within}{}", entry.file_name().to_string_lossy());
                let (path, kind) = (entry.path(), entry.file_type().ok());
                if !(self.matters)(&name) {
                    continue;
                }
                if kind.is_some_and(|kind| kind.is_symlink()) {
                    if !(self.allows)(&path) {
                        return Ok(true);
                    }
                    let new = resolved(&path).is_some_and(|target| followed.insert(target));
                    if self.deep && new && path.is_dir() {
                        folders.push((path, format!("{name}/")));
                    }
                } else if self.deep && kind.is_some_and(|kind| kind.is_dir()) {
                    folders.push((path, format!("{name}/")));
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        (folder, path)
    }

    #[test]
    fn paths_lead_where_their_links_do_whether_there_is_something_or_not() {
        let (_kept, folder) = folder();
        fs::create_dir_all(folder.join("in/deep")).unwrap();
        symlink("/etc/passwd", folder.join("in/file")).unwrap();
        symlink("/no/such/thing", folder.join("in/dangling")).unwrap();
        symlink("deep", folder.join("in/near")).unwrap();
        symlink("near", folder.join("in/twice")).unwrap();
        symlink("../..", folder.join("in/deep/up")).unwrap();
        symlink("circle", folder.join("in/circle")).unwrap();
        let check = |path: &str, expected: Option<PathBuf>| {
            assert_eq!(resolved(&folder.join(path)), expected, "{path}");
        };
        check("in/plain.csv", Some(folder.join("in/plain.csv")));
        check("in/file", Some(PathBuf::from("/etc/passwd")));
        check("in/dangling/more", Some(PathBuf::from("/no/such/thing/more")));
        check("in/twice/new", Some(folder.join("in/deep/new")));
        check("in/twice/up/x", Some(folder.join("x")));
        check("in/twice/../x", Some(folder.join("in/x")));
        check("in/none/../../x", Some(folder.join("x")));
        check("in/circle/x", None);
        assert_eq!(resolved(Path::new("/../..")), Some(PathBuf::from("/")));
        assert_eq!(by_name(Path::new("/a/./b/../../../c/")), PathBuf::from("/c"));
    }

    fn leads_out(folder: &Path, deep: bool, hidden: &str) -> bool {
        let allows = |path: &Path| resolved(path).is_some_and(|path| path.starts_with(folder));
        let matters = |name: &str| !name.split('/').any(|part| part == hidden);
        Below { matters: &matters, deep, allows: &allows }.leads_out(folder).unwrap()
    }

    #[test]
    fn a_link_below_a_folder_that_leads_out_is_found_where_it_matters() {
        for target in ["/etc", "/no/such/thing"] {
            let (_kept, folder) = folder();
            fs::create_dir_all(folder.join("day=1/hour=2")).unwrap();
            fs::write(folder.join("day=1/a.csv"), "x").unwrap();
            symlink("day=1", folder.join("day=2")).unwrap();
            // A circle ends.
            symlink("..", folder.join("day=1/up")).unwrap();
            assert!(!leads_out(&folder, true, "-"));
            symlink(target, folder.join("day=1/hour=2/out")).unwrap();
            assert!(leads_out(&folder, true, "-"), "{target}");
            assert!(!leads_out(&folder, true, "out"), "{target}");
            assert!(!leads_out(&folder, false, "-"), "{target}");
        }
    }
}
