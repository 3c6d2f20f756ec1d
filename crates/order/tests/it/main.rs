//! The model against serde, `gobwire` and Go itself, and against whatever else may stand in a payload or a row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the helpers of tests may")]

mod corpus;
mod documents;
mod go;
mod gob;
mod hostile;
mod json;
mod json_as_go;
mod wild;
mod property;
