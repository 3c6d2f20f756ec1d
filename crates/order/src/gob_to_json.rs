//! gob value -> JSON in one pass, for reads of `/order/{id}`.
//!
//! The output is byte for byte that of `serde_json` for the typed model: members in the model's order, zero values
//! written, slices never `null`. A test compares the two.

use std::ops::Range;

use model::shape::Kind;

use crate::MAX_DEPTH;
use crate::gob_layout::{Node, Plan, StructPlan, Target};
use crate::gob_primitives::{Fault, Reader};
use crate::gob_scan::{Skip, next_field, visit_value};
use crate::json_writer::{float, string, zero};

/// Appends the JSON of a value that [`crate::gob_scan::validate`] has validated.
pub(crate) fn write_value(plan: &Plan, value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    structure(plan, plan.root(), &mut Reader::new(value, 0), out, 0)
}

/// Appends one member's value as text: a string unchanged, anything else as JSON.
pub(crate) fn write_text(
    plan: &Plan,
    index: usize,
    value: &[u8],
    start: Option<usize>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let root = plan.root();
    let Some(start) = start else {
        let kind = root.shape.and_then(|shape| shape.members.get(index)).map(|member| &member.kind);
        match kind {
            Some(Kind::String) | None => {}
            Some(kind) => zero(kind, out),
        }
        return Ok(());
    };
    let field = root.fields.iter().find(|field| field.target == Target::Member(index));
    let mut reader = Reader::new(value, start);
    match field.map(|field| &field.node) {
        Some(Node::String) => out.extend_from_slice(reader.bytes()?),
        Some(node) => write_element(plan, node, &mut reader, out, 0)?,
        None => {}
    }
    Ok(())
}

fn structure(
    plan: &Plan,
    structure: &StructPlan,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    if structure.shape.is_none() {
        return Err(Fault::UnknownField);
    }
    if depth > MAX_DEPTH {
        return Err(Fault::TooDeep);
    }
    out.push(b'{');
    if structure.ordered {
        ordered(plan, structure, reader, out, depth)?;
    } else {
        reordered(plan, structure, reader, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Fields in the order of the members: one pass, which fills in omitted members.
fn ordered(
    plan: &Plan,
    structure: &StructPlan,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let mut next = 0;
    let mut number = None;
    while let Some(field) = next_field(structure, reader, &mut number)? {
        let Target::Member(index) = field.target else {
            visit_value(plan, &field.node, reader, &mut Skip, depth + 1)?;
            continue;
        };
        left_out(structure, next..index, out);
        out.extend_from_slice(&structure.member_prefixes[index]);
        write_element(plan, &field.node, reader, out, depth)?;
        next = index + 1;
    }
    left_out(structure, next..structure.zero_members.len(), out);
    Ok(())
}

/// Fields in any order: one pass to find them, then output in the order of the members.
fn reordered(
    plan: &Plan,
    structure: &StructPlan,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let mut found: Vec<Option<(&Node, Reader<'_>)>> = vec![None; structure.member_prefixes.len()];
    let mut number = None;
    while let Some(field) = next_field(structure, reader, &mut number)? {
        if let Target::Member(index) = field.target {
            found[index] = Some((&field.node, *reader));
        }
        visit_value(plan, &field.node, reader, &mut Skip, depth + 1)?;
    }
    for (index, found) in found.into_iter().enumerate() {
        match found {
            Some((node, mut at)) => {
                out.extend_from_slice(&structure.member_prefixes[index]);
                write_element(plan, node, &mut at, out, depth)?;
            }
            None => out.extend_from_slice(&structure.zero_members[index]),
        }
    }
    Ok(())
}

/// Appends one value.
pub(crate) fn write_element(
    plan: &Plan,
    node: &Node,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    match node {
        Node::Bool => out.extend_from_slice(if reader.uint()? == 0 { b"false" } else { b"true" }),
        Node::Int => out.extend_from_slice(itoa::Buffer::new().format(reader.int()?).as_bytes()),
        Node::Float => float(reader.float()?, out),
        Node::Widened => float(reader.int()? as f64, out),
        Node::String => string(reader.bytes()?, out),
        Node::Struct(index) => structure(plan, plan.structure(*index), reader, out, depth + 1)?,
        Node::Slice(of) => {
            out.push(b'[');
            for index in 0..reader.count()? {
                if index > 0 {
                    out.push(b',');
                }
                write_element(plan, of, reader, out, depth + 1)?;
            }
            out.push(b']');
        }
        Node::Number | Node::Bytes | Node::Complex | Node::Map(..) | Node::Skipped(_) => {
            return Err(Fault::UnknownField);
        }
    }
    Ok(())
}

/// Appends the members in `which`, which the row omits.
#[inline]
fn left_out(structure: &StructPlan, which: Range<usize>, out: &mut Vec<u8>) {
    for member in structure.zero_members.get(which).unwrap_or_default() {
        out.extend_from_slice(member);
    }
}
