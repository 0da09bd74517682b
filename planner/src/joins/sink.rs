//! Moving a call down a plan to where other calls are made.
//!
//! What stands between keeps all rows, or is the condition of a join that has asked the store for
//! the same key: of the rows that it drops, nothing more is asked for.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchema},
    error::Result,
    logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, Unnest},
};
use keyloom_common::functions::{KvCall, KvFunction};

use super::{ROW, kept::Kept};
use crate::{
    delay::{column, replaced},
    holds::{contains, contains_call},
    narrow::unaliased,
};

/// What a call is to be made beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// The first calls on the way, below no condition.
    Calls,
    /// The call of a join, below its condition.
    Join,
}

/// A call on its way down a plan.
#[derive(Debug)]
pub(super) struct Sinking<'a> {
    call: KvCall,
    /// Its key, over the plan that it has come to.
    key: Expr,
    /// The name of the column that is to hold its answer.
    name: &'a str,
    beside: Beside,
    /// The conditions that it has passed, over that plan.
    passed: Vec<Kept>,
}

impl<'a> Sinking<'a> {
    /// A call that is to be made beside others, with them or before or after them.
    pub(super) fn beside_calls(call: KvCall, key: Expr, name: &'a str) -> Self {
        Self { call, key, name, beside: Beside::Calls, passed: Vec::new() }
    }

    /// A call that is to be made with that of a join, if the two are one fetch.
    pub(super) fn beside_join(call: KvCall, key: Expr, name: &'a str) -> Self {
        Self { call, key, name, beside: Beside::Join, passed: Vec::new() }
    }

    /// The same plan, with the call's answer for each of its rows as one more column; none if there
    /// is nothing that it can be made beside.
    pub(super) fn into_plan(self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        match plan {
            LogicalPlan::Projection(projection) => self.into_projection(projection),
            LogicalPlan::SubqueryAlias(alias) => self.below_alias(alias),
            LogicalPlan::Filter(filter) => self.below_filter(filter),
            LogicalPlan::Unnest(unnest) => self.below_unnest(unnest),
            _ => Ok(None),
        }
    }

    fn into_projection(self, projection: &Projection) -> Result<Option<LogicalPlan>> {
        let below = self.over_input(&projection.schema, |at| {
            projection.expr.get(at).map(|expr| unaliased(expr).clone())
        })?;
        let Some(sinking) = below else { return Ok(None) };
        let name = sinking.name;
        let mut exprs = projection.expr.clone();
        let input = if sinking.has_arrived(projection) {
            if !sinking.passed.iter().all(|kept| kept.allows(&sinking.call, &sinking.key)) {
                return Ok(None);
            }
            exprs.push(KvFunction::expr(sinking.call, sinking.key).alias(name));
            Arc::clone(&projection.input)
        } else {
            // The calls of its key are made here.
            if contains_call(&sinking.key) {
                return Ok(None);
            }
            let Some(input) = sinking.into_plan(&projection.input)? else { return Ok(None) };
            exprs.push(Expr::Column(Column::new_unqualified(name)));
            Arc::new(input)
        };
        Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
    }

    /// Whether the projection, over whose input it is said, is where it is to be made.
    fn has_arrived(&self, projection: &Projection) -> bool {
        match self.beside {
            Beside::Calls => projection.expr.iter().any(contains_call),
            Beside::Join => self.passed.iter().any(|kept| contains_call(&kept.found)),
        }
    }

    fn below_alias(self, alias: &SubqueryAlias) -> Result<Option<LogicalPlan>> {
        let name = self.name;
        let input = alias.input.schema();
        let below = self.over_input(&alias.schema, |at| Some(column(input, at)))?;
        let Some(sinking) = below else { return Ok(None) };
        let Some(input) = sinking.into_plan(&alias.input)? else { return Ok(None) };
        let input = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
        let input = Arc::new(LogicalPlan::SubqueryAlias(input));
        // The column's name is nobody's but its own.
        let answer = Expr::Column(Column::new(Some(alias.alias.clone()), name)).alias(name);
        let columns = alias.schema.columns().into_iter().map(Expr::Column).chain([answer]);
        Projection::try_new(columns.collect(), input).map(LogicalPlan::Projection).map(Some)
    }

    fn below_filter(self, filter: &Filter) -> Result<Option<LogicalPlan>> {
        let Some(kept) = Kept::by(&filter.predicate).filter(|_| self.beside == Beside::Join) else {
            return Ok(None);
        };
        let Self { call, key, name, beside, mut passed } = self;
        let Some(call) = kept.below(call)? else { return Ok(None) };
        passed.push(kept);
        let sinking = Self { call, key, name, beside, passed };
        let Some(input) = sinking.into_plan(&filter.input)? else { return Ok(None) };
        Filter::try_new(filter.predicate.clone(), Arc::new(input))
            .map(LogicalPlan::Filter)
            .map(Some)
    }

    /// The rows that a join found are unnested above the call, unless its key comes from them. Null
    /// is unnested, too, and no list is empty: no row goes.
    ///
    /// A call with a limit of its misses stays above: each of the statement's rows counts, of which
    /// there are other numbers below.
    fn below_unnest(self, unnest: &Unnest) -> Result<Option<LogicalPlan>> {
        let is_free = |column: &Column| {
            column.name.starts_with(ROW) && !self.key.column_refs().contains(column)
        };
        if self.call.on_error().max_misses().is_some() || !unnest.exec_columns.iter().all(is_free) {
            return Ok(None);
        }
        let Some(input) = self.into_plan(&unnest.input)? else { return Ok(None) };
        let columns = unnest.exec_columns.clone();
        let unnest = Unnest::try_new(Arc::new(input), columns, unnest.options.clone())?;
        Ok(Some(LogicalPlan::Unnest(unnest)))
    }

    /// The same over the input of a plan with this schema, of whose columns `value` says what they
    /// are; none if it cannot be said, or might be another key there.
    fn over_input(
        self,
        schema: &DFSchema,
        value: impl Fn(usize) -> Option<Expr>,
    ) -> Result<Option<Self>> {
        let Some(key) = replaced(&self.key, schema, &value)?.filter(|key| !changes(key)) else {
            return Ok(None);
        };
        let mut passed = Vec::with_capacity(self.passed.len());
        for kept in &self.passed {
            let Some(found) = replaced(&kept.found, schema, &value)? else { return Ok(None) };
            passed.push(kept.reading(found));
        }
        Ok(Some(Self { key, passed, ..self }))
    }
}

/// Whether an expression may have another value where it is computed again. Calls do not: equal
/// ones become one.
fn changes(expr: &Expr) -> bool {
    contains(expr, |node| match node {
        Expr::ScalarFunction(function) if function.func.inner().is::<KvFunction>() => false,
        node => node.is_volatile_node(),
    })
}
