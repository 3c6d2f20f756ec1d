//! The shape of documents: their members, the Go names of these, and their kinds.
//!
//! `order` converts documents and rows by it. A shape is built once at startup and leaked, so that all code refers to
//! it as `&'static`.

/// One JSON object of the model, and the Go struct that it is in a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Struct {
    /// The Go type's name, `RawOrderData`.
    pub go_name: &'static str,
    /// In the order of the sample, which is also the order of output.
    pub members: &'static [Member],
    /// The indices of the required members.
    pub required: &'static [usize],
    /// Whether the object may not have other members.
    pub closed: bool,
    /// Whether it is an arbitrary object, whose members are neither known nor unknown.
    pub any: bool,
}

/// One member of a JSON object, and the Go field that holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// The name in JSON, `chrt_id`.
    pub json_name: &'static str,
    /// The quoted name and the colon, `"chrt_id":`.
    pub json_key: &'static str,
    /// The name of the Go field, `ChrtId`.
    pub go_name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether `null` satisfies `required`.
    pub nullable: bool,
    /// Whether the elements of an array may be `null` although their members are required.
    pub nullable_elements: bool,
}

/// The type of a member or an element.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Go `bool`.
    Bool,
    /// An integer; Go `int`, 64 bits.
    Int,
    /// A float; Go `float64`.
    Float,
    /// Go `string`.
    String,
    /// A nested object.
    Struct(&'static Struct),
    /// An array; Go slice.
    Slice(&'static Kind),
}

impl Kind {
    /// Its name in messages, with an article.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::String => "a string",
            Self::Struct(_) => "an object",
            Self::Slice(_) => "an array",
        }
    }
}

impl Struct {
    /// The member with that JSON name, and its index.
    pub fn member(&self, json_name: &str) -> Option<(usize, &'static Member)> {
        self.members.iter().enumerate().find(|(_, member)| member.json_name == json_name)
    }
}
