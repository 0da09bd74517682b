//! Small plans in, and the shape of what the rule makes of them.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder, cast, col, lit};
use keyloom_common::{
    functions::{CallOptions, Function, KvCall, KvFunction, OnError},
    misses::MaxMisses,
    store::JoinPath,
};

use super::{
    samples::{Tables, asking, attached, memory, pinned, planned, planned_by, store},
    *,
};

/// A join of rows that ask with a store, on its `id`.
fn join(tables: &Tables, store: Arc<AttachedStore>, join_type: JoinType) -> LogicalPlanBuilder {
    let held = tables.scan(store).build().unwrap();
    asking(3).join(held, join_type, (vec!["t.column1"], vec!["id"]), None).unwrap()
}

/// The plan as text: what it is made of.
fn shape(tables: &Arc<Tables>, plan: LogicalPlanBuilder) -> String {
    shape_by(tables, plan, JoinPath::Auto)
}

fn shape_by(tables: &Arc<Tables>, plan: LogicalPlanBuilder, path: JoinPath) -> String {
    planned(tables, plan.build().unwrap(), path).display_indent().to_string()
}

fn has(shape: &str, parts: &[&str], others: &[&str]) {
    parts.iter().for_each(|part| assert!(shape.contains(part), "{part} in {shape}"));
    others.iter().for_each(|part| assert!(!shape.contains(part), "no {part} in {shape}"));
}

#[test]
fn every_kind_of_join_with_a_store_is_a_lookup() {
    let tables = Arc::new(Tables::default());
    let unique = || attached(memory("m", &["id"]), None, &[]);
    let check = |join_type, parts: &[&str], others: &[&str]| {
        has(&shape(&tables, join(&tables, unique(), join_type)), parts, others);
    };
    check(JoinType::Left, &["kv_get("], &["Join", "Filter", "Unnest"]);
    check(JoinType::Inner, &["kv_get(", "Filter", "IS NOT NULL"], &["Join", "Unnest"]);
    check(JoinType::LeftSemi, &["kv_exists(", "Filter"], &["Join", "kv_get"]);
    check(JoinType::LeftAnti, &["kv_exists(", "Filter"], &["Join", "kv_get"]);
    check(JoinType::LeftMark, &["kv_exists("], &["Join", "Filter"]);
    assert_eq!(tables.notes(), [] as [String; 0]);
}

#[test]
fn a_dataset_may_hold_a_key_in_several_rows() {
    let tables = Arc::new(Tables::default());
    for join_type in [JoinType::Left, JoinType::Inner] {
        let several = attached(store("s", &["id"]), Some(100), &[]);
        let plan = shape(&tables, join(&tables, several, join_type));
        has(&plan, &["kv_get_all(", "Unnest"], &["Join"]);
    }
}

#[test]
fn keys_that_are_known_to_stand_once_in_a_version_are_plainly_looked_up() {
    let tables = Arc::new(Tables::default());
    let known: &[&[&str]] = &[&["id"]];
    let at_version = attached(pinned(store("s", &["id"])), Some(100), known);
    let plan = shape(&tables, join(&tables, at_version, JoinType::Left));
    has(&plan, &["kv_get("], &["kv_get_all", "Unnest", "Join"]);
    // The newest version may be another one when the job begins.
    let newest = attached(store("s", &["id"]), Some(100), known);
    let plan = shape(&tables, join(&tables, newest, JoinType::Left));
    has(&plan, &["kv_get_all(", "Unnest"], &["Join"]);
    // Nor is anything known of another key.
    let other = attached(pinned(store("s", &["id", "day"])), Some(100), known);
    let held = tables.scan(other).build().unwrap();
    let day = cast(col("t.column1"), DataType::Int32);
    let on = (vec![col("t.column1"), day], vec![col("id"), col("day")]);
    let plan = asking(3).join_with_expr_keys(held, JoinType::Left, on, None).unwrap();
    has(&shape(&tables, plan), &["kv_get_all("], &["Join"]);
}

