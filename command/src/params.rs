//! Parameters of jobs that come again: `$name` in a statement, which is a value wherever it stands,
//! and `${name}` in the paths of inputs, stores and outputs, which is text.
//!
//! No parameter is without a value, and none is given for nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use keyloom_client::placeholders;

use crate::{
    error::Failure,
    job_file,
    request::{Request, Store, Target},
    sql,
};

/// What opens a parameter in a path, and what such a sign itself is written as.
const OPEN: &str = "${";
const ESCAPED: &str = "$${";

/// Gives a request's parameters their values: those of the paths at once, those of the statement
/// for when it is planned.
pub(crate) fn fill(request: &mut Request, given: Vec<(String, String)>) -> Result<(), Failure> {
    let mut params = Params::of(request, given)?;
    params.fill_paths(request)?;
    let named = placeholders(&request.sql);
    for name in &named {
        params.value(name)?;
    }
    params.refuse_unused()?;
    request.params = params.values;
    request.params.retain(|name, _| named.contains(name));
    Ok(())
}

/// The same for what only looks at inputs and stores.
pub(crate) fn fill_paths(
    request: &mut Request,
    given: Vec<(String, String)>,
) -> Result<(), Failure> {
    Params::of(request, given)?.fill_paths(request)
}

/// Values by name, and who was asked for.
struct Params {
    values: BTreeMap<String, String>,
    used: BTreeSet<String>,
    /// The job file's folder, and how paths begin that were relative to it.
    folder: PathBuf,
    beside: String,
}

impl Params {
    /// The request's own are defaults.
    fn of(request: &mut Request, given: Vec<(String, String)>) -> Result<Self, Failure> {
        let mut values = std::mem::take(&mut request.params);
        values.extend(sql::named("--param", given)?);
        if let Some(name) = values.keys().find(|name| !is_name(name)) {
            return Err(Failure::mistake(format!("'{name}' is no name of a parameter"))
                .help("names have letters, digits and _, as day in $day or in ${day}"));
        }
        let folder = request.folder.clone();
        let beside = job_file::beside(&folder, "");
        Ok(Self { values, used: BTreeSet::new(), folder, beside })
    }

    fn value(&mut self, name: &str) -> Result<&str, Failure> {
        match self.values.get(name) {
            Some(value) => {
                self.used.insert(name.to_owned());
                Ok(value)
            }
            None => {
                Err(Failure::mistake(format!("parameter '{name}' has no value")).help(format!(
                    "give it one: --param {name}=VALUE, or a default in [params] of the job file"
                )))
            }
        }
    }

    fn refuse_unused(&self) -> Result<(), Failure> {
        let Some(unused) = self.values.keys().find(|name| !self.used.contains(*name)) else {
            return Ok(());
        };
        Err(Failure::mistake(format!(
            "parameter '{unused}' is not used: neither the statement has ${unused}, nor a path \
             ${{{unused}}}"
        )))
    }

    fn fill_paths(&mut self, request: &mut Request) -> Result<(), Failure> {
        for input in request.inputs.values_mut() {
            self.fill(&mut input.path)?;
        }
        for store in request.stores.values_mut() {
            self.fill(match store {
                Store::Lance(options) => &mut options.uri,
                Store::Memory { input, .. } => &mut input.path,
                Store::Other(options) => &mut options.uri,
            })?;
        }
        match &mut request.output {
            Some(Target::File(file)) => self.fill_file(&mut file.path)?,
            Some(Target::Workers(output)) => self.fill(&mut output.path)?,
            None => {}
        }
        if let Some(file) = &mut request.misses.file {
            self.fill_file(&mut file.path)?;
        }
        Ok(())
    }

    /// A path that is no text has no parameters.
    fn fill_file(&mut self, path: &mut PathBuf) -> Result<(), Failure> {
        if let Some(text) = path.to_str() {
            let mut filled = text.to_owned();
            self.fill(&mut filled)?;
            *path = filled.into();
        }
        Ok(())
    }

    /// A path that begins with a parameter is relative to the job file's folder if its value is.
    fn fill(&mut self, path: &mut String) -> Result<(), Failure> {
        let begun = path.strip_prefix(self.beside.as_str()).filter(|rest| rest.starts_with(OPEN));
        *path = match begun {
            Some(rest) => {
                let filled = self.filled(rest)?;
                job_file::beside(&self.folder, &filled)
            }
            None => self.filled(path)?,
        };
        Ok(())
    }

