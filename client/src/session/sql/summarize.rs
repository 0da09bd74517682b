//! `SUMMARIZE table`, `SUMMARIZE 'path'` and `SUMMARIZE SELECT …`: a row for each column, with what
//! can be told of all its values.
//!
//! It is written as a statement of plain aggregates, which workers compute like any others, and
//! whose one row is turned into a row a column.

use std::fmt::Write;

use datafusion::arrow::datatypes::{DataType, Schema};
use keyloom_common::{Error, Result};

const WORD: &str = "SUMMARIZE";

/// The statement whose rows are to be summarized, if a text asks for that.
pub(super) fn subject(text: &str) -> Option<String> {
    let text = behind_comments(text).trim_end();
    let (word, rest) = text.split_at_checked(WORD.len())?;
    let ends = rest.starts_with(|next: char| next.is_whitespace() || "'\"(".contains(next));
    if !word.eq_ignore_ascii_case(WORD) || !ends {
        return None;
    }
    let rest = rest.trim_end_matches(|end: char| end == ';' || end.is_whitespace()).trim_start();
    let first: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    let is_query = rest.starts_with('(')
        || ["SELECT", "VALUES", "WITH"].iter().any(|word| first.eq_ignore_ascii_case(word));
    Some(if is_query { rest.to_owned() } else { format!("SELECT * FROM {rest}") })
}

/// A text without the comments that it begins with.
fn behind_comments(text: &str) -> &str {
    let mut text = text.trim_start();
    loop {
        let end = match text.get(..2) {
            Some("--") => "\n",
            Some("/*") => "*/",
            _ => return text,
        };
        text = text.split_once(end).map_or("", |(_, rest)| rest.trim_start());
    }
}

/// The statement that summarizes the rows of another one, whose columns these are.
pub(super) fn statement(subject: &str, columns: &Schema) -> Result<String> {
    if columns.fields().is_empty() {
        return Err(Error::invalid("there are no columns to summarize"));
    }
    let columns: Vec<_> = columns.fields().iter().enumerate().collect();
    let names: Vec<_> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    let mut aggregates = "count(*) AS n".to_owned();
    for (at, field) in &columns {
        let Column { distinct, least, most, mean } = Column::of(*at, field.data_type());
        // Writing to a string does not fail.
        let _ = write!(
            aggregates,
            ", count(c{at}) AS n{at}, {distinct} AS d{at}, {least} AS l{at}, {most} AS m{at}, \
             {mean} AS a{at}"
        );
    }
    let list = |value: &dyn Fn(usize) -> String| {
        let values: Vec<_> = (0..columns.len()).map(value).collect();
        format!("unnest(make_array({}))", values.join(", "))
    };
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let name = list(&|at| text(columns[at].1.name()));
    let data_type = list(&|at| text(&columns[at].1.data_type().to_string()));
    let rows = list(&|_| "n".to_owned());
    let nulls = list(&|at| format!("CASE WHEN n > 0 THEN round(100.0 * (n - n{at}) / n, 2) END"));
    let of_column = |prefix: &'static str| list(&|at| format!("{prefix}{at}"));
    // What is estimated is never more than the values that there are.
    let distinct = list(&|at| format!("CASE WHEN d{at} > n{at} THEN n{at} ELSE d{at} END"));
    let (least, most, mean) = (of_column("l"), of_column("m"), of_column("a"));
    Ok(format!(
        "SELECT {name} AS column_name, {data_type} AS column_type, {rows} AS row_count, \
         {nulls} AS null_percentage, {distinct} AS approx_distinct, {least} AS min, \
         {most} AS max, {mean} AS mean \
         FROM (SELECT {aggregates} FROM (\n{subject}\n) AS summarized ({}))",
        names.join(", ")
    ))
}

/// What is computed of a column.
struct Column {
    distinct: String,
    least: String,
    most: String,
    mean: String,
}

impl Column {
    fn of(at: usize, data_type: &DataType) -> Self {
        let column = format!("c{at}");
        let as_text = format!("CAST({column} AS VARCHAR)");
        let (none, no_mean) = ("CAST(NULL AS VARCHAR)", "CAST(NULL AS DOUBLE)");
        let ends = |of: &str| {
            [format!("CAST(min({of}) AS VARCHAR)"), format!("CAST(max({of}) AS VARCHAR)")]
        };
        let (counted, [least, most], has_mean) = match data_type {
            data_type if data_type.is_integer() => (Some(&column), ends(&column), true),
            // Of these, approximate counts know only the text.
            data_type if data_type.is_floating() || data_type.is_decimal() => {
                (Some(&as_text), ends(&column), true)
            }
            DataType::Boolean => (Some(&as_text), ends(&column), false),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                (Some(&column), ends(&column), false)
            }
            DataType::Dictionary(_, value) if value.is_string() => {
                (Some(&as_text), ends(&as_text), false)
            }
            DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..) => (Some(&column), ends(&column), false),
            DataType::Binary | DataType::LargeBinary => {
                let end = |of: &str| format!("encode({of}({column}), 'hex')");
                (Some(&column), [end("min"), end("max")], false)
            }
            _ => (None, [none.to_owned(), none.to_owned()], false),
        };
        let distinct = match counted {
            Some(counted) => format!("CAST(approx_distinct({counted}) AS BIGINT)"),
            None => "CAST(NULL AS BIGINT)".to_owned(),
        };
        let mean = match has_mean {
            true => format!("CAST(avg({column}) AS DOUBLE)"),
            false => no_mean.to_owned(),
        };
        Self { distinct, least, most, mean }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn the_subject_is_a_table_a_path_or_a_query() {
        for (text, expected) in [
            ("SUMMARIZE items", Some("SELECT * FROM items")),
            (" summarize 'a b.parquet' ; ", Some("SELECT * FROM 'a b.parquet'")),
            ("Summarize\"Items\"", Some("SELECT * FROM \"Items\"")),
            ("SUMMARIZE selected", Some("SELECT * FROM selected")),
            ("SUMMARIZE select 1", Some("select 1")),
            (
                "SUMMARIZE WITH w AS (SELECT 1) SELECT * FROM w",
                Some("WITH w AS (SELECT 1) SELECT * FROM w"),
            ),
            ("SUMMARIZE (SELECT 1)", Some("(SELECT 1)")),
            ("-- all\n /* of them */ SUMMARIZE items -- so", Some("SELECT * FROM items -- so")),
            ("-- SUMMARIZE items", None),
            ("SUMMARIZED items", None),
            ("SELECT 1", None),
            ("", None),
        ] {
            assert_eq!(subject(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn each_column_is_told_as_its_type_allows() {
        let list = DataType::new_list(DataType::Int32, true);
        let columns = Schema::new(vec![
            Field::new("it's", DataType::Int64, true),
            Field::new("l", list, true),
        ]);
        let text = statement("SELECT 1", &columns).unwrap();
        assert!(text.contains("unnest(make_array('it''s', 'l')) AS column_name"), "{text}");
        assert!(text.contains("CAST(avg(c0) AS DOUBLE) AS a0"), "{text}");
        assert!(text.contains("CAST(NULL AS VARCHAR) AS l1"), "{text}");
        assert!(text.ends_with("FROM (\nSELECT 1\n) AS summarized (c0, c1))"), "{text}");
        assert!(statement("SELECT 1", &Schema::empty()).is_err());
    }
}
