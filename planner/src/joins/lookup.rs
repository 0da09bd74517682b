//! A join with a store as a lookup of its key.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::{
    common::{Column, NullEquality},
    error::Result,
    logical_expr::{
        Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection,
        utils::conjunction, when,
    },
};
use keyloom_common::functions::{CallOptions, Function, KvCall, OnError};

use super::{
    StoreTables,
    beside::with_answer,
    cost::{Asked, Choice, are_gathered, choose, rows, store_rows},
    key::{Equality, JoinKey},
    matches::{matches, may_fail_of_a_row},
    side::{Side, columns_read, is_null_of_null, may_move},
    wanted::Wanted,
};
use crate::{columns::with_columns, options::PlanOptions};

/// What a join makes of the other side's rows, each of which finds one row of the store or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows that find one, with it.
    Inner,
    /// All rows, with what they find.
    Outer,
    /// Rows that find one.
    Semi,
    /// Rows that find none.
    Anti,
    /// All rows, and whether they find one.
    Mark,
}

/// A join that can be a lookup.
#[derive(Debug)]
pub(super) struct LookupJoin<'a> {
    join: &'a Join,
    kind: Kind,
    /// The side that asks.
    asking: &'a Arc<LogicalPlan>,
    side: Side,
    /// The column that is to hold the store's rows.
    row: Column,
    key: JoinKey,
    /// What else must hold for rows to match, over the asking side and the row.
    conditions: Vec<Expr>,
}

impl Kind {
    pub(super) fn of(join_type: JoinType, store_is_right: bool) -> Option<Self> {
        Some(match (join_type, store_is_right) {
            (JoinType::Inner, _) => Self::Inner,
            (JoinType::Left, true) | (JoinType::Right, false) => Self::Outer,
            (JoinType::LeftSemi, true) | (JoinType::RightSemi, false) => Self::Semi,
            (JoinType::LeftAnti, true) | (JoinType::RightAnti, false) => Self::Anti,
            (JoinType::LeftMark, true) | (JoinType::RightMark, false) => Self::Mark,
            // All rows of the store are wanted, or rows of the store alone.
            _ => return None,
        })
    }

    /// Whether no row is dropped.
    pub(super) fn keeps_all(self) -> bool {
        matches!(self, Self::Outer | Self::Mark)
    }

    /// Whether each match of a row with one of several rows of the store can be decided by itself.
    /// What comes once if none of them matches is not known from one, unless all of them match.
    fn is_of_rows(self, conditions: &[Expr]) -> bool {
        self == Self::Inner || conditions.is_empty()
    }
}

