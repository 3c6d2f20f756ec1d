//! Compares the codecs with serde, `gobwire` and Go, and feeds them arbitrary payloads and rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the helpers of tests may")]

mod corpus;
mod documents;
mod go;
mod gob;
mod printed_go;
mod hostile;
mod json;
mod json_as_go;
mod wild;
mod document;
mod property;
#[rustfmt::skip] // as it is printed
#[allow(unreachable_pub, reason = "for programs it is")]
mod typed;
mod station;
mod evolution;

use std::sync::LazyLock;

use model::Model;
use model::shape::Struct;

static ORDER: LazyLock<Model> = LazyLock::new(|| Model::order().unwrap());

/// The shape of the model that is built in.
fn shape() -> &'static Struct {
    ORDER.shape()
}

/// Its sample, compact.
fn sample() -> &'static str {
    &ORDER.sample
}
