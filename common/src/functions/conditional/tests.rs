//! Conditionals, as functions and where they run.

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, StringArray},
    datatypes::SchemaRef,
};
use datafusion::{
    common::DFSchema,
    config::ConfigOptions,
    functions::core::expr_fn::nullif,
    logical_expr::{Case, ExprSchemable, Operator},
    physical_expr::{
        ScalarFunctionExpr,
        expressions::{BinaryExpr, lit},
    },
    prelude::{col, lit as value},
};

use super::*;
use crate::stack::deep;

fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// The columns `a`, `b`, a condition `c`, and texts that no conditional reads.
fn rows() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("a", ints([Some(1), None, None, Some(4)])),
        ("b", ints([Some(0), Some(5), None, Some(0)])),
        ("c", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        ("d", Arc::new(StringArray::from(vec!["w", "x", "y", "z"]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &rows().schema()).unwrap())
}

/// `10 / b`, which fails where `b` is 0.
fn quotient() -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(lit(10_i64), Operator::Divide, column("b")))
}

fn function(conditional: Conditional, args: Vec<Arc<dyn PhysicalExpr>>) -> Arc<dyn PhysicalExpr> {
    let (schema, config) = (rows().schema(), Arc::new(ConfigOptions::default()));
    let udf = Arc::new(conditional.udf());
    Arc::new(ScalarFunctionExpr::try_new(udf, args, &schema, config).unwrap())
}

fn conditional(
    conditional: Conditional,
    args: Vec<Arc<dyn PhysicalExpr>>,
) -> Arc<dyn PhysicalExpr> {
    as_lazy(function(conditional, args)).unwrap()
}

