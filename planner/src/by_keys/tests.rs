//! Which aggregates are grouped by keys first, and how.

use arrow::datatypes::{Field, Schema};
use datafusion::{
    common::UnnestOptions,
    functions_aggregate::{average::avg_udaf, count::count_udaf, min_max::max_udaf, sum::sum_udaf},
    logical_expr::AggregateUDF,
    physical_expr::{
        aggregate::AggregateExprBuilder,
        expressions::{IsNotNullExpr, cast, lit},
    },
    physical_plan::{
        Partitioning, displayable, filter::FilterExec, repartition::RepartitionExec,
        unnest::ListUnnest,
    },
};
use keyloom_common::{
    functions::OnError,
    lookup::{Answer, KvLookupExec},
};

use super::*;
use crate::samples::{frame, lookup, scan_of};

fn at(name: &str, index: usize) -> Expr {
    Arc::new(Column::new(name, index))
}

/// A lookup by the first column of a table of two.
fn looked_up(key: DataType) -> Plan {
    let fields = vec![Field::new("id", key, true), Field::new("amount", DataType::Int32, true)];
    lookup(scan_of(Arc::new(Schema::new(fields)), 3), 8)
}

fn function(input: &Plan, fun: Arc<AggregateUDF>, arg: Expr, is_distinct: bool) -> Function {
    let name = format!("{}({arg})", fun.name());
    let builder = AggregateExprBuilder::new(fun, vec![arg]).schema(input.schema());
    Arc::new(builder.alias(name).with_distinct(is_distinct).build().unwrap())
}

type Function = Arc<AggregateFunctionExpr>;

fn aggregate(
    mode: AggregateMode,
    groups: &[(Expr, &str)],
    functions: Vec<Function>,
    input: Plan,
) -> Plan {
    let groups = groups.iter().map(|(expr, name)| (Arc::clone(expr), (*name).to_owned()));
    let groups = PhysicalGroupBy::new_single(groups.collect());
    let schema = input.schema();
    partial(mode, groups, functions, &input, &schema).unwrap()
}

/// Sums by what is looked up.
fn sums(input: Plan) -> Plan {
    let amount = cast(at("amount", 1), &input.schema(), DataType::Int64).unwrap();
    let functions = vec![function(&input, sum_udaf(), amount, false)];
    aggregate(AggregateMode::Partial, &[(at("image", 2), "image")], functions, input)
}

fn grouped(plan: &Plan, group_keys: GroupKeys) -> Plan {
    let mut config = ConfigOptions::new();
    config.extensions.insert(PlanOptions { group_keys, ..PlanOptions::default() });
    let grouped = GroupByKeys.optimize(Arc::clone(plan), &config).unwrap();
    assert!(has_types_of(&grouped, &plan.schema()));
    grouped
}

fn lines(plan: &Plan) -> Vec<String> {
    let text = displayable(plan.as_ref()).indent(false).to_string();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Checks how the lines of a plan begin, once its rows are grouped by keys.
fn check(plan: &Plan, starts: &[&str]) {
    let lines = lines(&grouped(plan, GroupKeys::Always));
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{start} is not of {lines:#?}");
    }
}

fn check_stays(plan: &Plan) {
    assert_eq!(lines(&grouped(plan, GroupKeys::Always)), lines(plan));
}

#[test]
fn each_key_is_looked_up_once_for_all_its_rows_in_a_partition() {
    check(
        &sums(looked_up(DataType::Int64)),
        &[
            "AggregateExec: mode=Partial, gby=[image@0 as image], aggr=[sum(",
            "ProjectionExec: expr=[image@3 as image, sum(",
            "KvLookupExec: rows of __rows[count]@2, wave 1: images",
            "AggregateExec: mode=Partial, gby=[id@0 as id], aggr=[sum(CAST(amount@1 AS Int64)), \
             __rows]",
            "InputScanExec",
        ],
    );
}

#[test]
fn rows_that_an_aggregate_counts_are_counted_once() {
    let input = looked_up(DataType::Utf8);
    let functions = vec![
        function(
            &input,
            avg_udaf(),
            cast(at("amount", 1), &input.schema(), DataType::Float64).unwrap(),
            false,
        ),
        function(&input, count_udaf(), lit(1_i64), false),
        function(&input, max_udaf(), at("amount", 1), false),
    ];
    let groups = [(at("image", 2), "image"), (at("amount", 1), "of")];
    check(
        &aggregate(AggregateMode::Partial, &groups, functions, input),
        &[
            "AggregateExec: mode=Partial, gby=[image@0 as image, of@1 as of]",
            "ProjectionExec: expr=[image@6 as image, amount@1 as of, avg(",
            "KvLookupExec: rows of count(1)[count]@4, ",
            "AggregateExec: mode=Partial, gby=[id@0 as id, amount@1 as amount], aggr=[avg(",
            "InputScanExec",
        ],
    );
}

#[test]
fn states_that_no_function_gives_again_are_reduced() {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("amount", DataType::Decimal128(10, 2), true),
    ];
    let input = lookup(scan_of(Arc::new(Schema::new(fields)), 3), 8);
    let functions = vec![function(&input, sum_udaf(), at("amount", 1), false)];
    check(
        &aggregate(AggregateMode::Partial, &[(at("image", 2), "image")], functions, input),
        &[
            "AggregateExec: mode=PartialReduce, gby=[image@0 as image], aggr=[sum(amount@1)]",
            "ProjectionExec",
            "KvLookupExec: rows of __rows[count]@2, ",
            "AggregateExec: mode=Partial, gby=[id@0 as id]",
            "InputScanExec",
        ],
    );
}

