//! What a session says in words, to whoever wants to hear of it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What hears of something.
type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Where something is said: in the log, unless somebody wants to hear of it.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<Tell>>);

impl Told {
    /// From now on, this hears of it.
    pub(crate) fn tell(&self, tell: Tell) {
        let before = self.lock().replace(tell);
        // What goes with it may have something to say.
        drop(before);
    }

    /// Says it. Who hears of it may set somebody else, or have something said.
    pub(crate) fn say(&self, words: &str) {
        let tell = self.lock().clone();
        match tell {
            Some(tell) => tell(words),
            None => tracing::warn!("{words}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_set_last_hears_of_it() {
        let (told, heard) = (Told::default(), Arc::new(Mutex::new(Vec::new())));
        told.say("nobody hears this");
        for name in ["one", "two"] {
            let heard = Arc::clone(&heard);
            told.tell(Arc::new(move |words| {
                heard.lock().unwrap().push(format!("{name}: {words}"));
            }));
        }
        told.say("this is heard");
        assert_eq!(*heard.lock().unwrap(), ["two: this is heard"]);
    }

    #[test]
    fn whoever_hears_of_it_may_set_somebody_else() {
        let (told, heard) = (Arc::new(Told::default()), Arc::new(Mutex::new(Vec::new())));
        let (own, ears) = (Arc::clone(&told), Arc::clone(&heard));
        told.tell(Arc::new(move |words| {
            let ears = Arc::clone(&ears);
            ears.lock().unwrap().push(format!("one: {words}"));
            own.tell(Arc::new(move |words| ears.lock().unwrap().push(format!("two: {words}"))));
        }));
        for words in ["a", "b"] {
            told.say(words);
        }
        assert_eq!(*heard.lock().unwrap(), ["one: a", "two: b"]);
    }
}
