//! The layout of the rows of one writer: which wire field is which member of the model.
//!
//! A row of Go's gob opens with descriptors of its types and closes with the value. Rows of one writer share
//! the descriptors, byte for byte, so they are read once, by `gobwire`, and made into a [`Plan`] that says
//! which field on the wire is which member of the model. Each further row needs only its value looked at.

use std::collections::{HashMap, HashSet};

use gobwire::{TypeTable, WireType, ids};
use model::shape::{Kind, Struct};

use crate::RowError;
use crate::json_text;

/// The Go field that holds the key in every struct of the model.
pub(crate) const LOCAL_ID: &str = "LocalID";

/// The number of the layout in which rows are written here.
pub(crate) const OWN_LAYOUT: usize = 0;

/// One writer's descriptors and what they mean.
pub(crate) struct Layout {
    /// The descriptors, as they stand at the front of each row.
    pub(crate) descriptors: Box<[u8]>,
    /// The type of the value, as the value's message opens with it.
    pub(crate) type_id: i64,
    /// Why no row of this layout can be decoded, or how each is read.
    pub(crate) plan: Result<Plan, RowError>,
}

/// What stands where in the values of one layout.
pub(crate) struct Plan {
    /// Each pair of a struct on the wire and a struct of the model, once; types may refer to themselves.
    structs: Vec<StructPlan>,
    /// Each slice, array and map that is only skipped, once, for the same reason.
    skipped: Vec<Node>,
    root: usize,
}

/// The fields of one struct on the wire, by their numbers.
pub(crate) struct StructPlan {
    pub(crate) fields: Vec<FieldPlan>,
    /// The struct of the model; `None` where the whole struct is unknown to the model and skipped.
    pub(crate) shape: Option<&'static Struct>,
    /// Whether the fields stand in the order of the members, as they do in rows of ours.
    pub(crate) ordered: bool,
    /// For each member, what its JSON opens with, and its JSON where it is left out.
    pub(crate) member_prefixes: Vec<Box<[u8]>>,
    pub(crate) zero_members: Vec<Box<[u8]>>,
}

/// One field on the wire.
pub(crate) struct FieldPlan {
    pub(crate) target: Target,
    pub(crate) node: Node,
}

/// What a field on the wire is to the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Target {
    /// The member of that index.
    Member(usize),
    /// The key, which is taken from the row's id instead.
    LocalId,
    /// Nothing: it is skipped.
    Unknown,
}

/// How one value is read. The variants above the gap are members of the model; those below are skipped.
#[derive(Debug)]
pub(crate) enum Node {
    Bool,
    Int,
    Float,
    /// A whole number on the wire, and a fraction in the model.
    Widened,
    String,
    Struct(usize),
    Slice(Box<Node>),

    Number,
    Bytes,
    Complex,
    Map(Box<Node>, Box<Node>),
    /// One of [`Plan::skipped`].
    Skipped(usize),
}

impl Plan {
    /// The plan for values of wire type `type_id`, described by `types`, read as `shape`.
    pub(crate) fn new(types: &TypeTable, type_id: i64, shape: &'static Struct) -> Result<Self, RowError> {
        if !types.is_struct(type_id) {
            return Err(RowError::Type("the value is no struct".into()));
        }
        let mut builder = Builder {
            types,
            structs: Vec::new(),
            skipped: Vec::new(),
            known: HashMap::new(),
            known_skipped: HashMap::new(),
        };
        let root = builder.structure(type_id, Some(shape), 0)?;
        let plan = Self { structs: builder.structs, skipped: builder.skipped, root };
        let fields = &plan.root().fields;
        let is_member = |field: &FieldPlan| matches!(field.target, Target::Member(_));
        // The key alone is in the rows of every model.
        if fields.iter().any(|field| field.target == Target::Unknown) && !fields.iter().any(is_member) {
            return Err(RowError::Type("no field of the row is one of the model".into()));
        }
        Ok(plan)
    }

    pub(crate) fn root(&self) -> &StructPlan {
        &self.structs[self.root]
    }

    pub(crate) fn structure(&self, index: usize) -> &StructPlan {
        &self.structs[index]
    }

    pub(crate) fn skipped(&self, index: usize) -> &Node {
        &self.skipped[index]
    }
}

struct Builder<'t> {
    types: &'t TypeTable,
    structs: Vec<StructPlan>,
    skipped: Vec<Node>,
    known: HashMap<(i64, Option<*const Struct>), usize>,
    known_skipped: HashMap<i64, usize>,
}

