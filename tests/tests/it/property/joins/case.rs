//! Cases: a table, three stores and a statement that joins them, and the statement's SQL.

use keyloom_client::JoinPath;

use super::kept::Kept;
use crate::property::{
    bounds::Bounds,
    query::{Type, Value},
};

/// What is joined: the table, which comes first, and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Table,
    /// Keyed by `UInt8`, so that some keys are out of range.
    Numbers,
    Words,
    /// Keyed by a number and a word.
    Pairs,
}

/// The columns of a relation, by their names.
type Columns = &'static [(&'static str, Type)];

impl Relation {
    pub(super) const STORES: [Self; 3] = [Self::Numbers, Self::Words, Self::Pairs];

    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::Table => "t",
            Self::Numbers => "numbers",
            Self::Words => "words",
            Self::Pairs => "pairs",
        }
    }

    pub(super) fn columns(self) -> Columns {
        match self {
            Self::Table => {
                &[("row", Type::Int), ("key", Type::Int), ("m", Type::Int), ("w", Type::Text)]
            }
            Self::Numbers => &[("key", Type::Int), ("next", Type::Int), ("label", Type::Text)],
            Self::Words => &[("key", Type::Text), ("next", Type::Int), ("label", Type::Text)],
            Self::Pairs => &[("a", Type::Int), ("b", Type::Text), ("next", Type::Int)],
        }
    }

    /// The columns of its key, which are its first ones.
    pub(super) fn key(self) -> Columns {
        match self {
            Self::Table => &[],
            Self::Numbers | Self::Words => &self.columns()[..1],
            Self::Pairs => &self.columns()[..2],
        }
    }

    /// The place of a column.
    pub(super) fn place(self, name: &str) -> usize {
        self.columns().iter().position(|(column, _)| *column == name).unwrap()
    }

    /// Whether a key is one of the store's type.
    pub(super) fn may_hold(self, key: &[Value]) -> bool {
        match key {
            [Value::Int(int)] => u8::try_from(*int).is_ok(),
            _ => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// A column of the table, which is number 0, or of what the join of this number joins. A
    /// subquery's relation comes after these.
    Column(usize, &'static str),
    Coalesce(Box<Self>, Box<Self>),
    Literal(Value),
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Less(Scalar, Scalar),
    Equal(Scalar, Scalar),
    IsNull(Scalar),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Right,
    Full,
    Semi,
    Anti,
    /// A cross join, whose condition stands in `WHERE`.
    Cross,
}

/// What is equal: what is asked for, and the column that holds it.
pub(super) type Equality = (Scalar, &'static str);

#[derive(Clone, Debug)]
pub(super) struct Join {
    pub(super) kind: Kind,
    pub(super) relation: Relation,
    pub(super) on: Vec<Equality>,
    pub(super) more: Option<Condition>,
    /// Whether it is written as `USING (key)`, which is its only condition then.
    pub(super) using: bool,
}

/// A condition of the statement, each of which must hold.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    Plain(Condition),
    Exists {
        negated: bool,
        relation: Relation,
        on: Vec<Equality>,
        more: Option<Condition>,
        or: Option<Condition>,
    },
    /// Among the keys of a relation, or of its rows with `next` below a bound.
    In {
        negated: bool,
        relation: Relation,
        asked: Scalar,
        below: Option<i64>,
        or: Option<Condition>,
    },
}

/// What is selected.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Scalar(Scalar),
    Get(Relation, Scalar, &'static str),
    Exists(Relation, Scalar),
}

#[derive(Clone, Debug)]
pub(super) enum Query {
    Rows,
    /// The first rows in an order by all that is selected.
    First {
        skip: usize,
        take: usize,
    },
    /// The first column of a common table expression, of all rows or of those where it is not null.
    Outside {
        tested: bool,
    },
    /// How many rows there are, of some at most.
    Count {
        most: Option<usize>,
    },
    /// The values of the first column, and how many rows have each.
    Groups,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    /// In the order of the columns.
    pub(super) rows: Vec<Vec<Value>>,
    pub(super) stores: [(Vec<Vec<Value>>, Kept); 3],
    pub(super) joins: Vec<Join>,
    pub(super) filters: Vec<Filter>,
    pub(super) items: Vec<Item>,
    pub(super) query: Query,
    pub(super) path: JoinPath,
    pub(super) bounds: Bounds,
}

impl Kind {
    /// Whether columns of what is joined may be read above.
    pub(super) fn binds(self) -> bool {
        !matches!(self, Self::Semi | Self::Anti)
    }
}

/// The name of a relation in the statement.
fn name(place: usize) -> String {
    match place {
        0 => "t".to_owned(),
        place => format!("j{place}"),
    }
}

impl Scalar {
    fn sql(&self) -> String {
        match self {
            Self::Column(place, column) => format!("{}.{column}", name(*place)),
            Self::Coalesce(one, other) => format!("coalesce({}, {})", one.sql(), other.sql()),
            Self::Literal(Value::Int(int)) => int.to_string(),
            Self::Literal(Value::Text(text)) => format!("'{}'", text.replace('\'', "''")),
            Self::Literal(other) => panic!("no literal is {other:?}"),
        }
    }
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Self::Less(left, right) => format!("{} < {}", left.sql(), right.sql()),
            Self::Equal(left, right) => format!("{} = {}", left.sql(), right.sql()),
            Self::IsNull(scalar) => format!("{} IS NULL", scalar.sql()),
            Self::Not(inner) => format!("NOT ({})", inner.sql()),
            Self::Or(left, right) => format!("({} OR {})", left.sql(), right.sql()),
        }
    }
}

