//! Physical plans.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan, prelude::SessionContext};

use crate::{
    plan::{decode_plan, encode_plan},
    stack::deep,
};

static CONTEXT: LazyLock<Arc<TaskContext>> = LazyLock::new(|| SessionContext::new().task_ctx());

/// Reads bytes as a plan, as a coordinator does, and workers.
pub fn plan(bytes: &[u8]) {
    deep(|| {
        let Ok(plan) = decode_plan(bytes, &CONTEXT) else { return };
        // What DataFusion cannot write fails the job that it is of.
        let written = catch_unwind(AssertUnwindSafe(|| encode_plan(&plan)));
        let Ok(Ok(written)) = written else { return };
        let again = decode_plan(&written, &CONTEXT);
        assert!(again.is_ok(), "a plan cannot be read as it was written: {again:?}");
        let Ok(again) = again else { return };
        assert!(names(&again) == names(&plan), "{plan:?} became {again:?}");
    });
}

/// The names of all nodes.
fn names(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let below = plan.children().into_iter().flat_map(names);
    [plan.name().to_owned()].into_iter().chain(below).collect()
}