impl Builder<'_> {
    fn structure(
        &mut self,
        wire: i64,
        shape: Option<&'static Struct>,
        depth: usize,
    ) -> Result<usize, RowError> {
        let place = (wire, shape.map(std::ptr::from_ref));
        if let Some(&index) = self.known.get(&place) {
            return Ok(index);
        }
        let types = self.types;
        let Some(WireType::Struct { fields: described, .. }) = types.get(wire).map(|wire| &**wire) else {
            return Err(RowError::Type("is no struct".into()));
        };
        // Entered before its fields, which may be of this very type.
        let index = self.structs.len();
        self.known.insert(place, index);
        self.structs.push(StructPlan::new(shape));
        let mut fields = Vec::with_capacity(described.len());
        for field in described {
            fields.push(self.field(&field.name, field.id, shape, depth + 1)?);
        }
        refuse_repeated(&fields)?;
        self.structs[index].ordered = in_order(&fields);
        self.structs[index].fields = fields;
        Ok(index)
    }

    fn field(
        &mut self,
        name: &str,
        wire: i64,
        shape: Option<&'static Struct>,
        depth: usize,
    ) -> Result<FieldPlan, RowError> {
        let members = shape.map_or(&[][..], |shape| shape.members);
        if let Some(index) = members.iter().position(|member| member.go_name == name) {
            let node = self.node(wire, &members[index].kind, depth).map_err(|error| error.at(name))?;
            return Ok(FieldPlan { target: Target::Member(index), node });
        }
        let is_key = shape.is_some() && name == LOCAL_ID;
        if is_key && wire != ids::STRING {
            return Err(RowError::Type("is no string".into()).at(name));
        }
        let target = if is_key { Target::LocalId } else { Target::Unknown };
        Ok(FieldPlan { target, node: self.skipped(wire, depth)? })
    }

    /// Go's own rule of which wire types a field takes (`compatibleType` of its decoder); and where whole numbers have
    /// become fractions, those of an older model.
    fn node(&mut self, wire: i64, kind: &'static Kind, depth: usize) -> Result<Node, RowError> {
        match (kind, wire) {
            (Kind::Bool, ids::BOOL) => Ok(Node::Bool),
            (Kind::Int, ids::INT) => Ok(Node::Int),
            (Kind::Float, ids::FLOAT) => Ok(Node::Float),
            (Kind::Float, ids::INT) => Ok(Node::Widened),
            (Kind::String, ids::STRING) => Ok(Node::String),
            (Kind::Struct(shape), _) => Ok(Node::Struct(self.structure(wire, Some(shape), depth)?)),
            (Kind::Slice(element), _) => match self.types.get(wire).map(|wire| &**wire) {
                Some(WireType::Slice { elem, .. }) => {
                    Ok(Node::Slice(Box::new(self.node(*elem, element, depth + 1)?)))
                }
                _ => Err(RowError::Type("is no slice".into())),
            },
            _ => Err(RowError::Type("is of another type than in the model".into())),
        }
    }

    fn skipped(&mut self, wire: i64, depth: usize) -> Result<Node, RowError> {
        match wire {
            ids::BOOL | ids::INT | ids::UINT | ids::FLOAT => Ok(Node::Number),
            ids::BYTES | ids::STRING => Ok(Node::Bytes),
            ids::COMPLEX => Ok(Node::Complex),
            ids::INTERFACE => Err(RowError::Interface),
            // Descriptors may name each other in a chain of any length.
            _ if depth > crate::MAX_DEPTH => Err(RowError::TooDeep),
            _ => match self.types.get(wire).map(|wire| &**wire) {
                Some(WireType::Struct { .. }) => Ok(Node::Struct(self.structure(wire, None, depth)?)),
                Some(WireType::Marshaler { .. }) => Ok(Node::Bytes),
                Some(described) => Ok(Node::Skipped(self.skipped_once(wire, described, depth)?)),
                None => Err(RowError::Type("refers to a type that it doesn't describe".into())),
            },
        }
    }

    /// The place of a slice, array or map. Each is entered once and before its elements, which may be of
    /// this very type; taken apart at each mention, maps of maps of maps would double at each step.
    fn skipped_once(&mut self, wire: i64, described: &WireType, depth: usize) -> Result<usize, RowError> {
        if let Some(&index) = self.known_skipped.get(&wire) {
            return Ok(index);
        }
        let index = self.skipped.len();
        self.known_skipped.insert(wire, index);
        self.skipped.push(Node::Number);
        let node = match described {
            WireType::Slice { elem, .. } | WireType::Array { elem, .. } => {
                Node::Slice(Box::new(self.skipped(*elem, depth + 1)?))
            }
            WireType::Map { key, elem, .. } => {
                let key = self.skipped(*key, depth + 1)?;
                Node::Map(Box::new(key), Box::new(self.skipped(*elem, depth + 1)?))
            }
            WireType::Struct { .. } | WireType::Marshaler { .. } => Node::Bytes,
        };
        self.skipped[index] = node;
        Ok(index)
    }
}

impl StructPlan {
    /// The fields follow.
    fn new(shape: Option<&'static Struct>) -> Self {
        let member_prefixes = shape.map(json_text::member_prefixes).unwrap_or_default();
        let zero_members = shape.map(json_text::zero_members).unwrap_or_default();
        Self { fields: Vec::new(), shape, ordered: false, member_prefixes, zero_members }
    }
}

/// No writer has two fields of one name; a value that had would be shown with two members of one name.
fn refuse_repeated(fields: &[FieldPlan]) -> Result<(), RowError> {
    let mut seen = HashSet::new();
    for field in fields {
        if field.target != Target::Unknown && !seen.insert(field.target) {
            return Err(RowError::Type("has a field twice".into()));
        }
    }
    Ok(())
}

fn in_order(fields: &[FieldPlan]) -> bool {
    let members = fields.iter().filter_map(|field| match field.target {
        Target::Member(index) => Some(index),
        _ => None,
    });
    members.is_sorted()
}
