//! The model of documents: inferred from samples, or read from a JSON Schema.
//!
//! ```text
//! samples ── sample ── infer ─┐              ┌── shape       by which `order` converts documents and rows
//!            (tree)  (merged) ├─ Seen ─ Model ├── rust, go, typescript   types for programs
//! JSON Schema ── json_schema ─┘      (names) └── schema      JSON Schema 2020-12
//! ```
//!
//! Names and kinds are those of the Go generator whose rows are in users' tables: `chrt_id` is `ChrtId`,
//! the object under `items` is `RawItemsData`, the document of `order.json` `RawOrderData`, a whole number `int`, and
//! every struct ends with a `LocalID`. What that rule leaves open (collisions, names that are not identifiers)
//! is settled in `names`, always the same way for the same samples.
//!
//! ```
//! let sample = model::Source { name: "order.json", json: r#"{"chrt_id": 1}"# };
//! let model = model::Model::new("order", &[sample])?;
//! assert!(model.go().contains("ChrtId int `json:\"chrt_id\"`"));
//! # Ok::<(), model::Error>(())
//! ```

mod check;
mod error;
mod go;
mod infer;
mod json_schema;
mod model;
mod names;
mod path;
mod problems;
mod rust;
mod sample;
mod schema;
pub mod shape;
mod typescript;

pub use check::{Change, has_little_in_common};
pub use error::{Error, SampleLocation};
pub use model::Model;
pub use path::selector;

/// The source of a model: a sample, or a JSON Schema.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file's name, for errors.
    pub name: &'a str,
    /// The document.
    pub json: &'a str,
}

/// The sample of the built-in model.
const ORDER: Source<'_> = Source { name: "order.json", json: include_str!("../../../samples/order.json") };
