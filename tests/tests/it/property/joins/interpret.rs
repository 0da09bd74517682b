//! The interpreter: one row at a time, by the letter of SQL.

use std::collections::BTreeMap;

use super::case::{Case, Condition, Equality, Filter, Item, Join, Kind, Query, Relation, Scalar};
use crate::property::query::Value;

/// A row of a relation; none where there is none, or where it cannot be read any more.
type Held<'a> = (Relation, Option<&'a [Value]>);

/// A row of each relation so far.
type Row<'a> = Vec<Held<'a>>;

/// The rows of a case's statement; sorted, unless they have an order.
pub(super) fn rows(case: &Case) -> Vec<Vec<Value>> {
    let mut rows: Vec<_> = joined(case)
        .into_iter()
        .filter(|row| passes(case, row))
        .map(|row| case.items.iter().map(|item| selected(case, item, &row)).collect::<Vec<_>>())
        .collect();
    rows.sort_by_cached_key(|row| nulls_last(row));
    let mut answer = match &case.query {
        Query::Rows => rows,
        Query::First { skip, take } => return rows.into_iter().skip(*skip).take(*take).collect(),
        Query::Outside { tested } => {
            let first = rows.into_iter().filter_map(|row| row.into_iter().next());
            first.filter(|value| !tested || *value != Value::Null).map(|v| vec![v]).collect()
        }
        Query::Count { most } => {
            let count = most.map_or(rows.len(), |most| most.min(rows.len()));
            vec![vec![Value::Int(count as i64)]]
        }
        Query::Groups => groups(rows),
    };
    answer.sort();
    answer
}

fn nulls_last(row: &[Value]) -> Vec<(bool, Value)> {
    row.iter().map(|value| (*value == Value::Null, value.clone())).collect()
}

fn groups(rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    let mut groups = BTreeMap::<Value, i64>::new();
    for first in rows.into_iter().filter_map(|row| row.into_iter().next()) {
        *groups.entry(first).or_default() += 1;
    }
    groups.into_iter().map(|(value, rows)| vec![value, Value::Int(rows)]).collect()
}

/// What a join asks for of a row of the table.
pub(super) fn key_of(join: &Join, row: &[Value]) -> Vec<Value> {
    let row = vec![(Relation::Table, Some(row))];
    join.on.iter().map(|(asked, _)| value(asked, &row)).collect()
}

fn joined(case: &Case) -> Vec<Row<'_>> {
    let table = case.rows.iter().map(|row| vec![(Relation::Table, Some(row.as_slice()))]);
    (0..case.joins.len()).fold(table.collect(), |rows, join| joined_with(case, rows, join))
}

/// The rows of all joins up to one.
fn joined_with<'a>(case: &'a Case, rows: Vec<Row<'a>>, number: usize) -> Vec<Row<'a>> {
    let join = &case.joins[number];
    let held = case.rows_of(join.relation);
    let with = |row: &Row<'a>, held: Option<&'a [Value]>| -> Row<'a> {
        row.iter().copied().chain([(join.relation, held)]).collect()
    };
    let mut is_matched = vec![false; held.len()];
    let mut answer = Vec::new();
    for row in &rows {
        let mut found = Vec::new();
        for (place, held) in held.iter().enumerate() {
            let pair = with(row, Some(held.as_slice()));
            if join.kind == Kind::Cross || matches(&join.on, join.more.as_ref(), &pair) {
                is_matched[place] = true;
                found.push(pair);
            }
        }
        let is_found = !found.is_empty();
        match join.kind {
            Kind::Inner | Kind::Right | Kind::Cross => answer.extend(found),
            Kind::Left | Kind::Full if is_found => answer.extend(found),
            Kind::Left | Kind::Full => answer.push(with(row, None)),
            Kind::Semi if is_found => answer.push(with(row, None)),
            Kind::Anti if !is_found => answer.push(with(row, None)),
            Kind::Semi | Kind::Anti => {}
        }
    }
    if matches!(join.kind, Kind::Right | Kind::Full) {
        let before = case.joins[..number].iter().map(|join| join.relation);
        let before = std::iter::once(Relation::Table).chain(before);
        let nothing: Row<'a> = before.map(|relation| (relation, None)).collect();
        let unmatched = held.iter().zip(is_matched).filter(|(_, is_matched)| !is_matched);
        answer.extend(unmatched.map(|(held, _)| with(&nothing, Some(held.as_slice()))));
    }
    answer
}

