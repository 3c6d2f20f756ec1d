//! Finds messages that were read, and that the stream has lost because it went back to an earlier state: after a power
//! failure, a damaged file, or a restore.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;

use crate::flow_state::{VanishedRange, Watermark};
use crate::nats::{orders_stream, stored_message};

/// The last message of a stream that this process has read, in any run.
#[derive(Clone, Copy)]
pub(crate) struct HighestRead {
    /// The creation time of the stream, in microseconds since 1970.
    pub(crate) created: i64,
    pub(crate) watermark: Watermark,
}

impl HighestRead {
    /// The lost messages up to this one; `None` if the stream has this one.
    pub(crate) async fn vanished(
        self,
        context: &Context,
        stream: &Stream,
    ) -> anyhow::Result<Option<VanishedRange>> {
        let info = stream.cached_info();
        let read = self.watermark.seq;
        if orders_stream::created_micros(info) != self.created {
            return Ok(Some(VanishedRange { kept: 0, read }));
        }
        if read <= info.state.last_sequence {
            match stored_message::at(context, &info.config.name, read).await? {
                Some(message) if message.watermark() != self.watermark => {}
                // A deleted message shows nothing about others.
                _ => return Ok(None),
            }
        }
        Ok(Some(VanishedRange { kept: kept(context, stream, self.watermark).await?, read }))
    }
}

/// The message up to which the stream still has what was read; later messages are newer.
async fn kept(context: &Context, stream: &Stream, read: Watermark) -> anyhow::Result<u64> {
    let state = &stream.cached_info().state;
    let (mut kept, mut end) = (state.first_sequence.saturating_sub(1), read.seq.min(state.last_sequence + 1));
    while kept + 1 < end {
        let middle = kept.midpoint(end);
        // Or the one after it, where that was deleted.
        match stored_message::first_from(context, &stream.cached_info().config.name, ">", middle).await? {
            Some(message) if message.watermark().time <= read.time => kept = message.sequence,
            _ => end = middle,
        }
    }
    Ok(kept)
}
