//! A file that is written among those that a job reads: whoever runs the job again would read its
//! rows, too.

use std::path::{Path, absolute};

use keyloom_common::{input::FilesOfInput, output::Place};

/// What to warn of where a file is written that would be listed with an input, in words. One that
/// is the input itself is replaced, which is what was asked for.
pub fn listed_with(path: &Path, inputs: &[FilesOfInput]) -> Option<String> {
    let path = absolute(path).ok()?;
    let own = Place::of(path.to_str()?)?;
    let folder = Place::of(path.parent()?.to_str()?)?;
    let file = path.file_name()?.to_str()?;
    let is_beside = |input: &&FilesOfInput| {
        folder.is_listed(input, file) && Place::of(&input.to_string()).as_ref() != Some(&own)
    };
    let input = inputs.iter().find(is_beside)?;
    Some(format!(
        "{} is among the files of the input {input}: who reads that again reads its rows, too",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str) -> FilesOfInput {
        FilesOfInput::of(path, None).unwrap()
    }

    #[test]
    fn a_file_is_warned_of_that_would_be_read_with_the_input_next_time() {
        for (path, named, expected) in [
            ("/data/in/all.csv", "/data/in", true),
            ("/data/in/../in/all.csv", "/data/in/*.csv", true),
            ("/data/in/all.csv", "/data/in/*.parquet", false),
            ("/data/in/_all.csv", "/data/in", false),
            ("/data/all.csv", "/data/in", false),
            ("/data/in/a.csv", "/data/in/a.csv", false),
        ] {
            let told = listed_with(Path::new(path), &[input("/elsewhere"), input(named)]);
            assert_eq!(told.is_some(), expected, "{path} {named}: {told:?}");
        }
        let told = listed_with(Path::new("/data/in/all.csv"), &[input("/data/in")]);
        let expected = "/data/in/all.csv is among the files of the input /data/in: who reads that \
                        again reads its rows, too";
        assert_eq!(told.as_deref(), Some(expected));
    }
}
