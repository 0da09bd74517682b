//! Room for what is nested deep: how deep statements and plans may be, and stacks that are large
//! enough to plan, send, run and drop them.
//!
//! Threads of Keyloom's own have such a stack; on threads of others, planning gets one for the time
//! that it takes. Only the pages that are touched take memory.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::error::Error;

/// The most levels of a statement's expressions, or of a plan's operators and expressions.
pub const MAX_DEPTH: usize = 1_024;

/// The stack of a thread that meets plans, in bytes.
pub const STACK_BYTES: usize = 128 << 20;

/// The most threads of a runtime that wait for disks and the like.
pub const BLOCKING_THREADS: usize = 128;

/// What must be left of a stack, so that no other is needed.
const ENOUGH_BYTES: usize = STACK_BYTES / 4 * 3;

/// What is said of a statement or a plan that is nested too deep.
pub fn too_deep() -> Error {
    Error::resource_exhausted(format!(
        "the query is nested more than {MAX_DEPTH} levels deep; write lists as IN (…), and long sums \
         and conditions in parts of parentheses"
    ))
}

/// Runs work on a stack that is large enough for [`MAX_DEPTH`].
pub fn deep<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(ENOUGH_BYTES, STACK_BYTES, work)
}

/// Whether the stack at hand is one for plans. Within [`deep`] it is.
pub fn is_large() -> bool {
    stacker::remaining_stack().is_some_and(|left| left >= STACK_BYTES / 2)
}

/// A future that runs on a stack that is large enough, whoever polls it.
#[derive(Debug)]
pub struct Deep<F>(Pin<Box<F>>);

impl<F: Future> Deep<F> {
    /// Gives a future such a stack.
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        deep(|| self.0.as_mut().poll(context))
    }
}
