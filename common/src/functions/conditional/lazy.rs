//! Conditionals where they run: an argument is computed for the rows that need it, and no others.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, NullArray, RecordBatch, RecordBatchOptions, new_null_array,
    },
    compute::{cast, filter_record_batch, interleave, is_not_null, not, prep_null_mask_filter},
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion::{
    common::{
        cast::{as_boolean_array, as_int64_array},
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::ColumnarValue,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{Column, LambdaVariable},
    },
};

use super::{Conditional, ConditionalFunction};
use crate::error::Error;

/// The expression, or if it is a function that stands for a conditional, the conditional.
pub(crate) fn as_lazy(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(match ConditionalExpr::of_function(&expr)? {
        Some(conditional) => Arc::new(conditional) as Arc<dyn PhysicalExpr>,
        None => expr,
    })
}

/// The expression, or if it is a conditional, the function that stands for it.
pub(crate) fn as_function(expr: &Arc<dyn PhysicalExpr>) -> &Arc<dyn PhysicalExpr> {
    expr.downcast_ref::<ConditionalExpr>().map_or(expr, |conditional| &conditional.function)
}

/// A conditional that computes its arguments by itself.
#[derive(Debug)]
struct ConditionalExpr {
    conditional: Conditional,
    /// What it looks like, is typed like and travels as.
    function: Arc<dyn PhysicalExpr>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns that the arguments read.
    reads: BTreeSet<usize>,
}

impl ConditionalExpr {
    /// The conditional that a function stands for, if it stands for one.
    fn of_function(function: &Arc<dyn PhysicalExpr>) -> Result<Option<Self>> {
        let Some(scalar) = function.downcast_ref::<ScalarFunctionExpr>() else { return Ok(None) };
        let Some(inner) = scalar.fun().inner().downcast_ref::<ConditionalFunction>() else {
            return Ok(None);
        };
        let args = scalar.args().to_vec();
        let reads = columns_of(&args)?;
        let function = Arc::clone(function);
        Ok(Some(Self { conditional: inner.conditional(), function, args, reads }))
    }
}

fn columns_of(exprs: &[Arc<dyn PhysicalExpr>]) -> Result<BTreeSet<usize>> {
    let mut columns = BTreeSet::new();
    for expr in exprs {
        expr.apply(|node| {
            if let Some(column) = node.downcast_ref::<Column>() {
                columns.insert(column.index());
            } else if let Some(variable) = node.downcast_ref::<LambdaVariable>() {
                columns.insert(variable.index());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(columns)
}

impl PartialEq for ConditionalExpr {
    fn eq(&self, other: &Self) -> bool {
        self.function.eq(&other.function)
    }
}

impl Eq for ConditionalExpr {}

impl Hash for ConditionalExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl fmt::Display for ConditionalExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.function, f)
    }
}

impl PhysicalExpr for ConditionalExpr {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.function.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.function.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.function.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let data_type = self.data_type(batch.schema_ref())?;
        let batch = only(batch, &self.reads)?;
        evaluate(self.conditional, &self.args, &data_type, &batch).map(ColumnarValue::Array)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.args.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        as_lazy(Arc::clone(&self.function).with_new_children(children)?)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.fmt_sql(f)
    }
}

