//! Merges repeated objects and arrays of a document as Go's `encoding/json` does. `parse::merge` does the same for gob
//! rows; here, unknown members are merged too, and `null` stays if it is the only value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::shape::{Kind, Struct};

use super::canonical::{Name, Node, Tree, Value, member_kind};

/// Merges repeated members of the object `new`, and the values that `base` already has.
pub(super) fn object<'t>(
    tree: &mut Tree<'t>,
    base: Option<Value<'t>>,
    new: Value<'t>,
    shape: Option<&'static Struct>,
) -> Value<'t> {
    let mut members: BTreeMap<Name<'t>, Value<'t>> = match base {
        Some(Value::Object(range)) => tree.nodes[range].iter().map(Node::parts).collect(),
        _ => BTreeMap::new(),
    };
    let Value::Object(range) = new else { return new };
    for (name, value) in tree.nodes[range].iter().map(Node::parts).collect::<Vec<_>>() {
        let before = members.remove(&name);
        let merged = merge(tree, before, value, member_kind(shape, &name.0));
        members.insert(name, merged);
    }
    Value::Object(tree.add(members.into_iter().map(|(name, value)| Node { name: name.0, value })))
}

fn merge<'t>(
    tree: &mut Tree<'t>,
    base: Option<Value<'t>>,
    new: Value<'t>,
    kind: Option<&'static Kind>,
) -> Value<'t> {
    match (kind, &new) {
        (Some(Kind::Slice(_)), _) if new.is_null() => new,
        // Go keeps the earlier value.
        (Some(_), _) if new.is_null() => base.unwrap_or(new),
        (Some(Kind::Struct(shape)), Value::Object(_)) => object(tree, base, new, Some(shape)),
        (Some(Kind::Slice(element)), Value::Array { .. }) => array(tree, base, new, element),
        _ => new,
    }
}

/// Merges each element into the earlier element at its index, even if a shorter array in between has hidden that one.
fn array<'t>(
    tree: &mut Tree<'t>,
    base: Option<Value<'t>>,
    new: Value<'t>,
    element: &'static Kind,
) -> Value<'t> {
    let Value::Array { range, .. } = new else { return new };
    let mut before = Vec::new();
    if let Some(Value::Array { range, hidden }) = base {
        before.extend(tree.values(range));
        before.extend(tree.values(hidden));
    }
    let mut before = before.into_iter();
    let mut elements = Vec::new();
    for value in tree.values(range) {
        let earlier = before.next();
        elements.push(merge(tree, earlier, value, Some(element)));
    }
    let unnamed = |value| Node { name: Cow::Borrowed(""), value };
    let hidden = if elements.is_empty() { Vec::new() } else { before.collect() };
    let range = tree.add(elements.into_iter().map(unnamed));
    let hidden = tree.add(hidden.into_iter().map(unnamed));
    Value::Array { range, hidden }
}
