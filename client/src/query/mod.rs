//! From DataFusion's plans to jobs: the planner of a session's queries, the operator that submits
//! them, and the job that brings back rows.

mod depth;
mod fields;
mod handle;
mod in_vain;
mod job;
mod leaf;
mod options;
mod pin;
mod planner;
mod scanned;
mod seal;
mod sealed;
mod submit;
mod written;

use std::sync::Arc;

use datafusion::{
    config::ConfigOptions,
    dataframe::DataFrame,
    execution::{SessionStateBuilder, context::SessionContext},
    optimizer::{Analyzer, AnalyzerRule},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, displayable},
    prelude::SessionConfig,
};
use keyloom_common::{
    Result,
    functions::OctetLength,
    group_keys::GroupKeys,
    report::{Advice, parts},
    shuffle::{Shuffle, ShuffleChoice},
    stack::MAX_DEPTH,
    store::JoinPath,
};
use keyloom_planner::{
    ChooseAccess, ChooseShuffle, DelayCalls, DropRepeated, GroupByKeys, JoinStores, KeepCounted,
    KeepFetch, KeepInstants, KeepNested, KeepOrder, KeepSliding, KeepVarying, LiftCalls,
    NarrowCalls, OneValue, PlanLookups, PlanOptions, ReadFields, RefuseLostNulls,
    RefuseRowsOfOthers, ResolveGrouping, ShareFetches, advise, logical_rules,
};

use crate::{input::TablesOfStores, link::Link};
use fields::PlanFields;
use planner::JobPlanner;
use seal::SealDeep;

pub(crate) use depth::check as check_depth;
pub use handle::JobHandle;
pub use job::{Job, JobUpdate};
pub use options::JobOptions;
pub(crate) use scanned::Scanned;
pub(crate) use seal::seal;
pub(crate) use submit::SubmitExec;
pub(crate) use written::written;

/// A DataFusion session whose queries run as jobs.
pub(crate) fn context(link: &Arc<Link>) -> SessionContext {
    let mut analyzer: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(SealDeep),
        Arc::new(ResolveGrouping::default()),
        Arc::new(RefuseLostNulls),
        Arc::new(RefuseRowsOfOthers),
        Arc::new(KeepInstants),
        Arc::new(ReadFields),
        Arc::new(OneValue),
        Arc::new(KeepSliding),
        Arc::new(DropRepeated),
        Arc::new(LiftCalls),
    ];
    analyzer.extend(Analyzer::default().rules);
    // It needs settled types.
    analyzer.push(Arc::new(KeepNested));
    let tables = Arc::new(TablesOfStores);
    let state = SessionStateBuilder::new()
        .with_config(config(link))
        // DataFusion's come after it.
        .with_expr_planners(PlanFields::first())
        .with_default_features()
        .with_analyzer_rules(analyzer)
        .with_optimizer_rules(logical_rules())
        .with_optimizer_rule(Arc::new(JoinStores::new(tables)))
        // What DataFusion's own rules move and prune is moved and pruned by then. What is read of
        // a call decides whether it is delayed, and then less may be read below.
        .with_optimizer_rule(Arc::new(NarrowCalls))
        .with_optimizer_rule(Arc::new(DelayCalls))
        .with_optimizer_rule(Arc::new(ShareFetches))
        .with_optimizer_rule(Arc::new(NarrowCalls))
        .with_physical_optimizer_rules(physical_rules())
        .with_query_planner(Arc::new(JobPlanner::new(Arc::clone(link))))
        .build();
    let context = SessionContext::new_with_state(state);
    OctetLength::register(&context);
    context
}

fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> =
        vec![Arc::new(PlanLookups), Arc::new(KeepVarying), Arc::new(KeepOrder)];
    rules.extend(keyloom_planner::physical_rules());
    rules.push(Arc::new(KeepFetch));
    rules.push(Arc::new(KeepCounted));
    rules.push(Arc::new(ChooseShuffle));
    rules.push(Arc::new(GroupByKeys));
    rules.push(Arc::new(ChooseAccess));
    rules
}

