//! The actions of the model, each described in a sentence.

use std::fmt;

use crate::keys::{Order, letter};

/// A process: 0 or 1 here, 1 or 2 in a sentence.
pub(crate) type ProcessId = usize;

/// One atomic step.
#[allow(missing_docs, reason = "`Display` says what each one is, in a sentence")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    // Clients and operators.
    Publish(Order),
    Forge(Order),
    Replay(Order),
    ReplayUnchanged(Order),
    Drop(Order),
    NoteDrop(Order),
    ReadCopyOfDropped(Order),
    NoteRowOfDropped(Order),
    AskAboutDrop(Order),
    DeleteDropped(Order),
    Fix,
    Trim,
    CopyStream,
    RestoreStream,
    RecreateStream,
    RestoreRows,
    // Faults.
    Kill { process: ProcessId, in_flight_survives: bool },
    Stall(ProcessId),
    Resume(ProcessId),
    LoseConnection(ProcessId),
    LoseNats(ProcessId),
    ReachNats(ProcessId),
    RemakeConsumer(ProcessId),
    LoseDeadLetter(Order),
    RollBack { in_flight_survives: bool },
    LoseInFlight,
    // PostgreSQL.
    Flush,
    HalfCommit(usize),
    Execute(usize),
    Commit(usize),
    // The lease.
    ExpireLease,
    ExpireLeaseEarly,
    TakeLease(ProcessId),
    FindRowChanged(ProcessId),
    ReadOwnRow(ProcessId),
    StopWaiting(ProcessId),
    // The writer.
    SendBatch { process: ProcessId, messages: u8 },
    SendSetBack(ProcessId),
    SendPassGap(ProcessId),
    LookUp { process: ProcessId, message: usize },
    LookForRow { process: ProcessId, message: usize },
    NoteTakenIn { process: ProcessId, message: usize },
    ReadCopy { process: ProcessId, message: usize },
    LookForDrop(ProcessId, Order),
    StoreDeadLetter(ProcessId, Order),
    LookUpNote(ProcessId, Order),
    RenewDeadLetter(ProcessId, Order),
    WithdrawNote { process: ProcessId, message: usize },
    StoreDeadLetterLate(ProcessId, Order),
    ReceiveAnswer(ProcessId),
    // Views.
    ReadPosition(ProcessId),
    ReadRows(ProcessId),
    FillMemory(ProcessId),
    CheckWatermark(ProcessId),
    ReadMessage { process: ProcessId, message: usize },
    FindGap(ProcessId),
    SeeDeadLetter(ProcessId, Order),
    SeePosition(ProcessId),
    AskTable(ProcessId, Order),
    FollowSession(ProcessId),
    StartAgain(ProcessId),
    // Dead letters whose order became a row, and retention.
    ListTakenIn(ProcessId),
    LookForListedRow(ProcessId, Order),
    DeleteDeadLetter(ProcessId, Order),
    LookForDropAgain(ProcessId, Order),
    TakeBackCopy(ProcessId, Order),
    LookForDroppedRow(ProcessId, Order),
    ForgetDrop(ProcessId, Order),
    ForgetNotes(Order),
    Purge,
    // Erasing.
    BeginErasure(Order),
    EraseInSecondPlace(Order),
    EraseMessages(Order),
    SeeErasedNote(ProcessId, Order),
    SeeErasedKey(ProcessId, Order),
    RepeatErasure(ProcessId, Order),
    DeleteErasedMessage { process: ProcessId, message: usize },
    DeleteErasedDeadLetter(ProcessId, Order),
}

