//! The documents: their commands are run, their links lead somewhere, and what they name is there.
//!
//! The first line of each block of commands says what is done with it here:
//!
//! - `sh up`: it is `cargo xtask up`, which is started on free ports; with a model or variables, it is stopped and
//!   started again with these, on the same data
//! - `sh run`: it is run against that, in the order of the document, and must end with 0
//! - `sh needs=WHAT`: it can't be run here; its syntax is checked, and the flags of our own commands in it
//!
//! A block with any other mark, or none, fails. So does an unknown command of ours between backticks.
//!
//! Go and Python code must parse; programs that send orders are run.

mod cases;
mod commands;
mod links;
mod markdown;
mod names;
mod programs;
mod up;
mod words;
