//! Which columns unions pass whole: those that would not be narrowed alike in all inputs.
//!
//! It is known when all inputs have been narrowed, and then they are narrowed anew. Were that done
//! for each union by itself, the plans below would be narrowed twice as often with each union above
//! them; so the whole plan is, for all of its unions together.

use std::{collections::BTreeSet, mem};

/// The unions of a plan, in the order in which the walk over it comes to them: it is the same each
/// time.
#[derive(Debug, Default)]
pub(super) struct Unions {
    /// Of each the places of the columns that it passes whole. Each walk but the last finds more.
    whole: Vec<BTreeSet<usize>>,
    /// How many the walk has come to.
    entered: usize,
    /// Whether it has come to a column that is not narrowed alike.
    differ: bool,
}

impl Unions {
    /// The number of the union that the walk comes to.
    pub(super) fn enter(&mut self) -> usize {
        let number = self.entered;
        self.entered += 1;
        if number == self.whole.len() {
            self.whole.push(BTreeSet::new());
        }
        number
    }

    pub(super) fn passes_whole(&self, number: usize, place: usize) -> bool {
        self.whole.get(number).is_some_and(|whole| whole.contains(&place))
    }

    /// A column of a union is not narrowed alike in all inputs.
    pub(super) fn pass_whole(&mut self, number: usize, place: usize) {
        if let Some(whole) = self.whole.get_mut(number) {
            self.differ |= whole.insert(place);
        }
    }

    /// Ends a walk: whether the inputs of each union were narrowed alike.
    pub(super) fn are_alike(&mut self) -> bool {
        self.entered = 0;
        !mem::take(&mut self.differ)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{
        common::ScalarValue,
        logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit},
        optimizer::{OptimizerContext, OptimizerRule},
    };
    use keyloom_common::{
        functions::{CallOptions, Function, GetField, KvCall, KvFunction},
        store::{LANCE, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
    };

    use crate::NarrowCalls;

    /// How many unions stand in one another.
    const UNIONS: usize = 20;

    /// A call for all columns of a store.
    fn call() -> KvCall {
        let column = |name: &str| Field::new(name, DataType::Int64, true);
        let description = StoreDescription {
            schema: Arc::new(Schema::new(vec![column("id"), column("score")])),
            snapshot: Snapshot::Immutable,
            figures: None,
            primary_key: None,
            repeats_keys: false,
        };
        let key = Some(StoreKey::column("id"));
        let spec = StoreSpec { key, ..StoreSpec::new("s", LANCE, "/s.lance") };
        let store = ResolvedStore::try_new("s", spec, description).unwrap();
        KvCall::try_new(Function::Get, store, CallOptions::default()).unwrap()
    }

    fn name(place: usize) -> String {
        format!("p{place}")
    }

    /// Columns of which the first are null, and so whole; the others are calls.
    fn input(nulls: usize) -> LogicalPlanBuilder {
        let whole = call().return_type(&Field::new("key", DataType::Int64, true)).unwrap();
        let null = Expr::Literal(ScalarValue::try_from(&whole).unwrap(), None);
        let columns = (0..=UNIONS).map(|place| {
            let value = match place < nulls {
                true => null.clone(),
                false => KvFunction::expr(call(), col("column1")),
            };
            value.alias(name(place))
        });
        let rows = LogicalPlanBuilder::values(vec![vec![lit(7_i64)]]).unwrap();
        rows.project(columns.collect::<Vec<_>>()).unwrap()
    }

    /// The fields of each column of the outermost union of some, if one is read of each: so many
    /// columns of its second input are whole, and one less of that of each union below.
    fn narrowed(nulls: usize) -> Vec<Vec<String>> {
        let others = (0..UNIONS).rev().map(|below| input(nulls.saturating_sub(below)));
        let nested = others.fold(input(0), |inner, other| {
            inner.limit(0, Some(9)).unwrap().union(other.build().unwrap()).unwrap()
        });
        let score = |place| {
            let field = GetField::udf().call(vec![col(name(place)), lit("score")]);
            field.alias(format!("score{place}"))
        };
        let read = nested.project((0..=UNIONS).map(score).collect::<Vec<_>>());
        let plan = read.unwrap().build().unwrap();
        let plan = NarrowCalls.rewrite(plan, &OptimizerContext::new()).unwrap().data;
        let union = plan.inputs()[0];
        assert!(matches!(union, LogicalPlan::Union(_)), "{plan}");
        let fields = union.schema().fields().iter().map(|column| match column.data_type() {
            DataType::Struct(fields) => fields.iter().map(|field| field.name().clone()).collect(),
            other => panic!("{other}"),
        });
        fields.collect()
    }

    #[test]
    fn columns_of_nested_unions_are_narrowed_where_all_inputs_can_be() {
        assert_eq!(narrowed(0), vec![vec!["score"]; UNIONS + 1]);
        // Each union finds another column that is not narrowed alike.
        let expected = [vec![vec!["id", "score"]; UNIONS], vec![vec!["score"]]].concat();
        assert_eq!(narrowed(UNIONS), expected);
    }
}
