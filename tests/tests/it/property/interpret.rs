//! The interpreter: one row at a time, and no key before its value is needed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use super::query::{COLUMNS, Call, Case, Expr, Output, Store, TableRow, Value, What};

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

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
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
        value(found, |fields| {
            let field = |column: &&str| COLUMNS.iter().position(|name| name == column).unwrap();
            Value::Row(columns.iter().map(|column| fields[field(column)].clone()).collect())
        })
    }

    fn eval(&self, expr: &Expr, row: &TableRow) -> Value {
        match expr {
            Expr::Column(name) => row.column(name),
            Expr::Literal(value) => value.clone(),
            Expr::Field(call, field) => {
                let key = self.eval(&call.key, row);
                match self.fields(call, &key, &[field]) {
                    Value::Row(mut fields) => fields.remove(0),
                    _ => Value::Null,
                }
            }
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

    fn otherwise(&self, otherwise: &Option<Box<Expr>>, row: &TableRow) -> Value {
        otherwise.as_ref().map_or(Value::Null, |otherwise| self.eval(otherwise, row))
    }

    /// `AND` and `OR`: one value of the left side decides alone.
    fn connect(&self, left: &Expr, right: &Expr, decisive: bool, row: &TableRow) -> Value {
        let left = self.eval(left, row);
        if left == Value::Bool(decisive) {
            return left;
        }
        let right = self.eval(right, row);
        if right == Value::Bool(decisive) || left != Value::Null { right } else { left }
    }

    fn output(&self, output: &Output, row: &TableRow) -> Value {
        if let Some(guard) = &output.guard
            && self.eval(guard, row) != Value::Bool(true)
        {
            return Value::Null;
        }
        match &output.what {
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

    /// Conditions without calls are decided before those with calls.
    fn passes(&self, row: &TableRow) -> bool {
        let Some(filter) = &self.case.filter else { return true };
        let conditions = conjuncts(filter, true).into_iter();
        let (calling, plain): (Vec<_>, Vec<_>) = conditions.partition(|(c, _)| c.calls());
        for (condition, wanted) in plain {
            if self.eval(condition, row) != Value::Bool(wanted) {
                return false;
            }
        }
        let mut all = Value::Bool(true);
        for (condition, wanted) in calling {
            match self.eval(condition, row) {
                Value::Bool(bool) if bool == wanted => {}
                Value::Bool(_) => return false,
                null => all = null,
            }
        }
        all == Value::Bool(true)
    }

    pub(super) fn run(&self) -> Vec<Vec<Value>> {
        let mut results = Vec::new();
        for (index, row) in self.case.rows.iter().enumerate() {
            if self.passes(row) {
                let outputs = self.case.outputs.iter().map(|output| self.output(output, row));
                let index = Value::Int(index as i64);
                results.push(std::iter::once(index).chain(outputs).collect());
            }
        }
        results
    }
}

/// What must be true, or false, for an expression to be what is wanted of it.
fn conjuncts(expr: &Expr, wanted: bool) -> Vec<(&Expr, bool)> {
    match (expr, wanted) {
        (Expr::And(left, right), true) | (Expr::Or(left, right), false) => {
            [conjuncts(left, wanted), conjuncts(right, wanted)].concat()
        }
        (Expr::Not(inner), _) => conjuncts(inner, !wanted),
        _ => vec![(expr, wanted)],
    }
}

fn equal(left: &Value, right: &Value) -> Value {
    if *left == Value::Null || *right == Value::Null {
        return Value::Null;
    }
    Value::Bool(left == right)
}
