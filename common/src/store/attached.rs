//! A store under an alias, as sessions hold it, and the one place where its key is settled.
//!
//! A key that is neither given nor declared is not guessed: a row number taken for an id would find
//! rows, and wrong ones. It is then the column of the same name as the one that a call looks up,
//! and only the call knows that.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};

use super::{
    KeyClass, KeyColumns, KeyOrigin, ResolvedStore, StoreDescription, StoreKey, StoreSpec,
    description::quoted,
};
use crate::error::{Error, Result};

/// A store that was opened once, under an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedStore {
    /// The name by which queries find it.
    pub alias: String,
    /// What to open.
    pub spec: StoreSpec,
    /// Its columns, its snapshot and its figures.
    pub description: StoreDescription,
    /// The store with its key, unless calls say what that is.
    keyed: Option<Arc<ResolvedStore>>,
}

impl AttachedStore {
    /// Joins an alias, a spec and what opening it taught.
    ///
    /// # Errors
    /// `invalid` if the key that is given or declared is no key of such a store.
    pub fn try_new(
        alias: impl Into<String>,
        spec: StoreSpec,
        description: StoreDescription,
    ) -> Result<Arc<Self>> {
        let mut store = Self { alias: alias.into(), spec, description, keyed: None };
        store.keyed = match store.known_key() {
            Some((key, origin)) => Some(store.with_key(key, origin)?),
            None => None,
        };
        Ok(Arc::new(store))
    }