/// Rows keep their order, and nothing is planned that a plan cannot carry to another process.
fn config(link: &Link) -> SessionConfig {
    let settings = &link.settings;
    let mut options = ConfigOptions::new();
    options.execution.batch_size = settings.batch_rows as usize;
    options.execution.target_partitions = 1;
    options.execution.collect_statistics = false;
    options.execution.parquet.schema_force_view_types = false;
    // It would refuse groups by `IS TRUE`, which its own plans take for what may be null.
    options.execution.skip_physical_aggregate_schema_check = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.recursion_limit = MAX_DEPTH;
    options.optimizer.enable_round_robin_repartition = false;
    options.optimizer.repartition_file_scans = false;
    options.optimizer.repartition_aggregations = false;
    options.optimizer.repartition_joins = false;
    options.optimizer.repartition_windows = false;
    options.optimizer.repartition_sorts = true;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // It would allocate a place for each row that a limit allows, however many these are.
    options.optimizer.enable_topk_aggregation = false;
    // It would copy field accesses below filters, and lookups with them.
    options.optimizer.enable_leaf_expression_pushdown = false;
    // A scalar subquery's result would have to travel apart from the plan.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let (join_path, shuffle) = (settings.join_path, settings.shuffles());
    let is_together = link.connection.local_workers().is_some();
    let plans = PlanOptions { join_path, shuffle, is_together, ..PlanOptions::default() };
    options.extensions.insert(plans);
    SessionConfig::from(options)
}

/// Lets rows that belong together be brought together, which workers do among themselves, where a
/// statement or its session says so.
fn let_shuffle(options: &mut ConfigOptions) {
    let shuffles = PlanOptions::of(options).shuffle;
    if shuffles.shuffle == Shuffle::Never {
        return;
    }
    options.execution.target_partitions = shuffles.partitions;
    options.optimizer.repartition_aggregations = true;
    options.optimizer.repartition_joins = true;
    options.optimizer.repartition_windows = true;
    // What is interleaved instead could not travel.
    options.optimizer.prefer_existing_union = true;
}

/// The same query, whose joins with stores are made this way, whatever its session says.
pub fn with_join_path(query: DataFrame, path: JoinPath) -> DataFrame {
    let (mut state, plan) = query.into_parts();
    let options = PlanOptions { join_path: path, ..PlanOptions::of(state.config_options()) };
    state.config_mut().options_mut().extensions.insert(options);
    DataFrame::new(state, plan)
}

/// The same query, whose rows are grouped by their keys below lookups as this says, whatever its
/// session says.
pub fn with_group_keys(query: DataFrame, group_keys: GroupKeys) -> DataFrame {
    let (mut state, plan) = query.into_parts();
    let options = PlanOptions { group_keys, ..PlanOptions::of(state.config_options()) };
    state.config_mut().options_mut().extensions.insert(options);
    DataFrame::new(state, plan)
}

/// The same query, whose rows are shuffled among workers as this says. What it does not say, the
/// query's session does.
///
/// # Errors
/// `invalid`, naming all that are out of bounds.
pub fn with_shuffle(query: DataFrame, choice: ShuffleChoice) -> Result<DataFrame> {
    let (mut state, plan) = query.into_parts();
    let options = PlanOptions::of(state.config_options());
    let shuffle = choice.over(options.shuffle)?;
    state.config_mut().options_mut().extensions.insert(PlanOptions { shuffle, ..options });
    Ok(DataFrame::new(state, plan))
}

/// The physical plan of a query as text, which says what would run where, if workers may shuffle
/// its rows.
pub(crate) async fn physical_plan_text(query: DataFrame) -> Result<String> {
    let plan = physical_plan(query).await?;
    Ok(parts::text(&displayable(plan.as_ref()).indent(false).to_string()))
}

/// What the ways of a query's lookups are estimated to cost.
pub(crate) async fn advice(query: DataFrame) -> Result<Vec<Advice>> {
    Ok(advise(&physical_plan(query).await?))
}

/// What a query would submit.
async fn physical_plan(query: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
    check_depth(query.logical_plan())?;
    let plan = query.create_physical_plan().await?;
    Ok(match plan.downcast_ref::<SubmitExec>() {
        Some(submit) => submit.shown(),
        None => plan,
    })
}
