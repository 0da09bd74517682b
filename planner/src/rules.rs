//! DataFusion's own rules, those whose mistakes are mended among them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::{
    optimizer::{Optimizer, OptimizerRule},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
};

use crate::{
    build_side::HoldFewer, constants::KeepGroups, dependencies::ForgetDependencies,
    sorts::PlanSorts, totals::KeepAboveTotals,
};

type LogicalRule = Arc<dyn OptimizerRule + Send + Sync>;
type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules for logical plans.
#[must_use]
pub fn logical_rules() -> Vec<LogicalRule> {
    let mut rules = Optimizer::new().rules;
    let mut put = |name: &str, make: fn(LogicalRule) -> Vec<LogicalRule>| {
        replace(&mut rules, |rule| rule.name() == name, make);
    };
    put("eliminate_group_by_constant", |rule| vec![Arc::new(KeepGroups(rule))]);
    put("push_down_filter", |rule| vec![Arc::new(KeepAboveTotals(rule))]);
    for cuts_short in
        ["replace_distinct_aggregate", "eliminate_duplicated_expr", "optimize_projections"]
    {
        put(cuts_short, |rule| vec![Arc::new(ForgetDependencies), rule]);
    }
    rules
}

/// The rules for physical plans.
#[must_use]
pub fn physical_rules() -> Vec<PhysicalRule> {
    let mut rules = PhysicalOptimizer::default().rules;
    let mut put = |name: &str, make: fn(PhysicalRule) -> Vec<PhysicalRule>| {
        replace(&mut rules, |rule| rule.name() == name, make);
    };
    put("join_selection", |rule| vec![rule, Arc::new(HoldFewer)]);
    put("EnforceSorting", |rule| vec![Arc::new(PlanSorts(rule))]);
    // It takes an aggregate of an aggregate for the inner one. There are no statistics to gain by.
    put("aggregate_statistics", |_| Vec::new());
    rules
}

/// Puts others in the place of a rule. A DataFusion without it would lose them without a word.
fn replace<R>(rules: &mut Vec<R>, is_it: impl Fn(&R) -> bool, make: fn(R) -> Vec<R>) {
    let place = rules.iter().position(is_it).expect("DataFusion has no rule of this name");
    let rule = rules.remove(place);
    rules.splice(place..place, make(rule));
}
