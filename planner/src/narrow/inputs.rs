//! What nodes read of their inputs, given what is read of them.

use datafusion::{
    arrow::datatypes::DataType,
    error::Result,
    logical_expr::{Aggregate, Join, JoinType, LogicalPlan, Unnest},
};
use keyloom_common::functions::list_element;

use super::uses::{Use, all, nothing, read};

/// What a node that is neither a projection nor a union reads of each of its inputs.
pub(super) fn input_uses(plan: &LogicalPlan, uses: &[Use]) -> Result<Vec<Vec<Use>>> {
    let mut below = uses.to_vec();
    match plan {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {}
        LogicalPlan::Filter(filter) => {
            read(&filter.predicate, filter.input.schema(), &mut below)?;
        }
        LogicalPlan::Sort(sort) => {
            for key in &sort.expr {
                read(&key.expr, sort.input.schema(), &mut below)?;
            }
        }
        LogicalPlan::Window(window) => {
            let schema = window.input.schema();
            below.truncate(schema.fields().len());
            for expr in &window.window_expr {
                read(expr, schema, &mut below)?;
            }
        }
        LogicalPlan::Aggregate(aggregate) => below = aggregate_uses(aggregate)?,
        LogicalPlan::Unnest(unnest) => below = unnest_uses(unnest, uses),
        LogicalPlan::Join(join) => return join_uses(join, uses),
        other => return Ok(other.inputs().into_iter().map(all).collect()),
    }
    Ok(vec![below])
}

fn aggregate_uses(aggregate: &Aggregate) -> Result<Vec<Use>> {
    let mut below = nothing(&aggregate.input);
    for expr in aggregate.group_expr.iter().chain(&aggregate.aggr_expr) {
        read(expr, aggregate.input.schema(), &mut below)?;
    }
    Ok(below)
}

fn join_uses(join: &Join, uses: &[Use]) -> Result<Vec<Vec<Use>>> {
    let (mut left, mut right) = (nothing(&join.left), nothing(&join.right));
    let (of_left, of_right) = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (uses, &[][..]),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (&[][..], uses),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            uses.split_at(left.len())
        }
    };
    // The column that marks is behind the others, and no input's.
    left.iter_mut().zip(of_left).for_each(|(side, used)| side.add(used));
    right.iter_mut().zip(of_right).for_each(|(side, used)| side.add(used));
    let keys = join.on.iter().flat_map(|(left, right)| [left, right]);
    for expr in keys.chain(&join.filter) {
        read(expr, join.left.schema(), &mut left)?;
        read(expr, join.right.schema(), &mut right)?;
    }
    Ok(vec![left, right])
}

/// Fields of structs are told by their places among those that come of one column.
fn unnest_uses(unnest: &Unnest, uses: &[Use]) -> Vec<Use> {
    let fields = unnest.input.schema().fields();
    let mut below = nothing(&unnest.input);
    let mut places = vec![0; fields.len()];
    let kept = Use::kept();
    for (used, &column) in uses.iter().zip(&unnest.dependency_indices) {
        if !unnest.struct_type_columns.contains(&column) {
            below[column].add(used);
            continue;
        }
        if let DataType::Struct(fields) = fields[column].data_type()
            && let Some(field) = fields.get(places[column])
            && *used != Use::Nothing
        {
            below[column].add(&Use::field(field.name()));
        }
        places[column] += 1;
    }
    for (column, list) in &unnest.list_type_columns {
        // Of a list, the fields are those of its structs.
        let of_structs = matches!(
            list_element(fields[*column].data_type()).map(|element| element.data_type()),
            Some(DataType::Struct(_))
        );
        below[*column].add(if of_structs && list.depth == 1 { &kept } else { &Use::All });
    }
    // What is unnested is a struct, whatever is read of it.
    for &column in &unnest.struct_type_columns {
        let first = match fields[column].data_type() {
            DataType::Struct(fields) => fields.first(),
            _ => None,
        };
        match first {
            Some(first) if below[column] == Use::Nothing => {
                below[column] = Use::field(first.name());
            }
            Some(_) => {}
            None => below[column] = Use::All,
        }
    }
    below
}
