//! The names of types that users write: those of SQL, and Arrow's as pyarrow and Rust print them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::error::{Error, Result};

/// The choices that a message lists.
const COMMON: &str = "text, boolean, tinyint, smallint, int, bigint (each also unsigned), real, \
                      double, decimal(18, 2), date, time, timestamp, timestamptz, binary, text[] \
                      and Arrow's names (int8 to uint64, float32, utf8, timestamp[ns, tz=UTC], …)";

/// How many types may stand within each other.
const MAX_DEPTH: usize = 32;

/// The type of a name such as `text`, `decimal(18, 2)`, `int64`, `timestamp[us, tz=UTC]` or
/// `list<item: text>`, in any case. `int8` is Arrow's, with 8 bits; `float` has 32.
///
/// # Errors
/// `invalid` if there is no such type, with the common choices.
pub fn parse_type(name: &str) -> Result<DataType> {
    let mut parser = Parser { rest: name, depth: 0 };
    let parsed = parser.data_type().and_then(|data_type| match parser.rest.trim().is_empty() {
        true => Ok(data_type),
        false => Err(Refusal::Unknown),
    });
    match parsed {
        Ok(data_type) => Ok(data_type),
        Err(Refusal::Because(why)) => Err(Error::invalid(format!("type '{name}': {why}"))),
        Err(Refusal::Unknown) => name
            .parse()
            .map_err(|_| Error::invalid(format!("unknown type '{name}'; types are {COMMON}"))),
    }
}

