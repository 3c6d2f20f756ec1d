//! Collects the members of an object as fields of a gob struct: in the model's order, without zero values.
//!
//! Documents mostly have their members in the order of the sample, and then each value is written where it
//! stays. Where one comes before its turn or repeatedly, the values are joined at the end instead.

use std::ops::Range;

use model::shape::{Kind, Struct};

use super::State;
use crate::gob::put_uint;

/// What is written of an object so far.
pub(super) struct Members {
    /// Where the object starts in `out`.
    start: usize,
    /// Where its members start in `spans`.
    base: usize,
    in_order: bool,
    /// The first member that is not passed yet.
    next: usize,
    /// The number of that member's field, counted from the last one that is written.
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

    /// Writes what comes before the value of a member. Gives back where that starts, and where the value does.
    pub(super) fn open(&mut self, state: &mut State, shape: &Struct, index: usize) -> (usize, usize) {
        self.in_order &= index >= self.next;
        if !self.in_order {
            return (state.out.len(), state.out.len());
        }
        self.pass(state, shape, index);
        let before = state.out.len();
        put_uint(&mut state.out, self.delta);
        (before, state.out.len())
    }

    /// Notes the value of a member, if there is one, and leaves it out where Go would.
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

    /// Passes the members before `index`.
    fn pass(&mut self, state: &mut State, shape: &Struct, index: usize) {
        self.delta = pass(shape, self.next..index, self.delta, &mut state.out);
        self.next = index;
    }
}

impl State {
    /// Completes an object as a gob struct without its end. Gives back the number of the field after the model's,
    /// counted from the last one written.
    pub(super) fn close(&mut self, shape: &Struct, mut members: Members) -> u64 {
        if members.in_order {
            members.pass(self, shape, shape.members.len());
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
                None => delta = pass(shape, index..index + 1, delta, &mut self.out),
                _ => delta += 1,
            }
        }
        self.out.drain(members.start..assembled);
        delta
    }
}

/// Passes members that are missing. Go leaves out zero values, but never a struct. `delta` is the number of the first
/// one's field, counted from the last that is written; gives back that of the one after them.
#[inline]
pub(super) fn pass(shape: &Struct, missing: Range<usize>, mut delta: u64, out: &mut Vec<u8>) -> u64 {
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
    pass(shape, 0..shape.members.len(), 1, out);
    out.push(0);
}

/// Whether Go would leave the value out of its struct: each zero value is the one byte 0, or was left out.
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

/// Writes the count of the elements, or bytes, that follow the byte kept free for it at `start`.
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
