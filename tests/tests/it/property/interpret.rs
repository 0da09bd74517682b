//! The interpreter: one row at a time, and no key before its value is needed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use super::query::{
    COLUMNS, Call, Case, Expr, Kind, LABEL, NEXT, Nested, OtherRow, Query, Record, SelectItem,
    Store, TableRow, Value, What,
};

/// The keys that one call in the query asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) rows: u64,
    pub(super) distinct: BTreeSet<Value>,
}

pub(super) struct Interpreter<'a> {
    pub(super) case: &'a Case,
    /// Whether a key was not found where that is an error.
    pub(super) missing: Cell<bool>,
    /// By store and by the place of the call in the query.
    pub(super) asked: RefCell<BTreeMap<(Store, *const Call), Asked>>,
}

fn value<T>(option: Option<T>, some: impl FnOnce(T) -> Value) -> Value {
    option.map_or(Value::Null, some)
}

/// A field of a row in the order of [`COLUMNS`].
fn of(fields: &[Value; 4], name: &str) -> Value {
    fields[COLUMNS.iter().position(|column| *column == name).unwrap()].clone()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A row of the table and, in a join, one of the other; with their numbers.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    table: (usize, &'a TableRow),
    other: Option<(usize, &'a OtherRow)>,
}

impl Row<'_> {
    fn column(&self, name: &str) -> Value {
        let other = self.other.map(|(_, row)| row);
        match name {
            "x" => value(other.and_then(|row| row.x), Value::Int),
            "y" => value(other.and_then(|row| row.y), text),
            "r" => value(other.and_then(|row| row.r), Value::Bool),
            name => self.table.1.column(name),
        }
    }
}

impl Nested {
    fn field(&self, path: &[&str]) -> Value {
        match path {
            _ if !self.valid => Value::Null,
            NEXT => Value::Int(self.next),
            LABEL if self.inner_valid => text(self.label),
            _ => Value::Null,
        }
    }
}

impl TableRow {
    fn column(&self, name: &str) -> Value {
        match name {
            "n" => value(self.n, Value::Int),
            "m" => value(self.m, Value::Int),
            "w" => value(self.w, text),
            "v" => value(self.v, text),
            "p" => value(self.p, Value::Bool),
            "q" => value(self.q, Value::Bool),
            "ns" => value(self.ns.as_ref(), |list| {
                Value::List(list.iter().map(|int| value(*int, Value::Int)).collect())
            }),
            "ws" => value(self.ws.as_ref(), |list| {
                Value::List(list.iter().map(|word| value(*word, text)).collect())
            }),
            other => panic!("no column is called {other}"),
        }
    }
}

impl Interpreter<'_> {
    /// The fields of a key's row in the order of [`COLUMNS`].
    fn find(&self, store: Store, key: &Value) -> Option<[Value; 4]> {
        let (next, label, flag) = match key {
            Value::Int(int) => *self.case.numbers.get(&u8::try_from(*int).ok()?)?,
            Value::Text(word) => *self.case.words.get(word.as_str())?,
            other => panic!("{store:?} is not keyed by {other:?}"),
        };
        Some([key.clone(), value(next, Value::Int), value(label, text), value(flag, Value::Bool)])
    }

    /// Looks one key up; null for a null key.
    fn lookup(&self, call: &Call, key: &Value) -> Option<[Value; 4]> {
        let mut asked = self.asked.borrow_mut();
        let asked = asked.entry((call.store, std::ptr::from_ref(call))).or_default();
        asked.rows += 1;
        if !matches!(key, Value::Int(int) if u8::try_from(*int).is_err()) {
            asked.distinct.insert(key.clone());
        }
        self.find(call.store, key)
    }

    fn get(&self, call: &Call, key: &Value) -> Option<[Value; 4]> {
        if *key == Value::Null {
            return None;
        }
        let found = self.lookup(call, key);
        if found.is_none() && !call.null_on_error {
            self.missing.set(true);
        }
        found
    }

    fn fields(&self, call: &Call, key: &Value, columns: &[&str]) -> Value {
        let found = self.get(call, key);
        value(found, |fields| Value::Row(columns.iter().map(|name| of(&fields, name)).collect()))
    }

    fn record(&self, record: &Record, row: &Row<'_>) -> Value {
        match record {
            Record::Found(call) => self.fields(call, &self.eval(&call.key, row), &COLUMNS),
            Record::When(condition, record) => match self.eval(condition, row) {
                Value::Bool(true) => self.record(record, row),
                _ => Value::Null,
            },
            Record::Coalesce(one, other) => match self.record(one, row) {
                Value::Null => self.record(other, row),
                found => found,
            },
            Record::Nullif(one, other) => match self.record(one, row) {
                Value::Null => Value::Null,
                found if found == self.record(other, row) => Value::Null,
                found => found,
            },
        }
    }

    pub(super) fn eval(&self, expr: &Expr, row: &Row<'_>) -> Value {
        match expr {
            Expr::Column(name) => row.column(name),
            Expr::Inner(path) => row.table.1.s.field(path),
            Expr::Literal(value) => value.clone(),
            Expr::Field(record, field) => match self.record(record, row) {
                Value::Row(fields) => {
                    fields[COLUMNS.iter().position(|name| name == field).unwrap()].clone()
                }
                _ => Value::Null,
            },
            Expr::Exists(call) => match self.eval(&call.key, row) {
                Value::Null => Value::Null,
                key => Value::Bool(self.lookup(call, &key).is_some()),
            },
            Expr::Found(call) => {
                let key = self.eval(&call.key, row);
                Value::Bool(self.get(call, &key).is_some())
            }
            Expr::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if self.eval(when, row) == Value::Bool(true) {
                        return self.eval(then, row);
                    }
                }
                self.otherwise(otherwise, row)
            }
            Expr::Match(operand, branches, otherwise) => {
                let operand = self.eval(operand, row);
                for (when, then) in branches {
                    if equal(&operand, &self.eval(when, row)) == Value::Bool(true) {
                        return self.eval(then, row);
                    }
                }
                self.otherwise(otherwise, row)
            }
            Expr::Coalesce(args) => {
                for arg in args {
                    let value = self.eval(arg, row);
                    if value != Value::Null {
                        return value;
                    }
                }
                Value::Null
            }
            Expr::Nullif(value, other) => match self.eval(value, row) {
                Value::Null => Value::Null,
                value if value == self.eval(other, row) => Value::Null,
                value => value,
            },
            Expr::And(left, right) => self.connect(left, right, false, row),
            Expr::Or(left, right) => self.connect(left, right, true, row),
            Expr::Not(inner) => match self.eval(inner, row) {
                Value::Bool(bool) => Value::Bool(!bool),
                other => other,
            },
            Expr::IsNull(inner) => Value::Bool(self.eval(inner, row) == Value::Null),
            Expr::Equal(left, right) => equal(&self.eval(left, row), &self.eval(right, row)),
            Expr::Less(left, right) => match (self.eval(left, row), self.eval(right, row)) {
                (Value::Null, _) | (_, Value::Null) => Value::Null,
                (left, right) => Value::Bool(left < right),
            },
        }
    }

    fn otherwise(&self, otherwise: &Option<Box<Expr>>, row: &Row<'_>) -> Value {
        otherwise.as_ref().map_or(Value::Null, |otherwise| self.eval(otherwise, row))
    }

    /// `AND` and `OR`: one value of the left side decides alone.
    fn connect(&self, left: &Expr, right: &Expr, decisive: bool, row: &Row<'_>) -> Value {
        let left = self.eval(left, row);
        if left == Value::Bool(decisive) {
            return left;
        }
        let right = self.eval(right, row);
        if right == Value::Bool(decisive) || left != Value::Null { right } else { left }
    }

    fn item(&self, item: &SelectItem, row: &Row<'_>) -> Value {
        if let Some(guard) = &item.guard
            && self.eval(guard, row) != Value::Bool(true)
        {
            return Value::Null;
        }
        match &item.what {
            What::Scalar(expr) => self.eval(expr, row),
            What::Row(call, columns) => self.fields(call, &self.eval(&call.key, row), columns),
            What::Rows(call, columns, _) => match self.eval(&call.key, row) {
                Value::List(keys) => {
                    let rows = keys.iter().map(|key| self.fields(call, key, columns));
                    Value::List(rows.collect())
                }
                _ => Value::Null,
            },
        }
    }

    /// All pairs of rows that a join's own key lets through; the rows themselves without a join.
    fn rows(&self) -> Vec<Row<'_>> {
        let table = self.case.rows.iter().enumerate();
        let Some(join) = &self.case.join else {
            return table.map(|table| Row { table, other: None }).collect();
        };
        let by_key = matches!(join.kind, Kind::Inner | Kind::Left);
        let mut rows = Vec::new();
        for table in table {
            let others = join.rows.iter().enumerate().map(Some);
            let pairs = others.map(|other| Row { table, other });
            let matching = |row: &Row<'_>| {
                !by_key || equal(&row.column("n"), &row.column("x")) == Value::Bool(true)
            };
            let before = rows.len();
            rows.extend(pairs.filter(matching));
            if join.kind == Kind::Left && rows.len() == before {
                rows.push(Row { table, other: None });
            }
        }
        rows
    }

    fn passing(&self) -> Vec<Row<'_>> {
        self.rows().into_iter().filter(|row| self.passes(row)).collect()
    }

    pub(super) fn run(&self) -> Vec<Vec<Value>> {
        match &self.case.query {
            Query::Rows(items) => self.items(items, &self.passing()),
            Query::First { items, descending, skip, take } => {
                // Without rows, nothing is asked.
                let mut rows = if *take == 0 { Vec::new() } else { self.passing() };
                if *descending {
                    rows.reverse();
                }
                let first: Vec<_> = rows.into_iter().skip(*skip).take(*take).collect();
                self.items(items, &first)
            }
            Query::Outside { call, fields, is_tested } => {
                let outside = |row: &Row<'_>| self.outside(call, fields, *is_tested, row);
                self.passing().iter().map(outside).collect()
            }
            // All rows of a group find the same.
            Query::Groups { call, field, aggregate: _ } => self.groups(call, field),
            Query::Behind { key, descending, skip } => {
                vec![self.behind(key, *descending, *skip)]
            }
            Query::Lead { value, partition } => {
                self.lead(value, partition.as_ref().unwrap_or(value))
            }
            Query::Least { bound, none } => {
                let count = if *none { 0 } else { self.passing().len() as i64 };
                vec![vec![value(Some(count).filter(|count| count < bound), Value::Int)]]
            }
        }
    }

    fn items(&self, items: &[SelectItem], rows: &[Row<'_>]) -> Vec<Vec<Value>> {
        let values = |row: &Row<'_>| {
            let values = items.iter().map(|item| self.item(item, row));
            self.ids(row).into_iter().chain(values).collect()
        };
        rows.iter().map(values).collect()
    }

    fn outside(&self, call: &Call, fields: &[&str], is_tested: bool, row: &Row<'_>) -> Vec<Value> {
        let found = self.get(call, &self.eval(&call.key, row));
        let tested = is_tested.then_some(Value::Bool(found.is_none()));
        let fields = fields.iter().map(|field| value(found.as_ref(), |found| of(found, field)));
        self.ids(row).into_iter().chain(fields).chain(tested).collect()
    }

    /// Each group is looked up once.
    fn groups(&self, call: &Call, field: &str) -> Vec<Vec<Value>> {
        let mut groups = BTreeMap::<_, i64>::new();
        for row in self.passing() {
            *groups.entry(self.eval(&call.key, &row)).or_default() += 1;
        }
        let looked_up = |(key, rows): (Value, i64)| {
            let found = value(self.get(call, &key), |found| of(&found, field));
            vec![key, found, Value::Int(rows)]
        };
        groups.into_iter().map(looked_up).collect()
    }

    fn ids(&self, row: &Row<'_>) -> Vec<Value> {
        let mut ids = vec![Value::Int(row.table.0 as i64)];
        if self.case.join.is_some() {
            ids.push(value(row.other, |(id, _)| Value::Int(id as i64)));
        }
        ids
    }

    fn behind(&self, key: &Expr, descending: bool, skip: usize) -> Vec<Value> {
        let rows = self.passing().into_iter().map(|row| (self.eval(key, &row), row.table.0));
        let mut rows: Vec<_> = rows.collect();
        // The rows themselves are in order, and stay so where their keys are equal.
        rows.sort_by(|(one, _), (other, _)| {
            let nulls = (*one == Value::Null).cmp(&(*other == Value::Null));
            nulls.then(if descending { other.cmp(one) } else { one.cmp(other) })
        });
        let behind: Vec<_> = rows.iter().skip(skip).map(|(_, row)| *row as i64).collect();
        let sum = Some(behind.iter().sum()).filter(|_| !behind.is_empty());
        vec![Value::Int(behind.len() as i64), value(sum, Value::Int)]
    }

    fn lead(&self, lead: &Expr, partition: &Expr) -> Vec<Vec<Value>> {
        let evaluated = |row: &Row<'_>| (self.eval(partition, row), self.eval(lead, row));
        let rows = self.passing();
        let values: Vec<_> = rows.iter().map(evaluated).collect();
        let next = |index: usize| {
            let mut later = values[index + 1..].iter();
            later.find(|(partition, _)| *partition == values[index].0).map(|(_, lead)| lead.clone())
        };
        let with_next = rows.iter().enumerate().map(|(index, row)| {
            let next = next(index).unwrap_or(Value::Null);
            self.ids(row).into_iter().chain([next]).collect()
        });
        with_next.collect()
    }
}

fn equal(left: &Value, right: &Value) -> Value {
    if *left == Value::Null || *right == Value::Null {
        return Value::Null;
    }
    Value::Bool(left == right)
}
