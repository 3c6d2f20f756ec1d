//! The canonical form of a `jsonb` document, which is stored and served: as PostgreSQL prints it, without spaces.
//!
//! Members are in PostgreSQL's order: by the length of their names, then by bytes. Numbers look as `numeric` prints
//! them. Strings escape only what they must. Members of the model have the model's spelling. If a member is repeated,
//! the last value counts, but objects and arrays of the model are merged, as Go does.
//!
//! A document becomes a flat tree: the children of each object and array are adjacent in one list. So nothing recurses
//! with the depth of a publisher's document.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use model::shape::{Kind, Struct};

use super::json_tokenizer::Scanner;
use super::number::{self, Problem};
use super::repeated;
use crate::json_writer;
use crate::member_name::{self, shortened};
use crate::payload_text::without_lone_surrogates;
use crate::refusal::{Reason, Refusal};

/// Maximum number of bytes by which a document may grow because numbers are written without exponents: `1e308` has 309
/// digits.
const NUMBER_SLACK: usize = 64 << 10;

/// Appends the canonical form of a document that the parser has accepted.
///
/// # Errors
/// A value that `jsonb` can't hold or can't return.
pub(crate) fn write(shape: &'static Struct, text: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = without_lone_surrogates(text);
    let mut reader = Reader::new(shape, &text);
    let Some(read) = reader.document() else { return Err(reader.refusal()) };
    let mut root = read;
    if reader.repeats {
        root = repeated::object(&mut reader.tree, None, root, Some(shape));
    }
    reader.tree.write(root, out);
    Ok(())
}

/// A member of an object, or an element of an array, with an empty name.
#[derive(Clone)]
pub(super) struct Node<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) value: Value<'t>,
}

#[derive(Clone)]
pub(super) enum Value<'t> {
    /// As it is written.
    Text(&'t str),
    /// A number whose spelling changes.
    Number(String),
    /// The unescaped text of a string.
    String(String),
    /// The range of its members, in order.
    Object(Range<usize>),
    /// The ranges of its elements, and of the elements that a later, shorter array hides.
    Array { range: Range<usize>, hidden: Range<usize> },
}

impl Value<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Text("null"))
    }
}

impl<'t> Node<'t> {
    pub(super) fn parts(&self) -> (Name<'t>, Value<'t>) {
        (Name(self.name.clone()), self.value.clone())
    }
}

/// A name, in PostgreSQL's order.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name<'t>(pub(super) Cow<'t, str>);

impl Ord for Name<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) fn compare(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.as_bytes().cmp(other.as_bytes()))
}

/// The kind of a member; `None` if the model lacks it. `name` gets the model's spelling.
pub(super) fn member_kind(shape: Option<&'static Struct>, name: &str) -> Option<&'static Kind> {
    Some(&shape?.member(name)?.1.kind)
}

/// The children of all objects and arrays.
#[derive(Default)]
pub(super) struct Tree<'t> {
    pub(super) nodes: Vec<Node<'t>>,
}

impl<'t> Tree<'t> {
    pub(super) fn add(&mut self, children: impl Iterator<Item = Node<'t>>) -> Range<usize> {
        let start = self.nodes.len();
        self.nodes.extend(children);
        start..self.nodes.len()
    }

    pub(super) fn values(&self, range: Range<usize>) -> Vec<Value<'t>> {
        self.nodes[range].iter().map(|node| node.value.clone()).collect()
    }

    fn write(&self, root: Value<'t>, out: &mut Vec<u8>) {
        // Open objects and arrays: their remaining children, and the closing byte.
        let mut open: Vec<(Range<usize>, u8)> = Vec::new();
        self.begin(&root, &mut open, out);
        while let Some((children, end)) = open.last_mut() {
            let Some(next) = children.next() else {
                out.push(*end);
                open.pop();
                continue;
            };
            if !matches!(out.last(), Some(b'{' | b'[')) {
                out.push(b',');
            }
            let (node, is_member) = (&self.nodes[next], *end == b'}');
            if is_member {
                json_writer::string(node.name.as_bytes(), out);
                out.push(b':');
            }
            self.begin(&node.value, &mut open, out);
        }
    }

    /// Writes a value, or opens it.
    fn begin(&self, value: &Value<'t>, open: &mut Vec<(Range<usize>, u8)>, out: &mut Vec<u8>) {
        match value {
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Number(text) => out.extend_from_slice(text.as_bytes()),
            Value::String(text) => json_writer::string(text.as_bytes(), out),
            Value::Object(range) => {
                out.push(b'{');
                open.push((range.clone(), b'}'));
            }
            Value::Array { range, .. } => {
                out.push(b'[');
                open.push((range.clone(), b']'));
            }
        }
    }
}

