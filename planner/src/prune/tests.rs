//! What is read of wide inputs for a few of their columns.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{
    logical_expr::Operator,
    physical_expr::expressions::{BinaryExpr, lit},
    physical_plan::{displayable, filter::FilterExecBuilder, limit::LocalLimitExec},
};
use keyloom_common::plan::FramePartition;

use super::*;
use crate::samples::scan_of;

type Plan = Arc<dyn ExecutionPlan>;

fn wide() -> Arc<Schema> {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(["a", "b", "c", "d"].map(field).to_vec()))
}

/// Rows of four columns.
fn scan() -> Plan {
    scan_of(wide(), 1)
}

fn column(index: usize) -> Expr {
    Arc::new(Column::new(["a", "b", "c", "d"][index], index))
}

fn is_large(index: usize) -> Expr {
    Arc::new(BinaryExpr::new(column(index), Operator::Gt, lit(9_i64)))
}

/// Some columns of a plan, each by a name.
fn projected<const N: usize>(exprs: [(Expr, &str); N], input: Plan) -> Plan {
    let exprs = exprs.map(|(expr, name)| (expr, name.to_owned()));
    Arc::new(ProjectionExec::try_new(exprs, input).unwrap())
}

/// Checks what a plan reads and computes, which gives what it gave before.
fn check(plan: &Plan, expected: &[&str]) {
    let pruned = prune(plan).unwrap();
    assert_eq!(pruned.schema(), plan.schema());
    let text = displayable(pruned.as_ref()).indent(false).to_string();
    let lines = text.lines().map(|line| {
        let line = line.trim();
        line.replace("InputScanExec: format=parquet, files=1, partitions=1, ", "files: ")
    });
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn leaves_read_the_wanted_columns_alone() {
    let wanted = projected([(column(3), "key"), (is_large(1), "large")], scan());
    check(
        &wanted,
        &["ProjectionExec: expr=[d@1 as key, b@0 > 9 as large]", "files: columns=[b, d]"],
    );
    let none = projected([(lit(1), "one")], scan());
    check(&none, &["ProjectionExec: expr=[1 as one]", "files: columns=[]"]);
    check(&scan(), &["files: columns=[a, b, c, d]"]);
}

#[test]
fn frames_are_read_by_the_columns_that_they_have() {
    let partition = || vec![FramePartition::NONE];
    let frame: Plan =
        Arc::new(FrameScanExec::try_new(partition(), wide(), Some(vec![3, 1, 0])).unwrap());
    let second: Expr = Arc::new(Column::new("b", 1));
    check(
        &projected([(second, "key")], frame),
        &["ProjectionExec: expr=[b@0 as key]", "FrameScanExec: partitions=1, rows=0, columns=[b]"],
    );
}

#[test]
fn what_is_dropped_between_is_not_computed() {
    let below = projected([(column(0), "x"), (is_large(1), "y"), (column(2), "z")], scan());
    let below: Plan = Arc::new(CooperativeExec::new(below));
    let key: Expr = Arc::new(Column::new("z", 2));
    check(
        &projected([(key, "key")], below),
        &[
            "ProjectionExec: expr=[z@0 as key]",
            "CooperativeExec",
            "ProjectionExec: expr=[c@0 as z]",
            "files: columns=[c]",
        ],
    );
}

#[test]
fn filters_read_what_they_ask() {
    let filter = FilterExec::try_new(is_large(1), scan()).unwrap();
    check(
        &projected([(column(3), "key")], Arc::new(filter)),
        &["ProjectionExec: expr=[d@1 as key]", "FilterExec: b@0 > 9", "files: columns=[b, d]"],
    );
    // One that drops a column itself, behind which others have other places.
    let filter = FilterExecBuilder::new(is_large(1), scan());
    let filter = filter.apply_projection(Some(vec![2, 3])).unwrap().build().unwrap();
    let second: Expr = Arc::new(Column::new("d", 1));
    check(
        &projected([(second, "key")], Arc::new(filter)),
        &["ProjectionExec: expr=[d@1 as key]", "FilterExec: b@0 > 9", "files: columns=[b, d]"],
    );
}

#[test]
fn what_is_asked_of_files_is_asked_as_before() {
    let scan = scan();
    let scan = scan.downcast_ref::<InputScanExec>().unwrap().clone();
    let scan: Plan = Arc::new(scan.with_predicate(Some(is_large(2))));
    check(
        &projected([(column(3), "key")], scan),
        &["ProjectionExec: expr=[d@1 as key]", "files: columns=[c, d], predicate=c@0 > 9"],
    );
}

#[test]
fn inputs_of_a_union_keep_the_same_columns() {
    let filter: Plan = Arc::new(FilterExec::try_new(is_large(1), scan()).unwrap());
    let union = UnionExec::try_new(vec![filter, scan()]).unwrap();
    check(
        &projected([(column(3), "key")], union),
        &[
            "ProjectionExec: expr=[d@0 as key]",
            "UnionExec",
            "ProjectionExec: expr=[d@1 as d]",
            "FilterExec: b@0 > 9",
            "files: columns=[b, d]",
            "files: columns=[d]",
        ],
    );
}

#[test]
fn what_needs_all_of_its_input_gets_it() {
    let limit = LocalLimitExec::new(scan(), 5);
    check(
        &projected([(column(3), "key")], Arc::new(limit)),
        &[
            "ProjectionExec: expr=[d@3 as key]",
            "LocalLimitExec: fetch=5",
            "files: columns=[a, b, c, d]",
        ],
    );
}
