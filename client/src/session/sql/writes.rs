//! Statements that write: `COPY … TO 'folder/'`, and `INSERT INTO` a store. Workers do that: such a
//! statement becomes the query of its rows, and an output.

use std::{path::Path, sync::Arc};

use datafusion::{
    execution::context::SessionState,
    logical_expr::{Analyze, DmlStatement, Explain, LogicalPlan, WriteOp, dml::InsertOp},
    sql::{
        parser::{CopyToSource, CopyToStatement, Statement as Parsed},
        sqlparser::ast::{Expr, SetExpr, Statement, Value},
    },
};
use keyloom_common::{
    Error, Result,
    described::{KeyNames, Output, OutputFormat},
    units,
};
use keyloom_planner::StoreTables;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};

use super::{depth, files::from_folder, parse};
use crate::{input::TablesOfStores, query, session::put};

/// The options of COPY, as job files have them.
const OPTIONS: &str = "if_exists, key, compression, target_file_bytes, storage_options";

/// Reads a statement. Of one that copies rows, the query of the rows is left, and the output is
/// where they go, if it is written by workers. Paths are relative to this folder.
///
/// # Errors
/// `invalid` if it is no statement, or copies to what is no output.
pub(super) fn read(
    state: &SessionState,
    text: &str,
    folder: &Path,
) -> Result<(Parsed, Option<Output>)> {
    let mut statement = parse(state, text)?;
    let output = take_output(state, &mut statement, folder)?;
    if output.is_some() {
        depth::check(&statement)?;
    }
    Ok((statement, output))
}

fn take_output(
    state: &SessionState,
    statement: &mut Parsed,
    folder: &Path,
) -> Result<Option<Output>> {
    match statement {
        Parsed::Explain(explain) => take_output(state, &mut explain.statement, folder),
        Parsed::CopyTo(copy) => {
            let (output, rows) = (output(copy, folder)?, rows(state, copy)?);
            *statement = rows;
            Ok(Some(output))
        }
        _ => Ok(None),
    }
}

/// What is copied.
fn rows(state: &SessionState, copy: &CopyToStatement) -> Result<Parsed> {
    match &copy.source {
        CopyToSource::Query(query) => {
            Ok(Parsed::Statement(Box::new(Statement::Query(query.clone()))))
        }
        CopyToSource::Relation(name) => parse(state, &format!("SELECT * FROM {name}")),
    }
}

/// Where it goes.
fn output(copy: &CopyToStatement, folder: &Path) -> Result<Output> {
    let mut output = Output::new(from_folder(folder, &copy.target));
    output.partition_by.clone_from(&copy.partitioned_by);
    output.format = copy.stored_as.as_deref().map(format).transpose()?;
    for (name, value) in &copy.options {
        set(&mut output, name, &text(name, value)?)?;
    }
    // A dataset that is called like a file is refused as any output is.
    let is_file = output.names_a_file() && output.format != Some(OutputFormat::Lance);
    if copy.target.ends_with('/') || (!is_file && output.spec()?.is_lance()) {
        return Ok(output);
    }
    let target = &copy.target;
    Err(Error::invalid(format!(
        "COPY writes a folder, '{target}/', or a Lance dataset; one file, '{target}', is written \
         outside SQL"
    )))
}

fn format(name: &str) -> Result<OutputFormat> {
    match name.to_ascii_lowercase().as_str() {
        "ndjson" | "jsonl" => Ok(OutputFormat::Json),
        name => known("STORED AS", name),
    }
}

fn set(output: &mut Output, name: &str, value: &str) -> Result<()> {
    match name.to_ascii_lowercase().as_str() {
        "if_exists" => output.if_exists = known(name, value)?,
        "compression" => output.compression = Some(known(name, value)?),
        "storage_options" => output.storage_options = Some(value.to_owned()),
        "target_file_bytes" => output.target_file_bytes = Some(bytes(value)?),
        "key" => {
            let columns: Vec<_> = value.split(',').map(str::trim).collect();
            output.key = Some(match columns.as_slice() {
                [only] => KeyNames::from(*only),
                _ => columns.into(),
            });
        }
        _ => {
            return Err(Error::invalid(format!("COPY has no option '{name}'; it takes {OPTIONS}")));
        }
    }
    Ok(())
}

