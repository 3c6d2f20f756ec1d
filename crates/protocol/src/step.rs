//! All that can happen: each step with when it can be taken, and where what it does is written.

use crate::protocol::{Kind, Protocol};
use crate::state::{Hand, Number, ORDERS, REPLICAS, Sender, State};
use crate::{erasing, memory, replica, stream};

/// Something that happens. A replica, a message and an order are numbers, in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A client sends the next order.
    Publish,
    /// A message is delivered through the durable consumer.
    Deliver {
        /// To whom.
        replica: Number,
        /// Which.
        message: Number,
    },
    /// A replica looks at what it has taken.
    Decode {
        /// Which replica.
        replica: Number,
        /// Which message.
        message: Number,
    },
    /// A replica writes a row, or PostgreSQL refuses it.
    Write {
        /// Which replica.
        replica: Number,
        /// Of which message.
        message: Number,
    },
    /// The same, and the other replica will hear of it.
    WriteAndTell {
        /// Which replica.
        replica: Number,
        /// Of which message.
        message: Number,
    },
    /// A replica hears what the other has told.
    Hear {
        /// Which replica.
        replica: Number,
        /// Of which message.
        message: Number,
    },
    /// A replica stores a dead letter.
    StoreDeadLetter {
        /// Which replica.
        replica: Number,
        /// Of which message.
        message: Number,
    },
    /// The same, and the other replica will hear of it.
    StoreDeadLetterAndTell {
        /// Which replica.
        replica: Number,
        /// Of which message.
        message: Number,
    },
    /// A replica removes the dead letter of an order that is in the table now.
    RemoveDeadLetter {
        /// Which replica.
        replica: Number,
        /// The message by which it was sent again.
        message: Number,
    },
    /// A replica acknowledges a message.
    Acknowledge {
        /// Which replica.
        replica: Number,
        /// Which message.
        message: Number,
    },
    /// It does, and nothing arrives.
    LoseAcknowledgement {
        /// Which replica.
        replica: Number,
        /// Which message.
        message: Number,
    },
    /// A replica is killed.
    Crash {
        /// Which.
        replica: Number,
    },
    /// A replica is started.
    Start {
        /// Which.
        replica: Number,
    },
    /// A replica asks how far the durable consumer is.
    Place {
        /// Which.
        replica: Number,
    },
    /// A replica reads the table.
    Fill {
        /// Which.
        replica: Number,
    },
    /// A replica finds out what became of the next message.
    Follow {
        /// Which.
        replica: Number,
    },
    /// An order that is on its way into memory gets there.
    Show {
        /// In which replica.
        replica: Number,
        /// Under which key.
        key: Number,
    },
    /// A replica looks at what was forgotten, and erases what was left of it.
    LookAtForgotten {
        /// Which.
        replica: Number,
    },
    /// What all replicas have acknowledged is purged from the stream.
    Purge,
    /// What made orders refused is mended, while nothing is in flight.
    Mend,
    /// A dead letter is sent again.
    Replay {
        /// Of which order.
        order: Number,
    },
    /// Somebody sends something else with the key of an order.
    Forge {
        /// Of which order.
        order: Number,
    },
    /// An order is to be forgotten: its key is kept.
    Forget {
        /// Which.
        order: Number,
    },
    /// The next part of an order is erased.
    Erase {
        /// Which.
        order: Number,
    },
}

impl Step {
    /// Whether it is taken sooner or later, if nothing else is.
    pub(crate) fn comes_of_itself(self) -> bool {
        use Step::*;
        !matches!(
            self,
            Publish
                | LoseAcknowledgement { .. }
                | Crash { .. }
                | Purge
                | Mend
                | Replay { .. }
                | Forge { .. }
                | Forget { .. }
        )
    }
}

/// All steps that can be taken, and where they lead.
pub(crate) fn nexts(world: &Protocol, state: &State) -> Vec<(Step, State)> {
    let mut nexts: Vec<_> = candidates(state)
        .into_iter()
        .filter_map(|step| {
            let mut next = *state;
            take(world, &mut next, step).then_some((step, next))
        })
        .collect();
    // Whoever mends has seen that it is a dead letter, and starts what knows better.
    let at_rest = !nexts.iter().any(|(step, _)| step.comes_of_itself());
    nexts.retain(|&(step, _)| at_rest || step != Step::Mend);
    nexts.iter_mut().for_each(|(_, next)| hurry(world, next));
    nexts
}

