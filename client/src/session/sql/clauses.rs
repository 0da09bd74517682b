//! Clauses that DataFusion parses and then never reads: a statement with one means something else
//! than what would be answered, so it is refused by the clause's name.
//!
//! What DataFusion reads, or refuses itself, is not looked at. Neither is what changes no row:
//! optimizer hints in comments, MATERIALIZED, RESPECT NULLS, the display widths of integers.

mod calls;

use std::ops::ControlFlow;

use datafusion::{
    execution::SessionState,
    sql::sqlparser::ast::{
        Cte, DataType, Distinct, ExactNumberInfo, Expr, FunctionArg, GroupByExpr, Join,
        OrderByKind, PipeOperator, Query, Select, SelectFlavor, SelectItem, SetExpr, SetOperator,
        SetQuantifier, Statement, TableAlias, TableFactor, TableVersion, TableWithJoins, Visit,
        Visitor, WindowSpec,
    },
};
use keyloom_common::{Error, Result};

/// Refuses a statement with clauses that would be ignored.
pub(super) fn check(statement: &Statement, state: &SessionState) -> Result<()> {
    match statement.visit(&mut Clauses { state }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Walks a statement.
struct Clauses<'a> {
    /// Knows which functions there are.
    state: &'a SessionState,
}

impl Visitor for Clauses<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        broken(check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
        broken(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Error> {
        broken(check_table(table))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        broken(match expr {
            Expr::Function(call) => calls::check(call, self.state),
            Expr::Cast { data_type, .. } => check_type(data_type),
            Expr::TypedString(text) => check_type(&text.data_type),
            // It would be searched for anywhere in the text.
            Expr::SimilarTo { .. } => Err(refusal("SIMILAR TO", "write LIKE, or ~ '^…$'")),
            _ => Ok(()),
        })
    }
}

fn broken(checked: Result<()>) -> ControlFlow<Error> {
    match checked {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// The refusal of a clause, if it is there.
fn refuse_if(there: bool, clause: &str, instead: &str) -> Result<()> {
    if there { Err(refusal(clause, instead)) } else { Ok(()) }
}

fn refusal(clause: &str, instead: &str) -> Error {
    Error::invalid(format!("{clause} is not understood in a query; {instead}"))
}

const LEAVE_OUT: &str = "leave it out";

fn check_query(query: &Query) -> Result<()> {
    if let Some(lock) = query.locks.first() {
        return Err(refusal(&format!("FOR {}", lock.lock_type), "nothing is locked: leave it out"));
    }
    if let Some(clause) = &query.for_clause {
        return Err(refusal(&clause.to_string(), "the name of the output tells its format"));
    }
    refuse_if(query.settings.is_some(), "SETTINGS", "settings are given outside SQL")?;
    let format = "the name of the output tells its format";
    refuse_if(query.format_clause.is_some(), "FORMAT", format)?;
    let all = query.order_by.as_ref().is_some_and(|by| matches!(by.kind, OrderByKind::All(_)));
    let of_select = matches!(*query.body, SetExpr::Select(_));
    refuse_if(all && !of_select, "ORDER BY ALL of a set operation", "name the columns")?;
    check_order_behind_first(query)?;
    if let Some(with) = &query.with {
        refuse_if(with.recursive, "WITH RECURSIVE", "compute it outside, and give it as an input")?;
        with.cte_tables.iter().try_for_each(check_cte)?;
    }
    check_set(&query.body)?;
    calls::check_order(query)?;
    query.pipe_operators.iter().try_for_each(check_pipe)
}

/// DataFusion takes it for the ORDER BY that tells which rows are the first.
fn check_order_behind_first(query: &Query) -> Result<()> {
    let mut pipe = query.pipe_operators.iter();
    let by_pipe = pipe.any(|operator| matches!(operator, PipeOperator::OrderBy { .. }));
    let behind = by_pipe && keeps_first(&query.body)
        || query.order_by.is_some()
            && matches!(&*query.body, SetExpr::Query(inner) if keeps_first(&inner.body));
    refuse_if(behind, "ORDER BY behind a whole DISTINCT ON", "write SELECT * FROM (…) ORDER BY …")
}

/// Whether a query, or one in its parentheses, keeps the first row of several.
fn keeps_first(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => matches!(select.distinct, Some(Distinct::On(_))),
        SetExpr::Query(query) => keeps_first(&query.body),
        _ => false,
    }
}

fn check_cte(cte: &Cte) -> Result<()> {
    refuse_if(cte.from.is_some(), "FROM after a query in WITH", LEAVE_OUT)?;
    check_alias(Some(&cte.alias))
}

/// How often a row stands on each side is counted by UNION alone.
fn check_set(body: &SetExpr) -> Result<()> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    let counts = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
    if counts && !matches!(op, SetOperator::Union) {
        let instead = format!("write {op}, which gives each row once");
        return Err(refusal(&format!("{op} {set_quantifier}"), &instead));
    }
    check_set(left)?;
    check_set(right)
}

fn check_pipe(operator: &PipeOperator) -> Result<()> {
    match operator {
        PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
            let ordered = |options: &_| *options != Default::default();
            let mut columns = full_table_exprs.iter().chain(group_by_expr);
            let ordered = columns.any(|column| ordered(&column.order_by));
            refuse_if(ordered, "ASC or DESC in |> AGGREGATE", "add |> ORDER BY")
        }
        PipeOperator::Join(join) => check_join(join),
        _ => Ok(()),
    }
}

fn check_select(select: &Select) -> Result<()> {
    refuse_if(select.into.is_some(), "INTO", "outputs are written outside SQL")?;
    refuse_if(select.prewhere.is_some(), "PREWHERE", "write WHERE")?;
    if !select.connect_by.is_empty() {
        return Err(refusal("CONNECT BY", "compute it outside, and give it as an input"));
    }
    refuse_if(!select.distribute_by.is_empty(), "DISTRIBUTE BY", LEAVE_OUT)?;
    if let Some(modifiers) = select.select_modifiers.as_ref().filter(|m| m.is_any_set()) {
        return Err(refusal(modifiers.to_string().trim(), LEAVE_OUT));
    }
    if let Some(mode) = &select.value_table_mode {
        return Err(refusal(&format!("SELECT {mode}"), "write named_struct(…)"));
    }
    refuse_if(select.exclude.is_some(), "EXCLUDE after the columns", "write * EXCLUDE (…)")?;
    let from_alone = matches!(select.flavor, SelectFlavor::FromFirstNoSelect);
    refuse_if(from_alone, "FROM without SELECT", "write SELECT * FROM …")?;
    let modifiers = match &select.group_by {
        GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
    };
    if let Some(modifier) = modifiers.first() {
        let instead = "write GROUP BY ROLLUP (…), CUBE (…) or GROUPING SETS (…)";
        return Err(refusal(&format!("{modifier} after GROUP BY"), instead));
    }
    calls::check_windows(select)?;
    select.projection.iter().try_for_each(check_item)?;
    select.from.iter().try_for_each(check_joins)
}

fn check_item(item: &SelectItem) -> Result<()> {
    let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item else {
        return Ok(());
    };
    refuse_if(options.opt_ilike.is_some(), "ILIKE after *", "name the columns")
}

/// A window that builds on another one.
fn check_window(window: &WindowSpec) -> Result<()> {
    match &window.window_name {
        Some(name) => {
            let clause = format!("the window {name} within another window");
            Err(refusal(&clause, "write the whole window"))
        }
        None => Ok(()),
    }
}

fn check_joins(tables: &TableWithJoins) -> Result<()> {
    tables.joins.iter().try_for_each(check_join)
}

fn check_join(join: &Join) -> Result<()> {
    refuse_if(join.global, "GLOBAL JOIN", "write JOIN")
}

fn check_table(table: &TableFactor) -> Result<()> {
    let sampled = "write WHERE random() < 0.01 for a part of the rows";
    let ordinality = "write row_number() OVER ()";
    match table {
        TableFactor::Table {
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } => {
            refuse_if(sample.is_some(), "TABLESAMPLE", sampled)?;
            refuse_if(!with_hints.is_empty(), "WITH (…) after a table", LEAVE_OUT)?;
            if let Some(version) = version {
                let instead = "the version is an option of the store or input";
                return Err(refusal(version_clause(version), instead));
            }
            refuse_if(*with_ordinality, "WITH ORDINALITY", ordinality)?;
            refuse_if(!partitions.is_empty(), "PARTITION (…)", "choose the rows by WHERE")?;
            refuse_if(json_path.is_some(), "a path after a table", LEAVE_OUT)?;
            if let Some(hint) = index_hints.first() {
                return Err(refusal(&hint.to_string(), LEAVE_OUT));
            }
            let settings = args.as_ref().is_some_and(|args| args.settings.is_some());
            refuse_if(settings, "SETTINGS", "settings are given outside SQL")?;
            check_alias(alias.as_ref())
        }
        TableFactor::Derived { sample, alias, .. } => {
            refuse_if(sample.is_some(), "TABLESAMPLE", sampled)?;
            check_alias(alias.as_ref())
        }
        TableFactor::Function { with_ordinality, args, alias, .. } => {
            refuse_if(*with_ordinality, "WITH ORDINALITY", ordinality)?;
            let named = args.iter().any(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
            refuse_if(named, "a named argument of a table function", "give arguments in order")?;
            check_alias(alias.as_ref())
        }
        TableFactor::UNNEST { alias, .. } => check_alias(alias.as_ref()),
        TableFactor::NestedJoin { table_with_joins, alias } => {
            check_joins(table_with_joins)?;
            check_alias(alias.as_ref())
        }
        // DataFusion knows no others.
        _ => Ok(()),
    }
}

fn version_clause(version: &TableVersion) -> &'static str {
    match version {
        TableVersion::ForSystemTimeAsOf(_) => "FOR SYSTEM_TIME AS OF",
        TableVersion::TimestampAsOf(_) => "TIMESTAMP AS OF",
        TableVersion::VersionAsOf(_) => "VERSION AS OF",
        TableVersion::Function(_) => "AT or BEFORE",
        TableVersion::Changes { .. } => "CHANGES",
    }
}

fn check_alias(alias: Option<&TableAlias>) -> Result<()> {
    let Some(alias) = alias else { return Ok(()) };
    let typed = alias.columns.iter().any(|column| column.data_type.is_some());
    refuse_if(typed, "the type of a column in an alias", "write CAST(… AS …) in the query")?;
    refuse_if(alias.at.is_some(), "AT in an alias", LEAVE_OUT)
}

/// Lengths of texts and precisions of floats are read by none.
fn check_type(data_type: &DataType) -> Result<()> {
    let text = matches!(
        data_type,
        DataType::Varchar(Some(_)) | DataType::Char(Some(_)) | DataType::String(Some(_))
    );
    refuse_if(text, &format!("the length of {data_type}"), "write left(…, length)")?;
    let float = matches!(data_type, DataType::Float(info) if *info != ExactNumberInfo::None);
    refuse_if(float, &format!("the precision of {data_type}"), "write REAL or DOUBLE")
}
