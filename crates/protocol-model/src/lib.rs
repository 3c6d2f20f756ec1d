//! The service's protocol as a model: no server, no clock, no I/O.
//!
//! A [`World`] is small: a few orders, one or two processes, and a [`Budget`] of faults. [`check`] explores every state
//! that the world can reach, with all interleavings, and finds a shortest path to a state that breaks an [`Invariant`].
//! Each [`Mutation`] is a likely mistake; `tests/mutations.rs` shows which invariant it breaks. `tests/holds.rs` checks
//! worlds without mistakes.
//!
//! The protocol, "exactly once by position":
//!
//! - **Position.** The table stores how far it is: a transaction writes rows and moves the position, or does neither.
//! - **Fence.** The transaction passes only if the position row is unchanged since the writer's last write. Each write
//!   puts a new random nonce into that row.
//! - **Lease.** One process writes. The fence makes a second one harmless.
//! - **Session.** A process that becomes the writer, and a writer that finds its row changed, begins a new session in
//!   the row. From the session the others detect that the table went back.
//! - **View.** Each process's memory is filled from the table, then follows the stream from the position that was read
//!   *before* the fill. Orders that a message alone does not decide are looked up in the table once the position has
//!   passed the message.
//! - **Dead letters** are stored before the position passes their message. If the order becomes a row, its dead letter
//!   stays, marked with the message of the order, until that message is purged.
//! - **Erasing** begins in NATS; then the table, in a transaction that changes the nonce; then the rest. Each process
//!   completes erasures that it finds.
//!
//! Between any two actions a process may be killed. `state.rs` has the state, `action.rs` the transitions,
//! `invariants.rs` the invariants.
//!
//! Two simplifications in `canonical.rs` keep the worlds small without changing outcomes: equivalent states are merged,
//! and actions whose time can't be observed are performed at once.

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
