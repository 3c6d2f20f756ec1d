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
//! - **Lease.** One process writes. The fence makes a second one harmless; it also demands that the lease has not
//!   expired, because a table that goes back has the row of an earlier writer again.
//! - **Session.** A process that becomes the writer, and a writer that finds its row changed, begins a new session in
//!   the row. From the session the others detect that the table went back.
//! - **View.** Each process's memory is filled from the table, then follows the stream from the position that was read
//!   *before* the fill. Orders that a message alone does not decide are looked up in the table once the position has
//!   passed the message.
//! - **Dead letters** are stored before the position passes their message. Before a row of a refused order is committed,
//!   the writer notes which message becomes the order, and reads the number of the copy of its dead letter; afterwards it
//!   deletes that copy, however late. A table that goes back reads the message again, and honours it for the note alone.
//!   A writer that refuses it then does not rely on a copy beside a note, which may be about to be deleted: it stores a
//!   new one. Notes only advance to later messages, and nobody withdraws them.
//! - **Dropping** a dead letter: the table is asked before and after the drop is noted, and a writer removes the note of a
//!   drop whose row it has committed. A drop notes before it reads which copy it deletes, and a writer that refuses the
//!   message stores its copy before it looks for the note, so one of them deletes that copy.
//! - **Erasing** begins in NATS; then the table, in a transaction that changes the nonce; then the rest. Each process
//!   completes erasures that it finds.
//!
//! Not modelled: a table that goes back to a state from before its position was set back (`excuse_lost` in `state.rs`),
//! or to a state that is not on the way to the present one; a stream that is restored to before a replay whose note keeps
//! another message from becoming the order; a lease that is taken before it has expired; the two parts of
//! a large dead letter; the time limits of the service's look-ups; a drop that ends early. One step here, and two requests
//! in the service: a note advances, a dead letter is renewed (compare and swap, repeated), and a drop notes that the table
//! has the row and removes its earlier note.
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
mod prepare;
mod writer;
mod view;
mod follow;
mod dead_letters;
mod drops;
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