impl Action {
    /// Whether it happens eventually if nothing else does. Faults and actions of clients and operators need not happen.
    pub(crate) fn happens_by_itself(self) -> bool {
        use Action::*;
        let by_clients = matches!(
            self,
            Publish(_) | Forge(_) | Replay(_) | ReplayUnchanged(_) | Drop(_) | Fix | Trim | CopyStream
        ) || matches!(self, RestoreStream | RecreateStream | RestoreRows)
            || matches!(self, BeginErasure(_) | EraseInSecondPlace(_) | EraseMessages(_));
        let faults = matches!(
            self,
            Kill { .. } | Stall(_) | Resume(_) | LoseConnection(_) | LoseNats(_) | ReachNats(_)
        ) || matches!(
            self,
            RemakeConsumer(_) | LoseDeadLetter(_) | RollBack { .. } | LoseInFlight | ExpireLeaseEarly
        );
        // A flush happens eventually, but nothing may rely on when.
        !by_clients && !faults && !matches!(self, Flush | Purge)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of_people(out)
            .or_else(|| self.of_faults(out))
            .or_else(|| self.of_database(out))
            .or_else(|| self.of_lease(out))
            .or_else(|| self.of_writer(out))
            .or_else(|| self.of_view(out))
            .or_else(|| self.of_dead_letters(out))
            .unwrap_or(Ok(()))
    }
}

/// The name of a process in a trace.
fn name(process: ProcessId) -> String {
    format!("P{}", process + 1)
}

/// The owner of a transaction.
fn owner(transaction: usize) -> String {
    if transaction == crate::state::ORPHAN {
        "the transaction whose connection is gone".into()
    } else {
        format!("P{}'s transaction", transaction + 1)
    }
}

/// One sentence, if it is of this kind.
type Sentence = Option<fmt::Result>;

