//! Random cases.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    bounds::bounds,
    query::{COLUMNS, Call, Case, Expr, Fields, Output, Store, TableRow, Type, Value, WORDS, What},
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

pub(super) fn case() -> impl Strategy<Value = Case> {
    let level = Level::leaves().above().above().above();
    (
        vec(row(), 0..10),
        (btree_map(0..6_u8, fields(), 0..6), stored(6)),
        (btree_map(word(), fields(), 0..6), stored(WORDS.len())),
        vec(level.output(), 1..4),
        option::weighted(0.4, level.bool.clone()),
        bounds(),
    )
        .prop_map(|(rows, numbers, words, outputs, filter, bounds)| Case {
            bounds: match numbers.1.forces_map() || words.1.forces_map() {
                true => bounds.with_room_for_maps(),
                false => bounds,
            },
            rows,
            numbers: numbers.0,
            numbers_stored: numbers.1,
            words: words.0,
            words_stored: words.1,
            outputs,
            filter,
        })
}
