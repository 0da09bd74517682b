//! How the keys of rows are: null, repeated, or one for each row.

use std::fmt::Write;

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::Int64Type,
    },
    dataframe::DataFrame,
};
use indicatif::HumanCount;
use keyloom_client::{Error, Session};

use crate::{drive, error::Failure, watch::Watch};

/// Counts of rows and of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) rows: u64,
    /// Rows whose key is null, in any of its columns.
    pub(super) nulls: u64,
    /// Keys that stand in several rows.
    pub(super) repeated: u64,
    /// The rows of these.
    pub(super) repeated_rows: u64,
}

impl Keys {
    /// Reads the keys of a table, which means these rows if any are given.
    pub(super) async fn count(
        session: &Session,
        table: &str,
        rows: Option<DataFrame>,
        key: &[String],
        watch: &Watch,
    ) -> Result<Self, Failure> {
        let tables = rows.map(|rows| (table.to_owned(), rows));
        let sql = statement(table, key);
        let query = watch.step(session.sql_with(&sql, tables.into_iter().collect())).await?;
        let job = watch.step(session.submit(query)).await?;
        let mut counts = [0; 4];
        let take = |batch: RecordBatch| {
            for (count, column) in counts.iter_mut().zip(batch.columns()) {
                let column = column.as_primitive_opt::<Int64Type>().ok_or_else(|| {
                    Failure::running(Error::internal("a count of keys is no number"))
                })?;
                *count += column.values().iter().map(|count| count.unsigned_abs()).sum::<u64>();
            }
            Ok(())
        };
        drive::drive(job, watch, take).await?;
        let [rows, nulls, repeated, repeated_rows] = counts;
        Ok(Self { rows, nulls, repeated, repeated_rows })
    }

    /// Whether each row has a key, and no two rows the same.
    pub(super) fn are_unique(self) -> bool {
        self.nulls == 0 && self.repeated == 0
    }

    /// What is wrong with the keys, if anything is.
    pub(super) fn complaint(self) -> Option<String> {
        let mut text = String::new();
        if self.nulls > 0 {
            let (rows, have) = if self.nulls == 1 { ("row", "has") } else { ("rows", "have") };
            let _ = write!(text, "{} {rows} {have} no key", HumanCount(self.nulls));
        }
        if self.repeated > 0 {
            let and = if text.is_empty() { "" } else { ", and " };
            let (keys, stand) =
                if self.repeated == 1 { ("key", "stands") } else { ("keys", "stand") };
            let (keys_count, rows) = (HumanCount(self.repeated), HumanCount(self.repeated_rows));
            let _ = write!(text, "{and}{keys_count} {keys} {stand} in {rows} rows");
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The statement that counts. Rows are counted by key first, on the workers.
fn statement(table: &str, key: &[String]) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<_> = key.iter().map(|name| quoted(name)).collect();
    let is_null: Vec<_> = columns.iter().map(|column| format!("{column} IS NULL")).collect();
    format!(
        "SELECT coalesce(sum(row_count), 0), \
         coalesce(sum(CASE WHEN no_key THEN row_count END), 0), \
         count(CASE WHEN NOT no_key AND row_count > 1 THEN 1 END), \
         coalesce(sum(CASE WHEN NOT no_key AND row_count > 1 THEN row_count END), 0) \
         FROM (SELECT ({}) AS no_key, count(*) AS row_count FROM {} GROUP BY {})",
        is_null.join(" OR "),
        quoted(table),
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_the_statement() {
        let sql = statement("my \"table\"", &["a".to_owned(), "B c".to_owned()]);
        assert!(
            sql.ends_with(
                "FROM (SELECT (\"a\" IS NULL OR \"B c\" IS NULL) AS no_key, count(*) AS row_count \
                 FROM \"my \"\"table\"\"\" GROUP BY \"a\", \"B c\")"
            ),
            "{sql}"
        );
    }

    #[test]
    fn what_is_wrong_is_counted() {
        let check = |nulls, repeated, repeated_rows, expected: Option<&str>| {
            let keys = Keys { rows: 9, nulls, repeated, repeated_rows };
            assert_eq!(keys.complaint().as_deref(), expected);
            assert_eq!(keys.are_unique(), expected.is_none());
        };
        check(0, 0, 0, None);
        check(1, 0, 0, Some("1 row has no key"));
        check(0, 1, 2, Some("1 key stands in 2 rows"));
        let both = "1,200 rows have no key, and 2 keys stand in 5 rows";
        check(1200, 2, 5, Some(both));
    }
}
