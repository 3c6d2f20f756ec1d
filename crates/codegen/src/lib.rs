//! Sample documents to model source.
//!
//! ```text
//! samples ── sample ── infer ── model ──┬── rust    crates/order/src/model.rs
//!            (tree)    (merged) (names) ├── go      the same types for Go programs
//!                                       └── schema  JSON Schema 2020-12
//! ```
//!
//! Names and kinds are those of the Go generator whose rows are in users' tables: `chrt_id` is `ChrtId`,
//! the object under `items` is `RawItemsData`, the document `RawOrderData`, a whole number `int`, and every
//! struct ends with a `LocalID`. What that rule leaves open (collisions, names that are no identifiers)
//! is settled in `names`, always the same way for the same samples.
//!
//! ```
//! let sample = codegen::Sample { name: "order.json", json: r#"{"chrt_id": 1}"# };
//! let model = codegen::infer(&[sample])?;
//! assert!(model.go().contains("ChrtId int `json:\"chrt_id\"`"));
//! # Ok::<(), codegen::Error>(())
//! ```

mod error;
mod go;
mod infer;
mod model;
mod names;
mod path;
mod rust;
mod sample;
mod schema;

pub use error::{Error, Place};
pub use model::Model;

/// One sample document.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The file's name; errors and the head of what is generated show it.
    pub name: &'a str,
    /// The document.
    pub json: &'a str,
}

/// The one model that all of the samples fit.
///
/// # Errors
/// What can't be modelled, with its JSON path and the sample that it is in.
pub fn infer(samples: &[Sample<'_>]) -> Result<Model, Error> {
    let merged = infer::merged(samples)?;
    Model::new(samples, &merged)
}
