//! Requests that carry little, and requests that are made again.

use keyloom_common::report::{Note, NoteKind, StoreRun, counter, words};

/// So few requests cost little, however small they are.
const LEAST_REQUESTS: u64 = 1000;

/// Requests of fewer keys are small.
const SMALL_REQUEST_KEYS: u64 = 16;

/// Many requests carry few keys each.
pub(super) fn small(store: &StoreRun) -> Option<Note> {
    let (requests, keys) = (store.counted(counter::REQUESTS), store.counted(counter::DISTINCT));
    let each = keys.checked_div(requests)?;
    if requests < LEAST_REQUESTS || each >= SMALL_REQUEST_KEYS {
        return None;
    }
    let text = format!(
        "{}: {} requests of about {} each; a larger batch_size, or larger tasks, make fewer",
        store.store,
        words::count(requests),
        words::plural(each.max(1), "key")
    );
    Some(Note { kind: NoteKind::SmallRequests, text })
}

/// Requests failed at first.
pub(super) fn retries(store: &StoreRun) -> Option<Note> {
    let (again, made) = (store.counted(counter::RETRIES), store.counted(counter::REQUESTS_MADE));
    if again == 0 {
        return None;
    }
    let text = format!(
        "{}: {} of {} were made again",
        store.store,
        words::count(again),
        words::plural(made, "request")
    );
    Some(Note { kind: NoteKind::Retries, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counters: [(&str, u64); 2]) -> StoreRun {
        let mut store = StoreRun { store: "cache".to_owned(), ..StoreRun::default() };
        counters.into_iter().for_each(|(name, value)| store.count(name, value));
        store
    }

    #[test]
    fn many_requests_of_few_keys_are_noted() {
        let asked = |requests, keys| {
            small(&counted([(counter::REQUESTS, requests), (counter::DISTINCT, keys)]))
        };
        let note = asked(200_000, 400_000).unwrap();
        assert_eq!(note.kind, NoteKind::SmallRequests);
        let expected = "cache: 200,000 requests of about 2 keys each; a larger batch_size, or \
                        larger tasks, make fewer";
        assert_eq!(note.text, expected);
        assert_eq!(asked(999, 999), None);
        assert_eq!(asked(1000, 16_000), None);
        assert_eq!(asked(0, 0), None);
    }

    #[test]
    fn requests_that_are_made_again_are_noted() {
        let made =
            |again| retries(&counted([(counter::RETRIES, again), (counter::REQUESTS_MADE, 400)]));
        let note = made(12).unwrap();
        assert_eq!(note.kind, NoteKind::Retries);
        assert_eq!(note.text, "cache: 12 of 400 requests were made again");
        assert_eq!(made(0), None);
    }
}
