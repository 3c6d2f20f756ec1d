//! A world to look at: its orders, what may happen in it, and which mistakes its replicas make.

use crate::checker::Model;
use crate::state::{Budget, MESSAGES, Number, REPLICAS, Replica, State};
use crate::step::Step;
use crate::{promises, step};

/// What becomes of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A row.
    Good,
    /// It doesn't decode before something is mended.
    Malformed,
    /// It decodes, and PostgreSQL refuses its row before something is mended.
    Refusable,
}

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A message is acknowledged when it is taken.
    AckBeforeCommit,
    /// The durable's policy is `AckPolicy::All`: an acknowledgement is one of all messages before, too.
    AckAll,
    /// The table is read before the replica knows how far the durable consumer is.
    FillBeforeFeed,
    /// What is acknowledged is purged, with what lies before it.
    PurgeAboveFloor,
    /// The key is made from the clock when a message is taken.
    KeyFromClock,
    /// A dead letter is stored without `Nats-Expected-Last-Subject-Sequence: 0`.
    DeadLetterUnconditional,
    /// The key in a header is taken without looking for its dead letter.
    ReplayWithoutLookUp,
    /// A replica doesn't notice that messages were purged before it saw whose they are.
    GapUnnoticed,
    /// A replica that has read the table answers 404 for what it doesn't have.
    MissNotAsked,
    /// A replica that was given a dead letter sent again thinks that it takes the order in itself.
    ReplayCountsAsTaken,
    /// An order that PostgreSQL has refused stays away from memory, though its row is there after a mend.
    RefusedForEver,
    /// What is to be written is told before it is committed.
    ToldBeforeCommit,
    /// What was told counts as known, though its order didn't get into memory.
    ToldWithoutRow,
    /// Nobody looks for a row that was being written when its order was forgotten.
    LateRowKept,
    /// Nobody looks for a dead letter that was being stored when its order was forgotten.
    LateDeadLetterKept,
    /// Only the message by which an order came is deleted, not those by which it was sent again.
    ReplayedMessageKept,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The orders, in the order in which they are sent.
    pub orders: Vec<Kind>,
    /// What may happen that does not come of itself.
    pub budget: Budget,
    /// The mistakes.
    pub traps: Vec<Trap>,
}

impl Protocol {
    /// A world without mistakes.
    pub fn new(orders: &[Kind], budget: Budget) -> Self {
        Self { orders: orders.to_vec(), budget, traps: Vec::new() }
    }

    /// The same with a mistake.
    pub fn with(mut self, trap: Trap) -> Self {
        self.traps.push(trap);
        self
    }

    pub(crate) fn has(&self, trap: Trap) -> bool {
        self.traps.contains(&trap)
    }

    pub(crate) fn kind(&self, order: Number) -> Kind {
        self.orders[usize::from(order)]
    }
}

impl Model for Protocol {
    type State = State;
    type Step = Step;

    fn first(&self) -> State {
        State {
            messages: [Default::default(); MESSAGES],
            published: 0,
            orders: 0,
            purged: 0,
            table: Default::default(),
            dead: Default::default(),
            forgotten: Default::default(),
            erasing: Default::default(),
            mended: false,
            replicas: [Replica::running(); REPLICAS],
            left: self.budget,
        }
    }

    fn nexts(&self, state: &State) -> Vec<(Step, State)> {
        step::nexts(self, state)
    }

    fn like(&self, state: &State) -> State {
        let mut state = *state;
        state.replicas.sort_unstable();
        state
    }

    fn comes_of_itself(&self, step: Step) -> bool {
        step.comes_of_itself()
    }

    fn broken(&self, state: &State, at_rest: bool) -> Option<&'static str> {
        promises::broken(self, state, at_rest)
    }
}
