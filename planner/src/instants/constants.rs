//! The unit that a constant needs.
//!
//! Constants are read in the unit of what they are compared with, which is for the better as long as
//! that cuts nothing off.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::ScalarValue,
    logical_expr::{Cast, Expr},
};

/// The coarsest unit in which a constant that is written out is the instant that it says; none if
/// it is no instant, or too far away for nanoseconds.
pub(super) fn needed_unit(constant: &Expr) -> Option<TimeUnit> {
    let nanoseconds = match constant {
        Expr::Alias(alias) => return needed_unit(&alias.expr),
        Expr::Literal(value, _) => in_nanoseconds(value)?,
        Expr::Cast(Cast { expr, field }) => match (expr.as_ref(), field.data_type()) {
            (Expr::Literal(value, _), ty @ DataType::Timestamp(..)) => {
                in_nanoseconds(&value.cast_to(ty).ok()?)?
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(match nanoseconds {
        whole if whole % 1_000_000_000 == 0 => TimeUnit::Second,
        whole if whole % 1_000_000 == 0 => TimeUnit::Millisecond,
        whole if whole % 1_000 == 0 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    })
}

/// The instant of a timestamp, or of a text that says one. Zones are apart by whole seconds.
fn in_nanoseconds(value: &ScalarValue) -> Option<i64> {
    let is_instant = matches!(
        value.data_type(),
        DataType::Timestamp(..) | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let ty = DataType::Timestamp(TimeUnit::Nanosecond, None);
    match value.cast_to(&ty).ok().filter(|_| is_instant)? {
        ScalarValue::TimestampNanosecond(nanoseconds, _) => nanoseconds,
        _ => None,
    }
}
