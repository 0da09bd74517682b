//! Which types keys may have, and which of them may be compared.

use arrow::datatypes::{DataType, Field};
use uuid::Uuid;

/// The types of which keys are, as messages list them.
pub const KEY_TYPES: &str =
    "integers, decimals, strings, binary, booleans, dates, times or timestamps";

/// The classes of key types. Within a class, values are compared whatever their widths, units or
/// layouts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyClass {
    /// All integers, signed and unsigned, and decimals of any precision and scale.
    Number,
    /// `Utf8`, `LargeUtf8`, `Utf8View`.
    String,
    /// `Binary`, `LargeBinary`, `BinaryView`, `FixedSizeBinary`.
    Binary,
    /// `Boolean`.
    Boolean,
    /// `Date32`, `Date64`.
    Date,
    /// `Time32`, `Time64`.
    Time,
    /// `Timestamp` of any unit. With a time zone it is an instant, whatever the zone; without one
    /// it is what a clock shows, and no instant.
    Timestamp {
        /// Whether it has a time zone.
        zoned: bool,
    },
}

impl KeyClass {
    /// The class of a type, if keys may have it. A dictionary is of the class of its values.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            data_type if data_type.is_integer() || data_type.is_decimal() => Some(Self::Number),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::String),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Some(Self::Binary),
            DataType::Boolean => Some(Self::Boolean),
            DataType::Date32 | DataType::Date64 => Some(Self::Date),
            DataType::Time32(_) | DataType::Time64(_) => Some(Self::Time),
            DataType::Timestamp(_, zone) => Some(Self::Timestamp { zoned: zone.is_some() }),
            DataType::Dictionary(_, value) => Self::of(value),
            _ => None,
        }
    }
}

/// Whether keys of the type are compared in 64 bits, so that none has to be read again when it was
/// found by its code.
pub fn is_exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, _) | DataType::Decimal64(_, _) => true,
        DataType::Dictionary(_, value) => is_exact(value),
        other => match KeyClass::of(other) {
            Some(KeyClass::Number) => other.is_integer(),
            Some(KeyClass::String | KeyClass::Binary) | None => false,
            Some(
                KeyClass::Boolean | KeyClass::Date | KeyClass::Time | KeyClass::Timestamp { .. },
            ) => true,
        },
    }
}

/// Whether the column says that it holds UUIDs, so that text can mean nothing else.
fn is_uuid(column: &Field) -> bool {
    column.data_type() == &DataType::FixedSizeBinary(16)
        && column.extension_type_name() == Some("arrow.uuid")
}

/// The bytes of a UUID that is written in the usual form: 8, 4, 4, 4 and 12 hexadecimal digits with
/// hyphens between.
pub fn uuid_of(text: &str) -> Option<[u8; 16]> {
    const USUAL: usize = 36;
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == USUAL)?;
    Some(uuid.into_bytes())
}

/// Whether keys of a type can be compared with those of a column.
pub(crate) fn fits(given: &DataType, column: &Field) -> bool {
    let (of_key, of_column) = (KeyClass::of(given), KeyClass::of(column.data_type()));
    given == &DataType::Null
        || of_key.is_some() && of_key == of_column
        || of_key == Some(KeyClass::String) && is_uuid(column)
}

/// What makes a key of a type one that fits a column, in SQL, if anything obvious does.
pub(crate) fn conversion(key: &str, given: &DataType, column: &Field) -> Option<String> {
    use KeyClass::{Binary, Boolean, Date, Number, String, Time, Timestamp};
    let of_key = KeyClass::of(given);
    let is_float = given.is_floating();
    match (of_key, KeyClass::of(column.data_type())?) {
        (Some(String), Binary) if column.data_type() == &DataType::FixedSizeBinary(16) => {
            Some(format!("decode(replace({key}, '-', ''), 'hex')"))
        }
        (Some(String | Boolean), Number)
        | (Some(String | Number), Boolean)
        | (Some(Number | Boolean | Date | Time | Timestamp { .. }), String)
        | (Some(String | Timestamp { .. }), Date | Time)
        | (Some(String), Binary) => Some(cast(key, column.data_type())?),
        (None, Number | String) if is_float => Some(cast(key, column.data_type())?),
        (Some(String | Date | Timestamp { .. }), Timestamp { zoned: false }) => {
            Some(format!("CAST({key} AS TIMESTAMP)"))
        }
        (Some(Timestamp { .. }), Timestamp { zoned: true }) => {
            Some(format!("{key} AT TIME ZONE 'UTC'"))
        }
        (Some(String | Date), Timestamp { zoned: true }) => {
            Some(format!("CAST({key} AS TIMESTAMP) AT TIME ZONE 'UTC'"))
        }
        _ => None,
    }
}

