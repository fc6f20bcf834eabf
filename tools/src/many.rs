//! Many effects in few requests: what is the same for every system.
//!
//! Promises: each effect has its own permit, its own comparison with the live record and its own answer. What a request for many
//! cannot settle goes alone.

use std::time::Duration;

use futures_util::future::BoxFuture;
use perennial_core::action::{Effect, Permit};

use crate::error::SendError;
use crate::{Known, Lane};

/// One effect of a batch.
#[derive(Debug)]
pub struct Job<'a> {
    /// The right to carry it out.
    pub permit: Permit,
    /// What.
    pub effect: &'a Effect,
    /// What it may be written over.
    pub known: &'a Known,
}

/// Asked before each request of a batch that writes.
pub trait Go: Send + Sync {
    /// Whether each of the effects may still be sent.
    fn may<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, Vec<bool>>;

    /// Whether what was already sent for any of the effects, and goes on in the other system, is to be ended there. It holds
    /// nothing back: each effect still gets the answer that its record gives.
    fn halted<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, bool>;
}

/// Everything may be sent.
#[derive(Debug, Clone, Copy)]
pub struct Always;

impl Go for Always {
    fn may<'a>(&'a self, effects: &'a [&'a Effect]) -> BoxFuture<'a, Vec<bool>> {
        Box::pin(std::future::ready(vec![true; effects.len()]))
    }

    fn halted<'a>(&'a self, _: &'a [&'a Effect]) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// What was not sent because it may not be any more.
pub(crate) fn held_back() -> SendError {
    SendError::Busy {
        retry_after: Duration::ZERO,
        why: "held back before it was sent".to_owned(),
    }
}

/// The most urgent lane of some effects.
pub(crate) fn lane<'a>(effects: impl Iterator<Item = &'a Effect>) -> Lane {
    effects.map(Lane::of).min().unwrap_or(Lane::Normal)
}

/// Answers as they come in, by the place of the effect.
pub(crate) struct Slots<T>(Vec<Option<Result<T, SendError>>>);

impl<T> Slots<T> {
    pub(crate) fn new(count: usize) -> Slots<T> {
        Slots((0..count).map(|_| None).collect())
    }

    pub(crate) fn put(&mut self, place: usize, answer: Result<T, SendError>) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = Some(answer);
        }
    }

    /// Places without an answer, which go alone.
    pub(crate) fn open(&self) -> Vec<usize> {
        let open = self.0.iter().enumerate().filter(|(_, slot)| slot.is_none());
        open.map(|(place, _)| place).collect()
    }

    pub(crate) fn close(self) -> Vec<Result<T, SendError>> {
        let missing = || Err(SendError::unreadable("a part of a batch without an answer"));
        self.0.into_iter().map(|slot| slot.unwrap_or_else(missing)).collect()
    }
}

/// Refusals in a row, all the same and none of them answered otherwise, after which the rest of a batch is refused unasked: what is
/// wrong is wrong with all.
const FUSE: usize = 3;

/// Counts refusals of effects that go alone after a request for all of them was refused.
#[derive(Default)]
pub(crate) struct Fuse {
    same: usize,
    code: String,
    blown: Option<SendError>,
    passed: bool,
}

impl Fuse {
    /// The refusal of everything that is left, where it is the same for all.
    pub(crate) fn refusal(&self) -> Option<SendError> {
        self.blown.as_ref().map(SendError::again)
    }

    pub(crate) fn hear<T>(&mut self, answer: &Result<T, SendError>) {
        let Err(SendError::Refused { code, .. }) = answer else {
            self.passed = true;
            return;
        };
        self.same = if *code == self.code { self.same + 1 } else { 1 };
        self.code.clone_from(code);
        if self.same >= FUSE && !self.passed {
            self.blown = answer.as_ref().err().map(SendError::again);
        }
    }
}

/// What the answer to a request for many says of one record.
#[derive(Debug)]
pub(crate) enum Said {
    /// Written, under this id where it says one.
    Yes(Option<String>),
    /// Not written.
    No(SendError),
    /// Nothing, or not clearly of which record: the record itself must say it.
    Unclear(SendError),
}

/// Whether one effect may still be sent.
pub(crate) async fn may_one(go: &dyn Go, effect: &Effect) -> bool {
    go.may(&[effect]).await.first() == Some(&true)
}

/// Takes out what may not be sent any more; `of` names effect and place.
pub(crate) async fn allowed<T, R>(
    go: &dyn Go,
    chunk: Vec<T>,
    of: impl Fn(&T) -> (&Effect, usize) + Send,
    slots: &mut Slots<R>,
) -> Vec<T> {
    let may = {
        let effects: Vec<&Effect> = chunk.iter().map(|one| of(one).0).collect();
        go.may(&effects).await
    };
    let mut left = Vec::with_capacity(chunk.len());
    for (n, one) in chunk.into_iter().enumerate() {
        if may.get(n) == Some(&true) {
            left.push(one);
        } else {
            slots.put(of(&one).1, Err(held_back()));
        }
    }
    left
}

/// Gives the error of a whole request to one of its effects, unless it was refused: what is wrong with all may be right with
/// each alone.
pub(crate) fn put_unless_refused<R>(slots: &mut Slots<R>, slot: usize, error: &SendError) {
    match error {
        SendError::Refused { code, .. } if code != "MULTIPLE_CHOICES" => {}
        SendError::Unknown { image: Some(image), .. } => {
            slots.put(slot, Err(error.again().with_image((**image).clone())));
        }
        _ => slots.put(slot, Err(error.again())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Result<(), SendError> {
        Err(SendError::refused("Account", code, "no", "mend it"))
    }

    #[test]
    fn what_is_wrong_with_all_is_not_asked_of_all() {
        let mut fuse = Fuse::default();
        for code in ["A", "B", "B"] {
            fuse.hear(&refused(code));
            assert!(fuse.refusal().is_none(), "{code}");
        }
        fuse.hear(&refused("B"));
        assert!(matches!(fuse.refusal(), Some(SendError::Refused { code, .. }) if code == "B"));
        let mut fuse = Fuse::default();
        fuse.hear(&Ok(()));
        for _ in 0..9 {
            fuse.hear(&refused("B"));
        }
        assert!(fuse.refusal().is_none(), "one was answered otherwise");
    }

    #[test]
    fn a_place_without_an_answer_goes_alone_and_is_never_a_success() {
        let mut slots = Slots::new(3);
        slots.put(1, Ok(7));
        put_unless_refused(&mut slots, 0, &refused("X").expect_err("refused"));
        put_unless_refused(&mut slots, 2, &held_back());
        assert_eq!(slots.open(), [0]);
        let answers = slots.close();
        assert!(matches!(answers[0], Err(SendError::Unknown { .. })) && matches!(answers[1], Ok(7)));
        assert!(matches!(answers[2], Err(SendError::Busy { .. })));
    }
}