/// The batch with nothing in the columns that are not read, so that parts of it are taken cheaply.
fn only(batch: &RecordBatch, reads: &BTreeSet<usize>) -> Result<RecordBatch> {
    let (schema, rows) = (batch.schema_ref(), batch.num_rows());
    let is_kept =
        |(index, field): (usize, &FieldRef)| reads.contains(&index) || field.data_type().is_null();
    if schema.fields().iter().enumerate().all(is_kept) {
        return Ok(batch.clone());
    }
    let fields = schema.fields().iter().zip(batch.columns()).enumerate();
    let (fields, columns): (Vec<_>, Vec<_>) = fields
        .map(|(index, (field, column))| {
            if reads.contains(&index) {
                return (Arc::clone(field), Arc::clone(column));
            }
            let nothing: ArrayRef = Arc::new(NullArray::new(rows));
            (Arc::new(Field::new(field.name(), DataType::Null, true)), nothing)
        })
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// What a conditional of arguments is for each row of a batch.
pub(super) fn evaluate(
    conditional: Conditional,
    args: &[Arc<dyn PhysicalExpr>],
    data_type: &DataType,
    batch: &RecordBatch,
) -> Result<ArrayRef> {
    let mut result = ResultBuilder::of(batch.num_rows());
    let mut open = Remainder::of(batch);
    match (conditional, args) {
        (Conditional::Coalesce, args) => {
            for arg in args {
                open.fill_by_known(arg, &mut result)?;
            }
        }
        (Conditional::Nvl2, [tested, some, none]) => {
            if let Some(tested) = open.compute(tested)? {
                open.fill_where(&is_not_null(&tested)?, some, &mut result)?;
            }
            open.fill_by(none, &mut result)?;
        }
        (Conditional::Case { .. }, args) => {
            for branch in args.chunks(2) {
                match branch {
                    [when, then] => {
                        if let Some(when) = open.compute(when)? {
                            open.fill_where(&is_true(&when)?, then, &mut result)?;
                        }
                    }
                    otherwise => {
                        for expr in otherwise {
                            open.fill_by(expr, &mut result)?;
                        }
                    }
                }
            }
        }
        (Conditional::Choose, [choice, results @ ..]) => {
            if let Some(choice) = open.compute(choice)? {
                let choice = as_int64_array(&choice)?;
                for (place, expr) in results.iter().enumerate() {
                    let is_it = |chosen: Option<i64>| Some(chosen == Some(place as i64));
                    let taken: BooleanArray = choice.iter().map(is_it).collect();
                    open.only(&taken)?.fill_by(expr, &mut result)?;
                }
            }
        }
        (Conditional::Choose, []) => {
            return Err(Error::internal("a choice among nothing").into());
        }
        (Conditional::Nvl2, args) => {
            let count = args.len();
            return Err(Error::internal(format!("nvl2 of {count} arguments, not 3")).into());
        }
    }
    result.finish(data_type)
}

/// Where a condition is true. Null is not.
fn is_true(condition: &ArrayRef) -> Result<BooleanArray> {
    let condition = as_boolean_array(condition)?;
    Ok(match condition.null_count() {
        0 => condition.clone(),
        _ => prep_null_mask_filter(condition),
    })
}

/// Rows of a batch that have no result yet, and which of all rows they are.
#[derive(Clone)]
struct Remainder {
    batch: RecordBatch,
    places: Vec<usize>,
}

impl Remainder {
    fn of(batch: &RecordBatch) -> Self {
        Self { batch: batch.clone(), places: (0..batch.num_rows()).collect() }
    }

    /// An expression's values; `None` where there is no row, for which it could still fail.
    fn compute(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Option<ArrayRef>> {
        if self.places.is_empty() {
            return Ok(None);
        }
        let values = expr.evaluate(&self.batch)?;
        values.into_array_of_size(self.places.len()).map(Some)
    }

    /// Those for which a condition, which has no nulls, is true.
    fn only(&self, condition: &BooleanArray) -> Result<Self> {
        if condition.true_count() == self.places.len() {
            return Ok(self.clone());
        }
        let places = self.places.iter().zip(condition.values());
        let places = places.filter(|(_, is_wanted)| *is_wanted).map(|(place, _)| *place).collect();
        Ok(Self { batch: filter_record_batch(&self.batch, condition)?, places })
    }

    /// Gives all the values of an expression.
    fn fill_by(&self, expr: &Arc<dyn PhysicalExpr>, result: &mut ResultBuilder) -> Result<()> {
        if let Some(values) = self.compute(expr)? {
            result.add(values, self.places.iter().copied().enumerate());
        }
        Ok(())
    }

    /// Gives those for which a condition is true the values of an expression, and goes on with the
    /// others.
    fn fill_where(
        &mut self,
        condition: &BooleanArray,
        expr: &Arc<dyn PhysicalExpr>,
        result: &mut ResultBuilder,
    ) -> Result<()> {
        self.only(condition)?.fill_by(expr, result)?;
        *self = self.only(&not(condition)?)?;
        Ok(())
    }

    /// Gives those for which an expression is not null its values, and goes on with the others.
    fn fill_by_known(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        result: &mut ResultBuilder,
    ) -> Result<()> {
        let Some(values) = self.compute(expr)? else { return Ok(()) };
        let known = is_not_null(&values)?;
        let places = self.places.iter().copied().enumerate();
        result.add(values, places.filter(|(row, _)| known.value(*row)));
        *self = self.only(&not(&known)?)?;
        Ok(())
    }
}

/// The result so far.
struct ResultBuilder {
    /// What expressions gave.
    values: Vec<ArrayRef>,
    /// For each row, which of them it takes, and which of its values.
    of_row: Vec<Option<(usize, usize)>>,
}

impl ResultBuilder {
    fn of(rows: usize) -> Self {
        Self { values: Vec::new(), of_row: vec![None; rows] }
    }

    /// Adds values, with which of them goes to which row.
    fn add(&mut self, values: ArrayRef, rows: impl Iterator<Item = (usize, usize)>) {
        for (value, row) in rows {
            self.of_row[row] = Some((self.values.len(), value));
        }
        self.values.push(values);
    }

    /// The results, null where there is none.
    fn finish(self, data_type: &DataType) -> Result<ArrayRef> {
        let Self { values, of_row } = self;
        if values.is_empty() {
            return Ok(new_null_array(data_type, of_row.len()));
        }
        let typed = |values: ArrayRef| {
            if values.data_type() == data_type { Ok(values) } else { cast(&values, data_type) }
        };
        let mut values = values.into_iter().map(typed).collect::<Result<Vec<_>, _>>()?;
        let all_filled = of_row.iter().all(Option::is_some);
        if let [only] = values.as_slice()
            && all_filled
        {
            return Ok(Arc::clone(only));
        }
        let null = (values.len(), 0);
        if !all_filled {
            values.push(new_null_array(data_type, 1));
        }
        let picks: Vec<_> = of_row.into_iter().map(|from| from.unwrap_or(null)).collect();
        let values: Vec<&dyn Array> = values.iter().map(|values| values.as_ref()).collect();
        Ok(interleave(&values, &picks)?)
    }
}
