//! Joins under calls in, and which of the calls are made beside a join's own.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder, cast, col, lit, when};
use keyloom_common::{
    functions::{CallOptions, Function, KvFunction, OnError},
    misses::MaxMisses,
    store::AttachedStore,
};

use super::*;
use crate::{
    joins::samples::{Tables, asking, attached, memory, planned_by, store},
    options::PlanOptions,
};

/// A store of contents, in which keys stand once.
fn once() -> Arc<AttachedStore> {
    attached(memory("m", &["id"]), None, &[])
}

/// A dataset, in which they may stand in several rows.
fn often() -> Arc<AttachedStore> {
    attached(store("s", &["id"]), Some(100), &[])
}

/// A call of a store for the key that joins ask for.
fn call(held: &AttachedStore, function: Function, on_error: OnError) -> Expr {
    call_of(held, function, on_error, col("t.column1"))
}

/// One that fails for a key that is missing.
fn raising(held: &AttachedStore, function: Function) -> Expr {
    call(held, function, OnError::Raise)
}

fn call_of(held: &AttachedStore, function: Function, on_error: OnError, key: Expr) -> Expr {
    let options = CallOptions { on_error, ..CallOptions::default() };
    let call = KvCall::try_new(function, held.resolve(None).unwrap(), options).unwrap();
    KvFunction::expr(call, key)
}

/// How a plan of rows that are joined with a store on its key is planned, above which more is.
fn planned(
    held: &Arc<AttachedStore>,
    join_type: JoinType,
    filter: Option<Expr>,
    above: impl FnOnce(LogicalPlanBuilder) -> LogicalPlanBuilder,
) -> LogicalPlan {
    let tables = Arc::new(Tables::default());
    let scan = tables.scan(Arc::clone(held)).build().unwrap();
    let on = (vec!["t.column1"], vec!["id"]);
    let plan = above(asking(3).join(scan, join_type, on, filter).unwrap()).build().unwrap();
    shared(&tables, plan)
}

/// The same as text.
fn shape(
    held: &Arc<AttachedStore>,
    join_type: JoinType,
    filter: Option<Expr>,
    above: impl FnOnce(LogicalPlanBuilder) -> LogicalPlanBuilder,
) -> String {
    planned(held, join_type, filter, above).display_indent().to_string()
}

/// What both rules make of a plan.
fn shared(tables: &Arc<Tables>, plan: LogicalPlan) -> LogicalPlan {
    planned_by(tables, plan, PlanOptions::default(), vec![Arc::new(ShareFetches)])
}

/// The same as text.
fn text(tables: &Arc<Tables>, plan: LogicalPlan) -> String {
    shared(tables, plan).display_indent().to_string()
}

/// What the calls of a plan make of missing keys.
fn on_errors(plan: &LogicalPlan) -> Vec<OnError> {
    let mut found = Vec::new();
    let visit = |node: &LogicalPlan| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(function) = expr
                    && let Some(marker) = function.func.inner().downcast_ref::<KvFunction>()
                {
                    found.push(marker.call().on_error());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    };
    plan.apply(visit).unwrap();
    found
}

/// How many nodes of a plan ask stores.
fn asking_nodes(plan: &str) -> usize {
    plan.lines().filter(|line| line.contains("kv_")).count()
}

/// Checks whether a call above a join is made beside the join's.
fn check(
    held: &Arc<AttachedStore>,
    join_type: JoinType,
    filter: Option<Expr>,
    above: Expr,
    is_shared: bool,
) {
    let plan = shape(held, join_type, filter, |join| {
        join.project([col("t.column2"), above.alias("answer")]).unwrap()
    });
    assert_eq!(asking_nodes(&plan), if is_shared { 1 } else { 2 }, "{plan}");
}

#[test]
fn what_an_inner_join_or_one_for_existence_has_asked_is_asked_beside_it() {
    for held in [once(), often()] {
        for join_type in [JoinType::Inner, JoinType::LeftSemi] {
            let functions = [Function::Get, Function::GetAll, Function::Exists];
            for call in functions.map(|function| call(&held, function, OnError::Raise)) {
                check(&held, join_type, None, call, true);
            }
        }
    }
}

#[test]
fn of_keys_that_a_join_drops_none_is_missed() {
    for on_error in [OnError::Raise, OnError::Null, OnError::AtMost(MaxMisses::Count(7))] {
        for held in [once(), often()] {
            let answer = call(&held, Function::Get, on_error).alias("answer");
            let join = JoinType::Inner;
            let plan = planned(&held, join, None, |join| join.project([answer]).unwrap());
            let text = plan.display_indent().to_string();
            assert_eq!(asking_nodes(&text), 1, "{text}");
            assert!(text.contains("kv_get(t.column1"), "{text}");
            // Both the join's call and the other one.
            assert_eq!(on_errors(&plan), [OnError::Unmatched; 2], "{text}");
        }
    }
}