/// Refuses parameters as values of INSERT: DataFusion takes their names for numbers, and makes room
/// for as many values.
///
/// # Errors
/// `invalid`, naming the first.
pub(super) fn check_values(statement: &Statement) -> Result<()> {
    let source = match statement {
        Statement::Explain { statement, .. } => return check_values(statement),
        Statement::Insert(insert) => insert.source.as_deref(),
        _ => None,
    };
    let Some(SetExpr::Values(values)) = source.map(|query| query.body.as_ref()) else {
        return Ok(());
    };
    let parameter = |value: &Expr| match value {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    match values.rows.iter().flat_map(|row| &row.content).find_map(parameter) {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "the parameter {name} is a value of INSERT; write INSERT INTO … SELECT {name}, … instead \
             of VALUES"
        ))),
    }
}

/// One of the words that an option takes.
fn known<'a, T: Deserialize<'a>>(name: &str, word: &'a str) -> Result<T> {
    let word = IntoDeserializer::<value::Error>::into_deserializer(word);
    T::deserialize(word).map_err(|error| Error::invalid(format!("{name} of COPY: {error}")))
}

fn bytes(value: &str) -> Result<u64> {
    const NAME: &str = "target_file_bytes";
    let wrong = |why: String| Error::invalid(format!("{NAME} of COPY: {why}"));
    match value.parse() {
        Ok(bytes) => Ok(bytes),
        Err(_) => match units::number(NAME, value) {
            Some(bytes) => bytes.map_err(wrong),
            None => Err(wrong(format!("'{value}' is no size"))),
        },
    }
}

fn text(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(text.clone()),
        Value::Number(digits, _) => Ok(digits.to_string()),
        other => Err(Error::invalid(format!("{name} of COPY is a text or a number, not {other}"))),
    }
}

/// The plan of a statement that writes, as that of its rows and of where they go; any other as it
/// is.
///
/// # Errors
/// `invalid` if it writes what no job writes.
pub(super) fn plan(plan: LogicalPlan, output: Option<&Output>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Explain(explain) => {
            let plan = self::plan(Arc::unwrap_or_clone(explain.plan), output)?;
            Ok(LogicalPlan::Explain(Explain { plan: Arc::new(plan), ..explain }))
        }
        LogicalPlan::Analyze(analyze) => {
            let input = self::plan(Arc::unwrap_or_clone(analyze.input), output)?;
            Ok(LogicalPlan::Analyze(Analyze { input: Arc::new(input), ..analyze }))
        }
        LogicalPlan::Dml(insert) => {
            let output = store_of(&insert)?;
            query::written(Arc::unwrap_or_clone(insert.input), &output)
        }
        rows => match output {
            Some(output) => query::written(rows, output),
            None => Ok(rows),
        },
    }
}

