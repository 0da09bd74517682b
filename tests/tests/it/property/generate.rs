//! Random cases.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    bounds::bounds,
    query::{
        COLUMNS, Call, Case, Expr, Fields, Join, Kind, LABEL, NEXT, Nested, OtherRow, Query,
        Record, SelectItem, Store, TableRow, Type, Value, WORDS, What,
    },
    stored::stored,
};

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
    (scalars, lists, nested()).prop_map(|((n, m, w, v, p, q), (ns, ws), s)| TableRow {
        n,
        m,
        w,
        v,
        p,
        q,
        ns,
        ws,
        s,
    })
}

fn nested() -> impl Strategy<Value = Nested> {
    let valid = || proptest::bool::weighted(0.7);
    (valid(), int(), valid(), word()).prop_map(|(valid, next, inner_valid, label)| Nested {
        valid,
        next,
        inner_valid,
        label,
    })
}

fn other_row() -> impl Strategy<Value = OtherRow> {
    let flag = option::weighted(0.8, any::<bool>());
    (option::weighted(0.8, int()), option::weighted(0.8, word()), flag)
        .prop_map(|(x, y, r)| OtherRow { x, y, r })
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
    /// The columns of the table and, in a join, of the other.
    fn leaves(joined: bool) -> Self {
        let leaf = |own: [&'static str; 2], other: &'static str, inner: Option<_>| {
            let columns = own.into_iter().chain(joined.then_some(other)).map(Expr::Column);
            select(columns.chain(inner.map(Expr::Inner)).collect::<Vec<_>>()).boxed()
        };
        Self {
            int: leaf(["n", "m"], "x", Some(NEXT)),
            text: leaf(["w", "v"], "y", Some(LABEL)),
            bool: leaf(["p", "q"], "r", None),
        }
    }

    fn any(&self) -> impl Strategy<Value = Expr> + use<> {
        prop_oneof![self.int.clone(), self.text.clone(), self.bool.clone()]
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
        prop_oneof![self.call_of(Store::Numbers), self.call_of(Store::Words)]
    }

    fn call_of(&self, store: Store) -> BoxedStrategy<Call> {
        let key = match store {
            Store::Numbers => self.int.clone(),
            Store::Words => self.text.clone(),
        };
        (key, proptest::bool::weighted(0.8))
            .prop_map(move |(key, null_on_error)| Call { store, key: Box::new(key), null_on_error })
            .boxed()
    }

    fn record(&self) -> BoxedStrategy<Record> {
        let of = |store| {
            let found = || self.call_of(store).prop_map(Record::Found);
            let pair = || (found().prop_map(Box::new), found().prop_map(Box::new));
            prop_oneof![
                4 => found(),
                2 => (self.bool.clone().prop_map(Box::new), found().prop_map(Box::new))
                    .prop_map(|(condition, record)| Record::When(condition, record)),
                1 => pair().prop_map(|(one, other)| Record::Coalesce(one, other)),
                1 => pair().prop_map(|(one, other)| Record::Nullif(one, other)),
            ]
        };
        prop_oneof![of(Store::Numbers), of(Store::Words)].boxed()
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
            4 => self.record().prop_map(move |record| Expr::Field(record, field)),
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
        let field = (self.record(), select(COLUMNS[1..].to_vec()))
            .prop_map(|(record, field)| Expr::Field(record, field));
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

    fn item(&self) -> impl Strategy<Value = SelectItem> + use<> {
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
            .prop_map(|(guard, what)| SelectItem { guard, what })
    }
}

fn literal(ty: Type) -> BoxedStrategy<Expr> {
    match ty {
        Type::Int => int().prop_map(|int| Expr::Literal(Value::Int(int))).boxed(),
        Type::Text => word().prop_map(|word| Expr::Literal(Value::Text(word.to_owned()))).boxed(),
        Type::Bool => any::<bool>().prop_map(|bool| Expr::Literal(Value::Bool(bool))).boxed(),
    }
}

impl Level {
    fn join(&self) -> impl Strategy<Value = Join> + use<> {
        let kind = select(vec![Kind::Inner, Kind::Left, Kind::Cross, Kind::Comma]);
        (kind, vec(other_row(), 0..5), option::of(self.bool.clone())).prop_map(
            |(kind, rows, condition)| {
                let condition = condition.filter(|_| kind == Kind::Inner);
                Join { kind, rows, condition }
            },
        )
    }

    fn query(&self) -> impl Strategy<Value = Query> + use<> {
        prop_oneof![
            5 => vec(self.item(), 1..4).prop_map(Query::Rows),
            1 => (self.any(), any::<bool>(), 0..4_usize)
                .prop_map(|(key, descending, skip)| Query::Behind { key, descending, skip }),
            1 => (self.any(), option::of(self.any()))
                .prop_map(|(value, partition)| Query::Lead { value, partition }),
            1 => (0..4_i64, any::<bool>()).prop_map(|(bound, none)| Query::Least { bound, none }),
            2 => (vec(self.item(), 1..4), any::<bool>(), 0..3_usize, 0..5_usize).prop_map(
                |(items, descending, skip, take)| Query::First { items, descending, skip, take }
            ),
            2 => (self.call(), subsequence(COLUMNS.to_vec(), 0..=2), any::<bool>()).prop_map(
                |(call, fields, is_tested)| {
                    let is_tested = is_tested || fields.is_empty();
                    Query::Outside { call, fields, is_tested }
                }
            ),
            1 => groups(),
        ]
    }
}

fn groups() -> impl Strategy<Value = Query> {
    let keys = prop_oneof![Just((Store::Numbers, "n")), Just((Store::Words, "w"))];
    let aggregate = option::of(select(vec!["min", "max", "first_value", "last_value"]));
    (keys, proptest::bool::weighted(0.8), select(COLUMNS.to_vec()), aggregate).prop_map(
        |((store, name), null_on_error, field, aggregate)| {
            let key = Box::new(Expr::Column(name));
            Query::Groups { call: Call { store, key, null_on_error }, field, aggregate }
        },
    )
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    prop_oneof![2 => case_of(false), 1 => case_of(true)]
}

fn case_of(joined: bool) -> impl Strategy<Value = Case> {
    let level = Level::leaves(joined).above().above().above();
    let join = match joined {
        true => level.join().prop_map(Some).boxed(),
        false => Just(None).boxed(),
    };
    (
        vec(row(), 0..10),
        (btree_map(0..6_u8, fields(), 0..6), stored(6)),
        (btree_map(word(), fields(), 0..6), stored(WORDS.len())),
        join,
        level.query(),
        option::weighted(0.4, level.bool.clone()),
        bounds(),
    )
        .prop_map(|(rows, numbers, words, join, query, filter, bounds)| Case {
            bounds: match numbers.1.forces_map() || words.1.forces_map() {
                true => bounds.with_room_for_maps(),
                false => bounds,
            },
            rows,
            numbers: numbers.0,
            numbers_stored: numbers.1,
            words: words.0,
            words_stored: words.1,
            join,
            query,
            filter,
        })
}
