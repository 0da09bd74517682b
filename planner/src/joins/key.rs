//! The key of a join: which of its equalities say what is looked up.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, DFSchema},
    error::Result,
    functions::core::named_struct,
    logical_expr::{Cast, Expr, ExprSchemable, lit},
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
    /// The key, if the equalities name all its columns. Those that do so are taken out. They are
    /// over the columns of the asking side.
    ///
    /// # Errors
    /// Never, for a store that is attached.
    pub(super) fn take(
        store: &AttachedStore,
        equalities: &mut Vec<Equality>,
        row: &Column,
        asking: &DFSchema,
    ) -> Result<Option<Self>> {
        let Some((StoreKey::Columns(columns), _)) = store.key() else { return Ok(None) };
        let mut left = equalities.clone();
        let mut parts = Vec::with_capacity(columns.names().len());
        for name in columns.names() {
            let names_it =
                |equality: &Equality| held_column(equality, row, store) == Some(name.as_str());
            let Some(place) = left.iter().position(names_it) else { return Ok(None) };
            parts.push((name, without_widening(left.remove(place).asked, asking)?));
        }
        let asked = match parts.len() {
            1 => parts.swap_remove(0).1,
            _ => {
                let fields = parts.into_iter().flat_map(|(name, asked)| [lit(name.clone()), asked]);
                named_struct().call(fields.collect())
            }
        };
        *equalities = left;
        let is_unique = is_unique(store);
        Ok(Some(Self { store: store.resolve(None)?, asked, is_unique }))
    }
}

/// Whether the store holds no key in several rows, whatever its policy says: that is about lookups
/// that want one row, and a join gives them all. What is known of one version is true of no other:
/// so the user must have named it. (A key that is declared primary is not enough: nobody enforces
/// it.)
fn is_unique(store: &AttachedStore) -> bool {
    let is_known = || {
        let figures = store.description.figures.as_ref();
        let key = store.key().map(|(key, _)| key);
        figures.zip(key).is_some_and(|(figures, key)| figures.is_unique(key))
    };
    !store.description.repeats_keys || (store.spec.is_of_version() && is_known())
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

/// What is asked without casts that change no value. Stores compare keys of all widths and layouts;
/// and what asks for the same without such a cast shares the fetch.
fn without_widening(asked: Expr, asking: &DFSchema) -> Result<Expr> {
    match asked {
        Expr::Cast(Cast { expr, field })
            if keeps_values(&expr.get_type(asking)?, field.data_type()) =>
        {
            without_widening(*expr, asking)
        }
        asked => Ok(asked),
    }
}

/// The most digits of an integer.
const DIGITS: i16 = 20;

/// Whether all values of a type are values of another one, and are equal there if they are equal.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    if from == to {
        return KeyClass::of(from).is_some();
    }
    if let DataType::Dictionary(_, value) = from {
        return keeps_values(value, to);
    }
    if let DataType::Decimal128(digits, scale) | DataType::Decimal256(digits, scale) = to {
        let whole = i16::from(*digits) - i16::from(*scale);
        return from.is_integer() && *scale >= 0 && whole >= DIGITS;
    }
    if let (DataType::Timestamp(own, zone), DataType::Timestamp(unit, other)) = (from, to) {
        return zone == other && own < unit;
    }
    if KeyClass::of(from) == Some(KeyClass::String) {
        return KeyClass::of(to) == Some(KeyClass::String);
    }
    let (Some(before), Some(after)) = (from.primitive_width(), to.primitive_width()) else {
        return false;
    };
    let (is_signed, may_be_negative) = (to.is_signed_integer(), from.is_signed_integer());
    from.is_integer() && to.is_integer() && before < after && (is_signed || !may_be_negative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_that_change_no_value_are_seen_through() {
        use DataType::{
            Boolean, Decimal128, Dictionary, Float64, Int8, Int32, Int64, LargeUtf8, UInt8, UInt32,
            UInt64, Utf8, Utf8View,
        };
        use arrow::datatypes::TimeUnit::{Microsecond, Millisecond};

        let packed = |value: DataType| Dictionary(Box::new(Int32), Box::new(value));
        let instants = |unit| DataType::Timestamp(unit, None);
        for (from, to) in [
            (Int32, Int64),
            (Int8, Int8),
            (UInt8, Int32),
            (UInt32, UInt64),
            (UInt64, Decimal128(20, 0)),
            (Int64, Decimal128(22, 2)),
            (Utf8, LargeUtf8),
            (LargeUtf8, Utf8View),
            (packed(Utf8), Utf8),
            (packed(Int32), Int64),
            (instants(Millisecond), instants(Microsecond)),
        ] {
            assert!(keeps_values(&from, &to), "{from} as {to}");
        }
        for (from, to) in [
            (Int64, Int32),
            (Int32, UInt64),
            (UInt32, Int32),
            (UInt64, Decimal128(20, 2)),
            (Int64, Float64),
            (Utf8, Int64),
            (Int64, Utf8),
            (packed(Utf8), Int64),
            (Int8, Boolean),
            (Float64, Float64),
            (instants(Microsecond), instants(Millisecond)),
            (instants(Millisecond), DataType::Timestamp(Microsecond, Some("UTC".into()))),
        ] {
            assert!(!keeps_values(&from, &to), "{from} as {to}");
        }
    }
}