/// An object or an array that is not closed yet.
struct Open<'t> {
    /// Index of its first child in `read`.
    start: usize,
    is_object: bool,
    shape: Option<&'static Struct>,
    element: Option<&'static Kind>,
    /// The current member: its name, its kind, and the index of the member expected next.
    name: Cow<'t, str>,
    kind: Option<&'static Kind>,
    expected: usize,
}

struct Reader<'t> {
    scanner: Scanner<'t>,
    tree: Tree<'t>,
    open: Vec<Open<'t>>,
    /// The children of open objects and arrays.
    read: Vec<Node<'t>>,
    root: &'static Struct,
    /// Whether an object or an array of the model is repeated.
    repeats: bool,
    /// Bytes by which numbers may still grow.
    room: usize,
    problem: Option<(Reason, &'static str)>,
    /// Start of the last value or name.
    at: usize,
}

impl<'t> Reader<'t> {
    fn new(root: &'static Struct, text: &'t str) -> Self {
        Self {
            scanner: Scanner::new(text),
            tree: Tree::default(),
            open: Vec::new(),
            read: Vec::new(),
            root,
            repeats: false,
            room: text.len() + NUMBER_SLACK,
            problem: None,
            at: 0,
        }
    }

    fn document(&mut self) -> Option<Value<'t>> {
        loop {
            let first = self.scanner.peek()?;
            self.at = self.scanner.at();
            match first {
                b'{' | b'[' => {
                    self.scanner.token()?;
                    self.begin(first == b'{');
                    let end = if first == b'{' { b'}' } else { b']' };
                    if self.scanner.peek()? != end {
                        self.name()?;
                        continue;
                    }
                }
                b'"' => {
                    let value = self.string()?;
                    self.add(value);
                }
                _ => {
                    let value = self.scalar()?;
                    self.add(value);
                }
            }
            if let Some(root) = self.ends()? {
                return Some(root);
            }
        }
    }

    fn begin(&mut self, is_object: bool) {
        let kind = match self.open.last() {
            None => None,
            Some(open) if open.is_object => open.kind,
            Some(open) => open.element,
        };
        let (shape, element) = match kind {
            _ if self.open.is_empty() => (Some(self.root), None),
            Some(Kind::Struct(shape)) => (Some(*shape), None),
            Some(Kind::Slice(element)) => (None, Some(*element)),
            _ => (None, None),
        };
        let name = Cow::Borrowed("");
        self.open.push(Open {
            start: self.read.len(),
            is_object,
            shape,
            element,
            name,
            kind: None,
            expected: 0,
        });
    }

    /// After a value: closes objects and arrays that end here. Returns the whole document at its end.
    fn ends(&mut self) -> Option<Option<Value<'t>>> {
        loop {
            match self.scanner.token()? {
                b',' => {
                    self.name()?;
                    return Some(None);
                }
                b'}' | b']' => {}
                _ => return None,
            }
            let closed = self.open.pop()?;
            let value = self.close(&closed);
            if self.open.is_empty() {
                return Some(Some(value));
            }
            self.add(value);
        }
    }

    /// Reads the name of an object's next member; does nothing in an array.
    fn name(&mut self) -> Option<()> {
        let Some(open) = self.open.last_mut().filter(|open| open.is_object) else { return Some(()) };
        self.scanner.peek()?;
        self.at = self.scanner.at();
        let name = self.scanner.text()?;
        self.scanner.eat(b':')?;
        let known =
            open.shape.and_then(|shape| Some((shape, member_name::find(shape, open.expected, &name)?)));
        if let Some((shape, index)) = known {
            let member = &shape.members[index];
            (open.expected, open.kind, open.name) =
                (index + 1, Some(&member.kind), Cow::Borrowed(member.json_name));
            return Some(());
        }
        if name.contains('\0') {
            self.problem = Some(NULL_CHARACTER);
            return None;
        }
        (open.kind, open.name) = (None, name);
        Some(())
    }

    fn string(&mut self) -> Option<Value<'t>> {
        match self.scanner.text()? {
            // With its quotes.
            Cow::Borrowed(_) => Some(Value::Text(self.scanner.since(self.at)?)),
            Cow::Owned(text) if text.contains('\0') => {
                self.problem = Some(NULL_CHARACTER);
                None
            }
            Cow::Owned(text) => Some(Value::String(text)),
        }
    }

    fn scalar(&mut self) -> Option<Value<'t>> {
        let text = self.scanner.scalar()?;
        if text.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Some(Value::Text(text));
        }
        match number::canonical(text) {
            Ok(Cow::Borrowed(same)) => Some(Value::Text(same)),
            Ok(Cow::Owned(other)) => match self.room.checked_sub(other.len()) {
                Some(left) => {
                    self.room = left;
                    Some(Value::Number(other))
                }
                None => {
                    self.problem =
                        Some((Reason::NotStorable, "its numbers take too much room without exponents"));
                    None
                }
            },
            Err(problem) => {
                self.problem = Some(match problem {
                    Problem::TooLarge => (Reason::NumberOutOfRange, "a number beyond the range of a double"),
                    Problem::TooFine => {
                        (Reason::NotStorable, "a number with more than 16383 digits behind the point")
                    }
                });
                None
            }
        }
    }

    /// Adds a member or an element.
    fn add(&mut self, value: Value<'t>) {
        let name = self.open.last_mut().map(|open| std::mem::take(&mut open.name)).unwrap_or_default();
        self.read.push(Node { name, value });
    }

    /// Moves the children of an object or array to the tree; an object's children in PostgreSQL's order, without
    /// repeats.
    fn close(&mut self, open: &Open<'t>) -> Value<'t> {
        let children = &mut self.read[open.start..];
        if open.is_object && !is_strictly_sorted(children) {
            children.sort_by(|one, other| compare(&one.name, &other.name));
            if !is_strictly_sorted(children) {
                let children = self.read.split_off(open.start);
                let kept = self.once_each(children, open.shape);
                self.read.extend(kept);
            }
        }
        let range = self.tree.add(self.read.drain(open.start..));
        if open.is_object { Value::Object(range) } else { Value::Array { range, hidden: 0..0 } }
    }

    /// Repeated objects and arrays of the model stay; they are merged once the document is complete.
    fn once_each(&mut self, children: Vec<Node<'t>>, shape: Option<&'static Struct>) -> Vec<Node<'t>> {
        let mut kept: Vec<Node<'t>> = Vec::with_capacity(children.len());
        for node in children {
            let Some(last) = kept.last_mut().filter(|last| last.name == node.name) else {
                kept.push(node);
                continue;
            };
            match member_kind(shape, &node.name) {
                Some(Kind::Struct(_) | Kind::Slice(_)) => {
                    self.repeats = true;
                    kept.push(node);
                }
                // Go keeps the earlier value.
                Some(_) if node.value.is_null() => {}
                _ => *last = node,
            }
        }
        kept
    }

    fn refusal(&self) -> Refusal {
        // Unreachable for valid JSON, which the parser has checked.
        let (reason, detail) = self.problem.unwrap_or((Reason::InvalidJson, "invalid JSON"));
        Refusal { reason, detail: detail.into(), path: Some(self.path()), offset: Some(self.at) }
    }

    fn path(&self) -> String {
        let mut path = String::from("$");
        // Children of an open value end where the children of the next open value begin.
        let starts = self.open.iter().skip(1).map(|open| open.start).chain([self.read.len()]);
        for (open, next) in self.open.iter().zip(starts) {
            if !open.is_object {
                path.push_str(&format!("[{}]", next - open.start));
            } else if !open.name.is_empty() {
                path.push('.');
                path.push_str(&shortened(&open.name));
            }
        }
        path
    }
}

const NULL_CHARACTER: (Reason, &str) =
    (Reason::NotStorable, r"a null character (\u0000), which jsonb can't hold");

fn is_strictly_sorted(children: &[Node<'_>]) -> bool {
    children.is_sorted_by(|one, other| compare(&one.name, &other.name) == Ordering::Less)
}
