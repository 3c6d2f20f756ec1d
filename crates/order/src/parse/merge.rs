//! Merges repeated objects and arrays of a document as Go's `encoding/json` does.
//!
//! Go decodes into existing values. If an object is repeated, members that the second lacks keep their first value.
//! Array elements are decoded into the elements of the same index, also into those that a shorter array has hidden.
//! `null` leaves an object unchanged, and removes an array with all elements; so does `[]`.
//!
//! Such documents are rare. They are parsed a second time, into a tree, once they are known to be valid otherwise.

use std::fmt;
use std::ops::Range;

use model::shape::{Kind, Struct};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::general::{MISSING, Value};
use super::members::{is_left_out, pass_missing, zero_element};
use super::{State, Step};
use crate::gob_primitives::put_uint;
use crate::member_name;
use crate::refusal::Reason;

/// A value of the document.
enum Node {
    /// Its range in `State::out`.
    Scalar(Range<usize>),
    /// Its members, by index in the shape. `None` for `null`.
    Struct(Vec<(usize, Option<Node>)>),
    /// The first `count` elements. Those after them are hidden, and reappear if the array grows.
    Slice { elements: Vec<Option<Node>>, count: usize },
}

/// Appends the members of the document to `state.out`. Returns the key's field number, as the delta from the last field
/// written. Records the first of the `required` members that is missing or empty.
///
/// # Errors
/// For a document that `general` has accepted, or has refused for a missing member: a missing member.
pub(super) fn document(
    shape: &'static Struct,
    text: &str,
    required: &[usize],
    state: &mut State,
) -> Result<u64, serde_json::Error> {
    let start = state.out.len();
    let mut root = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let kind = Kind::Struct(shape);
    Merge { state, kind: &kind, into: &mut root }.deserialize(&mut deserializer)?;
    let members = root.as_ref().map_or(&[][..], Node::members);
    if state.checks
        && let Some(path) = root.as_ref().and_then(|root| lacking(root, shape, &mut Vec::new()))
    {
        state.path = path;
        state.wrong_at = Some(text.trim_ascii_end().len().saturating_sub(1));
        return Err(state.refuse(Reason::MissingMember, MISSING));
    }
    let is_empty = |index: &usize| {
        let kind = &shape.members[*index].kind;
        find(members, *index).is_none_or(|node| node.is_empty(kind, &state.out))
    };
    state.missing = required.iter().copied().find(is_empty);
    let mut merged = Vec::new();
    let key_field = write_members(shape, members, &state.out, &mut merged);
    state.out.truncate(start);
    state.out.append(&mut merged);
    Ok(key_field)
}

/// Writes the members of an object as the fields of a gob struct without its end. Returns the number of the field after
/// them, as the delta from the last field written.
fn write_members(shape: &Struct, nodes: &[(usize, Option<Node>)], scalars: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut delta = 1;
    for (index, member) in shape.members.iter().enumerate() {
        let Some(node) = find(nodes, index) else {
            delta = pass_missing(shape, index..index + 1, delta, out);
            continue;
        };
        let before = out.len();
        put_uint(out, delta);
        let start = out.len();
        node.write(&member.kind, scalars, out);
        delta = if is_left_out(&member.kind, &out[start..]) {
            out.truncate(before);
            delta + 1
        } else {
            1
        };
    }
    delta
}

fn find(nodes: &[(usize, Option<Node>)], index: usize) -> Option<&Node> {
    nodes.binary_search_by_key(&index, |(index, _)| *index).ok().and_then(|at| nodes[at].1.as_ref())
}

/// The path, from `path` on, of the first member that the schema requires and that the merged object lacks.
fn lacking(node: &Node, shape: &'static Struct, path: &mut Vec<Step>) -> Option<Vec<Step>> {
    let members = node.members();
    for &index in shape.required {
        let member = &shape.members[index];
        let is_null = || members.iter().any(|(of, value)| *of == index && value.is_none());
        if find(members, index).is_none() && !(member.nullable && is_null()) {
            return Some(path.iter().cloned().chain([Step::Member(member)]).collect());
        }
    }
    members.iter().find_map(|(index, value)| {
        let (member, value) = (&shape.members[*index], value.as_ref()?);
        path.push(Step::Member(member));
        let found = lacking_in(value, &member.kind, member.nullable_elements, path);
        path.pop();
        found
    })
}

