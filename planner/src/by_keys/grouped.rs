//! The nodes of a chain over groups of rows, beside which stand the states of their aggregates.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::datatypes::Schema;
use datafusion::{
    error::Result,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan,
        filter::{FilterExec, FilterExecBuilder},
        projection::{ProjectionExec, ProjectionExpr},
        unnest::{ListUnnest, UnnestExec},
    },
};
use keyloom_common::{Error, lookup::KvLookupExec};

use super::chain::{Needs, column, kept_by, replaced, width};

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// A plan over groups by keys.
pub(super) struct Grouped {
    plan: Plan,
    /// Where each column is that there was without groups, if it is still there.
    places: Vec<Option<usize>>,
    /// Where the states of aggregates are.
    states: Range<usize>,
    /// Which of them is the number of rows.
    counting: usize,
}

impl Grouped {
    /// The groups themselves, by what is needed of the rows.
    pub(super) fn new(groups: Plan, needs: &Needs, counting: usize) -> Self {
        let keys = needs.of_rows();
        let last = keys.last().map_or(0, |last| last + 1);
        let mut places = vec![None; last];
        for (place, column) in keys.iter().enumerate() {
            places[*column] = Some(place);
        }
        let states = keys.len()..width(&groups);
        Self { plan: groups, places, states, counting }
    }

    pub(super) fn states(&self) -> Range<usize> {
        self.states.clone()
    }

    pub(super) fn into_plan(self) -> Plan {
        self.plan
    }

    /// The columns of the states.
    pub(super) fn state_columns(&self) -> Vec<ProjectionExpr> {
        let schema = self.plan.schema();
        let state = |at: usize| {
            let alias = schema.field(at).name().clone();
            ProjectionExpr { expr: column(&schema, at), alias }
        };
        self.states().map(state).collect()
    }

    /// An expression over the columns that there were, over those that there are.
    pub(super) fn moved(&self, expr: &Expr) -> Result<Expr> {
        moved(expr, &self.places, &self.plan.schema())
    }

    /// The node over the groups.
    pub(super) fn under(self, node: &Plan, needed: &BTreeSet<usize>) -> Result<Self> {
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            return self.under_projection(projection, needed);
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            return self.under_filter(filter);
        }
        if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
            return self.under_unnest(unnest);
        }
        match node.downcast_ref::<KvLookupExec>() {
            Some(lookup) => self.under_lookup(lookup),
            None => Err(Error::internal(format!("{} over groups by keys", node.name())).into()),
        }
    }

    fn under_projection(
        self,
        projection: &ProjectionExec,
        needed: &BTreeSet<usize>,
    ) -> Result<Self> {
        let all = projection.expr();
        let mut places = vec![None; all.len()];
        let mut exprs = Vec::with_capacity(needed.len() + self.states.len());
        for (at, projected) in all.iter().enumerate().filter(|(at, _)| needed.contains(at)) {
            places[at] = Some(exprs.len());
            let (expr, alias) = (self.moved(&projected.expr)?, projected.alias.clone());
            exprs.push(ProjectionExpr { expr, alias });
        }
        let first = exprs.len();
        exprs.extend(self.state_columns());
        let states = first..exprs.len();
        let plan = Arc::new(ProjectionExec::try_new(exprs, self.plan)?);
        Ok(Self { plan, places, states, counting: self.counting })
    }

    fn under_filter(self, filter: &FilterExec) -> Result<Self> {
        let predicate = self.moved(filter.predicate())?;
        let kept = kept_by(filter).into_iter();
        let places = kept.map(|at| self.places.get(at).copied().flatten()).collect();
        let plan = Arc::new(FilterExecBuilder::new(predicate, self.plan).build()?);
        Ok(Self { plan, places, ..self })
    }

    /// Columns stay where they are, and rows of lists get what belongs to these.
    fn under_unnest(self, unnest: &UnnestExec) -> Result<Self> {
        let (before, after) = (self.plan.schema(), unnest.schema());
        let mut fields = before.fields().to_vec();
        for (at, place) in self.places.iter().enumerate() {
            if let Some(place) = place {
                fields[*place] = Arc::clone(&after.fields()[at]);
            }
        }
        let lists = unnest.list_column_indices().iter().map(|list| {
            let place = place(&self.places, list.index_in_input_schema)?;
            Ok(ListUnnest { index_in_input_schema: place, depth: list.depth })
        });
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new_with_metadata(fields, before.metadata().clone()));
        let options = unnest.options().clone();
        let plan = Arc::new(UnnestExec::new(self.plan, lists, Vec::new(), schema, options)?);
        Ok(Self { plan, ..self })
    }

    fn under_lookup(self, lookup: &KvLookupExec) -> Result<Self> {
        let mut waves = lookup.waves().to_vec();
        let (before, now) = (width(lookup.input()), width(&self.plan));
        let mut places = self.places;
        places.resize(before, None);
        let mut schema = self.plan.schema();
        for wave in &mut waves {
            for fetch in &mut wave.fetches {
                fetch.key = moved(&fetch.key, &places, &schema)?;
                for guard in fetch.calls.iter_mut().filter_map(|call| call.guard.as_mut()) {
                    *guard = moved(guard, &places, &schema)?;
                }
            }
            schema = wave.extend_schema(&schema)?;
            places.extend((now + places.len() - before..schema.fields().len()).map(Some));
        }
        let counted_by = Some(self.states.start + self.counting);
        let plan = KvLookupExec::try_new(self.plan, waves)?.with_counted_by(counted_by);
        let (states, counting) = (self.states, self.counting);
        Ok(Self { plan: Arc::new(plan), places, states, counting })
    }
}

fn moved(expr: &Expr, places: &[Option<usize>], schema: &Schema) -> Result<Expr> {
    let moved = replaced(expr, |at| Some(column(schema, places.get(at).copied().flatten()?)))?;
    moved.ok_or_else(|| Error::internal(format!("{expr} is not over groups by keys")).into())
}

fn place(places: &[Option<usize>], at: usize) -> Result<usize> {
    let place = places.get(at).copied().flatten();
    place.ok_or_else(|| Error::internal(format!("column {at} is not in groups by keys")).into())
}
