//! What was seen of the values of a group: the first, and whether there were others.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, StructArray, UInt32Array},
    compute::take,
    datatypes::{DataType, Fields},
};
use datafusion::{common::ScalarValue, error::Result, logical_expr::Accumulator};

use super::{parts, unfit};

/// Of a group's values.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of the struct that it becomes.
    fields: Fields,
    /// The first, as an array of one value, which keeps its type.
    value: Option<ArrayRef>,
    is_several: bool,
}

impl Seen {
    /// No values yet.
    pub(super) fn new(fields: Fields) -> Self {
        Self { fields, value: None, is_several: false }
    }

    fn see(&mut self, values: &ArrayRef) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.is_several |= values.len() > 1 || self.value.is_some();
        if self.value.is_none() {
            // A copy: a slice would keep all of them in memory.
            self.value = Some(take(values.as_ref(), &UInt32Array::from(vec![0]), None)?);
        }
        Ok(())
    }

    fn row(&self) -> Result<ScalarValue> {
        let Some(value) = &self.value else {
            return ScalarValue::try_new_null(&DataType::Struct(self.fields.clone()));
        };
        let several = Arc::new(BooleanArray::from(vec![self.is_several]));
        let columns: Vec<ArrayRef> = vec![Arc::clone(value), several];
        let row = StructArray::try_new(self.fields.clone(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }
}

impl Accumulator for Seen {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else { return Err(unfit().into()) };
        self.see(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.row()
    }

    fn size(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| value.get_array_memory_size());
        size_of_val(self) + value
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.row()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [states] = states else { return Err(unfit().into()) };
        let (rows, values, several) = parts(states)?;
        for row in (0..rows.len()).filter(|row| rows.is_valid(*row)) {
            self.see(&values.slice(row, 1))?;
            self.is_several |= several.value(row);
        }
        Ok(())
    }
}