#[test]
fn conditions_and_projections_stand_over_groups_as_they_stood_over_rows() {
    let filter: Plan = {
        let condition = Arc::new(IsNotNullExpr::new(at("image", 2)));
        Arc::new(FilterExec::try_new(condition, looked_up(DataType::Int64)).unwrap())
    };
    let exprs = [(at("image", 2), "found"), (at("amount", 1), "paid")];
    let exprs = exprs.map(|(expr, name)| (expr, name.to_owned()));
    let input: Plan = Arc::new(ProjectionExec::try_new(exprs, filter).unwrap());
    let over = |arg| {
        let functions = vec![function(&input, sum_udaf(), arg, false)];
        let groups = [(at("found", 0), "found")];
        aggregate(AggregateMode::Partial, &groups, functions, Arc::clone(&input))
    };
    let paid = |data_type| cast(at("paid", 1), &input.schema(), data_type).unwrap();
    check(
        &over(paid(DataType::Int64)),
        &[
            "AggregateExec: mode=Partial, gby=[found@0 as found]",
            "ProjectionExec: expr=[image@3 as found, sum(",
            "FilterExec: image@3 IS NOT NULL",
            "KvLookupExec: rows of __rows[count]@2, ",
            "AggregateExec: mode=Partial, gby=[id@0 as id], aggr=[sum(CAST(paid@1 AS Int64)), ",
            "InputScanExec",
        ],
    );
    // It might fail for rows that the condition drops.
    check_stays(&over(cast(paid(DataType::Int8), &input.schema(), DataType::Int64).unwrap()));
}

#[test]
fn each_of_several_rows_of_a_key_gets_the_states_of_all_that_ask_for_it() {
    let one = looked_up(DataType::Int64);
    let lookup = one.downcast_ref::<KvLookupExec>().unwrap();
    let mut waves = lookup.waves().to_vec();
    let all = Answer::All { columns: vec![0], on_error: OnError::Null };
    waves[0].fetches[0].calls[0].answer = all;
    let all = Arc::new(KvLookupExec::try_new(Arc::clone(lookup.input()), waves).unwrap());
    let lists = vec![ListUnnest { index_in_input_schema: 2, depth: 1 }];
    let options = UnnestOptions::default();
    let rows = UnnestExec::new(all, lists, Vec::new(), one.schema(), options).unwrap();
    let rows: Plan = Arc::new(rows);
    check(
        &sums(Arc::clone(&rows)),
        &[
            "AggregateExec: mode=Partial, gby=[image@0 as image], aggr=[sum(",
            "ProjectionExec: expr=[image@3 as image, sum(",
            "UnnestExec",
            "KvLookupExec: rows of __rows[count]@2, wave 1: images",
            "AggregateExec: mode=Partial, gby=[id@0 as id], aggr=[sum(",
            "InputScanExec",
        ],
    );
    // It reads what is unnested.
    let counted = vec![function(&rows, count_udaf(), at("image", 2), false)];
    let groups = [(at("id", 0), "id")];
    check_stays(&aggregate(AggregateMode::Partial, &groups, counted, rows));
}

