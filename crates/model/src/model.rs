//! Builds the model from the merged tree: names every struct and member, and refuses paths without a type.

use std::sync::OnceLock;

use serde_json::Value;

use crate::infer::{self, Observation};
use crate::json_schema::{self, Schema};
use crate::names::{self, Scope};
use crate::path::{compact, shown};
use crate::problems::Problems;
use crate::shape;
use crate::{Error, ORDER, Source};

/// The types of documents, with names for Go and Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name of a document: the schema's title, or a given name.
    pub name: String,
    /// A document of the model, compact: the first sample.
    pub sample: String,
    /// The root first, then in the order of their first occurrence.
    pub(crate) structs: Vec<Struct>,
    /// Whether documents are JSON objects of any form.
    any: bool,
    shape: OnceLock<&'static shape::Struct>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) members: Vec<Member>,
    /// The names of those that a schema requires, and whether it allows no others.
    pub(crate) required: Vec<String>,
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) json_name: String,
    pub(crate) go_name: String,
    pub(crate) rust_name: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// Whether the elements of an array may be `null`, at any depth of nested arrays.
    pub(crate) nullable_elements: bool,
    /// Path and example, for comments.
    pub(crate) doc: String,
    /// An example, as compact JSON.
    pub(crate) example: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    String,
    /// An index into [`Model::structs`].
    Struct(usize),
    Slice(Box<Kind>),
}

impl Model {
    /// Builds the model of documents called `name` from samples, or from one JSON Schema.
    ///
    /// # Errors
    /// What can't be modelled, each with its JSON path and file.
    pub fn new(name: &str, sources: &[Source<'_>]) -> Result<Self, Error> {
        if let Some(schema) = sources.iter().find(|source| json_schema::is_schema(source)) {
            if sources.len() > 1 {
                return Err(Error::SchemaAmongSamples { name: schema.name.to_owned() });
            }
            let Schema { title, seen, example } = Schema::read(schema)?;
            return Self::named(title.as_deref().unwrap_or(name), example, &seen, Problems::default());
        }
        let mut problems = Problems::default();
        let Some(merged) = infer::merged(sources, &mut problems) else {
            return problems.refuse_or(None);
        };
        let sample = sources.first().map(|first| compact(first.json)).unwrap_or_default();
        Self::named(name, sample, &merged, problems)
    }

    /// The built-in model, from `samples/order.json`.
    ///
    /// # Errors
    /// None; a test shows that.
    pub fn order() -> Result<Self, Error> {
        Self::new("order", &[ORDER])
    }

    /// The model of arbitrary JSON objects, without known members. Its sample is the order.
    pub fn any() -> Self {
        let root = Struct {
            name: "RawDocumentData".to_owned(),
            path: "$".to_owned(),
            members: Vec::new(),
            required: Vec::new(),
            closed: false,
        };
        let (name, sample) = ("document".to_owned(), compact(ORDER.json));
        Self { name, sample, structs: vec![root], any: true, shape: OnceLock::new() }
    }

    /// Whether documents are JSON objects of any form.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// Whether documents are orders: messages and the page then say "order".
    pub fn is_order(&self) -> bool {
        self.name == "order"
    }

    /// The noun for documents in messages.
    pub fn noun(&self) -> &'static str {
        if self.is_order() { "order" } else { "document" }
    }

    /// The plural of the noun.
    pub fn plural(&self) -> &'static str {
        if self.is_order() { "orders" } else { "documents" }
    }

    /// A hash of everything that determines which documents are accepted, their rows, and rendered documents. Equal
    /// models have equal fingerprints, whatever their names and sources.
    pub fn fingerprint(&self) -> String {
        if self.any {
            return "any".to_owned();
        }
        let mut described = String::new();
        for part in &self.structs {
            described.push_str(&format!("{:?}{};", part.required, part.closed));
            for Member { json_name, go_name, kind, nullable, nullable_elements, .. } in &part.members {
                let rules = format!("{nullable}{nullable_elements}");
                described.push_str(&format!("{json_name:?}{go_name:?}{kind:?}{rules};"));
            }
        }
        // FNV-1a: the same on every machine and in every version.
        let hash = described.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    fn named(
        name: &str,
        sample: String,
        merged: &Observation<'_>,
        problems: Problems,
    ) -> Result<Self, Error> {
        let stem = names::go_field(name);
        let stems = Scope::with(&[stem.as_str()]);
        let mut builder = Builder { structs: Vec::new(), known: Vec::new(), stems, problems };
        builder.add(&stem, merged);
        let Builder { structs, problems, .. } = builder;
        problems.refuse_or(Some(Self {
            name: name.to_owned(),
            sample,
            structs,
            any: false,
            shape: OnceLock::new(),
        }))
    }

    /// The shape by which documents and rows are converted. It is built once and leaked.
    pub fn shape(&self) -> &'static shape::Struct {
        self.shape.get_or_init(|| Shapes { model: self, made: vec![None; self.structs.len()] }.structure(0))
    }

    pub(crate) fn structure(&self, index: usize) -> &Struct {
        &self.structs[index]
    }

    pub(crate) fn struct_name(&self, index: usize) -> &str {
        &self.structs[index].name
    }
}

/// Builds the shape; a struct that several members use is built once.
struct Shapes<'m> {
    model: &'m Model,
    made: Vec<Option<&'static shape::Struct>>,
}