fn candidates(state: &State) -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Publish, Purge, Mend];
    for order in 0..state.orders {
        steps.extend([Replay { order }, Forge { order }, Forget { order }, Erase { order }]);
    }
    for replica in 0..REPLICAS as Number {
        steps.extend([Crash { replica }, Start { replica }, Place { replica }, Fill { replica }]);
        steps.extend([Follow { replica }, LookAtForgotten { replica }]);
        steps.extend(state.replica(replica).coming.iter().map(|key| Show { replica, key }));
        for message in 0..state.published {
            steps.extend([Deliver { replica, message }, Hear { replica, message }]);
            match state.replica(replica).hand(message) {
                Hand::Empty => {}
                Hand::Taken => steps.push(Decode { replica, message }),
                Hand::Decoded => {
                    steps.extend([Write { replica, message }, WriteAndTell { replica, message }])
                }
                Hand::Written => steps.push(RemoveDeadLetter { replica, message }),
                Hand::Refused => steps.extend([
                    StoreDeadLetter { replica, message },
                    StoreDeadLetterAndTell { replica, message },
                ]),
                Hand::Done => {
                    steps.extend([Acknowledge { replica, message }, LoseAcknowledgement { replica, message }])
                }
            }
        }
    }
    steps
}

/// Takes at once what nobody can tell from its not being taken yet, so that there are fewer states: what is in no
/// danger of being refused or forgotten is decoded and shown where it was delivered.
fn hurry(world: &Protocol, state: &mut State) {
    for replica in 0..REPLICAS as Number {
        for message in 0..state.published {
            let found = state.message(message);
            if found.sender == Sender::Client && state.is_safe(world, found.order) {
                replica::decode(world, state, replica, message);
            }
        }
        for key in state.replica(replica).coming.iter() {
            let _ = state.is_safe(world, key % ORDERS as Number) && memory::show(state, replica, key);
        }
    }
}

/// Takes a step; `false`: it can't be taken, and the state is not to be used.
fn take(world: &Protocol, state: &mut State, step: Step) -> bool {
    use Step::*;
    match step {
        Publish => stream::publish(world, state),
        Deliver { replica, message } => stream::deliver(world, state, replica, message),
        Decode { replica, message } => replica::decode(world, state, replica, message),
        Write { replica, message } => replica::write(world, state, replica, message),
        WriteAndTell { replica, message } => replica::write_and_tell(world, state, replica, message),
        Hear { replica, message } => memory::hear(world, state, replica, message),
        StoreDeadLetter { replica, message } => replica::store_dead_letter(world, state, replica, message),
        StoreDeadLetterAndTell { replica, message } => {
            replica::store_dead_letter_and_tell(world, state, replica, message)
        }
        RemoveDeadLetter { replica, message } => replica::remove_dead_letter(state, replica, message),
        Acknowledge { replica, message } => stream::acknowledge(world, state, replica, message),
        LoseAcknowledgement { replica, message } => stream::lose_acknowledgement(state, replica, message),
        Crash { replica } => replica::crash(state, replica),
        Start { replica } => replica::start(state, replica),
        Place { replica } => memory::place(world, state, replica),
        Fill { replica } => memory::fill(world, state, replica),
        Follow { replica } => memory::follow(world, state, replica),
        Show { replica, key } => memory::show(state, replica, key),
        LookAtForgotten { replica } => memory::look_at_forgotten(world, state, replica),
        Purge => stream::purge(world, state),
        Mend => mend(world, state),
        Replay { order } => stream::replay(state, order),
        Forge { order } => stream::forge(world, state, order),
        Forget { order } => erasing::forget(state, order),
        Erase { order } => erasing::erase(world, state, order),
    }
}

fn mend(world: &Protocol, state: &mut State) -> bool {
    let mended = std::mem::replace(&mut state.mended, true);
    !mended && world.orders.iter().any(|&kind| kind != Kind::Good)
}
