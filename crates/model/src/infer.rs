//! Merges the trees of all samples into one: the types at each path, over all array elements.

use std::borrow::Cow;

use crate::path::Path;
use crate::problems::Problems;
use crate::sample::{Node, Value};
use crate::{Error, SampleLocation, Source};

/// Maximum number of members of a model, those of nested objects included; in a schema, after references are expanded,
/// each of which may double it. [`Error::TooManyMembers`] names it.
pub(crate) const MAX_MEMBERS: usize = 10_000;

/// The values seen at a path, and where they were first seen.
#[derive(Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) sample: &'a str,
    pub(crate) path: Path,
    /// An example, as JSON.
    pub(crate) text: Cow<'a, str>,
    pub(crate) kind: Kind<'a>,
    /// Whether a schema allows `null`.
    pub(crate) nullable: bool,
}

#[derive(Debug)]
pub(crate) enum Kind<'a> {
    /// The elements of an empty array.
    Nothing,
    Null,
    Bool,
    Int,
    Float,
    String,
    Array(Box<Observation<'a>>),
    Object(Object<'a>),
    /// It has a problem, which was reported.
    Invalid,
}

#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(crate) members: Vec<(String, Observation<'a>)>,
    /// The members that a schema requires, and whether it forbids others.
    pub(crate) required: Vec<String>,
    pub(crate) closed: bool,
}

/// Merges all samples. `None` if none can be read.
pub(crate) fn merged<'a>(samples: &[Source<'a>], problems: &mut Problems) -> Option<Observation<'a>> {
    let seen: Vec<_> = samples.iter().filter_map(|sample| document(sample, problems)).collect();
    let merged = seen.into_iter().reduce(|all, next| all.merge(next, problems))?;
    merged.check_members(&mut 0, problems);
    Some(merged)
}

fn document<'a>(sample: &Source<'a>, problems: &mut Problems) -> Option<Observation<'a>> {
    let seen = Observation::new(sample.name, sample.tree(problems)?, problems);
    match seen.kind {
        Kind::Object(_) => return Some(seen),
        Kind::Invalid => {}
        _ => seen.refuse(problems, |location| Error::Root { location, found: seen.kind.name() }),
    }
    None
}

impl<'a> Observation<'a> {
    fn new(sample: &'a str, node: Node<'a>, problems: &mut Problems) -> Self {
        let Node { path, text, value } = node;
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool => Kind::Bool,
            Value::Int => Kind::Int,
            Value::Float => Kind::Float,
            Value::String => Kind::String,
            Value::Array(elements) => {
                Kind::Array(Box::new(Self::elements(sample, &path, elements, problems)))
            }
            Value::Object(members) => {
                let member = |(name, node)| (name, Self::new(sample, node, problems));
                Kind::Object(Object {
                    members: members.into_iter().map(member).collect(),
                    ..Object::default()
                })
            }
            Value::Invalid => Kind::Invalid,
        };
        Self { sample, path, text: text.into(), kind, nullable: false }
    }

    fn elements(sample: &'a str, array: &Path, elements: Vec<Node<'a>>, problems: &mut Problems) -> Self {
        let (path, text) = (array.clone(), "".into());
        let nothing = Self { sample, path, text, kind: Kind::Nothing, nullable: false };
        elements.into_iter().fold(nothing, |all, next| {
            let next = Self::new(sample, next, problems);
            all.merge(next, problems)
        })
    }

    pub(crate) fn refuse(&self, problems: &mut Problems, problem: impl FnOnce(SampleLocation) -> Error) {
        problems.add(self.sample, &self.path, problem);
    }

    /// Counts the members, and refuses more than [`MAX_MEMBERS`].
    fn check_members(&self, count: &mut usize, problems: &mut Problems) {
        match &self.kind {
            Kind::Array(elements) => elements.check_members(count, problems),
            Kind::Object(object) => {
                for (_, member) in &object.members {
                    if *count == MAX_MEMBERS {
                        self.refuse(problems, |location| Error::TooManyMembers { location });
                    }
                    *count += 1;
                    member.check_members(count, problems);
                }
            }
            _ => {}
        }
    }

    fn merge(self, other: Self, problems: &mut Problems) -> Self {
        match (&self.kind, &other.kind) {
            (Kind::Nothing | Kind::Invalid, _) => other,
            (_, Kind::Nothing | Kind::Invalid) => self,
            (Kind::Null, _) | (Kind::Int, Kind::Float) => other,
            (_, Kind::Null) | (Kind::Float, Kind::Int) => self,
            (Kind::Bool, Kind::Bool)
            | (Kind::Int, Kind::Int)
            | (Kind::Float, Kind::Float)
            | (Kind::String, Kind::String) => self,
            _ => self.merge_nested(other, problems),
        }
    }

    fn merge_nested(self, other: Self, problems: &mut Problems) -> Self {
        match (self.kind, other.kind) {
            (Kind::Array(ours), Kind::Array(theirs)) => {
                // Prefers an example array that has elements.
                let text = if matches!(ours.kind, Kind::Nothing) { other.text } else { self.text };
                let kind = Kind::Array(Box::new(ours.merge(*theirs, problems)));
                Self { text, kind, ..self }
            }
            (Kind::Object(ours), Kind::Object(theirs)) => {
                let members = merge_members(ours.members, theirs.members, problems);
                Self { kind: Kind::Object(Object { members, ..ours }), ..self }
            }
            (ours, theirs) => {
                problems.add(other.sample, &other.path, |location| Error::Mixed {
                    location,
                    found: theirs.name(),
                    other_location: Box::new(SampleLocation::new(self.sample, &self.path)),
                    other: ours.name(),
                });
                Self { kind: ours, ..self }
            }
        }
    }
}

/// Members keep the order of the first object; members that only later objects have follow.
fn merge_members<'a>(
    ours: Vec<(String, Observation<'a>)>,
    theirs: Vec<(String, Observation<'a>)>,
    problems: &mut Problems,
) -> Vec<(String, Observation<'a>)> {
    let mut merged = ours;
    for (name, theirs) in theirs {
        match merged.iter().position(|(ours, _)| *ours == name) {
            None => merged.push((name, theirs)),
            Some(location) => {
                let (_, ours) = merged.remove(location);
                merged.insert(location, (name, ours.merge(theirs, problems)));
            }
        }
    }
    merged
}

impl Kind<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Invalid => "nothing",
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a fractional number",
            Self::String => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Whether both give the same type, so that they can share it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(ours), Self::Array(theirs)) => ours.kind.is_same(&theirs.kind),
            (Self::Object(ours), Self::Object(theirs)) => {
                let same =
                    |((a, ours), (b, theirs)): (&(String, Observation<'_>), &(String, Observation<'_>))| {
                        a == b && ours.nullable == theirs.nullable && ours.kind.is_same(&theirs.kind)
                    };
                let is_same = ours.members.len() == theirs.members.len()
                    && ours.members.iter().zip(&theirs.members).all(same);
                is_same && ours.required == theirs.required && ours.closed == theirs.closed
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}
