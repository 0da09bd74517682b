//! Keys that stand in many rows: which of these is answered, and how many are read and held.

use super::*;
use crate::store::keys::key_column;

/// So many rows of a key that a search picks some out before it has found all.
const MANY: i64 = 150_000;

const POLICIES: [OnDuplicateKey; 3] =
    [OnDuplicateKey::First, OnDuplicateKey::Last, OnDuplicateKey::Error];

/// Ids and their words as they are asked for. Nine is in no row.
const ASKED: [(i64, &str); 5] = [(2, "two"), (8, "eight"), (9, "nine"), (7, "seven"), (1, "one")];

/// Rows of sevens, every fifth an eight, and of a one and a two, in three fragments. The first
/// fragment is deleted, and the first and the last rows of the others.
async fn sevens_and_eights(count: i64) -> StoredRows {
    let id = |number: i64| {
        if number == one(count) {
            1
        } else if number == count - 2 {
            2
        } else if number % 5 == 0 {
            8
        } else {
            7
        }
    };
    let spelt = |id: i64| ASKED.iter().find(|(asked, _)| *asked == id).map(|(_, word)| *word);
    let words: StringArray = (0..count).map(|number| spelt(id(number))).collect();
    let all = batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values((0..count).map(id))) as ArrayRef),
        ("word", Arc::new(words) as ArrayRef),
        ("number", Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef),
    ]);
    let max_rows_per_file = count as usize / 3;
    let mut rows = write(all, WriteParams { max_rows_per_file, ..Default::default() }).await;
    index(&mut rows.dataset, "id").await;
    let (first, last) = (count / 3 + 3, count - 11);
    let two = count - 2;
    rows.delete(&format!("number < {first} OR (number > {last} AND number <> {two})")).await;
    rows
}

/// The row with the one.
fn one(count: i64) -> i64 {
    count / 15 * 7
}

/// What is asked, by a key.
fn asked(key: &str) -> ArrayRef {
    let ids = Arc::new(Int64Array::from_iter_values(ASKED.map(|(id, _)| id))) as ArrayRef;
    let words = Arc::new(StringArray::from_iter_values(ASKED.map(|(_, word)| word))) as ArrayRef;
    match key {
        "id" => ids,
        "word" => words,
        _ => key_column(&[("id", ids), ("word", words)]).unwrap(),
    }
}

async fn check(store: &Arc<dyn Store>, key: &str, policy: OnDuplicateKey, count: i64) {
    let answer = ask(store, asked(key), &[2]).await;
    let (eight, seven) = match policy {
        OnDuplicateKey::First => (count / 3 + 5, count / 3 + 3),
        OnDuplicateKey::Last => (count - 15, count - 11),
        OnDuplicateKey::Error => {
            // The first one of the request, of those that stand in several rows.
            let shown = match key {
                "id" => "8",
                "word" => "eight",
                _ => "{id: 8, word: eight}",
            };
            let message = format!(
                "key {shown} stands in several rows of KV store 'emb'; set on_duplicate_key to \
                 'first' or 'last'"
            );
            assert_eq!(answer.unwrap_err(), Error::invalid(message), "{key}");
            return;
        }
    };
    let expected = vec![Some(count - 2), Some(eight), None, Some(seven), Some(one(count))];
    let found = values(&answer.unwrap(), 0);
    assert_eq!(found.as_ref(), &Int64Array::from(expected), "{key}, {policy:?}");
}

#[tokio::test]
async fn a_key_of_many_rows_has_its_first_or_last_live_one_on_every_way() {
    let rows = sevens_and_eights(MANY).await;
    for key in ["id", "word", "id,word"] {
        for policy in POLICIES {
            let spec = LanceSpec { on_duplicate_key: policy, ..rows.spec(key) };
            let store: Arc<dyn Store> = Arc::new(EveryPath::open(&env(), &spec).await.unwrap().0);
            check(&store, key, policy, MANY).await;
        }
    }
}

#[tokio::test]
async fn rows_of_which_none_is_answered_are_not_compared() {
    let rows = sevens_and_eights(MANY).await;
    for policy in [OnDuplicateKey::First, OnDuplicateKey::Last] {
        for path in [KeyPath::Map, KeyPath::Scan] {
            let access = ForcedAccess { keys: Some(path), rows: Some(RowPath::Take) };
            let spec = LanceSpec { on_duplicate_key: policy, access, ..rows.spec("word") };
            let found = ask(&open(spec).await.unwrap(), asked("word"), &[]).await.unwrap();
            assert_eq!(held(&found), [true, true, false, true, true]);
            assert_eq!(found.stats.keys_verified, 4, "{path:?}");
        }
    }
}

/// The store, which has looked for what is asked.
async fn knowing(store: &Arc<dyn Store>, key: &str) -> Arc<dyn Store> {
    let known = store.knowing(&Known(asked(key)), &[2], Access::default()).await.unwrap();
    known.unwrap().0
}

#[tokio::test]
async fn stores_that_share_a_set_of_keys_have_rows_by_their_own_policies() {
    let rows = sevens_and_eights(MANY).await;
    for key in ["id", "word", "id,word"] {
        let env = env();
        for policy in POLICIES {
            let spec = LanceSpec { on_duplicate_key: policy, ..rows.spec(key) };
            let store = env.open(&describe(&env, spec).await.unwrap()).await.unwrap();
            let store = knowing(&store, key).await;
            check(&store, key, policy, MANY).await;
            if policy != OnDuplicateKey::Error {
                let found = ask(&store, asked(key), &[]).await.unwrap();
                assert_eq!(found.stats.keys_scanned, 0, "{key}");
            }
        }
        let kept = caches(&env).learned.bytes();
        assert!((1..1000).contains(&kept), "{kept} bytes for five keys");
        assert_eq!(caches(&env).maps.len(), 0);
    }
}

#[tokio::test]
async fn keys_of_many_rows_are_told_from_others_of_the_same_hash() {
    // So many that not all candidates are compared together.
    let count = 30_000;
    let rows = sevens_and_eights(count).await;
    for policy in POLICIES {
        for mask in [0, 1] {
            for path in [KeyPath::Map, KeyPath::Scan] {
                let access = ForcedAccess { keys: Some(path), rows: None };
                let spec = LanceSpec { on_duplicate_key: policy, access, ..rows.spec("word") };
                let store = with_hashes(spec, mask).await;
                check(&store, "word", policy, count).await;
            }
            let spec = LanceSpec { on_duplicate_key: policy, ..rows.spec("word") };
            let store = with_hashes(spec, mask).await;
            let store = knowing(&store, "word").await;
            check(&store, "word", policy, count).await;
        }
    }
}

/// The store, whose keys' hashes differ in some bits only.
pub(super) async fn with_hashes(spec: LanceSpec, mask: u64) -> Arc<dyn Store> {
    let env = env();
    let resolved = describe(&env, spec).await.unwrap();
    let mut handle = Arc::into_inner(open_handle(&env, &resolved).await).unwrap();
    handle.coder = Coder::masked(mask);
    Arc::new(Arc::new(handle).bound(&resolved).unwrap())
}