impl<'a> LookupJoin<'a> {
    /// The lookup that a join can be, if that side of it is a store and it is on the store's key.
    pub(super) fn of(
        join: &'a Join,
        store_is_right: bool,
        tables: &dyn StoreTables,
        row: &Column,
    ) -> Result<Option<Self>> {
        let Some(kind) = Kind::of(join.join_type, store_is_right) else { return Ok(None) };
        // A null key is never found, and other rows are answered whatever nulls the store holds.
        if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
            return Ok(None);
        }
        let (asking, held) = match store_is_right {
            true => (&join.left, &join.right),
            false => (&join.right, &join.left),
        };
        let Some(side) = Side::of(held, tables, row)? else { return Ok(None) };
        let Some(mut equalities) = equalities(join, store_is_right, &side)? else {
            return Ok(None);
        };
        let key = JoinKey::take(&side.store, &mut equalities, row, asking.schema())?;
        let Some(mut key) = key else { return Ok(None) };
        if !fits(&key, asking)? {
            return Ok(None);
        }
        let mut conditions = side.conditions.clone();
        conditions.extend(equalities.into_iter().map(|equal| equal.asked.eq(equal.held)));
        if let Some(filter) = &join.filter {
            let Some(filter) = side.over_row_and(filter, asking.schema())? else {
                return Ok(None);
            };
            conditions.push(filter);
        }
        if kind != Kind::Inner {
            // Rows for which a condition of their own does not hold find none: they do not ask.
            let is_own = |condition: &Expr| !condition.column_refs().contains(row);
            let (own, others): (Vec<_>, Vec<_>) = conditions.into_iter().partition(is_own);
            conditions = others;
            if let Some(own) = conjunction(own) {
                key.asked = when(own, key.asked).end()?;
            }
        }
        if !key.is_unique && !kind.is_of_rows(&conditions) {
            return Ok(None);
        }
        let row = row.clone();
        Ok(Some(Self { join, kind, asking, side, row, key, conditions }))
    }

    /// How many rows the store has, if that is known.
    pub(super) fn store_rows(&self) -> Option<u64> {
        store_rows(&self.side.store)
    }

    /// Whether it is asked for, or cheaper than the join, of which so many rows are wanted.
    pub(super) fn choose(&self, options: PlanOptions, wanted: Wanted) -> Choice {
        let asked = wanted.of_asking(self.kind).of(rows(self.asking));
        let conditions = &self.side.conditions;
        // A scan would compute them of rows that nobody asks for.
        let may_fail = conditions.iter().any(may_fail_of_a_row);
        let are_sifted = !conditions.is_empty() && !may_fail;
        let are_gathered = !may_fail && are_gathered(self.asking);
        // Where all rows are kept, a lookup may yet be made of the first of them alone.
        let is_together = options.is_together && !may_fail && !self.kind.keeps_all();
        let asked = Asked { are_sifted, are_gathered, is_together, ..asked };
        choose(options.join_path, asked, &self.side.store)
    }

    /// The join as a lookup, and why it is one.
    pub(super) fn plan(self, why: Arc<str>) -> Result<LogicalPlan> {
        let (call, is_found) = self.call()?;
        let call = call.joined(Some(why));
        let asked = with_rows(self.asking, call, self.key.asked.clone(), &self.row)?;
        let is_matched = matches(is_found, self.conditions.iter().cloned(), &self.row)?;
        let plain = |value: Expr| Ok(value);
        match self.kind {
            Kind::Inner | Kind::Semi => self.output(filter(is_matched, asked)?, plain, None),
            Kind::Anti => self.output(filter(is_matched.is_not_true(), asked)?, plain, None),
            Kind::Mark => self.output(asked, plain, Some(is_matched.is_true())),
            Kind::Outer if self.conditions.is_empty() && self.is_null_of_none() => {
                self.output(asked, plain, None)
            }
            Kind::Outer => {
                let name = format!("{}_matched", self.row.name);
                let decided = with_columns(asked, vec![is_matched.alias(&name)])?;
                let is_matched = Expr::Column(Column::new_unqualified(name));
                let where_matched = |value| when(is_matched.clone(), value).end();
                self.output(decided, where_matched, None)
            }
        }
    }

    /// Whether all that is read of the store is null where no row is found. What a subquery makes
    /// of nulls, or without the store's columns, is not.
    fn is_null_of_none(&self) -> bool {
        let columns = self.join.schema.columns();
        let mut read = columns.iter().filter_map(|column| self.side.column(column));
        read.all(|value| is_null_of_null(value, &self.row))
    }

    /// The call that looks the key up, and what says that it was found. If nothing is read of the
    /// row, its existence is all that is asked for.
    fn call(&self) -> Result<(KvCall, Expr)> {
        let output = self.join.schema.columns().into_iter();
        let output: Vec<Expr> =
            output.filter_map(|column| self.side.column(&column).cloned()).collect();
        let read = self.conditions.iter().chain(&output);
        let mut columns = columns_read(read, &self.row, &self.side.store)?;
        let gives_rows = matches!(self.kind, Kind::Inner | Kind::Outer) && !self.key.is_unique;
        if columns.is_empty() && gives_rows {
            // There may be several, and something must say how many.
            columns.extend(self.key.store.key().columns().first().cloned());
        }
        let row = Expr::Column(self.row.clone());
        let is_found = if columns.is_empty() { row.is_true() } else { row.is_not_null() };
        Ok((self::call(&self.key, columns)?, is_found))
    }

    /// The join's columns, over a plan with the asking side's and the row.
    fn output(
        &self,
        input: LogicalPlan,
        value: impl Fn(Expr) -> Result<Expr>,
        mark: Option<Expr>,
    ) -> Result<LogicalPlan> {
        let columns = self.join.schema.iter().map(|(qualifier, field)| -> Result<Expr> {
            let column = Column::new(qualifier.cloned(), field.name());
            let computed = match (self.side.column(&column), &mark) {
                (Some(read), None) => value(read.clone())?,
                (_, Some(mark)) if !self.asking.schema().has_column(&column) => mark.clone(),
                _ => return Ok(Expr::Column(column)),
            };
            Ok(computed.alias_qualified(qualifier.cloned(), field.name()))
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
    }
}

/// A call for these columns of a key's rows, or for its existence.
pub(super) fn call(key: &JoinKey, columns: Vec<String>) -> Result<KvCall> {
    let function = match (columns.is_empty(), key.is_unique) {
        (true, _) => Function::Exists,
        (false, true) => Function::Get,
        (false, false) => Function::GetAll,
    };
    let columns = Some(columns).filter(|columns| !columns.is_empty());
    let options = CallOptions { columns, on_error: OnError::Unmatched, batch_size: None };
    Ok(KvCall::try_new(function, Arc::clone(&key.store), options)?)
}

/// A plan with a column of the rows that a call finds: with each row once for each, and once with a
/// null for none.
pub(super) fn with_rows(
    plan: &LogicalPlan,
    call: KvCall,
    key: Expr,
    row: &Column,
) -> Result<LogicalPlan> {
    let finds_lists = call.function() == Function::GetAll;
    let asked = with_answer(plan, call, key, &row.name)?;
    if !finds_lists {
        return Ok(asked);
    }
    LogicalPlanBuilder::from(asked).unnest_column(row.clone())?.build()
}

/// Whether a join wants all rows of a store on that side of it, or those alone: no keys name them.
pub(super) fn wants_all_rows(join_type: JoinType, store_is_right: bool) -> bool {
    Kind::of(join_type, store_is_right).is_none()
}

/// What the join says to be equal; none if an expression cannot be moved.
fn equalities(join: &Join, store_is_right: bool, side: &Side) -> Result<Option<Vec<Equality>>> {
    let mut equalities = Vec::with_capacity(join.on.len());
    for (left, right) in &join.on {
        let (asked, held) = if store_is_right { (left, right) } else { (right, left) };
        let Some(held) = side.over_row(held)?.filter(|_| may_move(asked)) else {
            return Ok(None);
        };
        equalities.push(Equality { asked: asked.clone(), held });
    }
    Ok(Some(equalities))
}

/// Whether the store can be asked for the key. What it cannot be asked for may still be joined.
pub(super) fn fits(key: &JoinKey, asking: &LogicalPlan) -> Result<bool> {
    let data_type = key.asked.get_type(asking.schema().as_ref())?;
    let call = call(key, Vec::new())?;
    Ok(call.return_type(&Field::new("key", data_type, true)).is_ok())
}

fn filter(condition: Expr, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(input))?))
}