#[test]
fn what_asks_for_other_keys_stays_above_the_join() {
    let other = attached(memory("other", &["id"]), None, &[]);
    let held = once();
    check(&held, JoinType::Inner, None, call(&other, Function::Get, OnError::Null), false);
    let key = col("t.column1") + lit(1_i64);
    let next = call_of(&held, Function::Get, OnError::Null, key);
    check(&held, JoinType::Inner, None, next, false);
    let found = call_of(&held, Function::Get, OnError::Null, col("m.size"));
    check(&held, JoinType::Inner, None, found, false);
}

#[test]
fn further_conditions_keep_what_may_fail_for_the_rows_that_they_drop() {
    let large = || Some(col("size").gt(lit(1_i64)));
    let (once, often) = (once(), often());
    for function in [Function::Get, Function::GetAll, Function::Exists] {
        check(&once, JoinType::Inner, large(), raising(&once, function), true);
        check(&once, JoinType::LeftSemi, large(), raising(&once, function), true);
    }
    check(&often, JoinType::Inner, large(), raising(&often, Function::GetAll), true);
    check(&often, JoinType::Inner, large(), raising(&often, Function::Exists), true);
    // A key of several rows fails, but not where the join drops all of them.
    check(&often, JoinType::Inner, large(), raising(&often, Function::Get), false);
    // One whose computing may fail.
    let ratio = (lit(1_i64) / col("size")).gt(lit(1_i64));
    check(&once, JoinType::Inner, Some(ratio.clone()), raising(&once, Function::Get), true);
    check(&often, JoinType::Inner, Some(ratio), raising(&often, Function::Get), false);
}

#[test]
fn rows_without_a_match_ask_for_existence_beside_the_join() {
    let held = once();
    let of = |function, on_error| call(&held, function, on_error);
    check(&held, JoinType::LeftAnti, None, of(Function::Exists, OnError::Raise), true);
    // Below, it would read the rows that the join drops.
    check(&held, JoinType::LeftAnti, None, of(Function::Get, OnError::Raise), false);
    // Here, some of them are read anyway, and some are not dropped.
    let large = || Some(col("size").gt(lit(1_i64)));
    let plan = planned(&held, JoinType::LeftAnti, large(), |join| {
        join.project([of(Function::Get, OnError::Raise).alias("answer")]).unwrap()
    });
    assert_eq!(asking_nodes(&plan.display_indent().to_string()), 1, "{plan}");
    // Keys that are missed below are those that are missed above.
    assert_eq!(on_errors(&plan), [OnError::Unmatched, OnError::Raise], "{plan}");
    // They are not of as many rows.
    for counting in [OnError::Null, OnError::AtMost(MaxMisses::Count(7))] {
        check(&held, JoinType::LeftAnti, large(), of(Function::Get, counting), false);
    }
}

#[test]
fn calls_within_expressions_and_above_subqueries_are_shared() {
    let held = once();
    let exists = || call(&held, Function::Exists, OnError::Null);
    let negated = !cast(exists(), DataType::Int64).eq(lit(0_i64));
    check(&held, JoinType::Inner, None, negated, true);
    let plan = shape(&held, JoinType::Inner, None, |join| {
        let inner = join.project([col("t.column1")]).unwrap().alias("x").unwrap();
        let key = col("x.column1");
        let answer = call_of(&held, Function::Get, OnError::Raise, key).alias("answer");
        inner.project([answer]).unwrap()
    });
    assert_eq!(asking_nodes(&plan), 1, "{plan}");
}

#[test]
fn what_fewer_rows_need_stays_above_the_join() {
    let held = once();
    let answer = || call(&held, Function::Exists, OnError::Null);
    let some = when(col("t.column1").gt(lit(1_i64)), answer()).end().unwrap();
    check(&held, JoinType::Inner, None, some, false);
    let both = col("t.column1").gt(lit(1_i64)).and(answer());
    check(&held, JoinType::Inner, None, both, false);
    let plan = shape(&held, JoinType::Inner, None, |join| {
        let few = join.limit(0, Some(2)).unwrap();
        few.project([answer().alias("answer")]).unwrap()
    });
    assert_eq!(asking_nodes(&plan), 2, "{plan}");
}

#[test]
fn a_second_join_on_the_same_key_shares_the_fetch_of_the_first() {
    let tables = Arc::new(Tables::default());
    let held = once();
    let scan = || tables.scan(Arc::clone(&held));
    let one = scan().alias("one").unwrap().build().unwrap();
    let two = scan().alias("two").unwrap().build().unwrap();
    let plan = asking(3)
        .join(one, JoinType::Inner, (vec!["t.column1"], vec!["one.id"]), None)
        .and_then(|first| {
            first.join(two, JoinType::Inner, (vec!["t.column1"], vec!["two.id"]), None)
        })
        .and_then(LogicalPlanBuilder::build);
    let plan = text(&tables, plan.unwrap());
    assert_eq!(asking_nodes(&plan), 1, "{plan}");
}