#[test]
fn joins_that_no_key_decides_are_scans_that_say_why() {
    let check = |held: Arc<AttachedStore>, join_type, held_column: &str, why: &str| {
        let tables = Arc::new(Tables::default());
        let held = tables.scan(held).build().unwrap();
        let on = (vec!["t.column1"], vec![held_column]);
        let plan = asking(3).join(held, join_type, on, None).unwrap();
        has(&shape(&tables, plan), &["Join"], &["kv_"]);
        assert_eq!(tables.notes().first().map(String::as_str), Some(why));
    };
    let held = || attached(memory("m", &["id"]), None, &[]);
    check(held(), JoinType::Full, "id", "all of its rows are wanted");
    check(held(), JoinType::Right, "id", "all of its rows are wanted");
    check(held(), JoinType::Inner, "size", "no key alone says which rows match");
    let pair = attached(memory("m", &["id", "day"]), None, &[]);
    check(pair, JoinType::Left, "id", "no key alone says which rows match");
}

#[test]
fn a_dense_join_is_a_scan_unless_lookups_are_forced() {
    let small = || attached(store("s", &["id"]), Some(0), &[]);
    let tables = Arc::new(Tables::default());
    let plan = join(&tables, small(), JoinType::Left);
    has(&shape_by(&tables, plan, JoinPath::Auto), &["Join"], &["kv_"]);
    assert_eq!(tables.notes()[0], "about 3 keys, 0 rows");
    let plan = join(&tables, small(), JoinType::Left);
    has(&shape_by(&tables, plan, JoinPath::Lookup), &["kv_get_all("], &["Join"]);
    let tables = Arc::new(Tables::default());
    let large = attached(store("s", &["id"]), Some(1000), &[]);
    let plan = join(&tables, large, JoinType::Left);
    has(&shape_by(&tables, plan, JoinPath::Scan), &["Join"], &["kv_"]);
    assert_eq!(tables.notes()[0], "join_path = scan");
}

#[test]
fn rows_with_a_condition_of_their_own_are_scanned_where_more_keys_ask_than_there_are() {
    let sifts = col("size").is_not_null();
    // Of rows that nobody asks for, it is not computed.
    let may_fail = (lit(7_i64) / col("size")).gt(lit(1_i64));
    for (keys, condition, is_lookup) in
        [(10, &sifts, true), (11, &sifts, false), (11, &may_fail, true)]
    {
        let tables = Arc::new(Tables::default());
        let held = tables.scan(attached(store("s", &["id"]), Some(10), &[]));
        let held = held.filter(condition.clone()).unwrap().build().unwrap();
        let on = (vec!["t.column1"], vec!["s.id"]);
        let plan = asking(keys).join(held, JoinType::Inner, on, None).unwrap();
        let (expected, other) = if is_lookup { ("kv_get_all(", "Join") } else { ("Join", "kv_") };
        has(&shape(&tables, plan), &[expected], &[other]);
    }
}

/// Two keys ask for each row of the store. A left join keeps its rows for a limit to choose of, and
/// a condition that may fail is not computed of rows that nobody asks for.
#[test]
fn in_one_process_a_scan_is_made_sooner_unless_a_lookup_may_save_more() {
    let may_fail = (lit(7_i64) / col("size")).gt(lit(1_i64));
    for (is_together, join_type, condition, is_lookup) in [
        (true, JoinType::Inner, None, false),
        (false, JoinType::Inner, None, true),
        (true, JoinType::Left, None, true),
        (true, JoinType::Inner, Some(may_fail), true),
    ] {
        let tables = Arc::new(Tables::default());
        let mut held = tables.scan(attached(store("s", &["id"]), Some(5_000), &[]));
        if let Some(condition) = &condition {
            held = held.filter(condition.clone()).unwrap();
        }
        let on = (vec!["t.column1"], vec!["s.id"]);
        // A filter lets a fifth pass.
        let asking = asking(50_000).filter(col("t.column1").gt(lit(0_i64))).unwrap();
        let plan = asking.join(held.build().unwrap(), join_type, on, None).unwrap();
        let options = PlanOptions { is_together, ..PlanOptions::default() };
        let plan = planned_by(&tables, plan.build().unwrap(), options, Vec::new());
        let shape = plan.display_indent().to_string();
        assert_eq!(shape.contains("kv_get_all("), is_lookup, "{join_type} {condition:?}");
    }
}

