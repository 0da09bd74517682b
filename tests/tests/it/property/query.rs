//! Cases: one or two tables, two stores and a query over them, and the query's SQL.

use std::collections::BTreeMap;

use super::{bounds::Bounds, stored::Stored};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bool(bool),
    Row(Vec<Value>),
    List(Vec<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Int,
    Text,
    Bool,
}

/// The two stores. Their columns are `key` and one of each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Store {
    /// Keyed by `UInt8`, so that some keys are out of range.
    Numbers,
    Words,
}

pub(super) const COLUMNS: [&str; 4] = ["key", "next", "label", "flag"];

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) store: Store,
    pub(super) key: Box<Expr>,
    pub(super) null_on_error: bool,
}

/// A struct, which is a store's row or null.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Found(Call),
    When(Box<Expr>, Box<Self>),
    Coalesce(Box<Self>, Box<Self>),
    Nullif(Box<Self>, Box<Self>),
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Column(&'static str),
    /// A field of the column `s`, at some depth.
    Inner(&'static [&'static str]),
    Literal(Value),
    Field(Record, &'static str),
    Exists(Call),
    Found(Call),
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    Match(Box<Expr>, Vec<(Expr, Expr)>, Option<Box<Expr>>),
    Coalesce(Vec<Expr>),
    Nullif(Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    Equal(Box<Expr>, Box<Expr>),
    Less(Box<Expr>, Box<Expr>),
}

/// A column of a query: what it computes, and for which rows.
#[derive(Clone, Debug)]
pub(super) struct SelectItem {
    pub(super) guard: Option<Expr>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Scalar(Expr),
    Row(Call, Vec<&'static str>),
    /// The key is a column of lists.
    Rows(Call, Vec<&'static str>, usize),
}

/// All words that there are.
pub(super) const WORDS: [&str; 6] = ["a", "b", "c", "d", "it's", ""];

/// A row of a store without its key.
pub(super) type Fields = (Option<i64>, Option<&'static str>, Option<bool>);

#[derive(Clone, Debug)]
pub(super) struct TableRow {
    pub(super) n: Option<i64>,
    pub(super) m: Option<i64>,
    pub(super) w: Option<&'static str>,
    pub(super) v: Option<&'static str>,
    pub(super) p: Option<bool>,
    pub(super) q: Option<bool>,
    pub(super) ns: Option<Vec<Option<i64>>>,
    pub(super) ws: Option<Vec<Option<&'static str>>>,
    pub(super) s: Nested,
}

/// The struct `{next, inner: {label}}`, whose values are there where it is null, too.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    pub(super) valid: bool,
    pub(super) next: i64,
    pub(super) inner_valid: bool,
    pub(super) label: &'static str,
}

pub(super) const NEXT: &[&str] = &["next"];
pub(super) const LABEL: &[&str] = &["inner", "label"];

/// A row of the second table: `x`, `y` and `r`.
#[derive(Clone, Debug)]
pub(super) struct OtherRow {
    pub(super) x: Option<i64>,
    pub(super) y: Option<&'static str>,
    pub(super) r: Option<bool>,
}

/// How the second table is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Where `n = x`.
    Inner,
    /// Where `n = x`.
    Left,
    Cross,
    Comma,
}

#[derive(Clone, Debug)]
pub(super) struct Join {
    pub(super) kind: Kind,
    pub(super) rows: Vec<OtherRow>,
    /// What else is wanted of an inner join's rows.
    pub(super) condition: Option<Expr>,
}

/// What is asked of the rows.
#[derive(Clone, Debug)]
pub(super) enum Query {
    Rows(Vec<SelectItem>),
    /// How many rows there are behind the first few by a key that is not selected, and which.
    Behind {
        key: Expr,
        descending: bool,
        skip: usize,
    },
    /// The value of the next row of each partition; the partition may be the value itself.
    Lead {
        value: Expr,
        partition: Option<Expr>,
    },
    /// The first few rows in the order of their numbers, or in the opposite one.
    First {
        items: Vec<SelectItem>,
        descending: bool,
        skip: usize,
        take: usize,
    },
    /// Fields of what a subquery looks up, and where it is null.
    Outside {
        call: Call,
        fields: Vec<&'static str>,
        is_tested: bool,
    },
    /// The groups of a column's values, with a field of what is looked up for them: as one of the
    /// groups' columns, or as an aggregate of what each row finds.
    Groups {
        call: Call,
        field: &'static str,
        aggregate: Option<&'static str>,
    },
    /// The least number of rows below a bound.
    Least {
        bound: i64,
        none: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) rows: Vec<TableRow>,
    pub(super) numbers: BTreeMap<u8, Fields>,
    pub(super) numbers_stored: Stored,
    pub(super) words: BTreeMap<&'static str, Fields>,
    pub(super) words_stored: Stored,
    pub(super) join: Option<Join>,
    pub(super) query: Query,
    pub(super) filter: Option<Expr>,
    pub(super) bounds: Bounds,
}

impl Store {
    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Words => "words",
        }
    }
}