fn cast(key: &str, to: &DataType) -> Option<String> {
    let name = match to {
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            "BIGINT UNSIGNED".to_owned()
        }
        // Wide enough for every key; one that the column cannot hold is missing.
        to if to.is_integer() => "BIGINT".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Dictionary(_, value) => return cast(key, value),
        other => match KeyClass::of(other)? {
            KeyClass::String => "VARCHAR".to_owned(),
            KeyClass::Binary => "BYTEA".to_owned(),
            KeyClass::Boolean => "BOOLEAN".to_owned(),
            KeyClass::Date => "DATE".to_owned(),
            KeyClass::Time => "TIME".to_owned(),
            KeyClass::Number | KeyClass::Timestamp { .. } => return None,
        },
    };
    Some(format!("CAST({key} AS {name})"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;

    fn dictionary(of: DataType) -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(of))
    }

    fn timestamp(unit: TimeUnit, zone: Option<&str>) -> DataType {
        DataType::Timestamp(unit, zone.map(Arc::from))
    }

    fn column(data_type: DataType) -> Field {
        Field::new("c", data_type, true)
    }

    fn uuids() -> Field {
        let name = ("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned());
        column(DataType::FixedSizeBinary(16)).with_metadata([name].into())
    }

    #[test]
    fn types_of_a_class_meet_and_no_others() {
        let classes = [
            vec![DataType::Int8, DataType::UInt64, DataType::Decimal128(38, 2)],
            vec![DataType::Utf8, DataType::Utf8View, dictionary(DataType::LargeUtf8)],
            vec![DataType::Binary, DataType::FixedSizeBinary(16), DataType::BinaryView],
            vec![DataType::Boolean],
            vec![DataType::Date32, DataType::Date64, dictionary(DataType::Date32)],
            vec![DataType::Time32(TimeUnit::Second), DataType::Time64(TimeUnit::Nanosecond)],
            vec![timestamp(TimeUnit::Second, None), timestamp(TimeUnit::Nanosecond, None)],
            vec![
                timestamp(TimeUnit::Second, Some("UTC")),
                timestamp(TimeUnit::Microsecond, Some("Asia/Tokyo")),
            ],
        ];
        for (one, keys) in classes.iter().enumerate() {
            for (other, columns) in classes.iter().enumerate() {
                for key in keys {
                    for held in columns {
                        let fits = fits(key, &column(held.clone()));
                        assert_eq!(fits, one == other, "{key} in {held}");
                    }
                }
            }
        }
        assert!(fits(&DataType::Null, &column(DataType::Date32)));
        assert!(!fits(&DataType::Float64, &column(DataType::Float64)));
    }

    #[test]
    fn text_is_a_uuid_where_a_column_says_that_it_holds_some() {
        assert!(fits(&DataType::Utf8, &uuids()));
        assert!(!fits(&DataType::Utf8, &column(DataType::FixedSizeBinary(16))));
        assert!(!fits(&DataType::Int64, &uuids()));
    }

    #[test]
    fn what_to_write_is_said_for_each_pair() {
        let zoned = timestamp(TimeUnit::Nanosecond, Some("UTC"));
        let plain = timestamp(TimeUnit::Millisecond, None);
        let cases = [
            (DataType::Float64, DataType::Int32, "CAST(k AS BIGINT)"),
            (DataType::Utf8, DataType::UInt8, "CAST(k AS BIGINT UNSIGNED)"),
            (DataType::Float32, DataType::Decimal128(10, 2), "CAST(k AS DECIMAL(10, 2))"),
            (DataType::Int64, dictionary(DataType::Utf8), "CAST(k AS VARCHAR)"),
            (DataType::Float64, DataType::Utf8, "CAST(k AS VARCHAR)"),
            (DataType::Date32, DataType::LargeUtf8, "CAST(k AS VARCHAR)"),
            (DataType::Utf8, DataType::Date64, "CAST(k AS DATE)"),
            (zoned.clone(), DataType::Date32, "CAST(k AS DATE)"),
            (DataType::Utf8, DataType::Time64(TimeUnit::Nanosecond), "CAST(k AS TIME)"),
            (DataType::Utf8View, DataType::Binary, "CAST(k AS BYTEA)"),
            (DataType::Utf8, DataType::Boolean, "CAST(k AS BOOLEAN)"),
            (zoned.clone(), plain.clone(), "CAST(k AS TIMESTAMP)"),
            (plain, zoned.clone(), "k AT TIME ZONE 'UTC'"),
            (DataType::Date32, zoned, "CAST(k AS TIMESTAMP) AT TIME ZONE 'UTC'"),
            (DataType::Utf8, DataType::FixedSizeBinary(16), "decode(replace(k, '-', ''), 'hex')"),
        ];
        for (given, held, expected) in cases {
            let shown = conversion("k", &given, &column(held.clone()));
            assert_eq!(shown.as_deref(), Some(expected), "{given} in {held}");
        }
        // Nobody can say what the number of a date is.
        assert_eq!(conversion("k", &DataType::Int64, &column(DataType::Date32)), None);
    }

    #[test]
    fn what_fits_sixty_four_bits_is_exact() {
        for exact in [
            DataType::UInt64,
            DataType::Boolean,
            DataType::Date64,
            DataType::Decimal64(18, 4),
            dictionary(timestamp(TimeUnit::Second, None)),
        ] {
            assert!(is_exact(&exact), "{exact}");
        }
        for hashed in [DataType::Utf8, DataType::FixedSizeBinary(8), DataType::Decimal128(5, 0)] {
            assert!(!is_exact(&hashed), "{hashed}");
        }
    }
}