fn values(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> ArrayRef {
    expr.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap()
}

#[test]
fn coalesce_computes_an_argument_where_those_before_it_are_null() {
    let expr = conditional(Conditional::Coalesce, vec![column("a"), quotient(), lit(7_i64)]);
    let expected = ints([Some(1), Some(2), Some(7), Some(4)]);
    assert_eq!(&values(&expr, &rows()), &expected);
    // What stands for it computes all arguments for all rows.
    assert!(as_function(&expr).evaluate(&rows()).is_err());
}

#[test]
fn nvl2_computes_a_branch_where_it_is_taken() {
    let args = vec![column("a"), column("b"), quotient()];
    let expr = conditional(Conditional::Nvl2, args);
    assert_eq!(&values(&expr, &rows()), &ints([Some(0), Some(2), None, Some(0)]));
}

#[test]
fn a_case_computes_a_branch_where_its_condition_is_true() {
    let case = Conditional::Case { nullable: true };
    let expr = conditional(case, vec![column("c"), lit(3_i64), quotient()]);
    assert_eq!(&values(&expr, &rows()), &ints([Some(3), Some(2), None, Some(3)]));
    let args = vec![column("c"), column("a"), column("c"), quotient(), lit(9_i64)];
    let expr = conditional(case, args);
    assert_eq!(&values(&expr, &rows()), &ints([Some(1), Some(9), Some(9), Some(4)]));
}

#[test]
fn a_choice_computes_the_result_that_is_chosen() {
    let expr = conditional(Conditional::Choose, vec![column("b"), column("a"), quotient()]);
    assert_eq!(&values(&expr, &rows()), &ints([Some(1), None, None, Some(4)]));
    // Where `a` is null, there is no place.
    let results: Vec<_> = (0..5).map(|place| lit(10 * place as i64)).collect();
    let args = [vec![column("a")], results].concat();
    let expr = conditional(Conditional::Choose, args);
    assert_eq!(&values(&expr, &rows()), &ints([Some(10), None, None, Some(40)]));
}

#[test]
fn answers_of_a_choice_have_a_type_in_common() {
    let args = vec![DataType::Int32, DataType::Int64, DataType::Float64, DataType::Null];
    let coerced = Conditional::Choose.udf().coerce_types(&args).unwrap();
    assert_eq!(coerced, [DataType::Int64, DataType::Float64, DataType::Float64, DataType::Float64]);
    let schema = DFSchema::try_from(rows().schema()).unwrap();
    let list = DataType::new_list(DataType::Int64, true);
    let list = Expr::Literal(ScalarValue::try_new_null(&list).unwrap(), None);
    let error = Conditional::Choose.call(vec![value(0_i64), col("c"), list]).get_type(&schema);
    let error = Error::from(error.unwrap_err());
    let expected = "the values of a CASE have no type in common: Boolean, ";
    assert!(error.message().starts_with(expected), "{error}");
}

/// `nullif(CASE WHEN c THEN nullif(…) ELSE b END, 7)`, so deep, from `a`.
fn nested_cases(levels: usize) -> Expr {
    (0..levels).fold(col("a"), |inner, _| {
        let branch = (Box::new(col("c")), Box::new(inner));
        let case = Case::new(None, vec![branch], Some(Box::new(col("b"))));
        nullif(Expr::Case(case), value(7_i64))
    })
}

#[test]
fn functions_of_cases_that_are_kept_are_typed_in_their_size() {
    let schema = DFSchema::try_from(rows().schema()).unwrap();
    deep(|| {
        let kept = keep_nested_cases(nested_cases(100)).unwrap();
        assert_eq!(kept.to_string().matches(CHOOSE).count(), 100 - MOST_NESTED_CASES);
        assert_eq!(kept.get_type(&schema).unwrap(), DataType::Int64);
        assert!(kept.nullable(&schema).unwrap());
    });
    let few = nested_cases(MOST_NESTED_CASES);
    assert_eq!(keep_nested_cases(few.clone()).unwrap(), few);
}

#[test]
fn a_choice_has_the_name_of_its_case() {
    let deep = nested_cases(MOST_NESTED_CASES);
    let branches = [("a", deep.clone()), ("b", col("b"))];
    let branches = branches.map(|(when, then)| (Box::new(col(when)), Box::new(then)));
    let searched = vec![(Box::new(col("c")), Box::new(deep))];
    for case in [
        Case::new(Some(Box::new(col("a"))), branches.to_vec(), Some(Box::new(value(7)))),
        Case::new(None, searched, None),
    ] {
        let case = Expr::Case(case);
        let kept = keep_nested_cases(case.clone()).unwrap();
        assert!(kept.to_string().contains(CHOOSE), "{kept}");
        assert_eq!(kept.schema_name().to_string(), case.schema_name().to_string());
    }
}

#[test]
fn conditionals_nest_as_deep_as_they_are_written() {
    let mut expr = column("a");
    for _ in 0..200 {
        let next: Arc<dyn PhysicalExpr> =
            Arc::new(BinaryExpr::new(expr, Operator::Plus, lit(1_i64)));
        expr = conditional(Conditional::Coalesce, vec![next, quotient(), lit(-1_i64)]);
    }
    let expected = ints([Some(201), Some(2 + 199), Some(-1 + 199), Some(204)]);
    assert_eq!(&deep(|| values(&expr, &rows())), &expected);
}

#[test]
fn no_rows_need_no_argument() {
    let failing: Arc<dyn PhysicalExpr> =
        Arc::new(BinaryExpr::new(lit(1_i64), Operator::Divide, lit(0_i64)));
    let expr = conditional(Conditional::Coalesce, vec![failing, quotient()]);
    assert_eq!(values(&expr, &rows().slice(0, 0)).len(), 0);
    assert!(expr.evaluate(&rows()).is_err());
}

#[test]
fn what_no_argument_gives_is_null() {
    let expr = conditional(Conditional::Coalesce, vec![column("a"), column("a")]);
    assert_eq!(&values(&expr, &rows()), &ints([Some(1), None, None, Some(4)]));
    let nothing = rows().slice(1, 2);
    assert_eq!(&values(&expr, &nothing), &ints([None, None]));
}

#[test]
fn it_is_typed_by_what_it_may_give() {
    let schema: SchemaRef = rows().schema();
    let typed = |expr: Arc<dyn PhysicalExpr>| {
        (expr.data_type(&schema).unwrap(), expr.nullable(&schema).unwrap())
    };
    let null = || lit(ScalarValue::Null);
    let case = |nullable| Conditional::Case { nullable };
    let args = vec![null(), column("d"), lit("none")];
    assert_eq!(typed(conditional(Conditional::Coalesce, args)), (DataType::Utf8, false));
    let args = vec![column("d"), lit(1_i64), column("b")];
    assert_eq!(typed(conditional(Conditional::Nvl2, args)), (DataType::Int64, true));
    let args = vec![column("d"), lit(1_i64), lit(2_i64)];
    assert_eq!(typed(conditional(Conditional::Nvl2, args)), (DataType::Int64, false));
    for nullable in [false, true] {
        let args = vec![column("c"), column("a"), lit(2_i64)];
        assert_eq!(typed(conditional(case(nullable), args)), (DataType::Int64, nullable));
    }
}

#[test]
fn columns_may_move() {
    let expr = conditional(Conditional::Coalesce, vec![column("a"), quotient(), lit(7_i64)]);
    let mut children: Vec<_> = expr.children().into_iter().cloned().collect();
    children.swap(0, 2);
    let moved = Arc::clone(&expr).with_new_children(children).unwrap();
    assert_eq!(&values(&moved, &rows()), &ints([Some(7); 4]));
    assert_eq!(moved.to_string(), "coalesce(7, 10 / b@1, a@0)");
    assert_eq!(as_function(&moved).to_string(), moved.to_string());
    assert!(moved != expr);
}

#[test]
fn a_function_of_constants_is_a_constant() {
    let args = vec![lit(ScalarValue::Int64(None)), lit(7_i64), lit(8_i64)];
    let value = function(Conditional::Coalesce, args).evaluate(&rows()).unwrap();
    let ColumnarValue::Scalar(value) = value else { panic!("one value for one value") };
    assert_eq!(value, ScalarValue::Int64(Some(7)));
}

#[test]
fn each_is_known_by_a_tag_of_its_own() {
    for conditional in Conditional::ALL {
        assert_eq!(Conditional::of_tag(conditional.tag()), Some(conditional));
    }
    assert_eq!(Conditional::of_tag(5), None);
}
