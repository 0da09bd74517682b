//! Finding calls in physical expressions.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    physical_expr::{PhysicalExpr, ScalarFunctionExpr, expressions::Literal},
    scalar::ScalarValue,
};
use keyloom_common::functions::{KvCall, KvFunction};

/// A call and its key expression.
pub(crate) struct CallExpr<'a> {
    pub(crate) call: &'a Arc<KvCall>,
    pub(crate) key: &'a Arc<dyn PhysicalExpr>,
}

/// The call that this expression is, if it is one.
pub(crate) fn as_call(expr: &Arc<dyn PhysicalExpr>) -> Option<CallExpr<'_>> {
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let marker = function.fun().inner().downcast_ref::<KvFunction>()?;
    Some(CallExpr { call: marker.call(), key: function.args().first()? })
}

/// Whether a call stands anywhere in the expression.
pub(crate) fn contains_call(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    let mut found = false;
    expr.apply(|node| {
        found |= as_call(node).is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The argument and the name of the field, if the expression reads a field of a struct.
pub(crate) fn as_field_access(
    expr: &Arc<dyn PhysicalExpr>,
) -> Option<(&Arc<dyn PhysicalExpr>, &str)> {
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [structure, name, ..] = function.args() else { return None };
    let name = name.downcast_ref::<Literal>().filter(|_| function.name() == "get_field")?;
    match name.value() {
        ScalarValue::Utf8(Some(name))
        | ScalarValue::LargeUtf8(Some(name))
        | ScalarValue::Utf8View(Some(name)) => Some((structure, name)),
        _ => None,
    }
}
