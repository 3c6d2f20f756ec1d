//! What stream, table, dead letters and replicas do to each other, as a model: no server, no clock, no I/O.
//!
//! A [`Protocol`] is a small world: a few orders, two replicas, and how often something may go wrong. [`check`]
//! looks at every state that it can reach, whatever happens in whichever order, and finds the shortest way to one
//! that breaks a promise. `promises` holds what is promised. Each [`Trap`] is a mistake that would be easy to
//! make; with it, a promise is broken, and the tests expect that.
//!
//! A step is what one process does to what others can see. Between any two steps a replica may be killed and
//! anything may be delivered again.

mod checker;
mod state;
mod protocol;
mod step;
mod stream;
mod replica;
mod memory;
mod erasing;
mod promises;

pub use checker::{Checked, Counterexample, Model, check};
pub use protocol::{Kind, Protocol, Trap};
pub use state::{Budget, State};
pub use step::Step;