/// The output of a statement that changes a table, if it puts rows into a store.
fn store_of(statement: &DmlStatement) -> Result<Output> {
    let table = statement.table_name.table();
    if !matches!(statement.op, WriteOp::Insert(InsertOp::Append)) {
        return Err(Error::invalid(format!(
            "rows are put into a store by INSERT INTO {table}, which replaces those that have the \
             same keys; there is no {}",
            statement.op.name()
        )));
    }
    match TablesOfStores.store(&statement.target) {
        Some(store) => put::output(&store),
        None => Err(Error::invalid(format!(
            "INSERT INTO puts rows into attached Lance stores, and '{table}' is a table"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use keyloom_common::output::{Compression, IfExists, OutputKind};

    use super::*;

    fn read_copy(statement: &str) -> Result<(String, Output)> {
        let state = SessionContext::new().state();
        let (rows, output) = read(&state, statement, Path::new("/jobs"))?;
        Ok((rows.to_string(), output.unwrap()))
    }

    #[test]
    fn a_copy_is_the_query_of_its_rows_and_an_output() {
        let (rows, output) = read_copy(
            "COPY (SELECT a, day FROM t) TO 'out/' STORED AS PARQUET PARTITIONED BY (day) OPTIONS \
             (if_exists 'append', compression 'zstd', target_file_bytes '1MiB', storage_options 's')",
        )
        .unwrap();
        assert_eq!(rows, "SELECT a, day FROM t");
        let spec = output.spec().unwrap();
        assert_eq!(
            (spec.path.as_str(), spec.storage_profile.as_deref()),
            ("/jobs/out/", Some("s"))
        );
        let OutputKind::Files(files) = &spec.kind else { panic!("{spec:?}") };
        assert_eq!((files.if_exists, files.target_file_bytes), (IfExists::Append, 1 << 20));
        assert_eq!(files.compression, Some(Compression::Zstd));
        assert_eq!(files.partition_by, ["day"]);

        let (rows, output) = read_copy("EXPLAIN COPY \"T\" TO 's3://b/a.lance'").unwrap();
        assert_eq!(rows, "EXPLAIN SELECT * FROM \"T\"");
        assert!(output.spec().unwrap().is_lance());
        let (_, output) = read_copy("COPY t TO 'out/' STORED AS NDJSON").unwrap();
        assert_eq!(output.format, Some(OutputFormat::Json));
        let (_, output) =
            read_copy("COPY t TO 'a.lance' OPTIONS (if_exists 'upsert', key 'a, b')").unwrap();
        assert_eq!(output.key, Some(["a", "b"].into()));
    }

    #[test]
    fn what_is_no_output_of_a_copy_is_refused_by_name() {
        let refused = |statement| read_copy(statement).unwrap_err().message().to_owned();
        assert_eq!(
            refused("COPY t TO 'a.csv'"),
            "COPY writes a folder, 'a.csv/', or a Lance dataset; one file, 'a.csv', is written \
             outside SQL"
        );
        let dataset = refused("COPY t TO 'a.csv' STORED AS LANCE");
        let mut output = Output::new("/jobs/a.csv");
        output.format = Some(OutputFormat::Lance);
        assert_eq!(dataset, output.spec().unwrap_err().message(), "as in job files");
        assert!(dataset.starts_with("a Lance dataset is a folder, and '/jobs/a.csv' is called"));
        assert_eq!(
            refused("COPY t TO 'out/' OPTIONS ('format.has_header' 'true')"),
            "COPY has no option 'format.has_header'; it takes if_exists, key, compression, \
             target_file_bytes, storage_options"
        );
        let format = refused("COPY t TO 'out/' STORED AS AVRO");
        assert!(format.starts_with("STORED AS of COPY: unknown variant `avro`"), "{format}");
        let mode = refused("COPY t TO 'out/' OPTIONS (if_exists 'never')");
        assert!(mode.starts_with("if_exists of COPY: unknown variant `never`"), "{mode}");
    }

    #[test]
    fn parameters_are_no_values_of_an_insert() {
        let check = |text: &str| {
            let state = SessionContext::new().state();
            let (statement, _) = read(&state, text, Path::new("")).unwrap();
            let Parsed::Statement(statement) = statement else { panic!("{text}") };
            check_values(&statement)
        };
        // Room for as many values as this is more than there is.
        let refused = check("INSERT INTO t VALUES (1, 2), (3, $999999999999)").unwrap_err();
        let start = "the parameter $999999999999 is a value of INSERT; write INSERT INTO …";
        assert!(refused.message().starts_with(start), "{refused}");
        for text in ["INSERT INTO t VALUES (1)", "INSERT INTO t SELECT $a", "SELECT $a"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_statements_stay_as_they_are() {
        let state = SessionContext::new().state();
        for text in ["SELECT 1", "EXPLAIN SELECT 1", "INSERT INTO t SELECT 1"] {
            let (statement, output) = read(&state, text, Path::new("")).unwrap();
            assert_eq!((statement.to_string().as_str(), output), (text, None));
        }
    }
}
