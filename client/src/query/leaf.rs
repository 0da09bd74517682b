//! Leaves of logical plans that hold what DataFusion is not to look into.
//!
//! A leaf is equal to its own copies alone: nothing compares, hashes or copies what it holds, which
//! may be a plan too deep for the stack.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    common::DFSchemaRef,
    error::Result,
    logical_expr::{
        Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
    },
};

/// What a leaf holds.
pub(super) trait Held: Send + Sync + 'static {
    /// The name of the node.
    const NAME: &'static str;

    /// The columns of its rows.
    fn schema(&self) -> &DFSchemaRef;

    /// Says in a plan what it is.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A node without inputs or expressions.
pub(super) struct Leaf<T>(Arc<T>);

impl<T: Held> Leaf<T> {
    /// A plan that is a leaf.
    pub(super) fn of(held: T) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self(Arc::new(held))) })
    }

    /// What a node holds, if it is such a leaf.
    pub(super) fn held(node: &dyn UserDefinedLogicalNode) -> Option<&T> {
        node.as_any().downcast_ref::<Self>().map(|leaf| leaf.0.as_ref())
    }
}

impl<T> Clone for Leaf<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Held> fmt::Debug for Leaf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(T::NAME).field("schema", self.0.schema()).finish_non_exhaustive()
    }
}

impl<T> PartialEq for Leaf<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Leaf<T> {}

impl<T> PartialOrd for Leaf<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Arc::as_ptr(&self.0).partial_cmp(&Arc::as_ptr(&other.0))
    }
}

impl<T> Hash for Leaf<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl<T: Held> UserDefinedLogicalNodeCore for Leaf<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        self.0.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.show(f)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}
