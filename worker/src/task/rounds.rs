//! Those who wait for the same at once: what has failed for one of them has failed for all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use keyloom_common::{BlobId, Error, Result};

/// The rounds of those who wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<HashMap<BlobId, Weak<Round>>>);

/// Whoever came until it failed.
#[derive(Debug, Default)]
pub(super) struct Round {
    failed: OnceLock<Error>,
}

impl Rounds {
    /// Joins those who wait for it now. Who comes when it has failed waits for another try.
    pub(super) fn join(&self, id: BlobId) -> Arc<Round> {
        let mut rounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.retain(|_, round| round.strong_count() > 0);
        let open = rounds.get(&id).and_then(Weak::upgrade);
        if let Some(open) = open.filter(|round| round.failed.get().is_none()) {
            return open;
        }
        let round = Arc::default();
        rounds.insert(id, Arc::downgrade(&round));
        round
    }
}

impl Round {
    /// Makes what the round waits for, unless that has failed.
    ///
    /// # Errors
    /// That of making it, now or before.
    pub(super) async fn make<T>(&self, make: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        make.await.inspect_err(|error| {
            // The first failure is the one that is told.
            let _ = self.failed.set(error.clone());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_fails_once_and_whoever_comes_then_begins_another() {
        let (rounds, id) = (Rounds::default(), BlobId::of(b"plan"));
        let [one, two] = [rounds.join(id), rounds.join(id)];
        let gone = || Error::not_found("it is gone");
        assert_eq!(one.make(async { Err::<u32, _>(gone()) }).await, Err(gone()));
        let later = rounds.join(id);
        assert_eq!(two.make(async { Ok(2) }).await, Err(gone()));
        assert_eq!(later.make(async { Ok(3) }).await, Ok(3));
        assert_eq!(rounds.join(BlobId::of(b"another")).make(async { Ok(4) }).await, Ok(4));
    }

    #[test]
    fn a_round_that_all_have_left_is_forgotten() {
        let rounds = Rounds::default();
        for number in 0..10_u8 {
            drop(rounds.join(BlobId::of(&[number])));
        }
        assert_eq!(rounds.0.lock().unwrap().len(), 1);
    }
}
