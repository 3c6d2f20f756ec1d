//! The merged tree to a model: every struct and every member has its names; what has no type is refused.

use crate::infer::{self, Seen};
use crate::names::{self, Scope};
use crate::path::{compact, shown};
use crate::{Error, Sample};

/// The document's own name; its struct is `RawOrderData` whatever the document is.
const ROOT_NAME: &str = "Order";

/// What all samples fit, named and ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The samples' names.
    pub(crate) samples: Vec<String>,
    /// The first sample's document, compact.
    pub(crate) sample: String,
    /// The document's own first, then in the order in which they are met.
    pub(crate) structs: Vec<Struct>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) static_name: String,
    pub(crate) path: String,
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) json_name: String,
    pub(crate) go_name: String,
    pub(crate) rust_name: String,
    pub(crate) kind: Kind,
    /// Where it is and what it holds, for comments.
    pub(crate) doc: String,
    /// Its value in the sample, compact JSON.
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
    pub(crate) fn new(samples: &[Sample<'_>], merged: &Seen<'_>) -> Result<Self, Error> {
        let mut builder = Builder {
            structs: Vec::new(),
            known: Vec::new(),
            stems: Scope::with(&[ROOT_NAME]),
            statics: Scope::with(&["ROOT", "JSON_SCHEMA", "SAMPLE"]),
        };
        builder.add(ROOT_NAME, "ROOT".to_owned(), merged)?;
        let sample = samples.first().map(|first| compact(first.json)).unwrap_or_default();
        let names = samples.iter().map(|sample| sample.name.to_owned()).collect();
        Ok(Self { samples: names, sample, structs: builder.structs })
    }

    pub(crate) fn struct_name(&self, index: usize) -> &str {
        self.structs.get(index).map_or("", |found| &found.name)
    }

    pub(crate) fn static_name(&self, index: usize) -> &str {
        self.structs.get(index).map_or("", |found| &found.static_name)
    }

    /// How the model is made again, for the head of what is generated.
    pub(crate) fn command(&self) -> String {
        let names = self.samples.iter().map(|name| name.escape_debug().to_string());
        format!("cargo xtask codegen {}", names.collect::<Vec<_>>().join(" "))
    }
}

struct Builder<'a> {
    structs: Vec<Struct>,
    /// The nested objects so far: the name that each wanted, and its index.
    known: Vec<(String, &'a Seen<'a>, usize)>,
    /// What stands between `Raw` and `Data`.
    stems: Scope,
    statics: Scope,
}

impl<'a> Builder<'a> {
    fn add(&mut self, stem: &str, static_name: String, seen: &'a Seen<'a>) -> Result<usize, Error> {
        let index = self.structs.len();
        let (name, path) = (format!("Raw{stem}Data"), seen.path.general());
        // Its place is taken before its members are met, so that outer structs stand before inner ones.
        self.structs.push(Struct { name, static_name, path, members: Vec::new() });
        let members = self.members(stem, seen)?;
        if let Some(added) = self.structs.get_mut(index) {
            added.members = members;
        }
        Ok(index)
    }

    fn members(&mut self, stem: &str, seen: &'a Seen<'a>) -> Result<Vec<Member>, Error> {
        let infer::Kind::Object(members) = &seen.kind else { return Ok(Vec::new()) };
        let mut go = Scope::with(&["LocalID"]);
        let mut rust = Scope::with(&["local_id"]);
        let mut named = Vec::with_capacity(members.len());
        for (json_name, seen) in members {
            let go_name = go.claim(names::go_field(json_name));
            let rust_name = names::rust_ident(&rust.claim(names::rust_field(json_name)));
            let kind = self.kind(stem, &go_name, seen)?;
            let example = compact(seen.text);
            let doc = doc(seen, &kind, &example);
            named.push(Member { json_name: json_name.clone(), go_name, rust_name, kind, doc, example });
        }
        Ok(named)
    }

    fn kind(&mut self, parent: &str, go_name: &str, seen: &'a Seen<'a>) -> Result<Kind, Error> {
        Ok(match &seen.kind {
            infer::Kind::Bool => Kind::Bool,
            infer::Kind::Int => Kind::Int,
            infer::Kind::Float => Kind::Float,
            infer::Kind::String => Kind::String,
            infer::Kind::Array(elements) => Kind::Slice(Box::new(self.kind(parent, go_name, elements)?)),
            infer::Kind::Object(_) => Kind::Struct(self.nested(parent, go_name, seen)?),
            infer::Kind::Null => return Err(Error::OnlyNull { place: seen.place() }),
            infer::Kind::Nothing => return Err(Error::OnlyEmpty { place: seen.place() }),
        })
    }

    /// The struct of a nested object: one that is there already if it wanted the same name and is the same
    /// in all members; else a new one, called after the member, or after its parent and the member.
    fn nested(&mut self, parent: &str, wanted: &str, seen: &'a Seen<'a>) -> Result<usize, Error> {
        let same =
            |known: &&(String, &Seen<'_>, usize)| known.0 == wanted && known.1.kind.is_same(&seen.kind);
        if let Some(&(_, _, index)) = self.known.iter().find(same) {
            return Ok(index);
        }
        let plain = self.stems.try_claim(wanted);
        let stem = if plain { wanted.to_owned() } else { self.stems.claim(format!("{parent}{wanted}")) };
        let static_name = self.statics.claim(names::rust_static(&stem));
        let index = self.add(&stem, static_name, seen)?;
        self.known.push((wanted.to_owned(), seen, index));
        Ok(index)
    }
}

/// Objects are seen member by member in their own struct, so only other values are shown.
fn doc(seen: &Seen<'_>, kind: &Kind, example: &str) -> String {
    let path = seen.path.general();
    if kind.has_struct() { format!("`{path}`.") } else { format!("`{path}`, e.g. `{}`.", shown(example)) }
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
