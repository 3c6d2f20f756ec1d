//! What a stream that went back to an earlier state has lost of what was read: after a power failure, a damaged file, or a
//! restore.

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};

use super::fetch::micros;
use crate::nats::streams;
use crate::position::{Mark, Vanished};

/// The last message of a stream that this process has read, in whichever run.
#[derive(Clone, Copy)]
pub(super) struct HighestRead {
    /// Which stream: microseconds since 1970 of its creation.
    pub(super) created: i64,
    pub(super) mark: Mark,
}

impl HighestRead {
    /// The messages up to this one that the stream does not have any more; `None`: it has this one.
    pub(super) async fn vanished(self, stream: &Stream) -> anyhow::Result<Option<Vanished>> {
        let info = stream.cached_info();
        let read = self.mark.seq;
        if micros(info.created.unix_timestamp_nanos()) != self.created {
            return Ok(Some(Vanished { kept: 0, read }));
        }
        if read <= info.state.last_sequence {
            match streams::message_at(stream, read).await? {
                Some((time, _)) if Some(micros(time)) != self.mark.time => {}
                // One that was deleted says nothing of others.
                _ => return Ok(None),
            }
        }
        Ok(Some(Vanished { kept: kept(stream, self.mark).await?, read }))
    }
}

/// Up to where the stream has what was read: what was published since then is newer than that.
async fn kept(stream: &Stream, read: Mark) -> anyhow::Result<u64> {
    let state = &stream.cached_info().state;
    let (mut kept, mut end) = (state.first_sequence.saturating_sub(1), read.seq.min(state.last_sequence + 1));
    while kept + 1 < end {
        let middle = kept.midpoint(end);
        // Or the one behind it, where that was deleted.
        match stream.get_first_raw_message_by_subject(">", middle).await {
            Ok(message) if Some(micros(message.time.unix_timestamp_nanos())) <= read.time => {
                kept = message.sequence;
            }
            Err(error) if error.kind() != RawMessageErrorKind::NoMessageFound => return Err(error.into()),
            _ => end = middle,
        }
    }
    Ok(kept)
}
