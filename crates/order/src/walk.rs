//! One pass over a value: is it whole, is its text UTF-8, and where does a member of the root stand?

use crate::MAX_DEPTH;
use crate::layout::{FieldPlan, Node, Plan, StructPlan, Target};
use crate::wire::{Fault, Reader};

/// What is known of a value that is whole.
pub(crate) struct Checked {
    /// Where the field with the key starts, if it is the last one.
    pub(crate) key_start: Option<usize>,
    /// The end of the value.
    pub(crate) end: usize,
}

/// Checks a whole value.
pub(crate) fn check(plan: &Plan, value: &[u8]) -> Result<Checked, Fault> {
    if u32::try_from(value.len()).is_err() {
        return Err(Fault::TooLarge);
    }
    let mut key_start = None;
    let mut reader = Reader::new(value, 0);
    let mut number = None;
    loop {
        let start = reader.at();
        let Some(field) = next_field(plan.root(), &mut reader, &mut number)? else { break };
        key_start = matches!(field.target, Target::LocalId).then_some(start);
        pass::<true>(plan, &field.node, &mut reader, 1)?;
    }
    Ok(Checked { key_start, end: reader.at() })
}

/// Where the value of the root's member `index` starts; `None` where it is left out, and so zero. Those that
/// come first in the model are found soonest.
pub(crate) fn find(plan: &Plan, value: &[u8], index: usize) -> Result<Option<usize>, Fault> {
    let mut reader = Reader::new(value, 0);
    let mut number = None;
    while let Some(field) = next_field(plan.root(), &mut reader, &mut number)? {
        if field.target == Target::Member(index) {
            return Ok(Some(reader.at()));
        }
        pass::<false>(plan, &field.node, &mut reader, 1)?;
    }
    Ok(None)
}

/// The next field of a struct, `None` at its end. `number` is the number of the field before.
#[inline]
pub(crate) fn next_field<'p>(
    plan: &'p StructPlan,
    reader: &mut Reader<'_>,
    number: &mut Option<usize>,
) -> Result<Option<&'p FieldPlan>, Fault> {
    let delta = reader.uint()?;
    if delta == 0 {
        return Ok(None);
    }
    let delta = usize::try_from(delta).map_err(|_| Fault::UnknownField)?;
    let next = match *number {
        None => delta - 1,
        Some(last) => last.checked_add(delta).ok_or(Fault::UnknownField)?,
    };
    *number = Some(next);
    plan.fields.get(next).map(Some).ok_or(Fault::UnknownField)
}

/// Passes one value. `CHECKS` what the model will show of it, which once is enough.
pub(crate) fn pass<const CHECKS: bool>(
    plan: &Plan,
    node: &Node,
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<(), Fault> {
    match node {
        Node::Bool | Node::Int | Node::Number => drop(reader.uint()?),
        Node::Float => {
            if !reader.float()?.is_finite() && CHECKS {
                return Err(Fault::BadNumber);
            }
        }
        Node::String => {
            let text = reader.bytes()?;
            if CHECKS && !is_utf8(text) {
                return Err(Fault::Utf8);
            }
        }
        Node::Bytes => drop(reader.bytes()?),
        Node::Complex => {
            reader.uint()?;
            reader.uint()?;
        }
        Node::Struct(_) | Node::Slice(_) | Node::Map(..) | Node::Skipped(_) => {
            pass_nested::<CHECKS>(plan, node, reader, depth)?;
        }
    }
    Ok(())
}

/// Most text is short and ASCII, which is seen faster than that text is UTF-8.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || simdutf8::basic::from_utf8(text).is_ok()
}

fn pass_nested<const CHECKS: bool>(
    plan: &Plan,
    node: &Node,
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::TooDeep);
    }
    match node {
        Node::Struct(index) => {
            let structure = plan.structure(*index);
            let mut number = None;
            while let Some(field) = next_field(structure, reader, &mut number)? {
                pass::<CHECKS>(plan, &field.node, reader, depth + 1)?;
            }
        }
        Node::Slice(element) => {
            for _ in 0..reader.count()? {
                pass::<CHECKS>(plan, element, reader, depth + 1)?;
            }
        }
        Node::Map(key, element) => {
            for _ in 0..reader.count()? {
                pass::<CHECKS>(plan, key, reader, depth + 1)?;
                pass::<CHECKS>(plan, element, reader, depth + 1)?;
            }
        }
        Node::Skipped(index) => pass::<CHECKS>(plan, plan.skipped(*index), reader, depth)?,
        _ => {}
    }
    Ok(())
}
