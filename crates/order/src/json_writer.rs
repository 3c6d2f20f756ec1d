//! Writes parts of JSON as `serde_json` does: strings, floats, and members that a row omits.

use model::shape::{Kind, Struct};

/// For each member of `shape`: the comma (except for the first) and the name before its value.
pub(crate) fn member_prefixes(shape: &Struct) -> Vec<Box<[u8]>> {
    let prefix = |index| {
        let mut out = Vec::new();
        name(shape, index, &mut out);
        out.into_boxed_slice()
    };
    (0..shape.members.len()).map(prefix).collect()
}

/// For each member of `shape`: its JSON with a zero value.
pub(crate) fn zero_members(shape: &Struct) -> Vec<Box<[u8]>> {
    let zeroed = |index: usize| {
        let mut out = Vec::new();
        name(shape, index, &mut out);
        zero(&shape.members[index].kind, &mut out);
        out.into_boxed_slice()
    };
    (0..shape.members.len()).map(zeroed).collect()
}

pub(crate) fn zero(kind: &Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Bool => out.extend_from_slice(b"false"),
        Kind::Int => out.push(b'0'),
        Kind::Float => out.extend_from_slice(b"0.0"),
        Kind::String => out.extend_from_slice(b"\"\""),
        Kind::Slice(_) => out.extend_from_slice(b"[]"),
        Kind::Struct(shape) => {
            out.push(b'{');
            zero_members(shape).iter().for_each(|member| out.extend_from_slice(member));
            out.push(b'}');
        }
    }
}

fn name(shape: &Struct, index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
    out.extend_from_slice(shape.members[index].json_key.as_bytes());
}

/// Appends a float as `serde_json` writes it.
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

/// Whether any byte needs escaping. Few texts do, so this tests whole blocks; the last block may overlap.
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

/// Whether JSON escapes a byte. A table look-up is cheaper than three comparisons.
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