#[test]
fn one_aggregate_of_all_rows_is_made_in_three_steps() {
    let fields = vec![Field::new("id", DataType::Int64, true)];
    let one = |parts| lookup(scan_of(Arc::new(Schema::new(fields.clone())), parts), 8);
    let count = |input: Plan| {
        let functions = vec![function(&input, count_udaf(), lit(1_i64), false)];
        aggregate(AggregateMode::Single, &[(at("image", 1), "image")], functions, input)
    };
    check(
        &count(one(1)),
        &[
            "AggregateExec: mode=Final, gby=[image@0 as image], aggr=[count(1)]",
            "AggregateExec: mode=Partial, gby=[image@0 as image], aggr=[count(1)[count]]",
            "ProjectionExec: expr=[image@2 as image, count(1)[count]@1 as count(1)[count]]",
            "KvLookupExec: rows of count(1)[count]@1, ",
            "AggregateExec: mode=Partial, gby=[id@0 as id], aggr=[count(1)]",
            "InputScanExec",
        ],
    );
    check_stays(&count(one(3)));
}

#[test]
fn what_could_be_something_else_stays_as_it_is() {
    let input = || looked_up(DataType::Int64);
    let image = [(at("image", 2), "image")];
    let of = |functions: Vec<Function>, input: Plan| {
        aggregate(AggregateMode::Partial, &image, functions, input)
    };
    let id = |is_distinct| function(&input(), count_udaf(), at("id", 0), is_distinct);
    assert_ne!(lines(&grouped(&of(vec![id(false)], input()), GroupKeys::Always)).len(), 3);
    check_stays(&of(vec![id(true)], input()));
    // It reads what is looked up.
    check_stays(&of(vec![function(&input(), count_udaf(), at("image", 2), false)], input()));
    // Minus zero is another one than zero.
    check_stays(&sums(looked_up(DataType::Float64)));
    // These are groups by their keys already.
    let ids = [(at("id", 0), "id"), (at("amount", 1), "amount")];
    let scan = Arc::clone(input().children()[0]);
    let distinct = aggregate(AggregateMode::SinglePartitioned, &ids, Vec::new(), scan);
    check_stays(&of(Vec::new(), lookup(distinct, 8)));
}

#[test]
fn only_what_is_shuffled_of_large_inputs_is_grouped_by_keys_unless_all_is() {
    let shuffled = |rows| -> Plan {
        let input = lookup(frame(rows), 8);
        let count = vec![function(&input, count_udaf(), lit(1_i64), false)];
        let image = [(at("image", 1), "image")];
        let groups = aggregate(AggregateMode::Partial, &image, count, input);
        let by_image = Partitioning::Hash(vec![at("image", 0)], 4);
        Arc::new(RepartitionExec::try_new(groups, by_image).unwrap())
    };
    let (small, large) = (shuffled(LEAST_ROWS - 1), shuffled(LEAST_ROWS));
    let gathered = Arc::clone(large.children()[0]);
    for (plan, choice, expected) in [
        (&large, GroupKeys::Never, false),
        (&large, GroupKeys::Auto, true),
        (&small, GroupKeys::Auto, false),
        (&gathered, GroupKeys::Auto, false),
        (&small, GroupKeys::Always, true),
        (&gathered, GroupKeys::Always, true),
    ] {
        let lines = lines(&grouped(plan, choice)).join("; ");
        assert_eq!(lines.contains("rows of count(1)[count]"), expected, "{choice}: {lines}");
    }
}

#[test]
fn keys_are_collected_from_the_rows_and_not_from_their_groups() {
    let plan = grouped(&sums(looked_up(DataType::Int64)), GroupKeys::Always);
    let projection = Arc::clone(plan.children()[0]);
    let lookup = projection.children()[0].downcast_ref::<KvLookupExec>().unwrap();
    let (rows, key) = of_rows(lookup.input(), &at("id", 0)).unwrap();
    assert_eq!((lines(&rows).len(), key.to_string()), (1, "id@0".to_owned()));
    // Where there are no groups, they are as they are.
    let (same, key) = of_rows(&rows, &key).unwrap();
    assert_eq!((lines(&same), key.to_string()), (lines(&rows), "id@0".to_owned()));
}
