//! Which keys are collected, and by which plans.

use arrow::datatypes::{Field, Schema};
use datafusion::{
    common::ScalarValue,
    config::ConfigOptions,
    logical_expr::{ColumnarValue, Volatility, create_udf},
    physical_expr::{
        ScalarFunctionExpr,
        expressions::{IsNotNullExpr, lit},
    },
    physical_plan::{aggregates::LimitOptions, displayable},
};
use keyloom_common::{
    functions::OnError,
    lookup::Answer,
    store::{Pin, StoreSpec},
};

use super::*;
use crate::samples::{frame, keys, lookup, scan, scan_of, scanning};

type Plan = Arc<dyn ExecutionPlan>;
type Expr = Arc<dyn PhysicalExpr>;

fn id() -> Expr {
    Arc::new(Column::new("id", 0))
}

fn by_id(input: Plan) -> Plan {
    scanning(input, id())
}

/// The same lookup with its fetch changed.
fn changed(plan: &Plan, change: impl Fn(&mut Vec<Fetch>)) -> Plan {
    let lookup = plan.downcast_ref::<KvLookupExec>().unwrap();
    let mut waves = lookup.waves().to_vec();
    change(&mut waves[0].fetches);
    Arc::new(KvLookupExec::try_new(Arc::clone(lookup.input()), waves).unwrap())
}

/// The same lookup with a guard for each call.
fn guarded(plan: &Plan, guards: &[Option<Expr>]) -> Plan {
    changed(plan, |fetches| {
        let call = fetches[0].calls.remove(0);
        let calls = guards.iter().enumerate().map(|(at, guard)| {
            let mut call = call.clone();
            call.name = format!("{} {at}", call.name);
            call.guard.clone_from(guard);
            call
        });
        fetches[0].calls = calls.collect();
    })
}

