//! Random queries over random tables and stores, compared with an interpreter that takes one row at
//! a time and looks a key up only when its value is needed.
//!
//! A failure prints its seed and the smallest case found. `KEYLOOM_SEED` repeats a run.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, ListBuilder, RecordBatch,
        StringArray, StringBuilder, UInt8Array,
    },
    datatypes::{DataType, Int64Type, UInt8Type},
};
use keyloom_client::{Error, ErrorKind, MemoryOptions, Session, load_kv, report::JobSummary};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use tokio::runtime::Runtime;

const CASES: u32 = 64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Null,
    Int(i64),
    Text(String),
    Bool(bool),
    Row(Vec<Value>),
    List(Vec<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int,
    Text,
    Bool,
}

/// The two stores. Their columns are `key` and one of each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Store {
    /// Keyed by `UInt8`, so that some keys are out of range.
    Numbers,
    Words,
}

const COLUMNS: [&str; 4] = ["key", "next", "label", "flag"];

#[derive(Clone, Debug)]
struct Call {
    store: Store,
    key: Box<Expr>,
    null_on_error: bool,
}

#[derive(Clone, Debug)]
enum Expr {
    Column(&'static str),
    Literal(Value),
    Field(Call, &'static str),
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
struct Output {
    guard: Option<Expr>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Scalar(Expr),
    Row(Call, Vec<&'static str>),
    /// The key is a column of lists.
    Rows(Call, Vec<&'static str>, usize),
}

/// A row of a store without its key.
type Fields = (Option<i64>, Option<&'static str>, Option<bool>);

#[derive(Clone, Debug)]
struct TableRow {
    n: Option<i64>,
    m: Option<i64>,
    w: Option<&'static str>,
    v: Option<&'static str>,
    p: Option<bool>,
    q: Option<bool>,
    ns: Option<Vec<Option<i64>>>,
    ws: Option<Vec<Option<&'static str>>>,
}

#[derive(Clone, Debug)]
struct Case {
    rows: Vec<TableRow>,
    numbers: BTreeMap<u8, Fields>,
    words: BTreeMap<&'static str, Fields>,
    outputs: Vec<Output>,
    filter: Option<Expr>,
}

// Generation.

const WORDS: [&str; 6] = ["a", "b", "c", "d", "it's", ""];

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..6_i64, 1 => Just(-1), 1 => Just(300)]
}

fn word() -> impl Strategy<Value = &'static str> {
    select(&WORDS[..])
}

fn row() -> impl Strategy<Value = TableRow> {
    let maybe_int = || option::weighted(0.8, int());
    let maybe_word = || option::weighted(0.8, word());
    let maybe_bool = || option::weighted(0.8, any::<bool>());
    let scalars =
        (maybe_int(), maybe_int(), maybe_word(), maybe_word(), maybe_bool(), maybe_bool());
    let lists = (
        option::weighted(0.8, vec(maybe_int(), 0..4)),
        option::weighted(0.8, vec(maybe_word(), 0..4)),
    );
    (scalars, lists).prop_map(|((n, m, w, v, p, q), (ns, ws))| TableRow {
        n,
        m,
        w,
        v,
        p,
        q,
        ns,
        ws,
    })
}

fn fields() -> impl Strategy<Value = Fields> {
    let flag = option::weighted(0.8, any::<bool>());
    (option::weighted(0.8, int()), option::weighted(0.8, word()), flag)
}

/// Strategies for expressions of each type, of a bounded depth.
struct Level {
    int: BoxedStrategy<Expr>,
    text: BoxedStrategy<Expr>,
    bool: BoxedStrategy<Expr>,
}

impl Level {
    fn leaves() -> Self {
        let columns = |names: [&'static str; 2]| select(names.to_vec()).prop_map(Expr::Column);
        Self {
            int: columns(["n", "m"]).boxed(),
            text: columns(["w", "v"]).boxed(),
            bool: columns(["p", "q"]).boxed(),
        }
    }

    fn of(&self, ty: Type) -> BoxedStrategy<Expr> {
        match ty {
            Type::Int => self.int.clone(),
            Type::Text => self.text.clone(),
            Type::Bool => self.bool.clone(),
        }
    }

    fn above(&self) -> Self {
        let int = self.common(Type::Int).boxed();
        let text = self.common(Type::Text).boxed();
        let bool = prop_oneof![4 => self.common(Type::Bool), 5 => self.conditions()].boxed();
        Self { int, text, bool }
    }

    fn call(&self) -> impl Strategy<Value = Call> + use<> {
        let numbers = self.int.clone().prop_map(|key| (Store::Numbers, key));
        let words = self.text.clone().prop_map(|key| (Store::Words, key));
        (prop_oneof![numbers, words], proptest::bool::weighted(0.8)).prop_map(
            |((store, key), null_on_error)| Call { store, key: Box::new(key), null_on_error },
        )
    }

    /// What there is of every type.
    fn common(&self, ty: Type) -> impl Strategy<Value = Expr> + use<> {
        let field = match ty {
            Type::Int => "next",
            Type::Text => "label",
            Type::Bool => "flag",
        };
        // Literals stand only where DataFusion cannot fold what is around them.
        let end = prop_oneof![3 => self.of(ty), 1 => literal(ty)];
        let branches = vec((self.bool.clone(), end), 1..3);
        let otherwise = option::of(self.of(ty).prop_map(Box::new));
        let case =
            (branches, otherwise.clone()).prop_map(|(b, otherwise)| Expr::Case(b, otherwise));
        let matching = (self.matching(ty), otherwise)
            .prop_map(|((operand, branches), otherwise)| Expr::Match(operand, branches, otherwise));
        let coalesce = (vec(self.of(ty), 2..4), option::of(literal(ty)))
            .prop_map(|(args, last)| Expr::Coalesce(args.into_iter().chain(last).collect()));
        let nullif = (self.of(ty), self.of(ty))
            .prop_map(|(value, other)| Expr::Nullif(Box::new(value), Box::new(other)));
        prop_oneof![
            2 => self.of(ty),
            4 => self.call().prop_map(move |call| Expr::Field(call, field)),
            2 => case,
            1 => matching,
            2 => coalesce,
            1 => nullif,
        ]
    }

    /// An operand and branches for it.
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    fn matching(&self, ty: Type) -> impl Strategy<Value = (Box<Expr>, Vec<(Expr, Expr)>)> + use<> {
        let of = |operand: Type| {
            let when = prop_oneof![self.of(operand), literal(operand)];
            (self.of(operand).prop_map(Box::new), vec((when, self.of(ty)), 1..3))
        };
        prop_oneof![of(Type::Int), of(Type::Text)]
    }

    fn conditions(&self) -> impl Strategy<Value = Expr> + use<> {
        let pair = |ty| (self.of(ty).prop_map(Box::new), self.of(ty).prop_map(Box::new));
        let with_literal = |ty| (self.of(ty).prop_map(Box::new), literal(ty).prop_map(Box::new));
        // Of what may be null: DataFusion folds the test of what cannot.
        let column = select(vec!["n", "w", "p"]).prop_map(Expr::Column);
        let field = (self.call(), select(COLUMNS[1..].to_vec()))
            .prop_map(|(call, field)| Expr::Field(call, field));
        let nullable = prop_oneof![column, field];
        prop_oneof![
            2 => self.call().prop_map(Expr::Exists),
            1 => self.call().prop_map(Expr::Found),
            2 => pair(Type::Bool).prop_map(|(left, right)| Expr::And(left, right)),
            2 => pair(Type::Bool).prop_map(|(left, right)| Expr::Or(left, right)),
            1 => self.bool.clone().prop_map(|inner| Expr::Not(Box::new(inner))),
            1 => nullable.prop_map(|inner| Expr::IsNull(Box::new(inner))),
            1 => prop_oneof![pair(Type::Int), with_literal(Type::Int), with_literal(Type::Text)]
                .prop_map(|(left, right)| Expr::Equal(left, right)),
            1 => with_literal(Type::Int).prop_map(|(left, right)| Expr::Less(left, right)),
        ]
    }

    fn output(&self) -> impl Strategy<Value = Output> + use<> {
        let columns = || subsequence(COLUMNS.to_vec(), 1..=4).prop_shuffle();
        let lists = prop_oneof![Just((Store::Numbers, "ns")), Just((Store::Words, "ws"))];
        let list_call =
            (lists, proptest::bool::weighted(0.8)).prop_map(|((store, name), null_on_error)| {
                Call { store, key: Box::new(Expr::Column(name)), null_on_error }
            });
        let what = prop_oneof![
            1 => self.int.clone().prop_map(What::Scalar),
            1 => self.text.clone().prop_map(What::Scalar),
            1 => self.bool.clone().prop_map(What::Scalar),
            1 => (self.call(), columns()).prop_map(|(call, columns)| What::Row(call, columns)),
            1 => (list_call, columns(), 1..5_usize)
                .prop_map(|(call, columns, size)| What::Rows(call, columns, size)),
        ];
        (option::weighted(0.3, self.bool.clone()), what)
            .prop_map(|(guard, what)| Output { guard, what })
    }
}

fn literal(ty: Type) -> BoxedStrategy<Expr> {
    match ty {
        Type::Int => int().prop_map(|int| Expr::Literal(Value::Int(int))).boxed(),
        Type::Text => word().prop_map(|word| Expr::Literal(Value::Text(word.to_owned()))).boxed(),
        Type::Bool => any::<bool>().prop_map(|bool| Expr::Literal(Value::Bool(bool))).boxed(),
    }
}

fn case() -> impl Strategy<Value = Case> {
    let level = Level::leaves().above().above().above();
    (
        vec(row(), 0..10),
        btree_map(0..6_u8, fields(), 0..6),
        btree_map(word(), fields(), 0..6),
        vec(level.output(), 1..4),
        option::weighted(0.4, level.bool.clone()),
    )
        .prop_map(|(rows, numbers, words, outputs, filter)| Case {
            rows,
            numbers,
            words,
            outputs,
            filter,
        })
}

// SQL.

impl Store {
    fn alias(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Words => "words",
        }
    }
}

impl Call {
    fn sql(&self, function: &str, options: &str) -> String {
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

impl Expr {
    fn sql(&self) -> String {
        match self {
            Self::Column(name) => (*name).to_owned(),
            Self::Literal(Value::Int(int)) => int.to_string(),
            Self::Literal(Value::Text(text)) => format!("'{}'", text.replace('\'', "''")),
            Self::Literal(Value::Bool(bool)) => bool.to_string(),
            Self::Literal(other) => panic!("no literal is {other:?}"),
            Self::Field(call, field) => format!("{}['{field}']", call.sql("kv_get", "")),
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

    fn calls(&self) -> bool {
        let pairs = |pairs: &[(Self, Self)]| pairs.iter().any(|(a, b)| a.calls() || b.calls());
        let maybe = |expr: &Option<Box<Self>>| expr.as_ref().is_some_and(|expr| expr.calls());
        match self {
            Self::Column(_) | Self::Literal(_) => false,
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

impl Output {
    fn sql(&self) -> String {
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

impl Case {
    fn sql(&self) -> String {
        let outputs = self.outputs.iter().enumerate();
        let outputs: Vec<_> = outputs.map(|(i, out)| format!("{} AS o{i}", out.sql())).collect();
        let filter = self.filter.as_ref().map(|filter| format!(" WHERE {}", filter.sql()));
        format!("SELECT row, {} FROM t{}", outputs.join(", "), filter.unwrap_or_default())
    }
}

// The interpreter.

/// The keys that one call in the query asked for.
#[derive(Debug, Default)]
struct Asked {
    rows: u64,
    distinct: BTreeSet<Value>,
}

struct Interpreter<'a> {
    case: &'a Case,
    /// Whether a key was not found where that is an error.
    missing: Cell<bool>,
    /// By store and by the place of the call in the query.
    asked: RefCell<BTreeMap<(Store, *const Call), Asked>>,
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

    fn run(&self) -> Vec<Vec<Value>> {
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

// The product.

impl Case {
    fn table(&self) -> RecordBatch {
        let rows = &self.rows;
        let ints = |get: fn(&TableRow) -> Option<i64>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<Int64Array>())
        };
        let words = |get: fn(&TableRow) -> Option<&'static str>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<StringArray>())
        };
        let bools = |get: fn(&TableRow) -> Option<bool>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<BooleanArray>())
        };
        let mut ns = ListBuilder::new(Int64Builder::new());
        let mut ws = ListBuilder::new(StringBuilder::new());
        for row in rows {
            ns.append_option(row.ns.clone());
            ws.append_option(row.ws.clone());
        }
        let columns: [(&str, ArrayRef); 9] = [
            ("row", Arc::new(Int64Array::from_iter_values(0..rows.len() as i64))),
            ("n", ints(|row| row.n)),
            ("m", ints(|row| row.m)),
            ("w", words(|row| row.w)),
            ("v", words(|row| row.v)),
            ("p", bools(|row| row.p)),
            ("q", bools(|row| row.q)),
            ("ns", Arc::new(ns.finish())),
            ("ws", Arc::new(ws.finish())),
        ];
        let columns = columns.map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }
}

fn store(keys: ArrayRef, fields: &[Fields]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("key", keys),
        ("next", Arc::new(fields.iter().map(|f| f.0).collect::<Int64Array>())),
        ("label", Arc::new(fields.iter().map(|f| f.1).collect::<StringArray>())),
        ("flag", Arc::new(fields.iter().map(|f| f.2).collect::<BooleanArray>())),
    ];
    let columns = columns.map(|(name, column)| (name, column, name != "key"));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn run(session: &Session, case: &Case) -> Result<(Vec<Vec<Value>>, JobSummary), Error> {
    let fields: Vec<_> = case.numbers.values().copied().collect();
    let numbers =
        store(Arc::new(UInt8Array::from_iter_values(case.numbers.keys().copied())), &fields);
    let fields: Vec<_> = case.words.values().copied().collect();
    let words = store(Arc::new(StringArray::from_iter_values(case.words.keys())), &fields);
    for (alias, batch) in [("numbers", numbers), ("words", words)] {
        let loaded = load_kv(alias, MemoryOptions::batch(batch, "key"))?;
        session.attach_or_replace(loaded, alias).await?;
    }
    session.context().deregister_table("t")?;
    session.register_batches("t", &[case.table()])?;
    let mut job = session.submit(session.sql(&case.sql()).await?).await?;
    let batches = job.collect().await?;
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| values(batch, row)));
    Ok((rows.collect(), job.summary().cloned().unwrap_or_default()))
}

fn values(batch: &RecordBatch, row: usize) -> Vec<Value> {
    batch.columns().iter().map(|column| cell(column, row)).collect()
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Value::Int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::Utf8 => text(array.as_string::<i32>().value(row)),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Struct(_) => {
            Value::Row(array.as_struct().columns().iter().map(|field| cell(field, row)).collect())
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Value::List((0..elements.len()).map(|index| cell(&elements, index)).collect())
        }
        other => panic!("no column has type {other}"),
    }
}

/// The keys that the calls of the query asked a store for.
fn asked_of(store: Store, interpreter: &Interpreter<'_>) -> (u64, usize, usize) {
    let asked = interpreter.asked.borrow();
    let calls: Vec<_> = asked.iter().filter(|((s, _), _)| *s == store).map(|(_, a)| a).collect();
    let rows = calls.iter().map(|call| call.rows).sum();
    let by_call = calls.iter().map(|call| call.distinct.len()).sum();
    let in_all: BTreeSet<_> = calls.iter().flat_map(|call| &call.distinct).collect();
    (rows, by_call, in_all.len())
}

/// The table is one batch, so each fetch asks for each of its keys once. A fetch serves one call of
/// the query or several, so its keys are among what these asked for.
///
/// It may be fewer: DataFusion drops what cannot matter, as in `a OR (a AND kv_exists(k))`. Only
/// then may a missing key go unnoticed.
fn check_lookups(summary: &JobSummary, interpreter: &Interpreter<'_>) -> Result<(), TestCaseError> {
    let mut dropped = false;
    for store in [Store::Numbers, Store::Words] {
        let counted = summary.stores.get(store.alias()).copied().unwrap_or_default();
        let (rows, by_call, in_all) = asked_of(store, interpreter);
        prop_assert!(counted.keys <= rows, "{store:?}: {counted:?}, but {rows} rows asked");
        let distinct = usize::try_from(counted.distinct).unwrap();
        prop_assert!(distinct <= by_call, "{store:?}: {counted:?}, but {by_call} were needed");
        prop_assert_eq!(counted.hits + counted.misses, counted.distinct);
        dropped |= distinct < in_all;
    }
    prop_assert!(dropped || !interpreter.missing.get(), "a key is missing, but no error");
    Ok(())
}

async fn check(session: &Session, case: &Case) -> Result<(), TestCaseError> {
    let (asked, missing) = (RefCell::default(), Cell::default());
    let interpreter = Interpreter { case, missing, asked };
    let expected = interpreter.run();
    match run(session, case).await {
        Ok((rows, summary)) => {
            prop_assert_eq!(rows, expected, "{}", case.sql());
            check_lookups(&summary, &interpreter)
        }
        Err(error) => {
            prop_assert!(interpreter.missing.get(), "nothing is missing, but: {}", error);
            prop_assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error);
            prop_assert!(error.message().starts_with("Key not found in KV store '"), "{}", error);
            Ok(())
        }
    }
}

async fn explain(session: &Session, case: &Case) -> Result<Vec<String>, Error> {
    let plan = session.explain(session.sql(&case.sql()).await?, false).await?;
    Ok(plan.lines().map(ToOwned::to_owned).collect())
}

fn seed() -> u64 {
    match std::env::var("KEYLOOM_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
    }
}

#[test]
fn random_queries_agree_with_a_row_at_a_time_interpreter() {
    let runtime = Runtime::new().unwrap();
    let session = runtime.block_on(Session::embedded()).unwrap();
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = std::env::var("KEYLOOM_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new_with_rng(config, rng)
        .run(&case(), |case| runtime.block_on(check(&session, &case)));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => {
            let plan = runtime.block_on(explain(&session, &case));
            panic!("KEYLOOM_SEED={seed} repeats this: {why}\n{case:?}\n{}\n{plan:?}", case.sql())
        }
        Err(TestError::Abort(why)) => panic!("KEYLOOM_SEED={seed} repeats this: {why}"),
    }
}
