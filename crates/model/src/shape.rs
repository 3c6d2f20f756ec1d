//! The shape of documents: their members, the Go names of these, and their kinds.
//!
//! The crate `order` converts documents and rows by it. A shape is made once, at the start, and stays for as long as
//! the process runs, so that everything refers to it without counting.

/// One JSON object of the model, and the Go struct that it is in a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Struct {
    /// The Go type's name, `RawOrderData`.
    pub go_name: &'static str,
    /// In the order of the sample, which is the order in which they are written.
    pub members: &'static [Member],
    /// Which members each such object must have, by their places.
    pub required: &'static [usize],
    /// Whether such an object may have no other members.
    pub closed: bool,
    /// Whether it is an object of any form: no member is known, and none is unknown.
    pub any: bool,
}

/// One member of a JSON object, and the Go field that holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// The name in JSON, `chrt_id`.
    pub json_name: &'static str,
    /// The name as it opens the member in JSON, `"chrt_id":`.
    pub json_key: &'static str,
    /// The name of the Go field, `ChrtId`.
    pub go_name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether `null` is a value of it where it is required.
    pub nullable: bool,
}

/// What a member or an element holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Go `bool`.
    Bool,
    /// A whole number; Go `int`, 64 bits.
    Int,
    /// A number with a fraction; Go `float64`.
    Float,
    /// Go `string`.
    String,
    /// A nested object.
    Struct(&'static Struct),
    /// An array; Go slice.
    Slice(&'static Kind),
}

impl Struct {
    /// The member of that name in JSON, and its place.
    pub fn member(&self, json_name: &str) -> Option<(usize, &'static Member)> {
        self.members.iter().enumerate().find(|(_, member)| member.json_name == json_name)
    }
}