impl Call {
    pub(super) fn sql(&self, function: &str, options: &str) -> String {
        let on_error = if self.null_on_error { "null" } else { "raise" };
        let (key, source) = (self.key.sql(), self.store.alias());
        format!("{function}({key}, source => '{source}', on_error => '{on_error}'{options})")
    }
}

fn branches(branches: &[(Expr, Expr)], otherwise: Option<&Expr>) -> String {
    let mut sql = String::new();
    for (when, then) in branches {
        sql += &format!(" WHEN {} THEN {}", when.sql(), then.sql());
    }
    if let Some(otherwise) = otherwise {
        sql += &format!(" ELSE {}", otherwise.sql());
    }
    sql
}

impl Record {
    fn sql(&self) -> String {
        match self {
            Self::Found(call) => call.sql("kv_get", ""),
            Self::When(condition, record) => {
                format!("(CASE WHEN {} THEN {} END)", condition.sql(), record.sql())
            }
            Self::Coalesce(one, other) => format!("coalesce({}, {})", one.sql(), other.sql()),
            Self::Nullif(one, other) => format!("nullif({}, {})", one.sql(), other.sql()),
        }
    }
}

impl Expr {
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Column(name) => (*name).to_owned(),
            Self::Inner(path) => format!("s['{}']", path.join("']['")),
            Self::Literal(Value::Int(int)) => int.to_string(),
            Self::Literal(Value::Text(text)) => format!("'{}'", text.replace('\'', "''")),
            Self::Literal(Value::Bool(bool)) => bool.to_string(),
            Self::Literal(other) => panic!("no literal is {other:?}"),
            Self::Field(record, field) => format!("{}['{field}']", record.sql()),
            Self::Exists(call) => call.sql("kv_exists", ""),
            Self::Found(call) => format!("({} IS NOT NULL)", call.sql("kv_get", "")),
            Self::Case(b, otherwise) => format!("(CASE{} END)", branches(b, otherwise.as_deref())),
            Self::Match(operand, b, otherwise) => {
                format!("(CASE {}{} END)", operand.sql(), branches(b, otherwise.as_deref()))
            }
            Self::Coalesce(args) => {
                format!("coalesce({})", args.iter().map(Self::sql).collect::<Vec<_>>().join(", "))
            }
            Self::Nullif(value, other) => format!("nullif({}, {})", value.sql(), other.sql()),
            Self::And(left, right) => format!("({} AND {})", left.sql(), right.sql()),
            Self::Or(left, right) => format!("({} OR {})", left.sql(), right.sql()),
            Self::Not(inner) => format!("(NOT {})", inner.sql()),
            Self::IsNull(inner) => format!("({} IS NULL)", inner.sql()),
            Self::Equal(left, right) => format!("({} = {})", left.sql(), right.sql()),
            Self::Less(left, right) => format!("({} < {})", left.sql(), right.sql()),
        }
    }

    pub(super) fn calls(&self) -> bool {
        let pairs = |pairs: &[(Self, Self)]| pairs.iter().any(|(a, b)| a.calls() || b.calls());
        let maybe = |expr: &Option<Box<Self>>| expr.as_ref().is_some_and(|expr| expr.calls());
        match self {
            Self::Column(_) | Self::Inner(_) | Self::Literal(_) => false,
            Self::Field(..) | Self::Exists(_) | Self::Found(_) => true,
            Self::Case(branches, otherwise) => pairs(branches) || maybe(otherwise),
            Self::Match(operand, branches, otherwise) => {
                operand.calls() || pairs(branches) || maybe(otherwise)
            }
            Self::Coalesce(args) => args.iter().any(Self::calls),
            Self::Not(inner) | Self::IsNull(inner) => inner.calls(),
            Self::Nullif(a, b)
            | Self::And(a, b)
            | Self::Or(a, b)
            | Self::Equal(a, b)
            | Self::Less(a, b) => a.calls() || b.calls(),
        }
    }
}

