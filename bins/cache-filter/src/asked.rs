//! What an operation learns on its way: what the filter said, and whether the store had an entry.

use std::cell::{Cell, RefCell};

use filters::Answer;

tokio::task_local! {
    /// Of the operation that runs in this task.
    pub(crate) static SEEN: Seen;
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    hit: Cell<bool>,
    one: Cell<Option<Answer>>,
    many: RefCell<Vec<Answer>>,
}

impl Seen {
    pub(crate) fn hit() {
        // A refresh in the background is nobody's hit.
        let _ = SEEN.try_with(|seen| seen.hit.set(true));
    }

    #[inline]
    pub(crate) fn answered(answer: Answer) {
        let _ = SEEN.try_with(|seen| seen.one.set(Some(answer)));
    }

    pub(crate) fn answered_many(answers: &[Answer]) {
        let _ = SEEN.try_with(|seen| seen.many.borrow_mut().extend_from_slice(answers));
    }

    /// Whether the store had an entry, and what the filter said of a single key; `Maybe` where it was not there, or could
    /// not be asked.
    pub(crate) fn read() -> (bool, Answer) {
        SEEN.with(|seen| {
            let first = || seen.many.borrow().first().copied();
            (seen.hit.get(), seen.one.get().or_else(first).unwrap_or(Answer::Maybe))
        })
    }

    /// What it said of so many keys.
    pub(crate) fn read_many(keys: usize) -> Vec<Answer> {
        SEEN.with(|seen| {
            let mut answers = seen.many.take();
            answers.resize(keys, Answer::Maybe);
            answers
        })
    }
}
