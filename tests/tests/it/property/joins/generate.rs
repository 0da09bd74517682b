//! Random cases.

use keyloom_client::JoinPath;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::{
    case::{Case, Condition, Equality, Filter, Item, Join, Kind, Query, Relation, Scalar},
    kept::{Kept, kept},
};
use crate::property::{
    bounds::bounds,
    query::{Type, Value, WORDS},
};

/// A column that may be read: its relation's number, its name and its type.
type Column = (usize, &'static str, Type);

fn with(scope: &[Column], place: usize, relation: Relation) -> Vec<Column> {
    let columns = relation.columns().iter().map(|&(name, ty)| (place, name, ty));
    scope.iter().copied().chain(columns).collect()
}

/// A value that may be null; few are the same or none, so that joins find some.
fn value(ty: Type) -> BoxedStrategy<Value> {
    let value = match ty {
        Type::Text => select(&WORDS[..]).prop_map(|word| Value::Text(word.to_owned())).boxed(),
        _ => (0..6_i64).prop_map(Value::Int).boxed(),
    };
    option::weighted(0.85, value).prop_map(|value| value.unwrap_or(Value::Null)).boxed()
}

fn row(relation: Relation) -> impl Strategy<Value = Vec<Value>> {
    relation.columns().iter().map(|(_, ty)| value(*ty)).collect::<Vec<_>>()
}

/// The table's rows are numbered; some keys are out of the range of `numbers`.
fn table() -> impl Strategy<Value = Vec<Vec<Value>>> {
    let far = select(vec![Value::Int(-1), Value::Int(300)]);
    let row = (row(Relation::Table), option::weighted(0.15, far)).prop_map(|(mut row, far)| {
        row[1] = far.unwrap_or_else(|| row[1].clone());
        row
    });
    vec(row, 0..8).prop_map(|mut rows| {
        for (number, row) in rows.iter_mut().enumerate() {
            row[0] = Value::Int(number as i64);
        }
        rows
    })
}

fn store(relation: Relation) -> impl Strategy<Value = (Vec<Vec<Value>>, Kept)> {
    (vec(row(relation), 0..9), kept()).prop_map(move |(rows, kept)| {
        let rows = kept.bearable(relation, rows);
        (rows, kept)
    })
}

fn scalar(scope: &[Column], wanted: Type) -> BoxedStrategy<Scalar> {
    let columns = scope.iter().filter(|(.., ty)| *ty == wanted);
    let columns = columns.map(|&(place, name, _)| Scalar::Column(place, name));
    let column = select(columns.collect::<Vec<_>>());
    let pair = (column.clone(), column.clone())
        .prop_map(|(one, other)| Scalar::Coalesce(Box::new(one), Box::new(other)));
    prop_oneof![5 => column, 1 => pair].boxed()
}

fn any_scalar(scope: &[Column]) -> BoxedStrategy<Scalar> {
    prop_oneof![scalar(scope, Type::Int), scalar(scope, Type::Text)].boxed()
}

fn condition(scope: &[Column]) -> BoxedStrategy<Condition> {
    let int = || scalar(scope, Type::Int);
    let text = || scalar(scope, Type::Text);
    let bound = (1..5_i64).prop_map(|bound| Scalar::Literal(Value::Int(bound)));
    let word = select(&WORDS[..]);
    let word = word.prop_map(|word| Scalar::Literal(Value::Text(word.to_owned())));
    let plain = prop_oneof![
        3 => (int(), bound).prop_map(|(left, right)| Condition::Less(left, right)),
        2 => (int(), int()).prop_map(|(left, right)| Condition::Less(left, right)),
        2 => (text(), word).prop_map(|(left, right)| Condition::Equal(left, right)),
        1 => (text(), text()).prop_map(|(left, right)| Condition::Equal(left, right)),
        1 => any_scalar(scope).prop_map(Condition::IsNull),
    ]
    .boxed();
    let either = (plain.clone(), plain.clone())
        .prop_map(|(one, other)| Condition::Or(Box::new(one), Box::new(other)));
    let not = plain.clone().prop_map(|plain| Condition::Not(Box::new(plain)));
    prop_oneof![5 => plain, 1 => either, 1 => not].boxed()
}

/// Equalities for these columns.
fn equalities(
    scope: &[Column],
    columns: &[(&'static str, Type)],
) -> impl Strategy<Value = Vec<Equality>> + use<> {
    let equality =
        |&(name, ty): &(&'static str, Type)| scalar(scope, ty).prop_map(move |asked| (asked, name));
    columns.iter().map(equality).collect::<Vec<_>>()
}

/// The key as often as not; else some columns, which may be a part of it, or more.
fn on(scope: &[Column], relation: Relation) -> BoxedStrategy<Vec<Equality>> {
    let some = subsequence(relation.columns().to_vec(), 1..=2);
    let scope = scope.to_vec();
    prop_oneof![3 => Just(relation.key().to_vec()), 1 => some]
        .prop_flat_map(move |columns| equalities(&scope, &columns))
        .boxed()
}

fn join(
    scope: &[Column],
    place: usize,
    (kind, relation): (Kind, Relation),
) -> impl Strategy<Value = Join> + use<> {
    let more = option::weighted(0.3, condition(&with(scope, place, relation)));
    let by_name = place == 1
        && relation == Relation::Numbers
        && matches!(kind, Kind::Inner | Kind::Left | Kind::Right | Kind::Full);
    let using = proptest::bool::weighted(if by_name { 0.3 } else { 0.0 });
    (on(scope, relation), more, using).prop_map(move |(on, more, using)| match using {
        true => {
            let on = vec![(Scalar::Column(0, "key"), "key")];
            Join { kind, relation, on, more: None, using }
        }
        false => Join { kind, relation, on, more, using },
    })
}

fn filter(scope: &[Column], place: usize) -> BoxedStrategy<Filter> {
    let or = || option::weighted(0.2, condition(scope));
    let plain = condition(scope).prop_map(Filter::Plain);
    let exists = |relation: Relation| {
        let more = option::weighted(0.4, condition(&with(scope, place, relation)));
        (any::<bool>(), equalities(scope, relation.key()), more, or()).prop_map(
            move |(negated, on, more, or)| Filter::Exists { negated, relation, on, more, or },
        )
    };
    let among = |relation: Relation, ty: Type| {
        let below = option::weighted(0.4, 1..5_i64);
        // What is not in a set is asked of all rows alone: with an OR, engines differ about nulls.
        (any::<bool>(), scalar(scope, ty), below, or()).prop_map(
            move |(negated, asked, below, or)| {
                let or = or.filter(|_| !negated);
                Filter::In { negated, relation, asked, below, or }
            },
        )
    };
    prop_oneof![
        4 => plain,
        1 => exists(Relation::Numbers),
        1 => exists(Relation::Words),
        1 => exists(Relation::Pairs),
        1 => among(Relation::Numbers, Type::Int),
        1 => among(Relation::Words, Type::Text),
    ]
    .boxed()
}

fn item(scope: &[Column]) -> BoxedStrategy<Item> {
    let calls = |relation: Relation, ty: Type| {
        let column = select(vec!["next", "label"]);
        let get = (scalar(scope, ty), column)
            .prop_map(move |(key, column)| Item::Get(relation, key, column));
        let exists = scalar(scope, ty).prop_map(move |key| Item::Exists(relation, key));
        prop_oneof![2 => get, 1 => exists]
    };
    prop_oneof![
        6 => any_scalar(scope).prop_map(Item::Scalar),
        1 => calls(Relation::Numbers, Type::Int),
        1 => calls(Relation::Words, Type::Text),
    ]
    .boxed()
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        4 => Just(Query::Rows),
        2 => (0..3_usize, 0..5_usize).prop_map(|(skip, take)| Query::First { skip, take }),
        1 => any::<bool>().prop_map(|tested| Query::Outside { tested }),
        1 => option::of(0..5_usize).prop_map(|most| Query::Count { most }),
        1 => Just(Query::Groups),
    ]
}

/// Which joins there are.
fn shape() -> impl Strategy<Value = Vec<(Kind, Relation)>> {
    let kind = prop_oneof![
        4 => Just(Kind::Inner),
        4 => Just(Kind::Left),
        1 => Just(Kind::Right),
        1 => Just(Kind::Full),
        1 => Just(Kind::Semi),
        1 => Just(Kind::Anti),
        1 => Just(Kind::Cross),
    ];
    let join = (kind, select(Relation::STORES.to_vec()));
    prop_oneof![1 => vec(join.clone(), 0..1), 4 => vec(join.clone(), 1..2), 4 => vec(join, 2..4)]
}

/// A statement with these joins.
fn statement(
    shape: Vec<(Kind, Relation)>,
) -> impl Strategy<Value = (Vec<Join>, Vec<Filter>, Vec<Item>)> {
    let mut scope = with(&[], 0, Relation::Table);
    let mut joins = Vec::new();
    for (number, (kind, relation)) in shape.into_iter().enumerate() {
        let place = number + 1;
        joins.push(join(&scope, place, (kind, relation)));
        if kind.binds() {
            scope = with(&scope, place, relation);
        }
    }
    let filters = vec(filter(&scope, joins.len() + 1), 0..3);
    (joins, filters, vec(item(&scope), 1..4))
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let stores = (store(Relation::Numbers), store(Relation::Words), store(Relation::Pairs));
    let path = select(vec![JoinPath::Auto, JoinPath::Lookup, JoinPath::Lookup, JoinPath::Scan]);
    let statement = shape().prop_flat_map(statement);
    (table(), stores, statement, query(), path, bounds()).prop_map(
        |(rows, (numbers, words, pairs), (joins, filters, items), query, path, bounds)| {
            let stores = [numbers, words, pairs];
            let bounds = match stores.iter().any(|(_, kept)| kept.forces_map()) {
                true => bounds.with_room_for_maps(),
                false => bounds,
            };
            Case { rows, stores, joins, filters, items, query, path, bounds }
        },
    )
}