impl SelectItem {
    pub(super) fn sql(&self) -> String {
        let list = |columns: &[&str]| format!(", columns => ['{}']", columns.join("', '"));
        let what = match &self.what {
            What::Scalar(expr) => expr.sql(),
            What::Row(call, columns) => call.sql("kv_get", &list(columns)),
            What::Rows(call, columns, size) => {
                call.sql("kv_batch_get", &format!("{}, batch_size => {size}", list(columns)))
            }
        };
        match &self.guard {
            Some(guard) => format!("CASE WHEN {} THEN {what} END", guard.sql()),
            None => what,
        }
    }
}

impl Join {
    fn sql(&self) -> String {
        let more = self.condition.as_ref().map(|more| format!(" AND {}", more.sql()));
        match self.kind {
            Kind::Inner => format!("t JOIN u ON n = x{}", more.unwrap_or_default()),
            Kind::Left => "t LEFT JOIN u ON n = x".to_owned(),
            Kind::Cross => "t CROSS JOIN u".to_owned(),
            Kind::Comma => "t, u".to_owned(),
        }
    }
}

fn select(items: &[SelectItem]) -> String {
    let items = items.iter().enumerate().map(|(i, item)| format!("{} AS o{i}", item.sql()));
    items.collect::<Vec<_>>().join(", ")
}

impl Case {
    pub(super) fn sql(&self) -> String {
        let from = self.join.as_ref().map_or_else(|| "t".to_owned(), Join::sql);
        let filter = self.filter.as_ref().map(|filter| format!(" WHERE {}", filter.sql()));
        let from = format!("{from}{}", filter.unwrap_or_default());
        let ids = if self.join.is_some() { "row, other" } else { "row" };
        match &self.query {
            Query::Rows(items) => format!("SELECT {ids}, {} FROM {from}", select(items)),
            Query::First { items, descending, skip, take } => {
                let direction = if *descending { " DESC NULLS LAST" } else { "" };
                let order = ids.replace(',', &format!("{direction},")) + direction;
                format!(
                    "SELECT {ids}, {} FROM {from} ORDER BY {order} LIMIT {take} OFFSET {skip}",
                    select(items)
                )
            }
            Query::Outside { call, fields, is_tested } => {
                let fields = fields.iter().map(|field| format!("i['{field}'] AS of_{field}"));
                let tested = is_tested.then(|| "i IS NULL AS absent".to_owned());
                let outside: Vec<_> = fields.chain(tested).collect();
                format!(
                    "SELECT {ids}, {} FROM (SELECT {ids}, {} AS i FROM {from}) AS inside",
                    outside.join(", "),
                    call.sql("kv_get", "")
                )
            }
            Query::Groups { call, field, aggregate } => {
                let (key, found) = (call.key.sql(), call.sql("kv_get", ""));
                let found = format!("{found}['{field}']");
                let (column, group) = match aggregate {
                    Some(aggregate) => (format!("{aggregate}({found})"), key.clone()),
                    None => (found.clone(), format!("{key}, {found}")),
                };
                format!("SELECT {key}, {column} AS found, count(*) FROM {from} GROUP BY {group}")
            }
            Query::Behind { key, descending, skip } => {
                let direction = if *descending { "DESC" } else { "ASC" };
                format!(
                    "SELECT count(*), sum(row) FROM (SELECT row FROM {from} ORDER BY {} {direction} \
                     NULLS LAST, {ids} OFFSET {skip})",
                    key.sql()
                )
            }
            Query::Lead { value, partition } => format!(
                "SELECT {ids}, lead({}) OVER (PARTITION BY {} ORDER BY {ids}) AS o FROM {from}",
                value.sql(),
                partition.as_ref().unwrap_or(value).sql()
            ),
            Query::Least { bound, none } => {
                let limit = if *none { " LIMIT 0" } else { "" };
                format!(
                    "SELECT min(c) FILTER (WHERE c < {bound}) FROM (SELECT count(*) AS c FROM (SELECT \
                     row FROM {from}{limit}))"
                )
            }
        }
    }

    /// Whether the rows come in the order of the table, or in one that the query names.
    pub(super) fn is_ordered(&self) -> bool {
        match self.query {
            Query::First { .. } => true,
            Query::Lead { .. } | Query::Groups { .. } => false,
            _ => self.join.is_none(),
        }
    }
}