enum Refusal {
    /// No type of this parser; it may be as Rust prints it.
    Unknown,
    /// A type that is not taken, and why.
    Because(&'static str),
}

type Parsed<T> = std::result::Result<T, Refusal>;

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn data_type(&mut self) -> Parsed<DataType> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Refusal::Because("too many types within each other"));
        }
        let words = self.words();
        // pyarrow says it of fields; whether values are missing is seen in the files.
        let words = match words.strip_suffix(" not null") {
            Some(words) if self.depth > 1 => words,
            _ => words.as_str(),
        };
        let mut data_type = match words {
            "" => return Err(Refusal::Unknown),
            "list" => DataType::List(self.item()?),
            "large_list" => DataType::LargeList(self.item()?),
            "fixed_size_list" => {
                let item = self.item()?;
                DataType::FixedSizeList(item, self.only_number('[', ']')?)
            }
            "struct" => DataType::Struct(self.fields()?),
            "map" => self.map()?,
            "decimal" | "numeric" | "dec" | "decimal128" | "decimal256" => self.decimal()?,
            "timestamp" | "timestamp without time zone" | "datetime" => self.timestamp(None)?,
            "timestamptz" | "timestamp with time zone" => self.timestamp(Some("UTC"))?,
            "fixed_size_binary" => {
                let brackets = if self.peek('(') { ('(', ')') } else { ('[', ']') };
                DataType::FixedSizeBinary(self.only_number(brackets.0, brackets.1)?)
            }
            "time" | "time32" | "time64" | "time without time zone" => self.time(words)?,
            "duration" => DataType::Duration(self.unit()?.ok_or(Refusal::Unknown)?),
            "date32" => self.with_suffix("[day]", DataType::Date32),
            "date64" => self.with_suffix("[ms]", DataType::Date64),
            words => simple(words)?,
        };
        while self.take("[]") {
            data_type = DataType::List(Arc::new(Field::new_list_field(data_type, true)));
        }
        if self.peek('(') && matches!(data_type, DataType::Utf8) {
            return Err(Refusal::Because("lengths of text are not checked; leave the length out"));
        }
        self.depth -= 1;
        Ok(data_type)
    }

    /// The words of a name, in lower case, with one space between them.
    fn words(&mut self) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c.is_whitespace();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (words, rest) = self.rest.split_at(end);
        self.rest = rest;
        words.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
    }

    fn peek(&self, wanted: char) -> bool {
        self.rest.trim_start().starts_with(wanted)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: &str) -> Parsed<()> {
        if self.take(wanted) { Ok(()) } else { Err(Refusal::Unknown) }
    }

    fn with_suffix(&mut self, suffix: &str, data_type: DataType) -> DataType {
        self.take(suffix);
        data_type
    }

    /// What stands between brackets, without types within it.
    fn bracketed(&mut self, open: char, close: char) -> Parsed<Option<&'a str>> {
        if !self.peek(open) {
            return Ok(None);
        }
        let inner = &self.rest.trim_start()[open.len_utf8()..];
        let (inner, rest) = inner.split_once(close).ok_or(Refusal::Unknown)?;
        self.rest = rest;
        Ok(Some(inner.trim()))
    }

    fn only_number(&mut self, open: char, close: char) -> Parsed<i32> {
        let number = self.bracketed(open, close)?.ok_or(Refusal::Unknown)?;
        number.parse().ok().filter(|n| *n >= 0).ok_or(Refusal::Unknown)
    }

    fn unit(&mut self) -> Parsed<Option<TimeUnit>> {
        self.bracketed('[', ']')?.map(unit).transpose()
    }

    fn time(&mut self, name: &str) -> Parsed<DataType> {
        let data_type = match self.unit()? {
            None => DataType::Time64(TimeUnit::Microsecond),
            Some(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
            Some(unit) => DataType::Time64(unit),
        };
        let bits = match data_type {
            DataType::Time32(_) => "time32",
            _ => "time64",
        };
        if name.ends_with(|c: char| c.is_ascii_digit()) && name != bits {
            return Err(Refusal::Because("time32 counts s or ms, time64 us or ns"));
        }
        Ok(data_type)
    }

    /// Microseconds unless a unit or a number of digits is given: they reach all years.
    fn timestamp(&mut self, zone: Option<&str>) -> Parsed<DataType> {
        if let Some(digits) = self.bracketed('(', ')')? {
            let unit = match digits.parse::<u8>().map_err(|_| Refusal::Unknown)? {
                0 => TimeUnit::Second,
                1..=3 => TimeUnit::Millisecond,
                4..=6 => TimeUnit::Microsecond,
                7..=9 => TimeUnit::Nanosecond,
                _ => return Err(Refusal::Because("a timestamp has at most 9 digits")),
            };
            let zone = match self.zone_words()? {
                Some(true) => Some("UTC"),
                Some(false) => None,
                None => zone,
            };
            return Ok(DataType::Timestamp(unit, zone.map(Into::into)));
        }
        let Some(arguments) = self.bracketed('[', ']')? else {
            return Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)));
        };
        let (name, given) = match arguments.split_once(',') {
            Some((name, zone)) => (name.trim(), Some(zone.trim())),
            None => (arguments, None),
        };
        let given = given.map(|zone| zone.strip_prefix("tz=").unwrap_or(zone));
        Ok(DataType::Timestamp(unit(name)?, given.or(zone).map(Into::into)))
    }

    /// Whether `with time zone` or `without time zone` follows the digits.
    fn zone_words(&mut self) -> Parsed<Option<bool>> {
        match self.words().as_str() {
            "" => Ok(None),
            "with time zone" => Ok(Some(true)),
            "without time zone" => Ok(Some(false)),
            _ => Err(Refusal::Unknown),
        }
    }

    fn decimal(&mut self) -> Parsed<DataType> {
        let digits = self.bracketed('(', ')')?;
        let digits =
            digits.ok_or(Refusal::Because("a decimal needs its digits, as in decimal(18, 2)"))?;
        let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| Refusal::Unknown);
        let (precision, scale) = (number(precision)?, number(scale)?);
        let scale = i8::try_from(scale).map_err(|_| Refusal::Unknown)?;
        match precision {
            1..=76 if i16::from(scale) > i16::from(precision) => {
                Err(Refusal::Because("more digits behind the point than there are digits"))
            }
            1..=38 => Ok(DataType::Decimal128(precision, scale)),
            39..=76 => Ok(DataType::Decimal256(precision, scale)),
            _ => Err(Refusal::Because("a decimal has 1 to 76 digits")),
        }
    }

    /// A type in angle brackets, which may have a name.
    fn item(&mut self) -> Parsed<Arc<Field>> {
        self.expect("<")?;
        let field = match self.named()? {
            Some((_, data_type)) => Field::new_list_field(data_type, true),
            None => Field::new_list_field(self.data_type()?, true),
        };
        self.expect(">")?;
        Ok(Arc::new(field))
    }

    fn fields(&mut self) -> Parsed<Fields> {
        self.expect("<")?;
        let mut fields = Vec::new();
        loop {
            let (name, data_type) = self.named()?.ok_or(Refusal::Unknown)?;
            fields.push(Field::new(name, data_type, true));
            if !self.take(",") {
                break;
            }
        }
        self.expect(">")?;
        Ok(fields.into())
    }

    fn map(&mut self) -> Parsed<DataType> {
        self.expect("<")?;
        let key = self.data_type()?;
        self.expect(",")?;
        let value = self.data_type()?;
        self.expect(">")?;
        let entry = [Field::new("key", key, false), Field::new("value", value, true)];
        let entries = Field::new("entries", DataType::Struct(entry.to_vec().into()), false);
        Ok(DataType::Map(Arc::new(entries), false))
    }

    /// `name: type`, if a colon follows the next word.
    fn named(&mut self) -> Parsed<Option<(&'a str, DataType)>> {
        let text = self.rest.trim_start();
        let end = text.find([':', '<', '>', ',', '(', '[']).unwrap_or(text.len());
        let Some(rest) = text[end..].strip_prefix(':') else { return Ok(None) };
        let name = text[..end].trim();
        self.rest = rest;
        let data_type = self.data_type()?;
        self.take("not null");
        Ok(Some((name, data_type)))
    }
}