/// The store is asked for the keys of rows that two inputs gave, each of them larger than it.
#[test]
fn rows_out_of_a_hash_join_scan_a_store_sooner() {
    for (store_rows, is_lookup) in [(9, false), (10, true)] {
        let tables = Arc::new(Tables::default());
        let held = tables.scan(attached(store("s", &["id"]), Some(store_rows), &[]));
        let (few, many) = (asking(3).alias("few").unwrap(), asking(10).build().unwrap());
        let on = (vec!["few.column1"], vec!["t.column1"]);
        let both = few.join(many, JoinType::Inner, on, None).unwrap();
        let has_value = both.filter(col("t.column1").is_not_null()).unwrap();
        let on = (vec!["t.column1"], vec!["s.id"]);
        let plan = has_value.join(held.build().unwrap(), JoinType::Inner, on, None).unwrap();
        let asked = shape(&tables, plan);
        assert_eq!(asked.contains("kv_get_all("), is_lookup, "{asked}");
        let note = (!is_lookup).then(|| "about 10 keys, 9 rows".to_owned());
        assert_eq!(tables.notes().pop(), note);
    }
}

#[test]
fn a_limit_above_a_dense_join_makes_it_a_lookup() {
    let check = |plan: &dyn Fn(LogicalPlanBuilder) -> LogicalPlanBuilder, note: Option<&str>| {
        let tables = Arc::new(Tables::default());
        let held = tables.scan(attached(store("s", &["id"]), Some(1), &[])).build().unwrap();
        let on = (vec!["t.column1"], vec!["id"]);
        let joined = asking(100).join(held, JoinType::Inner, on, None).unwrap();
        let plan = shape(&tables, plan(joined));
        match note {
            None => has(&plan, &["kv_get_all("], &["Join"]),
            Some(_) => has(&plan, &["Join"], &["kv_"]),
        }
        assert_eq!(tables.notes().first().map(String::as_str), note);
    };
    let limit = |plan: LogicalPlanBuilder, rows| plan.limit(0, Some(rows)).unwrap();
    let filter = |plan: LogicalPlanBuilder| plan.filter(col("size").is_not_null()).unwrap();
    let project = |plan: LogicalPlanBuilder| plan.project([col("size")]).unwrap();
    let sort = |plan: LogicalPlanBuilder| plan.sort([col("size").sort(true, true)]).unwrap();
    let union = |plan: LogicalPlanBuilder| {
        let plan = project(plan).build().unwrap();
        LogicalPlanBuilder::from(plan.clone()).union(plan).unwrap()
    };
    let all = Some("about 100 keys, 1 rows");
    check(&|plan| plan, all);
    // A fifth of the rows is expected to find one.
    check(&|plan| limit(plan, 3), None);
    check(&|plan| limit(plan, 4), Some("about 20 keys for the limit above, 1 rows"));
    check(&|plan| limit(plan, 20), all);
    check(&|plan| limit(project(plan), 3), None);
    check(&|plan| limit(union(plan), 3), None);
    let sifted = Some("about 75 keys for the limit above, 1 rows");
    check(&|plan| limit(filter(plan), 3), sifted);
    check(&|plan| limit(sort(plan), 3), all);
    check(&|plan| plan.limit(97, Some(3)).unwrap(), all);
    let lower = |plan| limit(plan, 3).limit(0, Some(50)).unwrap();
    check(&lower, None);
}