/// All conditions of a join, of which what is joined has this number.
fn conditions<'a>(
    on: &'a [Equality],
    more: Option<&'a Condition>,
    place: usize,
) -> impl Iterator<Item = String> + 'a {
    let equal =
        move |(asked, column): &Equality| format!("{} = {}.{column}", asked.sql(), name(place));
    on.iter().map(equal).chain(more.map(Condition::sql))
}

fn all(conditions: impl Iterator<Item = String>) -> String {
    conditions.collect::<Vec<_>>().join(" AND ")
}

impl Join {
    /// Whether it is on all of the key and nothing else.
    pub(super) fn is_on_key(&self) -> bool {
        let on = self.on.iter().map(|(_, column)| column);
        on.eq(self.relation.key().iter().map(|(column, _)| column))
    }

    fn sql(&self, place: usize) -> String {
        let kind = match self.kind {
            Kind::Inner => "JOIN",
            Kind::Left => "LEFT JOIN",
            Kind::Right => "RIGHT JOIN",
            Kind::Full => "FULL JOIN",
            Kind::Semi => "LEFT SEMI JOIN",
            Kind::Anti => "LEFT ANTI JOIN",
            Kind::Cross => "CROSS JOIN",
        };
        let condition = match self.kind {
            Kind::Cross => String::new(),
            _ if self.using => " USING (key)".to_owned(),
            _ => format!(" ON {}", all(conditions(&self.on, self.more.as_ref(), place))),
        };
        format!(" {kind} {} AS {}{condition}", self.relation.alias(), name(place))
    }
}

impl Filter {
    fn sql(&self, place: usize) -> String {
        let (condition, or) = match self {
            Self::Plain(condition) => return condition.sql(),
            Self::Exists { negated, relation, on, more, or } => {
                let not = if *negated { "NOT " } else { "" };
                let (alias, inner) = (relation.alias(), name(place));
                let conditions = all(conditions(on, more.as_ref(), place));
                let exists =
                    format!("{not}EXISTS (SELECT 1 FROM {alias} AS {inner} WHERE {conditions})");
                (exists, or)
            }
            Self::In { negated, relation, asked, below, or } => {
                let not = if *negated { "NOT " } else { "" };
                let (asked, alias) = (asked.sql(), relation.alias());
                let below = below.map(|below| format!(" WHERE next < {below}"));
                let below = below.unwrap_or_default();
                (format!("{asked} {not}IN (SELECT key FROM {alias}{below})"), or)
            }
        };
        match or {
            Some(or) => format!("({} OR {condition})", or.sql()),
            None => condition,
        }
    }
}

impl Item {
    fn sql(&self) -> String {
        let call = |function: &str, relation: &Relation, key: &Scalar| {
            let (key, source) = (key.sql(), relation.alias());
            format!("{function}({key}, source => '{source}', on_error => 'null')")
        };
        match self {
            Self::Scalar(scalar) => scalar.sql(),
            Self::Get(relation, key, column) => {
                format!("{}['{column}']", call("kv_get", relation, key))
            }
            Self::Exists(relation, key) => call("kv_exists", relation, key),
        }
    }
}

impl Case {
    /// The rows of a relation.
    pub(super) fn rows_of(&self, relation: Relation) -> &[Vec<Value>] {
        match Relation::STORES.iter().position(|store| *store == relation) {
            Some(place) => &self.stores[place].0,
            None => &self.rows,
        }
    }

    /// Whether a function looks keys of a store up.
    pub(super) fn looks_up(&self, alias: &str) -> bool {
        self.items.iter().any(|item| match item {
            Item::Scalar(_) => false,
            Item::Get(relation, ..) | Item::Exists(relation, _) => relation.alias() == alias,
        })
    }

    pub(super) fn sql(&self) -> String {
        let rows = self.rows_sql();
        let columns: Vec<_> = (0..self.items.len()).map(|place| format!("o{place}")).collect();
        match &self.query {
            Query::Rows => rows,
            Query::First { skip, take } => {
                let order: Vec<_> =
                    columns.iter().map(|column| format!("{column} NULLS LAST")).collect();
                format!("{rows} ORDER BY {} LIMIT {take} OFFSET {skip}", order.join(", "))
            }
            Query::Outside { tested } => {
                let tested = if *tested { " WHERE o0 IS NOT NULL" } else { "" };
                format!("WITH inside AS ({rows}) SELECT o0 FROM inside{tested}")
            }
            Query::Count { most } => {
                let limit = most.map(|most| format!(" LIMIT {most}")).unwrap_or_default();
                format!("SELECT count(*) FROM ({rows}{limit}) AS inside")
            }
            Query::Groups => {
                format!("SELECT o0, count(*) FROM ({rows}) AS inside GROUP BY o0")
            }
        }
    }

    fn rows_sql(&self) -> String {
        let items = self.items.iter().enumerate();
        let items: Vec<_> = items.map(|(i, item)| format!("{} AS o{i}", item.sql())).collect();
        let joins = self.joins.iter().enumerate().map(|(place, join)| join.sql(place + 1));
        let joins: String = joins.collect();
        let of_crosses = self.joins.iter().enumerate().flat_map(|(place, join)| {
            let is_cross = join.kind == Kind::Cross;
            conditions(&join.on, join.more.as_ref(), place + 1).filter(move |_| is_cross)
        });
        let inner = self.joins.len() + 1;
        let filters = self.filters.iter().map(|filter| filter.sql(inner));
        let conditions: Vec<_> = of_crosses.chain(filters).collect();
        let filter = match conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" WHERE {}", conditions.join(" AND ")),
        };
        format!("SELECT {} FROM t{joins}{filter}", items.join(", "))
    }

    /// Whether the rows come in an order.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.query, Query::First { .. })
    }
}