    /// The store's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.description.schema
    }

    /// The key and who said so, unless each call does.
    pub fn key(&self) -> Option<(&StoreKey, KeyOrigin)> {
        self.keyed.as_ref().map(|store| (store.key(), store.key_origin()))
    }

    /// The key as people read it.
    pub fn key_in_words(&self) -> String {
        match self.key() {
            Some((key, origin)) => format!("{key}{}", origin.note()),
            None => "the column of the same name as the one looked up".to_owned(),
        }
    }

    /// The store with its key: the one that is given or declared, or else its columns of the names
    /// that a call looks up, if it looks up plain columns.
    ///
    /// # Errors
    /// `invalid`, naming what to write, if there is no such key.
    pub fn resolve(&self, asked: Option<&KeyColumns>) -> Result<Arc<ResolvedStore>> {
        self.resolve_as(asked, KeyOrigin::SameName)
    }

    /// As [`Self::resolve`], for lists of keys: a column `item_ids` may ask for the key `item_id`.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_lists(&self, asked: Option<&KeyColumns>) -> Result<Arc<ResolvedStore>> {
        let has = |name: &str| self.schema().field_with_name(name).is_ok();
        let plural = asked.and_then(KeyColumns::single).filter(|name| !has(name));
        match plural.and_then(|name| name.strip_suffix('s')).filter(|name| has(name)) {
            Some(singular) => {
                self.resolve_as(Some(&KeyColumns::one(singular)), KeyOrigin::Singular)
            }
            None => self.resolve(asked),
        }
    }

    fn resolve_as(
        &self,
        asked: Option<&KeyColumns>,
        origin: KeyOrigin,
    ) -> Result<Arc<ResolvedStore>> {
        if let Some(keyed) = &self.keyed {
            return Ok(Arc::clone(keyed));
        }
        let asked = asked.ok_or_else(|| self.keyless("the key looked up is no plain column"))?;
        for name in asked.names() {
            match self.schema().field_with_name(name) {
                Err(_) => return Err(self.keyless(&format!("the store has no column '{name}'"))),
                Ok(field) if KeyClass::of(field.data_type()).is_none() => {
                    return Err(self.keyless(&format!(
                        "the column '{name}' is of type {} and can be no key",
                        field.data_type()
                    )));
                }
                Ok(_) => {}
            }
        }
        self.with_key(StoreKey::Columns(asked.clone()), origin)
            .map_err(|error| error.context(format!("KV store '{}'", self.alias)))
    }

    fn known_key(&self) -> Option<(StoreKey, KeyOrigin)> {
        let given = self.spec.key.clone();
        let declared = || self.description.primary_key.clone().map(StoreKey::Columns);
        let given = given.map(|key| (key, KeyOrigin::Given));
        given.or_else(|| Some((declared()?, KeyOrigin::Declared)))
    }

    fn with_key(&self, key: StoreKey, origin: KeyOrigin) -> Result<Arc<ResolvedStore>> {
        let Self { alias, spec, description, .. } = self.clone();
        ResolvedStore::with_key(alias, spec, description, key, origin)
    }

    /// Why no key can be told, and what tells it.
    fn keyless(&self, why: &str) -> Error {
        let is_key = |field: &&Arc<Field>| KeyClass::of(field.data_type()).is_some();
        let names = || self.schema().fields().iter().filter(is_key).map(|field| field.name());
        let example = names().find(|name| name.to_lowercase().ends_with("id"));
        let example = example.or_else(|| names().next()).map(|name| format!("key = \"{name}\""));
        let choices = match names().count() {
            0 => String::new(),
            _ => format!(" (the columns that can be keys are {})", quoted(names())),
        };
        Error::invalid(format!(
            "KV store '{}' was given no key, its dataset declares none, and {why}: say {} where the \
             store is described{choices}, or key = \"_rowid\" for row ids",
            self.alias,
            example.as_deref().unwrap_or("key = \"_offset\" for positions"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Schema};

    use super::*;
    use crate::store::{LANCE, Snapshot};

    fn attached(key: Option<StoreKey>, declared: Option<&[&str]>) -> Result<Arc<AttachedStore>> {
        let fields = vec![
            Field::new("vector", DataType::new_list(DataType::Float32, true), true),
            Field::new("name", DataType::Utf8, true),
            Field::new("product_id", DataType::Int64, true),
            Field::new("price", DataType::Float64, true),
        ];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let primary_key = declared.map(|declared| KeyColumns::try_new(names(declared)));
        let description = StoreDescription {
            schema: Arc::new(Schema::new(fields)),
            snapshot: Snapshot::Immutable,
            figures: None,
            primary_key: primary_key.transpose()?,
            repeats_keys: true,
        };
        let spec = StoreSpec { key, ..StoreSpec::new("own", LANCE, "/data/products.lance") };
        AttachedStore::try_new("products", spec, description)
    }

    fn refusal<T: std::fmt::Debug>(refused: Result<T>) -> String {
        refused.unwrap_err().message().to_owned()
    }

    #[test]
    fn lists_of_keys_may_be_called_by_the_plural() {
        let store = attached(None, None).unwrap();
        let resolved = store.resolve_lists(Some(&KeyColumns::one("product_ids"))).unwrap();
        assert_eq!(resolved.key(), &StoreKey::column("product_id"));
        assert_eq!(resolved.key_origin(), KeyOrigin::Singular);
        let resolved = store.resolve_lists(Some(&KeyColumns::one("product_id"))).unwrap();
        assert_eq!(resolved.key_origin(), KeyOrigin::SameName);
        let refused = store.resolve_lists(Some(&KeyColumns::one("users"))).unwrap_err();
        assert!(refused.message().contains("the store has no column 'users'"), "{refused}");
        let declared = attached(None, Some(&["name"])).unwrap();
        let resolved = declared.resolve_lists(Some(&KeyColumns::one("product_ids"))).unwrap();
        assert_eq!(resolved.key(), &StoreKey::column("name"));
    }

    #[test]
    fn a_given_key_is_taken_before_a_declared_one() {
        let store = attached(Some(StoreKey::RowId), Some(&["name"])).unwrap();
        assert_eq!(store.key(), Some((&StoreKey::RowId, KeyOrigin::Given)));
        let store = attached(None, Some(&["name", "product_id"])).unwrap();
        let resolved = store.resolve(Some(&KeyColumns::one("product_id"))).unwrap();
        assert_eq!(resolved.key(), &StoreKey::parse(["name", "product_id"]).unwrap());
        assert_eq!(resolved.key_origin(), KeyOrigin::Declared);
        assert_eq!(store.key_in_words(), "(name, product_id) (the primary key)");
    }

    #[test]
    fn a_key_that_nobody_names_is_the_column_of_the_same_name() {
        let store = attached(None, None).unwrap();
        assert_eq!(store.key(), None);
        assert_eq!(store.key_in_words(), "the column of the same name as the one looked up");
        let resolved = store.resolve(Some(&KeyColumns::one("product_id"))).unwrap();
        assert_eq!(resolved.key(), &StoreKey::column("product_id"));
        assert_eq!(resolved.key_origin(), KeyOrigin::SameName);
        assert_eq!(resolved.key_type(), DataType::Int64);
    }

    #[test]
    fn a_key_that_cannot_be_told_is_refused_with_what_to_write() {
        let store = attached(None, None).unwrap();
        let message = |why: &str| {
            format!(
                "KV store 'products' was given no key, its dataset declares none, and {why}: say \
                 key = \"product_id\" where the store is described (the columns that can be keys \
                 are 'name', 'product_id'), or key = \"_rowid\" for row ids"
            )
        };
        let by = |name: &str| refusal(store.resolve(Some(&KeyColumns::one(name))));
        assert_eq!(by("id"), message("the store has no column 'id'"));
        let price = "the column 'price' is of type Float64 and can be no key";
        assert_eq!(by("price"), message(price));
        assert_eq!(refusal(store.resolve(None)), message("the key looked up is no plain column"));
    }

    #[test]
    fn a_key_that_the_store_does_not_have_is_refused_when_it_is_attached() {
        let given = refusal(attached(Some(StoreKey::column("id")), None));
        let has = "the store has 'vector', 'name', 'product_id', 'price'";
        assert_eq!(given, format!("key column 'id' not found; {has}"));
        let declared = refusal(attached(None, Some(&["name", "price"])));
        assert_eq!(
            declared,
            "key column 'price' has type Float64; keys are integers, decimals, strings, binary, \
             booleans, dates, times or timestamps"
        );
    }
}
