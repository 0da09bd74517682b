//! The file of a page: looked at before anything runs, and there as a whole or not at all.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::error::Failure;

/// Where a page is to be.
#[derive(Debug)]
pub(super) struct PageFile {
    path: PathBuf,
    folder: PathBuf,
}

impl PageFile {
    /// Refuses a file that cannot be written.
    pub(super) fn check(path: PathBuf) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        if shown.contains("://") {
            return Err(Failure::mistake(format!(
                "--html {shown}: pages are written to files of this machine, not to URLs"
            )));
        }
        if path.is_dir() {
            return Err(Failure::mistake(format!("--html {shown} is a folder; name a file")));
        }
        // The file behind a link is written, and the link stays.
        let path = if path.is_symlink() { fs::canonicalize(&path).unwrap_or(path) } else { path };
        // A device would be replaced by a file.
        if path.exists() && !path.is_file() {
            return Err(Failure::mistake(format!("--html {shown} is no file; name one")));
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(Failure::mistake(format!(
                "--html {shown}: there is no folder {}",
                folder.display()
            ))
            .help("make the folder first"));
        }
        Ok(Self { path, folder })
    }

    /// Writes the page and says where it is.
    pub(super) fn write(self, page: &str) -> Result<PathBuf, Failure> {
        let Self { path, folder } = self;
        let written = tempfile::Builder::new()
            // What the user's umask leaves of it, as for any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .and_then(|mut file| {
                file.write_all(page.as_bytes())?;
                file.persist(&path).map_err(|error| error.error)
            });
        match written {
            Ok(_) => Ok(fs::canonicalize(&path).unwrap_or(path)),
            Err(error) => Err(Failure::failed(format!(
                "--html {} cannot be written: {error}",
                path.display()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_what_was_there_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.html");
        for page in ["<p>one</p>", "<p>two</p>"] {
            let written = PageFile::check(path.clone()).unwrap().write(page).unwrap();
            assert_eq!(fs::read_to_string(written).unwrap(), page);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_behind_a_link_is_written_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("job.html"), folder.path().join("link.html"));
        fs::write(&file, "<p>old</p>").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        PageFile::check(link.clone()).unwrap().write("<p>new</p>").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(file).unwrap(), "<p>new</p>");
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: PathBuf| PageFile::check(path).unwrap_err().message.unwrap();
        assert!(refused(folder.path().to_owned()).ends_with(" is a folder; name a file"));
        assert!(refused(folder.path().join("no/job.html")).contains(": there is no folder "));
        assert!(refused("s3://bucket/job.html".into()).ends_with(", not to URLs"));
        assert_eq!(refused("/dev/null".into()), "--html /dev/null is no file; name one");
    }
}