/// Whether the last relation's row is one that the others ask for.
fn matches(on: &[Equality], more: Option<&Condition>, row: &[Held<'_>]) -> bool {
    let place = row.len() - 1;
    let (relation, held) = row[place];
    let is_equal = |(asked, column): &Equality| {
        let held = held.map_or(&Value::Null, |held| &held[relation.place(column)]);
        equal(&value(asked, row), held) == Some(true)
    };
    on.iter().all(is_equal) && more.is_none_or(|more| holds(more, row) == Some(true))
}

fn value(scalar: &Scalar, row: &[Held<'_>]) -> Value {
    match scalar {
        Scalar::Column(place, column) => {
            let (relation, values) = row[*place];
            values.map_or(Value::Null, |values| values[relation.place(column)].clone())
        }
        Scalar::Coalesce(one, other) => match value(one, row) {
            Value::Null => value(other, row),
            one => one,
        },
        Scalar::Literal(literal) => literal.clone(),
    }
}

fn equal(left: &Value, right: &Value) -> Option<bool> {
    (*left != Value::Null && *right != Value::Null).then(|| left == right)
}

/// Whether a condition holds; none if that is unknown.
fn holds(condition: &Condition, row: &[Held<'_>]) -> Option<bool> {
    match condition {
        Condition::Less(left, right) => {
            let (left, right) = (value(left, row), value(right, row));
            (left != Value::Null && right != Value::Null).then(|| left < right)
        }
        Condition::Equal(left, right) => equal(&value(left, row), &value(right, row)),
        Condition::IsNull(scalar) => Some(value(scalar, row) == Value::Null),
        Condition::Not(inner) => holds(inner, row).map(|holds| !holds),
        Condition::Or(left, right) => either(holds(left, row), holds(right, row)),
    }
}

fn either(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// Whether all conditions hold of a row of all joins.
fn passes(case: &Case, row: &[Held<'_>]) -> bool {
    let is_left = |(place, join): (usize, &Join)| {
        join.kind != Kind::Cross || matches(&join.on, join.more.as_ref(), &row[..place + 2])
    };
    case.joins.iter().enumerate().all(is_left)
        && case.filters.iter().all(|filter| is_true(case, filter, row) == Some(true))
}

fn is_true(case: &Case, filter: &Filter, row: &[Held<'_>]) -> Option<bool> {
    let (is_true, or) = match filter {
        Filter::Plain(condition) => return holds(condition, row),
        Filter::Exists { negated, relation, on, more, or } => {
            let exists = case.rows_of(*relation).iter().any(|held| {
                let held = (*relation, Some(held.as_slice()));
                let row: Row<'_> = row.iter().copied().chain([held]).collect();
                matches(on, more.as_ref(), &row)
            });
            (Some(exists != *negated), or)
        }
        Filter::In { negated, relation, asked, below, or } => {
            let asked = value(asked, row);
            let is_wanted = |held: &&Vec<Value>| {
                let next = &held[relation.place("next")];
                below.is_none_or(|below| *next != Value::Null && *next < Value::Int(below))
            };
            // Of no rows at all, none is equal, whatever is asked for.
            let mut among = Some(false);
            for held in case.rows_of(*relation).iter().filter(is_wanted) {
                among = either(among, equal(&asked, &held[relation.place("key")]));
            }
            (among.map(|among| among != *negated), or)
        }
    };
    match or {
        Some(or) => either(holds(or, row), is_true),
        None => is_true,
    }
}

fn selected(case: &Case, item: &Item, row: &[Held<'_>]) -> Value {
    // Of several rows, the first is found.
    let find = |relation: &Relation, key: &Scalar| {
        let key = value(key, row);
        let mut held = case.rows_of(*relation).iter();
        held.find(|held| equal(&key, &held[relation.place("key")]) == Some(true))
    };
    match item {
        Item::Scalar(scalar) => value(scalar, row),
        Item::Get(relation, key, column) => {
            let found = find(relation, key);
            found.map_or(Value::Null, |found| found[relation.place(column)].clone())
        }
        Item::Exists(_, key) if value(key, row) == Value::Null => Value::Null,
        Item::Exists(relation, key) => Value::Bool(find(relation, key).is_some()),
    }
}
