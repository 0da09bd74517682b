//! A scan of a store whose condition names its keys, as a lookup of these.

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, DFSchema},
    error::Result,
    logical_expr::{
        BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
        utils::split_conjunction_owned,
    },
    scalar::ScalarValue,
};
use keyloom_common::store::JoinPath;

use super::{
    StoreTables,
    cost::{Asked, choose},
    key::{Equality, JoinKey},
    lookup::{call, fits, with_rows},
    matches::matches,
    side::{Side, as_read, columns_read},
};

/// The lookup that a filter over a store can be, if it names keys and nothing else can match.
pub(super) fn point_lookup(
    filter: &Filter,
    tables: &dyn StoreTables,
    path: JoinPath,
    row: &Column,
) -> Result<Option<LogicalPlan>> {
    let Some(side) = Side::of(&LogicalPlan::Filter(filter.clone()), tables, row)? else {
        return Ok(None);
    };
    let conditions = side.conditions.iter().cloned().flat_map(split_conjunction_owned);
    let mut points = Vec::new();
    let mut conditions: Vec<Expr> = conditions.collect();
    conditions.retain(|condition| match Point::of(condition, row) {
        Some(point) if !points.iter().any(|other: &Point| other.column == point.column) => {
            points.push(point);
            false
        }
        _ => true,
    });
    let Some((keys, others)) = Keys::of(&side, &points, row)? else { return Ok(None) };
    let asked = Asked::some(keys.count() as u64);
    let choice = choose(path, asked, &side.store);
    if !choice.is_lookup {
        return Ok(None);
    }
    conditions.extend(others);
    let columns: Vec<Column> = filter.input.schema().columns();
    let output: Vec<Expr> =
        columns.iter().filter_map(|column| side.column(column).cloned()).collect();
    let mut read = columns_read(conditions.iter().chain(&output), row, &side.store)?;
    if read.is_empty() {
        // So that there is a row to be null.
        read.extend(side.store.schema().fields().first().map(|field| field.name().clone()));
    }
    let rows = keys.rows(read, row, choice.why)?;
    let is_found = Expr::Column(row.clone()).is_not_null();
    let is_matched = matches(is_found, conditions, row)?;
    let found = LogicalPlan::Filter(Filter::try_new(is_matched, Arc::new(rows))?);
    let named = columns.into_iter().zip(output);
    let named = named.map(|(column, value)| value.alias_qualified(column.relation, column.name));
    let projection = Projection::try_new(named.collect(), Arc::new(found))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// A column of the store, and the only values that it may have.
#[derive(Clone, Debug)]
struct Point {
    column: Expr,
    values: Vec<ScalarValue>,
}

impl Point {
    /// What a condition says, if it is an equality with values or several of one column.
    fn of(condition: &Expr, row: &Column) -> Option<Self> {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (column, Expr::Literal(value, _)) | (Expr::Literal(value, _), column) => {
                        Self::try_new(column, vec![value.clone()], row)
                    }
                    _ => None,
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (mut one, other) = (Self::of(left, row)?, Self::of(right, row)?);
                one.values.extend(other.values);
                Some(one).filter(|one| one.column == other.column)
            }
            Expr::InList(list) if !list.negated => {
                let value = |value: &Expr| match value {
                    Expr::Literal(value, _) => Some(value.clone()),
                    _ => None,
                };
                let values = list.list.iter().map(value).collect::<Option<_>>()?;
                Self::try_new(&list.expr, values, row)
            }
            _ => None,
        }
    }

    fn try_new(column: &Expr, values: Vec<ScalarValue>, row: &Column) -> Option<Self> {
        as_read(column, row)?;
        Some(Self { column: column.clone(), values })
    }

    /// The values, each once: a null equals none.
    fn distinct(&self) -> Vec<ScalarValue> {
        let mut seen = HashSet::new();
        let values = self.values.iter().filter(|value| !value.is_null());
        values.filter(|value| seen.insert(*value)).cloned().collect()
    }

    /// That the column has one of the values.
    fn into_condition(self) -> Expr {
        let values = self.values.into_iter().map(|value| Expr::Literal(value, None));
        self.column.in_list(values.collect(), false)
    }
}

/// The keys that a condition names.
struct Keys {
    key: JoinKey,
    /// Each key by itself, if there are several.
    several: Option<Vec<ScalarValue>>,
}

impl Keys {
    /// The keys, and what the condition says beside; none if it does not name all of a key's
    /// columns, several of them with several values, or values that the store cannot be asked for.
    fn of(side: &Side, points: &[Point], row: &Column) -> Result<Option<(Self, Vec<Expr>)>> {
        let equality = |point: &Point| {
            let asked = Expr::Literal(point.distinct().first()?.clone(), None);
            Some(Equality { asked, held: point.column.clone() })
        };
        let Some(mut left) = points.iter().map(equality).collect::<Option<Vec<_>>>() else {
            // No value is left for a column: nothing matches, as the scan will find.
            return Ok(None);
        };
        let key = JoinKey::take(&side.store, &mut left, row, &DFSchema::empty())?;
        let Some(key) = key else { return Ok(None) };
        let is_left = |point: &Point| left.iter().any(|other| other.held == point.column);
        let (others, named): (Vec<Point>, Vec<Point>) = points.iter().cloned().partition(is_left);
        let values: Vec<_> = named.iter().map(Point::distinct).collect();
        let several = match values.as_slice() {
            one if one.iter().all(|values| values.len() == 1) => None,
            [values] => Some(values.clone()),
            _ => return Ok(None),
        };
        if !fits(&key, &LogicalPlanBuilder::empty(true).build()?)? {
            return Ok(None);
        }
        let others = others.into_iter().map(Point::into_condition).collect();
        Ok(Some((Self { key, several }, others)))
    }

    fn count(&self) -> usize {
        self.several.as_ref().map_or(1, Vec::len)
    }

    /// A plan of these columns of the keys' rows, as one column.
    fn rows(&self, columns: Vec<String>, row: &Column, why: Arc<str>) -> Result<LogicalPlan> {
        let one_row = LogicalPlanBuilder::empty(true);
        let call = call(&self.key, columns)?.joined(Some(why));
        let Some(values) = &self.several else {
            return with_rows(&one_row.build()?, call, self.key.asked.clone(), row);
        };
        let data_type = values.first().map_or(DataType::Null, ScalarValue::data_type);
        let list = ScalarValue::List(ScalarValue::new_list_nullable(values, &data_type));
        let key = Column::new_unqualified(format!("{}_key", row.name));
        let list = Expr::Literal(list, None).alias(&key.name);
        let keys = one_row.project(vec![list])?.unnest_column(key.clone())?.build()?;
        with_rows(&keys, call, Expr::Column(key), row)
    }
}
