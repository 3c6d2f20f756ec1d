//! The service's protocol as a model: no server, no clock, no I/O.
//!
//! A [`World`] is small: a few orders, one or two processes, and a [`Budget`] of faults. [`check`] looks at every
//! state that the world can reach, in whatever order things happen, and finds a shortest way to a state that breaks
//! an [`Invariant`]. Each [`Mutation`] is a mistake that would be easy to make; `tests/mutations.rs` shows which
//! invariant it breaks. `tests/holds.rs` shows worlds without mistakes.
//!
//! The protocol, "exactly once by position":
//!
//! - **Position.** The table knows how far it is: a transaction writes rows and moves the position, or does neither.
//! - **Fence.** The transaction passes only if the position row is as the writer left it. Each write of that row puts a
//!   new random nonce there.
//! - **Lease.** One process writes. The fence makes a second one harmless.
//! - **Session.** A process that becomes the writer, and a writer that finds its row changed, begins a new session in
//!   the row. By the session the others notice that the table went back.
//! - **View.** Each process's memory is filled from the table, then follows the stream from the position that was read
//!   *before* the fill. What a message alone does not decide is asked of the table once the position has passed it.
//! - **Dead letters** are stored before the position passes their message. One whose order became a row stays, marked
//!   with the message that took it in, until that message is purged.
//! - **Erasing** begins in NATS; then the table, in a transaction that changes the nonce; then the rest. Each process
//!   completes what it meets.
//!
//! Between any two actions a process may be killed. `state.rs` has all that matters of a moment, `action.rs` all that
//! can happen, `invariants.rs` what must hold.
//!
//! Two deviations keep the worlds small, and change no outcome: `canonical.rs` says which states count as the same, and
//! what is done at once because nobody could tell when it was done.

mod keys;
mod stream;
mod database;
mod process;
mod state;
mod mutation;
mod world;
mod action;
mod successors;
mod clients;
mod faults;
mod commit;
mod lease;
mod writer;
mod view;
mod follow;
mod dead_letters;
mod erasure;
mod canonical;
mod invariants;
mod protocol;
mod state_set;
mod checker;

pub use action::Action;
pub use checker::{Checked, Counterexample, Model, check};
pub use invariants::Invariant;
pub use mutation::Mutation;
pub use state::State;
pub use world::{Budget, Kind, World};
