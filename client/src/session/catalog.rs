//! The aliases of a session and which of them is current.

use std::{collections::BTreeMap, sync::Arc};

use keyloom_common::{Error, ErrorCode, Result, store::AttachedStore};

#[derive(Debug, Default)]
pub(super) struct Catalog {
    stores: BTreeMap<String, Arc<AttachedStore>>,
    current: Option<String>,
}

impl Catalog {
    pub(super) fn check_free(&self, alias: &str) -> Result<()> {
        check_alias(alias)?;
        if self.stores.contains_key(alias) {
            return Err(Error::invalid(format!(
                "KV store '{alias}' is already attached; detach it first, or attach this one as its replacement"
            )));
        }
        Ok(())
    }

    pub(super) fn attach(&mut self, store: Arc<AttachedStore>) -> Result<()> {
        self.check_free(&store.alias)?;
        self.replace(store);
        Ok(())
    }

    pub(super) fn replace(&mut self, store: Arc<AttachedStore>) {
        self.stores.insert(store.alias.clone(), store);
    }

    pub(super) fn detach(&mut self, alias: &str) -> Result<()> {
        self.get(alias)?;
        self.stores.remove(alias);
        if self.current.as_deref() == Some(alias) {
            self.current = None;
        }
        Ok(())
    }

    pub(super) fn set_current(&mut self, alias: Option<&str>) -> Result<()> {
        if let Some(alias) = alias {
            self.get(alias)?;
        }
        self.current = alias.map(ToOwned::to_owned);
        Ok(())
    }

    pub(super) fn current(&self) -> Option<&Arc<AttachedStore>> {
        self.stores.get(self.current.as_deref()?)
    }

    pub(super) fn get(&self, alias: &str) -> Result<&Arc<AttachedStore>> {
        self.stores.get(alias).ok_or_else(|| {
            let attached: Vec<_> = self.stores.keys().map(|alias| format!("'{alias}'")).collect();
            let choices = match attached.as_slice() {
                [] => "no store is attached".to_owned(),
                attached => format!("attached: {}", attached.join(", ")),
            };
            Error::not_found(format!("KV store '{alias}' not found in session ({choices})"))
                .with_code(ErrorCode::StoreNotAttached)
        })
    }

    pub(super) fn stores(&self) -> Vec<Arc<AttachedStore>> {
        self.stores.values().cloned().collect()
    }

    pub(super) fn aliases(&self) -> Vec<String> {
        self.stores.keys().cloned().collect()
    }
}

/// An alias is what SQL would take for a name.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    let mut characters = alias.chars();
    let starts = characters.next().is_some_and(|first| first.is_alphabetic() || first == '_');
    if starts && characters.all(|next| next.is_alphanumeric() || next == '_') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{alias}' cannot be an alias: use letters, digits and underscores, not a digit first"
    )))
}
