//! The layout of the rows of one writer: which wire field is which member of the model.
//!
//! A gob row is type descriptors followed by one value. All rows of a writer have the same descriptors, byte for byte,
//! so `gobwire` parses them once, and they become a [`Plan`]. For further rows only the value is parsed.

use std::collections::{HashMap, HashSet};

use gobwire::{TypeTable, WireType, ids};
use model::shape::{Kind, Struct};

use crate::RowError;
use crate::json_writer;

/// The Go field that holds the key in every struct of the model.
pub(crate) const LOCAL_ID: &str = "LocalID";

/// The number of the layout of our own rows.
pub(crate) const OWN_LAYOUT: usize = 0;

/// One writer's descriptors and their plan.
pub(crate) struct Layout {
    /// The descriptors, as each row begins with them.
    pub(crate) descriptors: Box<[u8]>,
    /// The type id of the value.
    pub(crate) type_id: i64,
    /// How to read rows of this layout, or why they can't be decoded.
    pub(crate) plan: Result<Plan, RowError>,
}

/// How to read the values of one layout.
pub(crate) struct Plan {
    /// Each pair of a struct on the wire and a struct of the model, once; types may refer to themselves.
    structs: Vec<StructPlan>,
    /// Each slice, array and map that is only skipped, once for the same reason.
    skipped: Vec<Node>,
    root: usize,
}

/// The fields of one struct on the wire, by field number.
pub(crate) struct StructPlan {
    pub(crate) fields: Vec<FieldPlan>,
    /// The struct of the model; `None` for a struct that the model lacks, which is skipped.
    pub(crate) shape: Option<&'static Struct>,
    /// Whether the fields are in the order of the members, as in our rows.
    pub(crate) ordered: bool,
    /// For each member: the JSON before its value, and its JSON with a zero value.
    pub(crate) member_prefixes: Vec<Box<[u8]>>,
    pub(crate) zero_members: Vec<Box<[u8]>>,
}

/// One field on the wire.
pub(crate) struct FieldPlan {
    pub(crate) target: Target,
    pub(crate) node: Node,
}

/// What a field on the wire maps to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Target {
    /// The member of that index.
    Member(usize),
    /// The key; the row's id is used instead.
    LocalId,
    /// Nothing: it is skipped.
    Unknown,
}

/// How to read one value. The variants above the gap are for members of the model; those below skip values.
#[derive(Debug)]
pub(crate) enum Node {
    Bool,
    Int,
    Float,
    /// An integer on the wire that is a float in the model.
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
            return Err(RowError::Type("the value is not a struct".into()));
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
        // Rows of every model have the key, so it alone does not show that the model fits.
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
        let pair = (wire, shape.map(std::ptr::from_ref));
        if let Some(&index) = self.known.get(&pair) {
            return Ok(index);
        }
        let types = self.types;
        let Some(WireType::Struct { fields: described, .. }) = types.get(wire).map(|wire| &**wire) else {
            return Err(RowError::Type("is not a struct".into()));
        };
        // Registered before its fields, which may have this very type.
        let index = self.structs.len();
        self.known.insert(pair, index);
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
            return Err(RowError::Type("is not a string".into()).at(name));
        }
        let target = if is_key { Target::LocalId } else { Target::Unknown };
        Ok(FieldPlan { target, node: self.skipped(wire, depth)? })
    }

    /// Go's rule for the wire types that a field accepts (`compatibleType` of its decoder); also integers of an older
    /// model where the model now has floats.
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
                _ => Err(RowError::Type("is not a slice".into())),
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
            // Descriptors may form a chain of any length.
            _ if depth > crate::MAX_DEPTH => Err(RowError::TooDeep),
            _ => match self.types.get(wire).map(|wire| &**wire) {
                Some(WireType::Struct { .. }) => Ok(Node::Struct(self.structure(wire, None, depth)?)),
                Some(WireType::Marshaler { .. }) => Ok(Node::Bytes),
                Some(described) => Ok(Node::Skipped(self.skipped_once(wire, described, depth)?)),
                None => Err(RowError::Type("refers to a type that it doesn't describe".into())),
            },
        }
    }

    /// The index of a slice, array or map in `skipped`. Each is registered once, before its elements, which may have
    /// this very type. Expanded at each mention, nested maps would double at each level.
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
    /// Without fields, which are added later.
    fn new(shape: Option<&'static Struct>) -> Self {
        let member_prefixes = shape.map(json_writer::member_prefixes).unwrap_or_default();
        let zero_members = shape.map(json_writer::zero_members).unwrap_or_default();
        Self { fields: Vec::new(), shape, ordered: false, member_prefixes, zero_members }
    }
}

/// No writer has two fields with one name; such a value would be rendered with a repeated member.
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
