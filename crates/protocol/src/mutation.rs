//! Mutations: each leaves a rule of the protocol out, or does a step wrongly. The checker must find a violation.

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    // The fence and the writer's transaction.
    /// The transaction does not look at what the position row says.
    NoFence,
    /// The fence compares sequence, stream and writer, and no nonce.
    FenceWithoutNonce,
    /// The fence compares the nonce alone. No mistake: a test shows that the rest of the fence is not needed.
    FenceByNonceAlone,
    /// The position is committed first, the rows afterwards.
    PositionBeforeRows,
    /// The rows are committed first, the position afterwards.
    RowsBeforePosition,
    /// The writer uses `COPY` alone, and takes a unique violation for a refusal.
    ConflictIsRefusal,
    /// The key of a row is made from the writer's clock.
    KeyFromClock,
    /// A new writer continues where its memory is, not at the position.
    WriterContinuesFromMemory,
    /// An idle writer does not look whether the position row is still as it left it.
    IdleWriterDoesNotLook,
    /// A writer that can't read the stream keeps its lease.
    BlindWriterKeepsLease,
    /// The next writer waits for the row lock of a stalled transaction, and does not end it.
    LockIsWaitedFor,
    /// A process that reads the position row does not look whether the row written last is in the table.
    LastRowNotChecked,

    // The writer's session, by which views learn that the table went back.
    /// Views compare positions only.
    SessionIgnored,
    /// Views never notice that the table went back.
    TableGoingBackIgnored,
    /// A writer that finds another row than the one it left begins no new session.
    SessionKeptByUnsureWriter,
    /// That writer compares the row's session with the one that its view follows, not with the one that it writes in.
    SessionComparedWithView,

    // Dead letters.
    /// The dead letter is stored after the position has passed its message.
    DeadLetterAfterPosition,
    /// A key in a header is honoured without a dead letter of that key.
    KeyHeaderAlwaysHonoured,
    /// The dead letter of an order that became a row is deleted.
    DeadLetterDeletedWithRow,
    /// The dead letter of an order that became a row is deleted once that row is flushed.
    DeadLetterDeletedOnceFlushed,
    /// A dead letter that says "taken in" is not stored again when the table has lost the row.
    TakenInMarkerStays,
    /// Dropping deletes the dead letter and leaves no marker.
    DropLeavesNoMarker,
    /// Nobody notices that the dead-letter stream has lost dead letters.
    DeadLetterLossIgnored,

    // Views.
    /// The table is read before the position.
    FillBeforePosition,
    /// A view takes its own refusal of a message for the writer's.
    OwnRefusalTrusted,
    /// A view takes its own form of a document for the writer's, which has another model.
    OwnFormTrusted,
    /// Position and row are asked for in two statements, and the session is not compared.
    AskedInTwoStatements,
    /// A replayed message goes into memory when it is read.
    ReplayIntoMemory,
    /// A dead letter that is seen removes its order from memory.
    DeadLetterRemovesOrder,
    /// A view that starts again keeps its memory.
    RestartKeepsMemory,
    /// A view reads on behind messages that were purged before it read them.
    UnreadPurgeIgnored,
    /// A consumer that was made again begins one message too late.
    ConsumerSkipsOne,
    /// A view does not check whether its place is in this stream.
    ViewTrustsStream,
    /// A place whose message is gone counts as a place in this stream, for a view.
    ViewAcceptsMissingMessage,

    // 404.
    /// A miss asks the table only while the view is filling, behind or in doubt.
    MissNotAsked,
    /// A miss asks the table, and no row means 404, whatever the position is.
    NotFoundWithoutPosition,

    // The stream.
    /// The writer does not check whether the position is in this stream.
    WriterTrustsStream,
    /// A position whose message is gone counts as a position in this stream, for the writer.
    WriterAcceptsMissingMessage,
    /// The writer and the views compare the stream's creation time and sequences only.
    StreamCheckedWithoutTime,
    /// The purge reaches above what PostgreSQL has flushed.
    PurgeAboveFlushed,
    /// The purge does not check whether the position is in this stream.
    PurgeUnchecked,
    /// The writer does not move the position over messages that the stream no longer has.
    GapNotPassed,
    /// The position row does not keep which messages were passed because they were gone.
    GapNotRemembered,

    // Erasing.
    /// The erasing transaction leaves the position row as it is.
    ErasureMissesFence,
    /// The erased key is stored in the table only.
    ErasureNotInNats,
    /// The erased key goes into the table first, then into NATS.
    ErasureInTableFirst,
    /// A process that knows an erased key does not erase it again where the table has lost it.
    ErasureNotRepeated,
    /// Messages of an erased order are deleted by the eraser alone.
    ErasedMessagesStay,
    /// A process that takes the position row does not delete rows of erased keys.
    ErasedRowsStay,
}