impl Shapes<'_> {
    fn structure(&mut self, index: usize) -> &'static shape::Struct {
        if let Some(made) = self.made[index] {
            return made;
        }
        let Struct { name, members, required, closed, .. } = self.model.structure(index);
        let location = |name: &String| members.iter().position(|member| member.json_name == *name);
        let required: Vec<usize> = required.iter().filter_map(location).collect();
        let members: Vec<_> = members.iter().map(|member| self.member(member)).collect();
        let made = &*Box::leak(Box::new(shape::Struct {
            go_name: leaked(name),
            members: members.leak(),
            required: required.leak(),
            closed: *closed,
            any: self.model.any,
        }));
        self.made[index] = Some(made);
        made
    }

    fn member(&mut self, member: &Member) -> shape::Member {
        shape::Member {
            json_name: leaked(&member.json_name),
            json_key: leaked(&format!("{}:", Value::from(member.json_name.as_str()))),
            go_name: leaked(&member.go_name),
            kind: self.kind(&member.kind),
            nullable: member.nullable,
            nullable_elements: member.nullable_elements,
        }
    }

    fn kind(&mut self, kind: &Kind) -> shape::Kind {
        match kind {
            Kind::Bool => shape::Kind::Bool,
            Kind::Int => shape::Kind::Int,
            Kind::Float => shape::Kind::Float,
            Kind::String => shape::Kind::String,
            Kind::Struct(index) => shape::Kind::Struct(self.structure(*index)),
            Kind::Slice(element) => shape::Kind::Slice(Box::leak(Box::new(self.kind(element)))),
        }
    }
}

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn has_nullable_elements(seen: &Observation<'_>) -> bool {
    match &seen.kind {
        infer::Kind::Array(elements) => elements.nullable || has_nullable_elements(elements),
        _ => false,
    }
}

struct Builder<'a> {
    structs: Vec<Struct>,
    /// The nested objects so far: the preferred name of each, and its index.
    known: Vec<(String, &'a Observation<'a>, usize)>,
    /// What stands between `Raw` and `Data`.
    stems: Scope,
    problems: Problems,
}

impl<'a> Builder<'a> {
    fn add(&mut self, stem: &str, seen: &'a Observation<'a>) -> usize {
        let index = self.structs.len();
        let (name, path) = (format!("Raw{stem}Data"), seen.path.general());
        // Reserves the index before reading members, so that outer structs precede inner ones.
        let (required, closed) = match &seen.kind {
            infer::Kind::Object(object) => (object.required.clone(), object.closed),
            _ => (Vec::new(), false),
        };
        self.structs.push(Struct { name, path, members: Vec::new(), required, closed });
        let members = self.members(stem, seen);
        if let Some(added) = self.structs.get_mut(index) {
            added.members = members;
        }
        index
    }

    fn members(&mut self, stem: &str, seen: &'a Observation<'a>) -> Vec<Member> {
        let infer::Kind::Object(object) = &seen.kind else { return Vec::new() };
        let mut go = Scope::with(&["LocalID"]);
        let mut rust = Scope::with(&["local_id"]);
        let mut named = Vec::with_capacity(object.members.len());
        for (json_name, seen) in &object.members {
            let go_name = go.claim(names::go_field(json_name));
            let rust_name = names::rust_ident(&rust.claim(names::rust_field(json_name)));
            let kind = self.kind(stem, &go_name, seen);
            let example = compact(&seen.text);
            let doc = doc(seen, &kind, &example);
            named.push(Member {
                json_name: json_name.clone(),
                go_name,
                rust_name,
                kind,
                nullable: seen.nullable,
                nullable_elements: has_nullable_elements(seen),
                doc,
                example,
            });
        }
        named
    }

    fn kind(&mut self, parent: &str, go_name: &str, seen: &'a Observation<'a>) -> Kind {
        match &seen.kind {
            // With a problem, the model is not used.
            infer::Kind::Bool | infer::Kind::Invalid => Kind::Bool,
            infer::Kind::Int => Kind::Int,
            infer::Kind::Float => Kind::Float,
            infer::Kind::String => Kind::String,
            infer::Kind::Array(elements) => Kind::Slice(Box::new(self.kind(parent, go_name, elements))),
            infer::Kind::Object(_) => Kind::Struct(self.nested(parent, go_name, seen)),
            infer::Kind::Null => {
                seen.refuse(&mut self.problems, |location| Error::OnlyNull { location });
                Kind::Bool
            }
            infer::Kind::Nothing => {
                seen.refuse(&mut self.problems, |location| Error::OnlyEmpty { location });
                Kind::Bool
            }
        }
    }

    /// The struct of a nested object: an existing one with the same preferred name and the same members, or a new one
    /// named after the member, or after parent and member.
    fn nested(&mut self, parent: &str, wanted: &str, seen: &'a Observation<'a>) -> usize {
        let same = |known: &&(String, &Observation<'_>, usize)| {
            known.0 == wanted && known.1.kind.is_same(&seen.kind)
        };
        if let Some(&(_, _, index)) = self.known.iter().find(same) {
            return index;
        }
        let plain = self.stems.try_claim(wanted);
        let stem = if plain { wanted.to_owned() } else { self.stems.claim(format!("{parent}{wanted}")) };
        let index = self.add(&stem, seen);
        self.known.push((wanted.to_owned(), seen, index));
        index
    }
}

/// An object's members are documented in its struct, so only other values get an example, and a schema's array has none.
fn doc(seen: &Observation<'_>, kind: &Kind, example: &str) -> String {
    let path = seen.path.general();
    let has_example = !kind.has_struct() && !example.is_empty();
    if has_example { format!("`{path}`, e.g. `{}`.", shown(example)) } else { format!("`{path}`.") }
}

impl Kind {
    fn has_struct(&self) -> bool {
        match self {
            Self::Struct(_) => true,
            Self::Slice(element) => element.has_struct(),
            _ => false,
        }
    }
}
