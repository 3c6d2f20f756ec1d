//! Validates a gob value in one pass (complete, text is UTF-8), and locates members of the root.

use crate::MAX_DEPTH;
use crate::gob_layout::{FieldPlan, Node, Plan, StructPlan, Target};
use crate::gob_primitives::{Fault, Reader};

/// Offsets in a valid value.
pub(crate) struct Checked {
    /// Start of the key's field, if it is the last one.
    pub(crate) key_start: Option<usize>,
    /// The end of the value.
    pub(crate) end: usize,
}

/// Validates a value. Calls `member` with the index of each member of the root and the offset of its value.
pub(crate) fn validate(
    plan: &Plan,
    value: &[u8],
    validate: &mut Validate,
    mut member: impl FnMut(usize, usize),
) -> Result<Checked, Fault> {
    if u32::try_from(value.len()).is_err() {
        return Err(Fault::TooLarge);
    }
    // Left over from a value that was refused.
    validate.short_texts.clear();
    let mut key_start = None;
    let mut reader = Reader::new(value, 0);
    let mut number = None;
    loop {
        let start = reader.at();
        let Some(field) = next_field(plan.root(), &mut reader, &mut number)? else { break };
        key_start = matches!(field.target, Target::LocalId).then_some(start);
        if let Target::Member(index) = field.target {
            member(index, reader.at());
        }
        visit_value(plan, &field.node, &mut reader, validate, 1)?;
    }
    validate.end()?;
    Ok(Checked { key_start, end: reader.at() })
}

/// Start of the value of the root's member `index`; `None` if it is omitted, and so zero. Cost grows with the index.
pub(crate) fn find_member(plan: &Plan, value: &[u8], index: usize) -> Result<Option<usize>, Fault> {
    let mut reader = Reader::new(value, 0);
    let mut number = None;
    while let Some(field) = next_field(plan.root(), &mut reader, &mut number)? {
        if field.target == Target::Member(index) {
            return Ok(Some(reader.at()));
        }
        visit_value(plan, &field.node, &mut reader, &mut Skip, 1)?;
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

/// What to do with the strings and floats of a value.
pub(crate) trait Visit {
    fn text(&mut self, text: &[u8]) -> Result<(), Fault>;
    fn float(&mut self, float: f64) -> Result<(), Fault>;
}

/// Skips values that are already validated.
pub(crate) struct Skip;

impl Visit for Skip {
    fn text(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn float(&mut self, _: f64) -> Result<(), Fault> {
        Ok(())
    }
}

/// Validates all values of the model.
#[derive(Default)]
pub(crate) struct Validate {
    /// Short texts that are not ASCII, concatenated: validating them together takes less than half the time.
    short_texts: Vec<u8>,
}

/// Texts of at least this length are validated in place; shorter ones are collected.
const MIN_LONG_TEXT: usize = 128;
const MAX_SHORT_TEXTS: usize = 1024;

impl Validate {
    /// Validates the collected texts.
    fn end(&mut self) -> Result<(), Fault> {
        let is_utf8 = simdutf8::basic::from_utf8(&self.short_texts).is_ok();
        self.short_texts.clear();
        if is_utf8 { Ok(()) } else { Err(Fault::Utf8) }
    }
}

impl Visit for Validate {
    #[inline]
    fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        // Most texts are, and this check is the cheapest.
        if text.is_ascii() {
            return Ok(());
        }
        if text.len() >= MIN_LONG_TEXT {
            return simdutf8::basic::from_utf8(text).map(drop).map_err(|_| Fault::Utf8);
        }
        // A character must not span two texts.
        if text[0] & 0xc0 == 0x80 {
            return Err(Fault::Utf8);
        }
        self.short_texts.extend_from_slice(text);
        if self.short_texts.len() >= MAX_SHORT_TEXTS { self.end() } else { Ok(()) }
    }

    fn float(&mut self, float: f64) -> Result<(), Fault> {
        if float.is_finite() { Ok(()) } else { Err(Fault::BadNumber) }
    }
}

/// Skips or validates one value.
#[inline(always)]
pub(crate) fn visit_value(
    plan: &Plan,
    node: &Node,
    reader: &mut Reader<'_>,
    visit: &mut impl Visit,
    depth: usize,
) -> Result<(), Fault> {
    match node {
        Node::Bool | Node::Int | Node::Widened | Node::Number => drop(reader.uint()?),
        Node::Float => visit.float(reader.float()?)?,
        Node::String => visit.text(reader.bytes()?)?,
        Node::Bytes => drop(reader.bytes()?),
        Node::Complex => {
            reader.uint()?;
            reader.uint()?;
        }
        Node::Struct(_) | Node::Slice(_) | Node::Map(..) | Node::Skipped(_) => {
            visit_nested(plan, node, reader, visit, depth)?;
        }
    }
    Ok(())
}

fn visit_nested(
    plan: &Plan,
    node: &Node,
    reader: &mut Reader<'_>,
    visit: &mut impl Visit,
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
                visit_value(plan, &field.node, reader, visit, depth + 1)?;
            }
        }
        Node::Slice(element) => {
            for _ in 0..reader.count()? {
                visit_value(plan, element, reader, visit, depth + 1)?;
            }
        }
        Node::Map(key, element) => {
            for _ in 0..reader.count()? {
                visit_value(plan, key, reader, visit, depth + 1)?;
                visit_value(plan, element, reader, visit, depth + 1)?;
            }
        }
        Node::Skipped(index) => visit_value(plan, plan.skipped(*index), reader, visit, depth)?,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_shown(texts: &[Vec<u8>]) -> bool {
        let mut validate = Validate::default();
        texts.iter().all(|text| validate.text(text).is_ok()) && validate.end().is_ok()
    }

    #[test]
    fn half_a_character_is_refused_whatever_stands_beside_it() {
        let (first, second) = (b"\xd0".to_vec(), b"\xbf".to_vec());
        assert!(is_shown(&[[&first[..], &second].concat()]));
        assert!(!is_shown(&[first.clone(), second.clone()]));
        assert!(!is_shown(&[first, b"ASCII".to_vec(), second]));
    }

    proptest! {
        #[test]
        fn texts_are_utf8_when_each_is(
            texts in prop::collection::vec(
                prop_oneof!["\\PC{0,90}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..4)],
                0..40,
            )
        ) {
            prop_assert_eq!(is_shown(&texts), texts.iter().all(|text| std::str::from_utf8(text).is_ok()));
        }
    }
}
