//! Reading the headers of the stream's messages along, for as long as something is missing.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use tokio::time::{Instant, sleep, sleep_until};

use super::Follower;
use super::headers::{Headers, Refused};
use super::open::Open;
use crate::pace;

/// How soon after the first header the ack floor is asked for.
const SOON: Duration = Duration::from_millis(50);

/// Where the stream can't be read, or was trimmed, the table is read again: not more often than this, and once
/// more after the time in which a message that is out is settled.
const REFILL: Duration = Duration::from_secs(15);

impl Follower {
    /// Others take messages and don't tell of all: from here on the stream's headers are read. `true`: they can't be,
    /// and the table is read again.
    pub(super) async fn read_along(&mut self, stream: &Stream<()>, mark: u64) -> anyhow::Result<bool> {
        self.open = Open::default();
        self.parts.company.seen();
        match Headers::start(stream, &self.parts.settings.nats.topic, mark).await {
            Ok(headers) => {
                tracing::debug!(mark, "other processes take messages and don't tell of all");
                self.headers = Some(headers);
                self.backstop.begin();
                Ok(false)
            }
            // A work queue, for example, has one consumer.
            Err(Refused::ForGood(error)) => {
                let is_due = self.refilled.is_none_or(|at| at.elapsed() >= REFILL);
                if is_due {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "can't read the stream beside the consumer; reading the table again"
                    );
                    self.refill();
                }
                Ok(is_due)
            }
            Err(Refused::ForNow(error)) => Err(error),
        }
    }

    /// Reads headers for so long, or less where there is something to look for.
    pub(super) async fn gather(&mut self, pause: Duration) {
        let mut until = pace::moment(pause);
        loop {
            let has_room = self.has_room();
            let Some(headers) = self.headers.as_mut().filter(|_| has_room) else {
                return sleep_until(until).await;
            };
            let header = tokio::select! {
                header = headers.next() => header,
                () = sleep_until(until) => return,
            };
            match header {
                Ok((sequence, Some(key))) => {
                    self.open.add(sequence, key);
                    until = until.min(Instant::now() + SOON);
                }
                Ok((_, None)) => {}
                Err(error) => {
                    tracing::debug!(
                        error = format!("{error:#}"),
                        "headers are read again from the last mark"
                    );
                    self.headers = None;
                    return sleep(SOON).await;
                }
            }
        }
    }

    /// Not far ahead of the durable: what it has not delivered is in no table.
    fn has_room(&self) -> bool {
        let read = self.headers.as_ref().map_or(0, Headers::read);
        self.open.has_room(read < self.delivered)
    }

    /// Up to where headers were read, and all of it is in memory or never will be.
    pub(super) async fn by_headers(
        &mut self,
        stream: &Stream<()>,
        mark: u64,
        floor: u64,
    ) -> anyhow::Result<u64> {
        self.heed_trimming(stream, floor).await?;
        self.look_up(floor).await?;
        let read = self.headers.as_ref().map_or(floor, Headers::read);
        let reached = floor.min(read).min(self.open.first().map_or(u64::MAX, |first| first - 1));
        if !self.parts.taken.has_all(mark + 1..=reached) {
            self.backstop.used();
        }
        if reached >= self.settled && self.backstop.is_over() {
            self.part().await;
        }
        Ok(reached)
    }

    /// What left the stream before its headers were read is read from the table.
    async fn heed_trimming(&mut self, stream: &Stream<()>, floor: u64) -> anyhow::Result<()> {
        let Some(headers) = &mut self.headers else { return Ok(()) };
        match headers.is_trimmed(stream, floor).await {
            Ok(None) => {}
            Ok(Some(first)) => {
                tracing::warn!(first, "messages left the stream before they were seen here");
                self.refill();
            }
            Err(error) => {
                // Its consumer may be gone with the server; nobody would notice while it is not read.
                self.headers = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// All is told again: the headers are read no more.
    async fn part(&mut self) {
        if let Some(headers) = self.headers.take() {
            tracing::debug!("what other processes take is told");
            headers.end().await;
            self.open = Open::default();
            self.backstop.end();
        }
    }

    /// Reads the table again: now, and once more when what is out by now is settled.
    fn refill(&mut self) {
        let now = Instant::now();
        self.parts.metrics.replica_refills.inc();
        self.parts.progress.again();
        (self.refilled, self.once_more) = (Some(now), Some(now + REFILL));
    }
}
