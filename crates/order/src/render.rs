//! gob value -> JSON, straight, without a document in between: what a read of `/order/{id}` costs.
//!
//! The bytes are those that `serde_json` makes of the typed model: members in the sample's order, zero values
//! written, slices never `null`. A test holds the two against each other.

use std::ops::Range;

use model::shape::{Kind, Struct};

use crate::MAX_DEPTH;
use crate::layout::{Node, Plan, StructPlan, Target};
use crate::walk::{Nothing, next_field, pass};
use crate::wire::{Fault, Reader};

/// Appends the JSON of a value that [`crate::walk::check`] has passed.
pub(crate) fn json(plan: &Plan, value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    structure(plan, plan.root(), &mut Reader::new(value, 0), out, 0)
}

/// Appends one member's value as text: a string as it is, anything else as its JSON.
pub(crate) fn text(
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
        Some(node) => element(plan, node, &mut reader, out, 0)?,
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
        gathered(plan, structure, reader, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Fields come in the order of the members: one pass, filling in what was left out.
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
            pass(plan, &field.node, reader, &mut Nothing, depth + 1)?;
            continue;
        };
        left_out(structure, next..index, out);
        out.extend_from_slice(&structure.heads[index]);
        element(plan, &field.node, reader, out, depth)?;
        next = index + 1;
    }
    left_out(structure, next..structure.blanks.len(), out);
    Ok(())
}

/// Fields come in any order: a pass to find them, then each in the order of the members.
fn gathered(
    plan: &Plan,
    structure: &StructPlan,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Fault> {
    let mut found: Vec<Option<(&Node, Reader<'_>)>> = vec![None; structure.heads.len()];
    let mut number = None;
    while let Some(field) = next_field(structure, reader, &mut number)? {
        if let Target::Member(index) = field.target {
            found[index] = Some((&field.node, *reader));
        }
        pass(plan, &field.node, reader, &mut Nothing, depth + 1)?;
    }
    for (index, found) in found.into_iter().enumerate() {
        match found {
            Some((node, mut at)) => {
                out.extend_from_slice(&structure.heads[index]);
                element(plan, node, &mut at, out, depth)?;
            }
            None => out.extend_from_slice(&structure.blanks[index]),
        }
    }
    Ok(())
}

/// Appends one value.
pub(crate) fn element(
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
                element(plan, of, reader, out, depth + 1)?;
            }
            out.push(b']');
        }
        Node::Number | Node::Bytes | Node::Complex | Node::Map(..) | Node::Skipped(_) => {
            return Err(Fault::UnknownField);
        }
    }
    Ok(())
}

/// The members in `which`, which the row leaves out.
#[inline]
fn left_out(structure: &StructPlan, which: Range<usize>, out: &mut Vec<u8>) {
    for blank in structure.blanks.get(which).unwrap_or_default() {
        out.extend_from_slice(blank);
    }
}

/// For each member of `shape`, what its JSON opens with: a comma, but for the first, and its name.
pub(crate) fn heads(shape: &Struct) -> Vec<Box<[u8]>> {
    let head = |index| {
        let mut out = Vec::new();
        name(shape, index, &mut out);
        out.into_boxed_slice()
    };
    (0..shape.members.len()).map(head).collect()
}

/// For each member of `shape`, its whole JSON where it is zero.
pub(crate) fn blanks(shape: &Struct) -> Vec<Box<[u8]>> {
    let blank = |index: usize| {
        let mut out = Vec::new();
        name(shape, index, &mut out);
        zero(&shape.members[index].kind, &mut out);
        out.into_boxed_slice()
    };
    (0..shape.members.len()).map(blank).collect()
}

fn zero(kind: &Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Bool => out.extend_from_slice(b"false"),
        Kind::Int => out.push(b'0'),
        Kind::Float => out.extend_from_slice(b"0.0"),
        Kind::String => out.extend_from_slice(b"\"\""),
        Kind::Slice(_) => out.extend_from_slice(b"[]"),
        Kind::Struct(shape) => {
            out.push(b'{');
            blanks(shape).iter().for_each(|blank| out.extend_from_slice(blank));
            out.push(b'}');
        }
    }
}

fn name(shape: &Struct, index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
    out.extend_from_slice(shape.members[index].json_head.as_bytes());
}

/// Appends a number with a fraction, as `serde_json` writes it.
pub(crate) fn float(number: f64, out: &mut Vec<u8>) {
    // Writing a finite number into memory can't fail.
    drop(serde_json::to_writer(out, &number));
}

/// Appends `text`, which is UTF-8, as a JSON string, escaped as `serde_json` does.
pub(crate) fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while needs_escape(rest)
        && let Some(at) = rest.iter().position(|&byte| ESCAPED[usize::from(byte)])
    {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Whether JSON escapes any of these bytes, which it does in few texts: blocks of them are looked at in one
/// instruction, the last block once more where they are no multiple of it.
#[inline]
fn needs_escape(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<16>();
    blocks.iter().any(any_escaped)
        || match (text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(last), ..) => !rest.is_empty() && any_escaped(last),
            (None, Some(first), Some(last)) => any_escaped(first) || any_escaped(last),
            _ => rest.iter().any(|&byte| ESCAPED[usize::from(byte)]),
        }
}

#[inline]
fn any_escaped<const BLOCK: usize>(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// Whether JSON escapes a byte. A look-up costs less than the three comparisons.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