    fn filled(&mut self, path: &str) -> Result<String, Failure> {
        let mut filled = String::with_capacity(path.len());
        let mut rest = path;
        while let Some(at) = rest.find(OPEN) {
            let before = &rest[..at];
            let behind = &rest[at + OPEN.len()..];
            if rest[..at + OPEN.len()].ends_with(ESCAPED) {
                filled.push_str(before);
                // Of the two signs, one is left.
                filled.push('{');
                rest = behind;
                continue;
            }
            let Some((name, behind)) = behind.split_once('}').filter(|(name, _)| is_name(name))
            else {
                return Err(Failure::mistake(format!(
                    "path {path}: behind ${{ stands no name of a parameter and }}"
                ))
                .help(format!("{ESCAPED} is {OPEN} itself")));
            };
            filled.push_str(before);
            filled.push_str(self.value(name)?);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use keyloom_client::{Input, LanceOptions};

    use super::*;
    use crate::output::OutputFile;

    fn request(sql: &str, path: &str) -> Request {
        let inputs = [("items".to_owned(), Input::new(path))].into();
        Request { inputs, sql: sql.to_owned(), ..Request::default() }
    }

    fn given(values: &[(&str, &str)]) -> Vec<(String, String)> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(mut request: Request, values: &[(&str, &str)]) -> String {
        fill(&mut request, given(values)).unwrap_err().message.unwrap_or_default()
    }

    #[test]
    fn paths_are_filled_and_the_statement_gets_its_own() {
        let mut request =
            request("SELECT $day, '$no', kv_get(id) -- $nor", "in/${day}/${hour}.csv");
        let store = Store::Lance(LanceOptions::new("${day}.lance"));
        request.stores.insert("s".to_owned(), store);
        request.output = Some(Target::File(OutputFile::new("out/${day}${hour}.csv")));
        request.misses.file = Some(OutputFile::new("${hour}.csv"));
        request.params = given(&[("day", "mon"), ("hour", "7")]).into_iter().collect();
        fill(&mut request, given(&[("day", "tue")])).unwrap();
        assert_eq!(request.inputs["items"].path, "in/tue/7.csv");
        assert!(matches!(&request.stores["s"], Store::Lance(lance) if lance.uri == "tue.lance"));
        assert_eq!(request.output, Some(Target::File(OutputFile::new("out/tue7.csv"))));
        assert_eq!(request.misses.file, Some(OutputFile::new("7.csv")));
        assert_eq!(request.params, BTreeMap::from_iter(given(&[("day", "tue")])));
    }

    #[test]
    fn a_path_may_begin_with_a_parameter() {
        for (root, filled) in [
            ("data", "jobs/data/a.csv"),
            ("/data", "/data/a.csv"),
            ("s3://bucket", "s3://bucket/a.csv"),
        ] {
            let mut request = request("SELECT 1", "jobs/${root}/a.csv");
            request.folder = "jobs".into();
            fill(&mut request, given(&[("root", root)])).unwrap();
            assert_eq!(request.inputs["items"].path, filled);
        }
    }

    #[test]
    fn what_is_no_parameter_stays_as_it_is() {
        for (path, filled) in [
            ("a/$b.csv", "a/$b.csv"),
            ("a/$${b}.csv", "a/${b}.csv"),
            ("${b}$${b}${b}", "x${b}x"),
            ("a{b}", "a{b}"),
        ] {
            let mut request = request("SELECT $b", path);
            fill(&mut request, given(&[("b", "x")])).unwrap();
            assert_eq!(request.inputs["items"].path, filled);
        }
    }

    #[test]
    fn parameters_without_values_or_uses_are_named() {
        let message = "parameter 'day' has no value";
        assert_eq!(refusal(request("SELECT $day", "a.csv"), &[]), message);
        assert_eq!(refusal(request("SELECT 1", "${day}.csv"), &[]), message);
        let unused = refusal(request("SELECT 1", "a.csv"), &[("day", "mon")]);
        assert!(unused.starts_with("parameter 'day' is not used: neither"), "{unused}");
        assert!(unused.ends_with("has $day, nor a path ${day}"), "{unused}");
        let mut declared = request("SELECT 1", "a.csv");
        declared.params = given(&[("day", "mon")]).into_iter().collect();
        assert_eq!(refusal(declared, &[]), unused);
        let twice = refusal(request("SELECT $a", "a.csv"), &[("a", "1"), ("a", "2")]);
        assert_eq!(twice, "--param names 'a' twice");
        let named = refusal(request("SELECT 1", "a.csv"), &[("a-b", "1")]);
        assert_eq!(named, "'a-b' is no name of a parameter");
        let open = refusal(request("SELECT 1", "a${b.csv"), &[]);
        assert!(open.starts_with("path a${b.csv: behind ${"), "{open}");
    }
}
