//! Stores and inputs as they stand in the settings of a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Input, Store, check_absolute, told};
use crate::{
    error::{Error, Result},
    input::InputSpec,
    store::StoreSpec,
};

/// A store or an input: options by name, as in job files, and for whom it is.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The names of the clients that may use it, in which `*` stands for whatever is there; all
    /// may if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<String>>,
    /// What else is said of it.
    #[serde(flatten)]
    options: Table,
}

/// No option is a number that is none.
impl Eq for Written {}

/// Prints no value, which may be a secret until it is refused as one.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("Written")
            .field("clients", &self.clients)
            .field("options", &options)
            .finish()
    }
}

impl Written {
    /// The store under a name.
    ///
    /// # Errors
    /// `invalid` if its options are wrong, say where it is by a relative path, or describe rows
    /// that a client would have to hold.
    pub fn store(&self, name: &str) -> Result<StoreSpec> {
        match Store::read(self.options.clone()).map_err(Error::invalid)? {
            Store::Lance(options) => {
                check_absolute("uri", &options.uri)?;
                options.spec(name.to_owned())
            }
            Store::Other(options) => options.spec(name.to_owned()),
            Store::Memory { .. } => Err(Error::invalid(
                "the rows of a memory store are held by the client that attaches it; a cluster's \
                 catalog names stores that workers open, as lance",
            )),
        }
    }

    /// The input.
    ///
    /// # Errors
    /// `invalid` if its options are wrong, or say where it is by a relative path.
    pub fn input(&self) -> Result<InputSpec> {
        self.check_order()?;
        let input = Input::deserialize(self.options.clone());
        let input = input.map_err(|error| Error::invalid(told("an input", &error)))?;
        check_absolute("path", &input.path)?;
        input.spec(1)
    }

    /// Refuses columns that are those of all files in order, where the order is lost: settings keep
    /// tables sorted by their names.
    fn check_order(&self) -> Result<()> {
        let columns = self.options.get("columns").and_then(Value::as_table);
        let is_headless = self.options.get("header").and_then(Value::as_bool) == Some(false);
        if is_headless && columns.is_some_and(|columns| columns.len() > 1) {
            return Err(Error::invalid(
                "columns of files without a header are a list here, which keeps its order: \
                 columns = [[\"id\", \"int64\"], [\"name\", \"text\"]]",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        input::Format,
        store::{LANCE, StoreKey},
    };

    fn written(text: &str) -> Written {
        toml::from_str(text).unwrap()
    }

    fn refusal<T: fmt::Debug>(refused: Result<T>) -> String {
        refused.unwrap_err().message().to_owned()
    }

    #[test]
    fn a_store_is_described_as_in_job_files() {
        let written = written(
            "clients = ['alice', 'team-*']\nkind = 'lance'\npath = '/data/p.lance'\nkey = 'id'\n\
             request_attempts = 1",
        );
        assert_eq!(written.clients.as_deref().unwrap(), ["alice", "team-*"]);
        let refused = refusal(written.store("p"));
        assert!(refused.starts_with("KV store 'p': request_attempts is for remote"), "{refused}");
        let mut written = written;
        written.options.remove("request_attempts");
        let spec = written.store("p").unwrap();
        let key = Some(StoreKey::column("id"));
        assert_eq!(spec, StoreSpec { key, ..StoreSpec::new("p", LANCE, "/data/p.lance") });
    }

    #[test]
    fn what_a_cluster_cannot_open_is_refused() {
        let store = |text: &str| refusal(written(text).store("p"));
        let refused = store("kind = 'memory'\npath = '/a.csv'\nkey = 'id'");
        assert!(refused.contains("held by the client that attaches it"), "{refused}");
        let refused = store("kind = 'lance'\nuri = 'a.lance'");
        assert!(refused.starts_with("uri is an absolute path or a URI here"), "{refused}");
        assert_eq!(store("kind = 'lance'"), "a lance store needs uri");
        let refused = store("kind = 'redis'\nuri = 'h:1'\npassword = 'hunter2'");
        assert!(refused.contains("'password' may be a secret"), "{refused}");
        let refused = refusal(written("path = 'a.csv'").input());
        assert!(refused.starts_with("path is an absolute path or a URI here"), "{refused}");
        let refused = refusal(written("pth = '/a.csv'").input());
        assert!(refused.contains("'pth' is no option of an input"), "{refused}");
    }

    #[test]
    fn columns_without_a_header_keep_their_order() {
        let headless = "path = '/a.csv'\nheader = false\n";
        let refused = written(&format!("{headless}columns = {{ z = 'int64', a = 'text' }}"));
        assert!(refusal(refused.input()).contains("are a list here"));
        let input = written(&format!("{headless}columns = [['z', 'int64'], ['a', 'text']]"));
        let input = input.input().unwrap();
        let names: Vec<_> = input.columns.fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(
            written("path = '/a'\nformat = 'csv'").input().unwrap().format,
            Some(Format::Csv)
        );
    }

    #[test]
    fn no_value_is_printed() {
        let printed = format!("{:?}", written("kind = 'x'\npassword = 'hunter2'"));
        assert!(printed.contains("password") && !printed.contains("hunter2"), "{printed}");
    }
}
