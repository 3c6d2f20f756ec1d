//! Mutations: each omits a rule of the protocol, or performs a step wrongly. The checker must find a violation.

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    // The fence and the writer's transaction.
    /// The transaction does not look at what the position row says.
    NoFence,
    /// The fence compares sequence, stream and writer, and no nonce.
    FenceWithoutNonce,
    /// The fence compares only the nonce. Not a mistake: a test shows that the rest of the fence is not needed.
    FenceByNonceAlone,
    /// The position is committed first, the rows afterwards.
    PositionBeforeRows,
    /// The rows are committed first, the position afterwards.
    RowsBeforePosition,
    /// The writer uses only `COPY`, and treats a unique violation as a refusal.
    ConflictIsRefusal,
    /// The key of a row is made from the writer's clock.
    KeyFromClock,
    /// A writer whose lease has expired writes, unless another process has taken it.
    ExpiredLeaseWrites,
    /// A new writer continues where its memory is, not at the position.
    WriterContinuesFromMemory,
    /// An idle writer does not check whether the position row is unchanged.
    IdleWriterDoesNotLook,
    /// A writer that can't read the stream keeps its lease.
    BlindWriterKeepsLease,
    /// The next writer waits for the row lock of a stalled transaction instead of terminating it.
    LockIsWaitedFor,
    /// A process that reads the position row does not check whether the table has the row written last.
    LastRowNotChecked,

    // The writer's session, from which views detect that the table went back.
    /// Views compare only positions.
    SessionIgnored,
    /// Views never notice that the table went back.
    TableGoingBackIgnored,
    /// A writer that finds the row changed begins no new session.
    SessionKeptByUnsureWriter,
    /// That writer compares the row's session with the one that its view follows, not with the one that it writes in.
    SessionComparedWithView,

    // Dead letters.
    /// The dead letter is stored after the position has passed its message.
    DeadLetterAfterPosition,
    /// A key in a header is honoured without a dead letter of that key.
    KeyHeaderAlwaysHonoured,
    /// Deleting the dead letter of a row deletes whatever copy is there.
    DeletionWithoutBound,
    /// A writer that refuses a message relies on the copy that is there, although a note says that a message became the
    /// order.
    NoRenewal,
    /// The note that a message becomes the order is stored after the row is committed.
    NotedAfterCommit,
    /// The note that a message becomes the order may name an earlier message than before, if there is no row.
    NoteGoesBack,
    /// The number of the copy to delete is read after the row is committed.
    CopyReadAfterCommit,
    /// The note of a message that is refused is withdrawn, once its dead letter is stored.
    NoteWithdrawn,
    /// A new term does not look for copies that a killed writer has left beside rows.
    LeftCopiesNotListed,
    /// A new term looks for the rows first, and reads afterwards which copies to delete.
    ListedRowLookedUpFirst,
    /// The message that the note names is not honoured without the dead letter.
    NoteNotHonoured,
    /// A note whose messages have left the stream is deleted, although the dead letter is still there.
    NoteForgottenBesideDeadLetter,
    /// Dropping deletes the dead letter and leaves no note.
    DropLeavesNoNote,
    /// A drop does not ask the table whether the dead letter became a row.
    DropAsksNothing,
    /// A drop does not ask the table again after its note.
    DropAsksOnce,
    /// A drop deletes whatever copies are there.
    DropDeletesAllCopies,
    /// A drop reads which copy it deletes before it stores its note.
    DropReadsCopyFirst,
    /// A writer that has stored a dead letter does not look up whether it was dropped meanwhile.
    DropLookedUpOnce,
    /// A writer that finds the note of a drop after it has stored a dead letter deletes whatever copies are there.
    AllCopiesTakenBack,
    /// A writer that commits a row leaves the note that its dead letter was dropped.
    DropStaysBesideRow,
    /// A new term does not look for rows beside notes of drops.
    ListedDropsStay,
    /// Nobody notices that the dead-letter stream has lost dead letters.
    DeadLetterLossIgnored,

    // Views.
    /// The table is read before the position.
    FillBeforePosition,
    /// A view treats its own refusal of a message as the writer's.
    OwnRefusalTrusted,
    /// A view treats its own form of a document as that of a writer with another model.
    OwnFormTrusted,
    /// Position and row are read by two statements, and the session is not compared.
    AskedInTwoStatements,
    /// A replayed message goes into memory when it is read.
    ReplayIntoMemory,
    /// A dead letter removes its order from memory.
    DeadLetterRemovesOrder,
    /// A view that starts again keeps its memory.
    RestartKeepsMemory,
    /// A view continues after messages that were purged before it read them.
    UnreadPurgeIgnored,
    /// A recreated consumer begins one message too late.
    ConsumerSkipsOne,
    /// A view does not check whether its position is in this stream.
    ViewTrustsStream,
    /// A view treats a position whose message is gone as a position in this stream.
    ViewAcceptsMissingMessage,

    // 404.
    /// A miss queries the table only while the view is filling, behind or in doubt.
    MissNotAsked,
    /// A miss queries the table, and no row means 404, whatever the position is.
    NotFoundWithoutPosition,

    // The stream.
    /// The writer does not check whether the position is in this stream.
    WriterTrustsStream,
    /// The writer treats a position whose message is gone as a position in this stream.
    WriterAcceptsMissingMessage,
    /// The writer and the views compare the stream's creation time and sequences only.
    StreamCheckedWithoutTime,
    /// The purge reaches above what PostgreSQL has flushed.
    PurgeAboveFlushed,
    /// The purge does not check whether the position is in this stream.
    PurgeUnchecked,
    /// The writer does not move the position over messages that the stream no longer has.
    GapNotPassed,
    /// The position row does not record which messages were passed because they were gone.
    GapNotRemembered,

    // Erasing.
    /// The erasing transaction leaves the position row as it is.
    ErasureMissesFence,
    /// The erased key is stored in the table only.
    ErasureNotInNats,
    /// The erased key is stored in the table first, then in NATS.
    ErasureInTableFirst,
    /// A process that knows an erased key does not erase it again after the table has lost it.
    ErasureNotRepeated,
    /// Only the eraser deletes messages of an erased order.
    ErasedMessagesStay,
    /// A process that takes the position row does not delete rows of erased keys.
    ErasedRowsStay,
}
