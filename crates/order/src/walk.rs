//! One pass over a value: is it whole, is its text UTF-8, and where does each member of the root stand?

use crate::MAX_DEPTH;
use crate::layout::{FieldPlan, Node, Plan, StructPlan, Target};
use crate::wire::{Fault, Reader};

/// Where the members of the root stand in a value. Kept by the caller and used again for each row.
#[derive(Default)]
pub(crate) struct Fields {
    /// For each member, where its value starts; `None` where it is left out, and so zero.
    starts: Vec<Option<u32>>,
    /// Where the field with the key starts, if it is the last one.
    pub(crate) key_start: Option<usize>,
    /// The end of the value.
    pub(crate) end: usize,
}

impl Fields {
    /// Where the value of the root's member `index` starts.
    pub(crate) fn start(&self, index: usize) -> Option<usize> {
        self.starts.get(index).copied().flatten().map(|start| start as usize)
    }
}

/// Checks a whole value and notes where the root's members stand.
pub(crate) fn check(plan: &Plan, value: &[u8], fields: &mut Fields) -> Result<(), Fault> {
    let root = plan.root();
    fields.starts.clear();
    fields.starts.resize(root.shape.map_or(0, |shape| shape.members.len()), None);
    fields.key_start = None;
    let mut reader = Reader::new(value, 0);
    let mut number = None;
    loop {
        let start = reader.at();
        let Some(field) = next_field(root, &mut reader, &mut number)? else { break };
        fields.key_start = None;
        match field.target {
            Target::Member(index) => fields.starts[index] = Some(place(reader.at())?),
            Target::LocalId => fields.key_start = Some(start),
            Target::Unknown => {}
        }
        pass(plan, &field.node, &mut reader, 1)?;
    }
    fields.end = reader.at();
    Ok(())
}

fn place(at: usize) -> Result<u32, Fault> {
    u32::try_from(at).map_err(|_| Fault::TooLarge)
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

/// Passes one value, checking what the model will show of it.
pub(crate) fn pass(plan: &Plan, node: &Node, reader: &mut Reader<'_>, depth: usize) -> Result<(), Fault> {
    match node {
        Node::Bool | Node::Int | Node::Number => drop(reader.uint()?),
        Node::Float => {
            if !reader.float()?.is_finite() {
                return Err(Fault::BadNumber);
            }
        }
        Node::String => {
            if !is_utf8(reader.bytes()?) {
                return Err(Fault::Utf8);
            }
        }
        Node::Bytes => drop(reader.bytes()?),
        Node::Complex => {
            reader.uint()?;
            reader.uint()?;
        }
        Node::Struct(_) | Node::Slice(_) | Node::Map(..) | Node::Skipped(_) => {
            pass_nested(plan, node, reader, depth)?;
        }
    }
    Ok(())
}

/// Most text is short and ASCII, which is seen faster than that text is UTF-8.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

fn pass_nested(plan: &Plan, node: &Node, reader: &mut Reader<'_>, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::TooDeep);
    }
    match node {
        Node::Struct(index) => {
            let structure = plan.structure(*index);
            let mut number = None;
            while let Some(field) = next_field(structure, reader, &mut number)? {
                pass(plan, &field.node, reader, depth + 1)?;
            }
        }
        Node::Slice(element) => {
            for _ in 0..reader.count()? {
                pass(plan, element, reader, depth + 1)?;
            }
        }
        Node::Map(key, element) => {
            for _ in 0..reader.count()? {
                pass(plan, key, reader, depth + 1)?;
                pass(plan, element, reader, depth + 1)?;
            }
        }
        Node::Skipped(index) => pass(plan, plan.skipped(*index), reader, depth)?,
        _ => {}
    }
    Ok(())
}