/// The same for any value.
fn lacking_in(
    node: &Node,
    kind: &'static Kind,
    nullable_elements: bool,
    path: &mut Vec<Step>,
) -> Option<Vec<Step>> {
    match (node, kind) {
        (Node::Struct(_), Kind::Struct(shape)) => lacking(node, shape, path),
        (Node::Slice { elements, count }, Kind::Slice(kind)) => {
            elements[..*count].iter().enumerate().find_map(|(index, element)| {
                path.push(Step::Element(index));
                let found = match (element, kind) {
                    (Some(element), _) => lacking_in(element, kind, nullable_elements, path),
                    // `null` lacks all members.
                    (None, Kind::Struct(shape)) if !nullable_elements => {
                        lacking(&Node::Struct(Vec::new()), shape, path)
                    }
                    (None, _) => None,
                };
                path.pop();
                found
            })
        }
        _ => None,
    }
}

impl Node {
    fn members(&self) -> &[(usize, Option<Self>)] {
        match self {
            Self::Struct(members) => members,
            _ => &[],
        }
    }

    /// Whether it is an empty string or array. Numbers and objects are never empty.
    fn is_empty(&self, kind: &Kind, scalars: &[u8]) -> bool {
        match self {
            Self::Scalar(range) => matches!(kind, Kind::String) && scalars[range.clone()] == [0],
            Self::Slice { count, .. } => *count == 0,
            Self::Struct(_) => false,
        }
    }

    /// Writes the value as gob has it.
    fn write(&self, kind: &Kind, scalars: &[u8], out: &mut Vec<u8>) {
        match (self, kind) {
            (Self::Scalar(range), _) => out.extend_from_slice(&scalars[range.clone()]),
            (Self::Struct(members), Kind::Struct(shape)) => {
                write_members(shape, members, scalars, out);
                out.push(0);
            }
            (Self::Slice { elements, count }, Kind::Slice(kind)) => {
                put_uint(out, *count as u64);
                for element in &elements[..*count] {
                    match element {
                        Some(node) => node.write(kind, scalars, out),
                        None => zero_element(out, kind),
                    }
                }
            }
            // A node is made by its kind.
            _ => zero_element(out, kind),
        }
    }
}

/// Reads a value into its earlier occurrence.
struct Merge<'s> {
    state: &'s mut State,
    kind: &'s Kind,
    into: &'s mut Option<Node>,
}

impl<'de> DeserializeSeed<'de> for Merge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if let Kind::Struct(_) | Kind::Slice(_) = self.kind {
            return deserializer.deserialize_any(self);
        }
        let start = self.state.out.len();
        if (Value { state: self.state, kind: self.kind }).deserialize(deserializer)? {
            *self.into = Some(Node::Scalar(start..self.state.out.len()));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of the model")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if let Kind::Slice(_) = self.kind {
            *self.into = None;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Kind::Struct(shape) = self.kind else { return map.next_key::<IgnoredAny>().map(drop) };
        let node = self.into.get_or_insert_with(|| Node::Struct(Vec::new()));
        let Node::Struct(members) = node else { return Ok(()) };
        let mut expected = 0;
        while let Some(found) = map.next_key_seed(Name { shape, expected })? {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            expected = index + 1;
            let at = members.binary_search_by_key(&index, |(index, _)| *index);
            let mut value = at.ok().and_then(|at| members.remove(at).1);
            map.next_value_seed(Merge {
                state: self.state,
                kind: &shape.members[index].kind,
                into: &mut value,
            })?;
            members.insert(at.unwrap_or_else(|at| at), (index, value));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let Kind::Slice(kind) = self.kind else { return values.next_element::<IgnoredAny>().map(drop) };
        let mut elements = match self.into.take() {
            Some(Node::Slice { elements, .. }) => elements,
            _ => Vec::new(),
        };
        let mut count = 0;
        loop {
            let is_new = count == elements.len();
            if is_new {
                elements.push(None);
            }
            let merge = Merge { state: self.state, kind, into: &mut elements[count] };
            if values.next_element_seed(merge)?.is_none() {
                elements.truncate(elements.len() - usize::from(is_new));
                break;
            }
            count += 1;
        }
        if count == 0 {
            elements.clear();
        }
        *self.into = Some(Node::Slice { elements, count });
        Ok(())
    }
}

/// Visits a name. Yields the member's index. Unknown members were counted in the first pass.
struct Name {
    shape: &'static Struct,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(member_name::find(self.shape, self.expected, name))
    }
}
