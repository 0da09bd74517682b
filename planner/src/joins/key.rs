//! The key of a join: which of its equalities say what is looked up.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::Column,
    error::Result,
    functions::core::named_struct,
    logical_expr::{Cast, Expr, lit},
};
use keyloom_common::store::{AttachedStore, KeyClass, ResolvedStore, StoreKey};

use super::side::as_read;

/// What rows of both sides have in common: an expression of the other side, and one of the store's,
/// over its row.
#[derive(Clone, Debug)]
pub(super) struct Equality {
    pub(super) asked: Expr,
    pub(super) held: Expr,
}

/// What is looked up.
#[derive(Debug)]
pub(super) struct JoinKey {
    pub(super) store: Arc<ResolvedStore>,
    /// The key, over the other side.
    pub(super) asked: Expr,
    /// Whether no key stands in several rows.
    pub(super) is_unique: bool,
}

impl JoinKey {
    /// The key, if the equalities name all its columns. Those that do so are taken out.
    ///
    /// # Errors
    /// Never, for a store that is attached.
    pub(super) fn take(
        store: &AttachedStore,
        equalities: &mut Vec<Equality>,
        row: &Column,
    ) -> Result<Option<Self>> {
        let Some((StoreKey::Columns(columns), _)) = store.key() else { return Ok(None) };
        let mut left = equalities.clone();
        let mut parts = Vec::with_capacity(columns.names().len());
        for name in columns.names() {
            let names_it =
                |equality: &Equality| held_column(equality, row, store) == Some(name.as_str());
            let Some(place) = left.iter().position(names_it) else { return Ok(None) };
            parts.push((name, left.remove(place).asked));
        }
        let asked = match parts.len() {
            1 => parts.swap_remove(0).1,
            _ => {
                let fields = parts.into_iter().flat_map(|(name, asked)| [lit(name.clone()), asked]);
                named_struct().call(fields.collect())
            }
        };
        *equalities = left;
        // Whatever the store's policy says: that is about lookups that want one row, and a join
        // gives them all.
        let is_unique = !store.description.repeats_keys;
        Ok(Some(Self { store: store.resolve(None)?, asked, is_unique }))
    }
}

/// The column that is compared, if its values are compared as they are.
fn held_column<'a>(equality: &'a Equality, row: &Column, store: &AttachedStore) -> Option<&'a str> {
    match &equality.held {
        Expr::Cast(Cast { expr, field }) => {
            let name = as_read(expr, row)?;
            let held = store.schema().field_with_name(name).ok()?.data_type();
            keeps_values(held, field.data_type()).then_some(name)
        }
        held => as_read(held, row),
    }
}

/// Whether all values of a type are values of another one, and are equal there if they are equal.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    if KeyClass::of(from) == Some(KeyClass::String) {
        return KeyClass::of(to) == Some(KeyClass::String);
    }
    let (Some(before), Some(after)) = (from.primitive_width(), to.primitive_width()) else {
        return false;
    };
    let (is_signed, may_be_negative) = (to.is_signed_integer(), from.is_signed_integer());
    from.is_integer() && to.is_integer() && before < after && (is_signed || !may_be_negative)
}
