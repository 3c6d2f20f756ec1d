//! Collects the members of an object as fields of a gob struct: in the model's order, without zero values.
//!
//! Most documents have their members in the model's order, so each value is written in its final position. If a member
//! comes early or repeatedly, the values are assembled at the end instead.

use std::ops::Range;

use model::shape::{Kind, Struct};

use super::State;
use crate::gob_primitives::put_uint;

/// The members of an object that were read so far.
pub(super) struct Members {
    /// Where the object starts in `out`.
    start: usize,
    /// Where its members start in `spans`.
    base: usize,
    in_order: bool,
    /// The first member that was neither read nor passed.
    next: usize,
    /// The number of that member's field, as the delta from the last field written.
    delta: u64,
}

impl Members {
    pub(super) fn begin(state: &mut State, shape: &Struct) -> Self {
        let (start, base) = (state.out.len(), state.spans.len());
        state.spans.resize(base + shape.members.len(), None);
        Self { start, base, in_order: true, next: 0, delta: 1 }
    }

    /// Whether a member has a value already.
    pub(super) fn has(&self, state: &State, index: usize) -> bool {
        state.spans[self.base + index].is_some()
    }

    /// Writes the field number of a member. Returns the start of that, and of the value.
    pub(super) fn open(&mut self, state: &mut State, shape: &Struct, index: usize) -> (usize, usize) {
        self.in_order &= index >= self.next;
        if !self.in_order {
            return (state.out.len(), state.out.len());
        }
        self.pass_missing(state, shape, index);
        let before = state.out.len();
        put_uint(&mut state.out, self.delta);
        (before, state.out.len())
    }

    /// Records the value of a member, if there is one; omits it if Go would.
    pub(super) fn wrote(
        &mut self,
        state: &mut State,
        shape: &Struct,
        index: usize,
        there: bool,
        before: usize,
        start: usize,
    ) {
        let span = &mut state.spans[self.base + index];
        if there {
            *span = Some((start, state.out.len()));
        }
        if !self.in_order {
            return;
        }
        if there && !is_left_out(&shape.members[index].kind, &state.out[start..]) {
            (self.next, self.delta) = (index + 1, 1);
            return;
        }
        state.out.truncate(before);
        if there {
            *span = Some((before, before));
        }
    }

    /// Skips the missing members before `index`.
    fn pass_missing(&mut self, state: &mut State, shape: &Struct, index: usize) {
        self.delta = pass_missing(shape, self.next..index, self.delta, &mut state.out);
        self.next = index;
    }
}

impl State {
    /// Completes an object as a gob struct without its end. Returns the number of the field after the model's, as the
    /// delta from the last field written.
    pub(super) fn close(&mut self, shape: &Struct, mut members: Members) -> u64 {
        if members.in_order {
            members.pass_missing(self, shape, shape.members.len());
            return members.delta;
        }
        let assembled = self.out.len();
        let mut delta = 1;
        for (index, member) in shape.members.iter().enumerate() {
            match self.spans[members.base + index] {
                Some((from, to)) if !is_left_out(&member.kind, &self.out[from..to]) => {
                    put_uint(&mut self.out, delta);
                    self.out.extend_from_within(from..to);
                    delta = 1;
                }
                None => delta = pass_missing(shape, index..index + 1, delta, &mut self.out),
                _ => delta += 1,
            }
        }
        self.out.drain(members.start..assembled);
        delta
    }
}

/// Skips missing members; structs are written, because Go omits zero values but never a struct. `delta` is the first
/// member's field number relative to the last field written; returns that of the member after them.
#[inline]
pub(super) fn pass_missing(shape: &Struct, missing: Range<usize>, mut delta: u64, out: &mut Vec<u8>) -> u64 {
    for member in &shape.members[missing] {
        if let Kind::Struct(shape) = member.kind {
            put_uint(out, delta);
            zero_struct(out, shape);
            delta = 0;
        }
        delta += 1;
    }
    delta
}

fn zero_struct(out: &mut Vec<u8>, shape: &Struct) {
    pass_missing(shape, 0..shape.members.len(), 1, out);
    out.push(0);
}

/// Whether Go would omit the value: a zero value is the single byte 0, or empty.
pub(super) fn is_left_out(kind: &Kind, value: &[u8]) -> bool {
    (value == [0] || value.is_empty()) && !matches!(kind, Kind::Struct(_))
}

/// An element that is `null` is zero, as a member is.
pub(super) fn zero_element(out: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::Struct(shape) => zero_struct(out, shape),
        _ => out.push(0),
    }
}

/// Writes the count of the elements or bytes after the byte reserved for it at `start`.
#[inline]
pub(super) fn put_count(out: &mut Vec<u8>, start: usize, count: usize) {
    if count < 0x80 {
        out[start] = count as u8;
    } else {
        let mut bytes = Vec::with_capacity(9);
        put_uint(&mut bytes, count as u64);
        out.splice(start..=start, bytes);
    }
}
