//! Random statements that join a table with stores: all kinds of joins, on whole keys, parts of
//! them and other columns; keys that stand twice or are null; stores through stores; subqueries,
//! common table expressions, limits and groups. They are compared with an interpreter that takes
//! one row at a time, whichever way the joins go.

mod case;
mod generate;
mod interpret;
mod kept;
mod run;

use std::collections::BTreeSet;

use keyloom_client::{JoinPath, report::JobSummary};
use proptest::{prelude::*, test_runner::TestCaseError};
use tokio::runtime::Runtime;

use self::{
    case::{Case, Item, Join, Kind, Query, Scalar},
    run::{explain, run},
};
use super::{query::Value, try_cases};

/// How many keys a join asks for where nothing else asks for others: of how many rows, how many
/// distinct ones, and how many of those the store's type can hold.
#[derive(Debug)]
struct Asked {
    rows: u64,
    distinct: u64,
    possible: u64,
    /// Whether these are asked for in any case: nothing is, of what no column reads.
    surely: bool,
}

/// What the only join of a case asks for, if that can be told.
fn asked(case: &Case) -> Option<Asked> {
    let [join] = case.joins.as_slice() else { return None };
    let asks_no_more = match case.query {
        Query::Rows => case.items.iter().all(|item| is_asked_by(join, item)),
        Query::Groups => case.items.iter().all(|item| matches!(item, Item::Scalar(_))),
        _ => false,
    };
    let is_alone = case.filters.is_empty() && asks_no_more;
    let is_lookup = matches!(join.kind, Kind::Inner | Kind::Left | Kind::Semi | Kind::Anti);
    if !is_alone || !is_lookup || !join.is_on_key() || join.more.is_some() {
        return None;
    }
    if case.path != JoinPath::Lookup || !case.bounds.are_wide() {
        return None;
    }
    let keys = case.rows.iter().map(|row| interpret::key_of(join, row));
    let keys: Vec<_> = keys.filter(|key| !key.contains(&Value::Null)).collect();
    let distinct: BTreeSet<_> = keys.iter().collect();
    let possible = distinct.iter().filter(|key| join.relation.may_hold(key)).count();
    let reads = |item: &Item| matches!(item, Item::Scalar(Scalar::Column(1, _)));
    Some(Asked {
        rows: keys.len() as u64,
        distinct: distinct.len() as u64,
        possible: possible as u64,
        surely: join.kind != Kind::Left || case.items.first().is_some_and(reads),
    })
}

/// Whether what is selected asks for nothing that a join has not asked for, in a fetch that the two
/// share. Where the join leaves rows without a key, it asks for their existence alone.
fn is_asked_by(join: &Join, item: &Item) -> bool {
    let [(asked @ Scalar::Column(0, _), _)] = join.on.as_slice() else {
        return matches!(item, Item::Scalar(_));
    };
    match item {
        Item::Scalar(_) => true,
        Item::Get(relation, key, _) => {
            join.kind != Kind::Anti && *relation == join.relation && key == asked
        }
        Item::Exists(relation, key) => *relation == join.relation && key == asked,
    }
}

fn check_lookups(case: &Case, summary: &JobSummary) -> Result<(), TestCaseError> {
    for (alias, counted) in &summary.stores {
        prop_assert!(counted.distinct <= counted.keys, "{alias}: {counted:?}");
        prop_assert_eq!(counted.hits + counted.misses, counted.distinct);
        let may_be = case.path != JoinPath::Scan || case.looks_up(alias);
        prop_assert!(may_be || counted.keys == 0, "{alias}: {counted:?}, but joins are scans");
    }
    let Some(asked) = asked(case) else { return Ok(()) };
    let alias = case.joins[0].relation.alias();
    let counted = summary.stores.get(alias).copied().unwrap_or_default();
    prop_assert!(counted.keys <= asked.rows, "{counted:?}, but {asked:?}");
    prop_assert!(counted.distinct <= asked.distinct, "{counted:?}, but {asked:?}");
    prop_assert!(!asked.surely || counted.distinct >= asked.possible, "{counted:?}, but {asked:?}");
    Ok(())
}

async fn check(case: &Case) -> Result<(), TestCaseError> {
    let expected = interpret::rows(case);
    match run(case).await {
        Ok((rows, summary)) => {
            prop_assert_eq!(rows, expected, "{}", case.sql());
            check_lookups(case, &summary)
        }
        Err(error) => Err(TestCaseError::fail(format!("nothing is missing, but: {error}"))),
    }
}

#[test]
fn random_joins_agree_with_a_row_at_a_time_interpreter() {
    let runtime = Runtime::new().unwrap();
    try_cases(
        generate::case,
        |case| runtime.block_on(check(case)),
        |case| format!("{}\n{:?}", case.sql(), runtime.block_on(explain(case))),
    );
}
