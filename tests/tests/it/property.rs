//! Random queries over random tables, their joins and stores, compared with an interpreter that
//! takes one row at a time and looks a key up only when its value is needed. Each store is kept in
//! memory or in a Lance dataset, whose ways are drawn at random, and so are the bounds of the
//! worker.
//!
//! A failure prints its seed and the smallest case found. `KEYLOOM_SEED` repeats a run.

mod bounds;
mod columns;
mod conditions;
mod generate;
mod interpret;
mod joins;
mod query;
mod run;
mod stored;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use keyloom_client::{ErrorKind, report::JobSummary};
use keyloom_common::stack::deep;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use tokio::runtime::Runtime;

use self::{
    columns::check_columns,
    interpret::Interpreter,
    query::{Case, Store},
    run::{explain, run},
};

const CASES: u32 = 64;

/// The keys that the calls of the query asked a store for.
fn asked_of(store: Store, interpreter: &Interpreter<'_>) -> (u64, usize, usize) {
    let asked = interpreter.asked.borrow();
    let calls: Vec<_> = asked.iter().filter(|((s, _), _)| *s == store).map(|(_, a)| a).collect();
    let rows = calls.iter().map(|call| call.rows).sum();
    let by_call = calls.iter().map(|call| call.distinct.len()).sum();
    let in_all: BTreeSet<_> = calls.iter().flat_map(|call| &call.distinct).collect();
    (rows, by_call, in_all.len())
}

/// Without a join, the table is one batch, so each fetch asks for each of its keys once, or once a
/// window where windows are narrow. A fetch serves one call of the query or several, so its keys
/// are among what these asked for.
///
/// It may be fewer: DataFusion drops what cannot matter, as in `a OR (a AND kv_exists(k))`. Only
/// then may a missing key go unnoticed.
fn check_lookups(summary: &JobSummary, interpreter: &Interpreter<'_>) -> Result<(), TestCaseError> {
    let mut dropped = false;
    let once = interpreter.case.bounds.are_wide() && interpreter.case.join.is_none();
    for store in [Store::Numbers, Store::Words] {
        let counted = summary.stores.get(store.alias()).copied().unwrap_or_default();
        let (rows, by_call, in_all) = asked_of(store, interpreter);
        prop_assert!(counted.keys <= rows, "{store:?}: {counted:?}, but {rows} rows asked");
        let distinct = usize::try_from(counted.distinct).unwrap();
        prop_assert!(counted.distinct <= counted.keys, "{store:?}: {counted:?}");
        prop_assert!(
            distinct <= by_call || !once,
            "{store:?}: {counted:?}, but {by_call} were needed"
        );
        prop_assert_eq!(counted.hits + counted.misses, counted.distinct);
        // Keys that are counted in several windows may hide those of a call that was dropped.
        dropped |= distinct < in_all || !once;
    }
    prop_assert!(dropped || !interpreter.missing.get(), "a key is missing, but no error");
    Ok(())
}

async fn check(case: &Case) -> Result<(), TestCaseError> {
    let (asked, missing) = (RefCell::default(), Cell::default());
    let interpreter = Interpreter { case, missing, asked };
    let expected = interpreter.run();
    match run(case).await {
        Ok((rows, summary)) => {
            prop_assert_eq!(rows, expected, "{}", case.sql());
            check_columns(case, &summary)?;
            check_lookups(&summary, &interpreter)
        }
        Err(error) => {
            prop_assert!(interpreter.missing.get(), "nothing is missing, but: {}", error);
            prop_assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error);
            prop_assert!(error.message().starts_with("Key not found in KV store '"), "{}", error);
            Ok(())
        }
    }
}

fn seed() -> u64 {
    match std::env::var("KEYLOOM_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
    }
}

/// Runs random cases. A failure prints the seed, the smallest case found and what is shown of it.
fn try_cases<S: Strategy>(
    strategy: impl FnOnce() -> S,
    check: impl Fn(&S::Value) -> Result<(), TestCaseError>,
    show: impl Fn(&S::Value) -> String,
) {
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = std::env::var("KEYLOOM_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    // What draws a case calls itself for each of its parts.
    let mut outcome = Ok(());
    deep(|| outcome = runner.run(&strategy(), |case| check(&case)));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => {
            panic!("KEYLOOM_SEED={seed} repeats this: {why}\n{case:?}\n{}", show(&case))
        }
        Err(TestError::Abort(why)) => panic!("KEYLOOM_SEED={seed} repeats this: {why}"),
    }
}

#[test]
fn random_queries_agree_with_a_row_at_a_time_interpreter() {
    let runtime = Runtime::new().unwrap();
    try_cases(
        generate::case,
        |case| runtime.block_on(check(case)),
        |case| format!("{}\n{:?}", case.sql(), runtime.block_on(explain(case))),
    );
}
