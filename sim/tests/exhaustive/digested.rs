//! A value beside its digest, so that a state is copied and hashed at the cost of what a step has changed in it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// Equal by its value; hashed by the digest, which is always that of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digested<T> {
    digest: u64,
    value: Arc<T>,
}

impl<T: Clone + Hash> Digested<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { digest: digest_of(&value), value: Arc::new(value) }
    }

    /// Changes the value, on a copy where other states share it.
    pub(crate) fn change<Answer>(&mut self, change: impl FnOnce(&mut T) -> Answer) -> Answer {
        let value = Arc::make_mut(&mut self.value);
        let answer = change(value);
        self.digest = digest_of(value);
        answer
    }
}

impl<T> Deref for Digested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Digested<T> {
    fn hash<State: Hasher>(&self, state: &mut State) {
        state.write_u64(self.digest);
    }
}

/// The same for equal values, in every thread and every run.
fn digest_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