impl Action {
    fn of_people(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::Publish(order) => write!(out, "a client publishes order {}", letter(order)),
            Self::Forge(order) => {
                write!(out, "a client publishes another document with the key of {}", letter(order))
            }
            Self::Replay(order) => {
                write!(out, "an operator replays the dead letter {}, corrected", letter(order))
            }
            Self::ReplayUnchanged(order) => {
                write!(out, "an operator replays the dead letter {}", letter(order))
            }
            Self::Drop(order) => {
                write!(
                    out,
                    "an operator drops the dead letter {}, and the table is asked for it",
                    letter(order)
                )
            }
            Self::NoteDrop(order) => write!(out, "the drop of {} is noted", letter(order)),
            Self::ReadCopyOfDropped(order) => {
                write!(out, "the drop reads which copy of the dead letter {} is there", letter(order))
            }
            Self::NoteRowOfDropped(order) => {
                write!(out, "the drop of {} notes that the table has the row", letter(order))
            }
            Self::AskAboutDrop(order) => write!(out, "the drop asks the table again for {}", letter(order)),
            Self::DeleteDropped(order) => write!(out, "the drop deletes the dead letter {}", letter(order)),
            Self::Fix => write!(out, "an operator fixes what made orders refused"),
            Self::Trim => write!(out, "an operator purges the oldest message"),
            Self::CopyStream => write!(out, "an operator copies the stream"),
            Self::RestoreStream => write!(out, "an operator restores the stream from the copy"),
            Self::RecreateStream => write!(out, "an operator deletes the stream and creates it again"),
            Self::RestoreRows => {
                write!(out, "an operator stops the service, restores orders2 alone, and starts it")
            }
            _ => return None,
        })
    }

    fn of_faults(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::Kill { process, in_flight_survives: false } => {
                write!(out, "{} is killed and starts again", name(process))
            }
            Self::Kill { process, .. } => write!(
                out,
                "{} is killed and starts again; its transaction is still on the way",
                name(process)
            ),
            Self::Stall(process) => write!(out, "{} stalls", name(process)),
            Self::Resume(process) => write!(out, "{} continues", name(process)),
            Self::LoseConnection(process) => {
                write!(out, "{} loses its connection to PostgreSQL", name(process))
            }
            Self::LoseNats(process) => write!(out, "{} loses NATS", name(process)),
            Self::ReachNats(process) => write!(out, "{} reaches NATS again", name(process)),
            Self::RemakeConsumer(process) => {
                write!(out, "{}'s consumer is deleted, and made again", name(process))
            }
            Self::LoseDeadLetter(order) => write!(out, "the dead-letter stream loses {}", letter(order)),
            Self::RollBack { in_flight_survives: false } => {
                write!(out, "the table goes back to its earlier state")
            }
            Self::RollBack { .. } => {
                write!(out, "the table goes back to its earlier state; a transaction is still on the way")
            }
            Self::LoseInFlight => write!(out, "the transaction whose connection is gone never arrives"),
            _ => return None,
        })
    }

    fn of_database(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::Flush => write!(out, "what is committed is flushed (copied, replayed by the standby)"),
            Self::HalfCommit(number) => write!(out, "PostgreSQL commits the first half of {}", owner(number)),
            Self::Execute(number) => {
                write!(out, "PostgreSQL executes {}, which now holds the row's lock", owner(number))
            }
            Self::Commit(number) => write!(out, "PostgreSQL decides {}", owner(number)),
            _ => return None,
        })
    }

    fn of_lease(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::ExpireLease => write!(out, "the lease expires"),
            Self::ExpireLeaseEarly => write!(out, "the lease expires, although its writer is healthy"),
            Self::TakeLease(process) => write!(out, "{} takes the lease", name(process)),
            Self::FindRowChanged(process) => {
                write!(out, "{} finds that the position row is not as it left it", name(process))
            }
            Self::ReadOwnRow(process) => {
                write!(out, "{} reads the position row to see whether it still writes", name(process))
            }
            Self::StopWaiting(process) => write!(out, "{} stops waiting for the row's lock", name(process)),
            _ => return None,
        })
    }

    fn of_writer(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::SendBatch { process, messages } => {
                write!(out, "{} sends a batch of {messages}", name(process))
            }
            Self::SendSetBack(process) => {
                write!(out, "{} sends: set the position back to the stream's beginning", name(process))
            }
            Self::SendPassGap(process) => {
                write!(out, "{} sends: move the position over what the stream no longer has", name(process))
            }
            Self::LookUp { process, message } => {
                write!(
                    out,
                    "{} looks up what the dead-letter stream has of {}",
                    name(process),
                    message_name(message)
                )
            }
            Self::LookForRow { process, message } => {
                write!(
                    out,
                    "{} asks the table whether it has the key of {}",
                    name(process),
                    message_name(message)
                )
            }
            Self::NoteTakenIn { process, message } => {
                write!(out, "{} notes that {} becomes the order", name(process), message_name(message))
            }
            Self::ReadCopy { process, message } => {
                write!(
                    out,
                    "{} reads which copy of the dead letter {} has",
                    name(process),
                    message_name(message)
                )
            }
            Self::LookForDrop(process, order) => {
                write!(out, "{} looks up whether {} was dropped", name(process), letter(order))
            }
            Self::StoreDeadLetter(process, order) => {
                write!(out, "{} stores {} as a dead letter, unless it is one", name(process), letter(order))
            }
            Self::LookUpNote(process, order) => {
                write!(out, "{} looks up which message became {}", name(process), letter(order))
            }
            Self::RenewDeadLetter(process, order) => {
                write!(out, "{} replaces the dead letter {} with a new copy", name(process), letter(order))
            }
            Self::WithdrawNote { process, message } => {
                write!(
                    out,
                    "{} withdraws the note that {} becomes the order",
                    name(process),
                    message_name(message)
                )
            }
            Self::StoreDeadLetterLate(process, order) => {
                write!(out, "{} stores {} as a dead letter, late", name(process), letter(order))
            }
            Self::ReceiveAnswer(process) => write!(out, "{} receives PostgreSQL's answer", name(process)),
            _ => return None,
        })
    }

    fn of_view(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::ReadPosition(process) => {
                write!(out, "{} reads the position, to read the stream from there", name(process))
            }
            Self::ReadRows(process) => write!(out, "{} reads the rows", name(process)),
            Self::FillMemory(process) => write!(out, "{} has the rows in memory", name(process)),
            Self::CheckWatermark(process) => {
                write!(out, "{} checks that its position is in this stream", name(process))
            }
            Self::ReadMessage { process, message } => {
                write!(out, "{} reads message {}", name(process), message_name(message))
            }
            Self::FindGap(process) => {
                write!(out, "{} finds messages purged that it has not read, and starts again", name(process))
            }
            Self::SeeDeadLetter(process, order) => {
                write!(out, "{} sees the dead letter {}", name(process), letter(order))
            }
            Self::SeePosition(process) => write!(out, "{} sees the position", name(process)),
            Self::AskTable(process, order) => {
                write!(out, "{} asks the table for {}", name(process), letter(order))
            }
            Self::FollowSession(process) => write!(out, "{} follows the writer's new session", name(process)),
            Self::StartAgain(process) => {
                write!(out, "{} finds that the table went back, and starts again", name(process))
            }
            _ => return None,
        })
    }

    fn of_dead_letters(&self, out: &mut fmt::Formatter<'_>) -> Sentence {
        Some(match *self {
            Self::ListTakenIn(process) => {
                write!(out, "{} lists dead letters whose messages were accepted", name(process))
            }
            Self::LookForListedRow(process, order) => {
                write!(out, "{} asks the table for the listed {}", name(process), letter(order))
            }
            Self::DeleteDeadLetter(process, order) => {
                write!(
                    out,
                    "{} deletes the copy of the dead letter {} that it has read",
                    name(process),
                    letter(order)
                )
            }
            Self::LookForDropAgain(process, order) => {
                write!(out, "{} looks up whether {} was dropped meanwhile", name(process), letter(order))
            }
            Self::TakeBackCopy(process, order) => {
                write!(
                    out,
                    "{} deletes the copy of the dead letter {} that it stored",
                    name(process),
                    letter(order)
                )
            }
            Self::LookForDroppedRow(process, order) => {
                write!(out, "{} asks the table for {}, which was dropped", name(process), letter(order))
            }
            Self::ForgetDrop(process, order) => {
                write!(out, "{} deletes the note that {} was dropped", name(process), letter(order))
            }
            Self::ForgetNotes(order) => {
                write!(out, "notes of {} are deleted: its messages have left the stream", letter(order))
            }
            Self::Purge => write!(out, "the retention purges the stream below the position"),
            Self::BeginErasure(order) => {
                write!(out, "an operator erases {}: its key is stored in the first store", letter(order))
            }
            Self::EraseInSecondPlace(order) => {
                write!(out, "the eraser stores the key of {} in the second store", letter(order))
            }
            Self::EraseMessages(order) => write!(out, "the eraser deletes the messages of {}", letter(order)),
            Self::SeeErasedNote(process, order) => {
                write!(out, "{} reads in NATS that {} is erased", name(process), letter(order))
            }
            Self::SeeErasedKey(process, order) => {
                write!(out, "{} reads in the table that {} is erased", name(process), letter(order))
            }
            Self::RepeatErasure(process, order) => {
                write!(out, "{} erases {} in the table, which lacks the key", name(process), letter(order))
            }
            Self::DeleteErasedMessage { process, message } => {
                write!(out, "{} deletes message {} of an erased order", name(process), message_name(message))
            }
            Self::DeleteErasedDeadLetter(process, order) => {
                write!(out, "{} deletes the dead letter of the erased {}", name(process), letter(order))
            }
            _ => return None,
        })
    }
}

/// The name of a message in a trace: a client's is its order.
pub(crate) fn message_name(message: usize) -> String {
    match message.checked_sub(crate::stream::ORDERS) {
        None => letter(u8::try_from(message).unwrap_or(0)).to_string(),
        Some(extra) => format!("R{}", extra + 1),
    }
}
