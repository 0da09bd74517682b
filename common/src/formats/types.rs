//! What formats make of the types of columns, and what they cannot hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use super::Refused;

/// The most digits of decimals that readers of Parquet agree on.
const DECIMAL_DIGITS: u8 = 38;

/// The types that all readers of Parquet know, without a loss: those of Parquet itself, as Arrow
/// names them. Without this, the file would say that its lists have one size, which Parquet does
/// not know, and readers would have to make up for it.
///
/// # Errors
/// If the format cannot hold the column.
pub fn parquet(column: &str, data_type: &DataType) -> Result<DataType, Refused> {
    Ok(match data_type {
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Date32,
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => {
            parquet_as_arrow(column, data_type)?;
            if *digits > DECIMAL_DIGITS {
                return Err(unreadable(column, data_type).help(format!(
                    "take CAST({column} AS DECIMAL({DECIMAL_DIGITS}, {scale})) if the values fit, \
                     or CAST({column} AS VARCHAR)"
                )));
            }
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => return parquet(column, values),
        DataType::RunEndEncoded(_, values) => return parquet(column, values.data_type()),
        DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
            DataType::List(Arc::clone(item))
        }
        DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
        DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime) => {
            return Err(
                unreadable(column, data_type).help(format!("take CAST({column} AS VARCHAR)"))
            );
        }
        other => return parquet_as_arrow(column, other),
    })
}

/// The types as they are, if Parquet can hold them at all.
///
/// # Errors
/// If the format cannot hold the column.
pub fn parquet_as_arrow(column: &str, data_type: &DataType) -> Result<DataType, Refused> {
    let help = match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            format!("take CAST({column} AS VARCHAR), or write .arrow")
        }
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale)
            if *scale < 0 =>
        {
            let digits = i16::from(*digits) - i16::from(*scale);
            format!("take CAST({column} AS DECIMAL({digits}, 0)), or write .arrow")
        }
        DataType::Struct(fields) if fields.is_empty() => "leave it out".to_owned(),
        DataType::Union(..) | DataType::RunEndEncoded(..) => "write .arrow".to_owned(),
        DataType::Dictionary(_, values) if values.is_nested() => {
            "leave out arrow_types, or write .arrow".to_owned()
        }
        other => return Ok(other.clone()),
    };
    Err(refused(column, data_type, "Parquet").help(help))
}

/// Plain values for dictionaries: a file has one dictionary for each column, and the batches of a
/// result have their own.
///
/// # Errors
/// Never.
pub fn arrow(_column: &str, data_type: &DataType) -> Result<DataType, Refused> {
    let mut values = data_type;
    while let DataType::Dictionary(_, inner) = values {
        values = inner;
    }
    Ok(values.clone())
}

/// Flat columns alone.
///
/// # Errors
/// If the format cannot hold the column.
pub fn csv(column: &str, data_type: &DataType) -> Result<DataType, Refused> {
    if data_type.is_nested() {
        return Err(refused(column, data_type, "CSV").help(format!(
            "take single fields: {column}['field'], or use JSON or, in files, Parquet"
        )));
    }
    Ok(data_type.clone())
}

/// A format that cannot hold a column.
pub(super) fn refused(column: &str, data_type: &DataType, format: &str) -> Refused {
    Refused::mistake(format!("column '{column}' holds {data_type}, which {format} cannot hold"))
}

fn unreadable(column: &str, data_type: &DataType) -> Refused {
    Refused::mistake(format!(
        "column '{column}' holds {data_type}, which not all readers of Parquet can read"
    ))
    .unless_kept()
}
