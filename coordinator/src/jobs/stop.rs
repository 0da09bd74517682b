//! Joins that compute for long, and the ends of their tasks. One that finds nothing does not come
//! back to its task before it has rows: its condition, which does come back, ends it. One whose
//! rows are taken without a pause comes back now and then.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{FieldRef, Schema},
};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
            utils::JoinFilter,
        },
    },
};
use keyloom_common::Error;
use tokio_util::sync::CancellationToken;

/// The plan, whose joins end when the token is cancelled.
pub(super) fn stoppable(
    plan: Arc<dyn ExecutionPlan>,
    stop: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    let stoppable = |filter: &JoinFilter| {
        let (inner, stop) = (Arc::clone(filter.expression()), stop.clone());
        let columns = filter.column_indices().to_vec();
        JoinFilter::new(Arc::new(Stoppable { inner, stop }), columns, Arc::clone(filter.schema()))
    };
    plan.transform_up(|node| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            let new = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                .with_filter(Some(stoppable(filter)))
                .with_projection_ref(join.projection().clone());
            return Ok(Transformed::yes(pausing(Arc::new(new.build()?))));
        }
        if node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>() {
            return Ok(Transformed::yes(pausing(node)));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let new = join.builder().with_filter(Some(stoppable(filter)));
            return Ok(Transformed::yes(new.build_exec()?));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

/// A node that lets its task end after some batches.
fn pausing(node: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(CooperativeExec::new(node))
}

/// A condition that fails once its job is stopped.
#[derive(Clone, Debug)]
struct Stoppable {
    inner: Arc<dyn PhysicalExpr>,
    stop: CancellationToken,
}

impl PartialEq for Stoppable {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Stoppable {}

impl Hash for Stoppable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Stoppable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Stoppable {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_cancelled() {
            return Err(Error::cancelled("the job was stopped").into());
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { inner: children.swap_remove(0), stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::{
        physical_plan::{collect, displayable},
        prelude::SessionContext,
    };
    use keyloom_common::ErrorKind;

    use super::*;

    async fn plan(context: &SessionContext, condition: &str) -> Arc<dyn ExecutionPlan> {
        for table in ["a", "b"] {
            let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
            let rows = RecordBatch::try_from_iter([("x", Arc::clone(&numbers)), ("y", numbers)]);
            context.register_batch(table, rows.unwrap()).unwrap();
        }
        let sql = format!("SELECT b.y, a.x FROM a JOIN b ON {condition}");
        context.sql(&sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    async fn check(condition: &str, join: &str, rows: usize) {
        let context = SessionContext::new();
        let plan = plan(&context, condition).await;
        let text =
            |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
        assert!(text(&plan).contains(join), "{}", text(&plan));
        let stop = CancellationToken::new();
        let stoppable = stoppable(Arc::clone(&plan), &stop).unwrap();
        let same = |text: String| text.replace("CooperativeExec\n", "").replace(' ', "");
        assert_eq!(same(text(&stoppable)), same(text(&plan)));
        let batches = collect(Arc::clone(&stoppable), context.task_ctx()).await.unwrap();
        assert_eq!(batches, collect(plan, context.task_ctx()).await.unwrap());
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);

        let again = stoppable.reset_state().unwrap();
        stop.cancel();
        let stopped = collect(again, context.task_ctx()).await.unwrap_err();
        assert_eq!(Error::from(stopped).kind(), ErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn a_join_without_equal_keys_ends_with_its_job() {
        check("a.x + b.x > 4", "NestedLoopJoinExec", 3).await;
    }

    #[tokio::test]
    async fn a_join_of_equal_keys_with_a_condition_ends_with_its_job() {
        check("a.x = b.x AND a.y + b.y > 3", "HashJoinExec", 2).await;
    }
}