fn unit(name: &str) -> Parsed<TimeUnit> {
    match name.to_ascii_lowercase().as_str() {
        "s" => Ok(TimeUnit::Second),
        "ms" => Ok(TimeUnit::Millisecond),
        "us" | "µs" => Ok(TimeUnit::Microsecond),
        "ns" => Ok(TimeUnit::Nanosecond),
        _ => Err(Refusal::Because("units of time are s, ms, us and ns")),
    }
}

fn simple(name: &str) -> Parsed<DataType> {
    Ok(match name {
        "text" | "string" | "str" | "varchar" | "char" | "character" | "character varying"
        | "nvarchar" | "utf8" => DataType::Utf8,
        "large_string" | "large_utf8" | "largeutf8" => DataType::LargeUtf8,
        "string_view" | "utf8_view" | "utf8view" => DataType::Utf8View,
        "boolean" | "bool" => DataType::Boolean,
        "tinyint" | "int8" => DataType::Int8,
        "smallint" | "int16" => DataType::Int16,
        "int" | "integer" | "int32" => DataType::Int32,
        "bigint" | "int64" => DataType::Int64,
        "tinyint unsigned" | "unsigned tinyint" | "utinyint" | "uint8" => DataType::UInt8,
        "smallint unsigned" | "unsigned smallint" | "usmallint" | "uint16" => DataType::UInt16,
        "int unsigned" | "unsigned int" | "integer unsigned" | "unsigned integer" | "uint"
        | "uinteger" | "uint32" => DataType::UInt32,
        "bigint unsigned" | "unsigned bigint" | "ubigint" | "uint64" => DataType::UInt64,
        "halffloat" | "float16" => DataType::Float16,
        "real" | "float" | "float32" => DataType::Float32,
        "double" | "double precision" | "float64" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp_s" => DataType::Timestamp(TimeUnit::Second, None),
        "timestamp_ms" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "timestamp_us" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp_ns" => DataType::Timestamp(TimeUnit::Nanosecond, None),
        "binary" | "bytea" | "blob" | "varbinary" => DataType::Binary,
        "large_binary" | "largebinary" => DataType::LargeBinary,
        "binary_view" | "binaryview" => DataType::BinaryView,
        "null" => DataType::Null,
        "json" | "jsonb" => return Err(Refusal::Because("JSON is read as text; write text")),
        "uuid" => {
            return Err(Refusal::Because(
                "UUIDs are read as text, or as fixed_size_binary[16] if they are binary",
            ));
        }
        "int2" | "int4" => {
            return Err(Refusal::Because("bits are counted, not bytes; write int16 or int32"));
        }
        _ => return Err(Refusal::Unknown),
    })
}

#[cfg(test)]
mod tests;