#[test]
fn a_limit_above_several_joins_reaches_all_of_them() {
    let tables = Arc::new(Tables::default());
    let held = |name| tables.scan(attached(store(name, &["id"]), Some(2), &[])).build().unwrap();
    let on = |name: &str| (vec!["t.column1".to_owned()], vec![format!("{name}.id")]);
    let first = asking(100).join(held("one"), JoinType::Inner, on("one"), None).unwrap();
    let both = || first.clone().join(held("two"), JoinType::Left, on("two"), None).unwrap();
    let limited = shape(&tables, both().limit(0, Some(5)).unwrap());
    has(&limited, &["AS __joined_1", "AS __joined_2"], &["Join"]);
    has(&shape(&tables, both()), &["Join"], &[]);
    assert_eq!(tables.notes()[0], "about 100 keys, 2 rows");
}

#[test]
fn a_cast_that_widens_a_key_is_no_part_of_what_is_asked() {
    let tables = Arc::new(Tables::default());
    let held = || tables.scan(attached(memory("m", &["day"]), None, &[])).build().unwrap();
    let narrow = cast(col("t.column1"), DataType::Int32);
    let wide = cast(narrow.clone(), DataType::Int64);
    // Both sides as the planner casts them to be compared.
    let on = (vec![wide], vec![cast(col("day"), DataType::Int64)]);
    let plan = asking(3).join_with_expr_keys(held(), JoinType::Left, on, None).unwrap();
    has(&shape(&tables, plan), &["kv_get(", "AS Int32"], &["Join", "AS Int64"]);
    // This one changes values.
    let on = (vec![narrow], vec![col("day")]);
    let plan = asking(3).join_with_expr_keys(held(), JoinType::Left, on, None).unwrap();
    has(&shape(&tables, plan), &["kv_get(", "AS Int32"], &["Join"]);
}

#[test]
fn a_second_join_asks_beside_the_first() {
    let tables = Arc::new(Tables::default());
    let other = tables.scan(attached(memory("other", &["id"]), None, &[])).build().unwrap();
    let first = join(&tables, attached(memory("m", &["id"]), None, &[]), JoinType::Left);
    let plan = first.join(other, JoinType::Left, (vec!["t.column1"], vec!["other.id"]), None);
    let plan = shape(&tables, plan.unwrap());
    has(&plan, &["kv_get("], &["Join"]);
    let asking = plan.lines().filter(|line| line.contains("kv_get(")).count();
    assert_eq!(asking, 1, "{plan}");
}

#[test]
fn a_call_asks_beside_a_join_unless_its_misses_have_a_limit() {
    let check = |on_error, is_below: bool| {
        let tables = Arc::new(Tables::default());
        let other = attached(memory("other", &["id"]), None, &[]).resolve(None).unwrap();
        let options = CallOptions { on_error, ..CallOptions::default() };
        let call = KvCall::try_new(Function::Get, other, options).unwrap();
        let answer = KvFunction::expr(call, col("t.column1")).alias("answer");
        let several = attached(store("s", &["id"]), Some(100), &[]);
        let joined = join(&tables, several, JoinType::Left).project([answer, col("size")]);
        let plan = shape(&tables, joined.unwrap());
        let (above, below) = plan.split_once("Unnest").unwrap();
        let asks = |part: &str| part.contains("kv_get(");
        assert_eq!((asks(above), asks(below)), (!is_below, is_below), "{plan}");
    };
    check(OnError::Raise, true);
    check(OnError::Null, true);
    check(OnError::AtMost(MaxMisses::Count(7)), false);
}

#[test]
fn conditions_that_name_keys_are_lookups() {
    let tables = Arc::new(Tables::default());
    let held = || tables.scan(attached(memory("m", &["id"]), None, &[]));
    let one = held().filter(col("id").eq(lit(7_i64))).unwrap();
    has(&shape(&tables, one), &["kv_get("], &["TableScan"]);
    let some = held().filter(col("id").in_list(vec![lit(7_i64), lit(9_i64)], false)).unwrap();
    has(&shape(&tables, some), &["kv_get(", "Unnest"], &["TableScan"]);
    let other = held().filter(col("size").eq(lit(7_i64))).unwrap();
    has(&shape(&tables, other), &["TableScan"], &["kv_"]);
}
