//! What a session says in words, to whoever wants to hear of it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// What hears of something.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// Where something is said: in the log, unless somebody wants to hear of it.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<Tell>>);

impl Told {
    /// From now on, this hears of it.
    pub(crate) fn tell(&self, tell: Tell) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    /// Says it.
    pub(crate) fn say(&self, words: &str) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(tell) => tell(words),
            None => tracing::warn!("{words}"),
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn whoever_was_set_last_hears_of_it() {
        let (told, heard) = (Told::default(), Arc::new(Mutex::new(Vec::new())));
        told.say("nobody hears this");
        for name in ["one", "two"] {
            let heard = Arc::clone(&heard);
            told.tell(Box::new(move |words| {
                heard.lock().unwrap().push(format!("{name}: {words}"));
            }));
        }
        told.say("this is heard");
        assert_eq!(*heard.lock().unwrap(), ["two: this is heard"]);
    }
}