/// The operators of a set's keys.
fn shown(set: &KeySet) -> String {
    let lines = displayable(set.keys.as_ref()).indent(false).to_string();
    lines.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// By whom sets are asked for, and what the first one reads, down to its leaves.
fn sets(fragment: &Plan) -> (Vec<Vec<(usize, usize)>>, String) {
    let sets = key_sets(fragment, false).unwrap();
    let plan = sets.first().map_or_else(String::new, |set| {
        let plan = shown(set);
        let lines = plan.split("; ").filter(|line| !line.contains("ScanExec"));
        lines.collect::<Vec<_>>().join("; ")
    });
    (sets.into_iter().map(|set| set.fetches).collect(), plan)
}

fn has_none(fragment: &Plan) -> bool {
    sets(fragment).0.is_empty()
}

#[test]
fn keys_are_collected_where_all_rows_need_them() {
    let all = "AggregateExec: mode=Partial, gby=[key@0 as key], aggr=[]; \
               ProjectionExec: expr=[id@0 as key]";
    assert_eq!(sets(&by_id(scan(3))), (vec![vec![(0, 0)]], all.to_owned()));
    let some: Expr = Arc::new(IsNotNullExpr::new(id()));
    let one_is_free = [Some(Arc::clone(&some)), None];
    assert_eq!(sets(&guarded(&by_id(frame(3)), &one_is_free)).1, all);
    let both = guarded(&by_id(frame(3)), &[Some(some), Some(lit(false))]);
    assert_eq!(sets(&both).1, format!("{all}; FilterExec: id@0 IS NOT NULL OR false"));
}

#[test]
fn keys_of_which_all_rows_are_needed_are_collected_too() {
    let all = changed(&by_id(scan(3)), |fetches| {
        fetches[0].calls[0].answer = Answer::All { columns: vec![0], on_error: OnError::Unmatched };
    });
    assert_eq!(sets(&all), sets(&by_id(scan(3))));
    assert!(!has_none(&all));
}

#[test]
fn no_more_is_read_than_the_keys_are_made_of() {
    let schema = Schema::new(vec![
        Field::new("embedding", DataType::Binary, true),
        Field::new("id", DataType::Int64, true),
    ]);
    let key: Expr = Arc::new(Column::new("id", 1));
    let sets = key_sets(&scanning(scan_of(schema.into(), 1), key), false).unwrap();
    let plan = shown(&sets[0]);
    assert!(plan.contains("ProjectionExec: expr=[id@0 as key]"), "{plan}");
    assert!(plan.ends_with("partitions=1, columns=[id]"), "{plan}");
}

#[test]
fn dictionaries_are_collected_by_their_values() {
    let dictionary = DataType::Dictionary(DataType::Int8.into(), DataType::Int64.into());
    let schema = Schema::new(vec![Field::new("id", dictionary.clone(), true)]);
    let set = sets(&by_id(scan_of(schema.into(), 1))).1;
    assert!(set.ends_with("ProjectionExec: expr=[CAST(id@0 AS Int64) as key]"), "{set}");

    let part = |data_type| Field::new("part", data_type, true);
    let pair = |data_type| DataType::Struct(vec![part(data_type), part(DataType::Utf8)].into());
    let nested = DataType::Dictionary(DataType::Int32.into(), dictionary.into());
    assert_eq!(plain(&pair(nested)), pair(DataType::Int64));
}

#[test]
fn a_union_has_one_set_for_a_store_and_a_type() {
    let sets_of = |first, second| sets(&UnionExec::try_new(vec![first, second]).unwrap());
    let (fetches, plan) = sets_of(by_id(frame(1)), by_id(scan(1)));
    assert_eq!(fetches, [[(1, 0), (3, 0)]]);
    let keys = "ProjectionExec: expr=[id@0 as key]";
    assert!(plan.ends_with(&format!("UnionExec; {keys}; {keys}")), "{plan}");

    // Neither another store's keys nor another type's.
    let other = changed(&by_id(frame(1)), |fetches| in_another_store(&mut fetches[0]));
    assert_eq!(sets_of(by_id(frame(1)), other).0, [[(1, 0)], [(3, 0)]]);
    let of_rows = |rows: Plan| -> Plan {
        Arc::new(ProjectionExec::try_new([(lit(1), "one".to_owned())], by_id(rows)).unwrap())
    };
    let short = Schema::new(vec![Field::new("id", DataType::Int32, true)]);
    let short = scan_of(short.into(), 1);
    assert_eq!(sets_of(of_rows(frame(1)), of_rows(short)).0, [[(2, 0)], [(5, 0)]]);
}

#[test]
fn stores_that_are_asked_the_same_share_a_set() {
    let both = changed(&by_id(frame(1)), |fetches| {
        let mut other = fetches[0].clone();
        other.calls[0].name = "other".to_owned();
        in_another_store(&mut other);
        fetches.push(other);
    });
    assert_eq!(sets(&both).0, [[(0, 0), (0, 1)]]);
    // A version is the same one however it was asked for.
    let pinned = changed(&by_id(frame(1)), |fetches| {
        let mut other = fetches[0].clone();
        other.calls[0].name = "other".to_owned();
        change_store(&mut other, |spec| spec.pin = Some(Pin::Version(3)));
        fetches.push(other);
    });
    assert!(is_same(&stores(&pinned)[0], &stores(&pinned)[1]));
    assert!(!is_same(&stores(&both)[0], &stores(&both)[1]));
    // Not if one is asked for some of the keys only.
    let guard = Some(Arc::new(IsNotNullExpr::new(id())) as Expr);
    let some = changed(&both, |fetches| fetches[1].calls[0].guard.clone_from(&guard));
    assert_eq!(sets(&some).0, [[(0, 0)], [(0, 1)]]);
}

/// The stores of a lookup's first wave.
fn stores(plan: &Plan) -> Vec<Arc<ResolvedStore>> {
    let lookup = plan.downcast_ref::<KvLookupExec>().unwrap();
    lookup.waves()[0].fetches.iter().map(|fetch| Arc::clone(&fetch.store)).collect()
}

/// Makes a fetch one of another store.
fn in_another_store(fetch: &mut Fetch) {
    change_store(fetch, |spec| spec.place = "/others.lance".to_owned());
}

fn change_store(fetch: &mut Fetch, change: impl FnOnce(&mut StoreSpec)) {
    let ResolvedStore { alias, mut spec, description, .. } = fetch.store.as_ref().clone();
    change(&mut spec);
    fetch.store = ResolvedStore::try_new(alias, spec, description).unwrap();
}

#[test]
fn not_where_maps_are_asked_or_rows_would_be_others() {
    assert!(has_none(&lookup(scan(3), 10)));
    assert!(has_none(&by_id(Arc::new(LocalLimitExec::new(scan(3), 5)))));
    let few = FilterExec::try_new(lit(true), scan(3)).unwrap().with_fetch(Some(5)).unwrap();
    assert!(has_none(&by_id(few)));
    let first: Plan = Arc::new(LocalLimitExec::new(by_id(scan(3)), 5));
    assert!(has_none(&first));
    assert!(key_sets(&by_id(scan(3)), true).unwrap().is_empty());
    let group = PhysicalGroupBy::new_single(vec![(id(), "id".to_owned())]);
    let groups = |limit: Option<usize>| -> Plan {
        let rows = by_id(scan(3));
        let (mode, schema) = (AggregateMode::Partial, rows.schema());
        let groups =
            AggregateExec::try_new(mode, group.clone(), vec![], vec![], rows, schema).unwrap();
        Arc::new(groups.with_limit_options(limit.map(LimitOptions::new)))
    };
    assert!(has_none(&groups(Some(5))));
    assert!(!has_none(&groups(None)));
    // The lower lookup has a set, the upper one would make the lower's lookups twice.
    assert_eq!(sets(&by_id(by_id(scan(3)))).0, [[(1, 0)]]);
}

/// A number that is another one each time.
fn chance() -> Expr {
    let half = |_: &[ColumnarValue]| -> Result<ColumnarValue> {
        Ok(ColumnarValue::from(ScalarValue::from(0.5_f64)))
    };
    let chance =
        create_udf("chance", vec![], DataType::Float64, Volatility::Volatile, Arc::new(half));
    let field = Arc::new(Field::new("chance", DataType::Float64, true));
    let config = Arc::new(ConfigOptions::default());
    Arc::new(ScalarFunctionExpr::new("chance", Arc::new(chance), Vec::new(), field, config))
}

#[test]
fn not_where_chance_says_which_keys_there_are() {
    let likely: Expr = Arc::new(BinaryExpr::new(chance(), Operator::Lt, lit(0.5_f64)));
    let filtered: Plan = Arc::new(FilterExec::try_new(Arc::clone(&likely), scan(3)).unwrap());
    assert!(has_none(&by_id(filtered)));
    assert!(has_none(&guarded(&by_id(scan(3)), &[Some(likely)])));
    let key = cast(chance(), &Schema::empty(), DataType::Int64).unwrap();
    assert!(has_none(&scanning(scan(3), Arc::clone(&key))));
    let projected = ProjectionExec::try_new([(key, "id".to_owned())], scan(3)).unwrap();
    assert_eq!(projected.schema().field(0).data_type(), keys().field(0).data_type());
    assert!(has_none(&by_id(Arc::new(projected))));
}
