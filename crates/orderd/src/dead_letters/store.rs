//! The dead letters of this installation in their stream: published, looked up and deleted.
//!
//! A dead letter is stored once, however often its message is read: its subject holds the key of its message, and the
//! server stores it only while that subject is empty.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use order::Key;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::dead_letter_format::{DeadLetter, DeadLetterParts, NewDeadLetter, once};
use super::removal::StoredCopy;
use super::subjects::DeadLetterSubjects;
use super::{dead_letter_stream, legacy};
use crate::config::Nats;
use crate::nats::info::{self, StreamInfo};
use crate::nats::{micros, orders_stream};

/// How long a command or an erasing request, which tries once, waits for a response.
const UNBATCHED_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for the stream's information: a cluster that has no leader yet never answers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for each request that stores a dead letter or deletes one: the position waits for it, and a stream whose
/// leader has just ended does not answer what it was sent.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Stores and finds dead letters.
pub(crate) struct DeadLetterStore {
    pub(super) client: Client,
    pub(super) context: Context,
    settings: Nats,
    known: Mutex<Option<KnownStream>>,
    /// Whether dead letters of an earlier version were looked for.
    looked_for_earlier: AtomicBool,
    /// When the stream was created, in microseconds since 1970; `None` while that is not known. If the time changes,
    /// the stream was recreated and dead letters were lost.
    pub(crate) created: watch::Sender<Option<i64>>,
}

/// The known state of the stream.
#[derive(Clone)]
struct KnownStream {
    subjects: Arc<DeadLetterSubjects>,
    /// How large the stream lets a message be; `None`: as large as the server does.
    max_message: Option<usize>,
}

/// The copy of a dead letter on which the process that refuses its message relies.
enum Stored {
    /// There was none; this one has this sequence.
    New(u64),
    /// It replaces an older one, and has this sequence.
    Renewed(u64),
    /// It was there.
    Before,
}

impl DeadLetterStore {
    pub(crate) fn new(client: Client, settings: &Nats) -> Self {
        let context = settings.jetstream(client.clone());
        let (settings, known) = (settings.clone(), Mutex::new(None));
        Self {
            client,
            context,
            settings,
            known,
            looked_for_earlier: AtomicBool::new(false),
            created: watch::Sender::new(None),
        }
    }

    /// Creates the stream, or checks the existing one; `source` is the stream of orders.
    ///
    /// # Errors
    /// A stream that can't be created or would lose dead letters.
    pub(crate) async fn open(&self, source: &str) -> anyhow::Result<()> {
        let subjects = DeadLetterSubjects::new(&self.settings, source);
        let mut context = self.context.clone();
        context.set_timeout(OPEN_TIMEOUT);
        let max_payload = self.client.max_payload();
        let found = dead_letter_stream::find_or_create(&context, &subjects, &self.settings, max_payload);
        let info = found.await?;
        let max_message = usize::try_from(info.config.max_msg_size).ok().filter(|size| *size > 0);
        if !self.looked_for_earlier.swap(true, Ordering::Relaxed) {
            self.warn_of_earlier(&subjects).await;
        }
        let created = OffsetDateTime::parse(&info.created, &Rfc3339).ok();
        let created = created.map(|created| micros(created.unix_timestamp_nanos()));
        self.created.send_if_modified(|known| std::mem::replace(known, created) != created);
        self.remember(KnownStream { subjects: Arc::new(subjects), max_message });
        Ok(())
    }

    async fn warn_of_earlier(&self, subjects: &DeadLetterSubjects) {
        match legacy::findings(&self.context, subjects, &self.settings.topic).await {
            Ok(findings) => findings.iter().for_each(|finding| tracing::warn!("{finding}")),
            Err(error) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "can't look for dead letters of an earlier version"
                );
            }
        }
    }

    fn remember(&self, known: KnownStream) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    async fn known(&self) -> anyhow::Result<KnownStream> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(known);
        }
        let source = orders_stream::find(&self.context, &self.settings).await?;
        // Dead letters may have outlived the stream that they were in.
        let source =
            source.map_or(self.settings.stream.clone(), |stream| stream.cached_info().config.name.clone());
        let known = KnownStream {
            subjects: Arc::new(DeadLetterSubjects::new(&self.settings, &source)),
            max_message: None,
        };
        self.remember(known.clone());
        Ok(known)
    }

    /// For a command: refuses a stream that can't hold the dead letters, and a missing stream that `NATS_DEAD_STREAM`
    /// names, in which the command would find nothing.
    ///
    /// # Errors
    /// Such a stream, and what to do about it.
    pub(crate) async fn refuse_wrong_stream(&self) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        match self.info(&subjects).await? {
            Some(found) => dead_letter_stream::refuse_deaf(&found.config, &subjects),
            None => {
                let name = self.settings.dead_stream.as_ref();
                name.map_or(Ok(()), |name| anyhow::bail!("NATS_DEAD_STREAM: there is no stream {name}; check the name, or start orderd serve, which creates it"))
            }
        }
    }

    /// The subjects of the dead letters.
    ///
    /// # Errors
    /// The stream that orders are read from can't be reached.
    pub(crate) async fn subjects(&self) -> anyhow::Result<Arc<DeadLetterSubjects>> {
        Ok(self.known().await?.subjects)
    }

    pub(super) async fn stream(&self, subjects: &DeadLetterSubjects) -> anyhow::Result<Stream<()>> {
        Ok(self.context.get_stream_no_info(&subjects.stream).await?)
    }

    /// Information about the stream; `None` if it does not exist, and so no dead letter either.
    pub(crate) async fn info(&self, subjects: &DeadLetterSubjects) -> anyhow::Result<Option<StreamInfo>> {
        info::stream(&self.context, &subjects.stream).await
    }

    /// Stores a message unless it is stored already; returns whether it stored it. Recreates a deleted stream.
    ///
    /// # Errors
    /// What the server refuses, or that it does not answer.
    pub(crate) async fn publish(&self, refused: &NewDeadLetter<'_>) -> anyhow::Result<bool> {
        let KnownStream { subjects, max_message } = self.known().await?;
        let limit = self.client.max_payload();
        let parts = refused.parts(max_message.map_or(limit, |max| max.min(limit)));
        match self.store_unless_dropped(&subjects, refused, parts).await {
            Ok(is_new) => Ok(is_new),
            Err(error) => {
                // If this fails, the next attempt opens it.
                if let Ok(opened) = tokio::time::timeout(STORE_TIMEOUT, self.open(&subjects.source)).await {
                    opened?;
                }
                Err(error.context(format!("can't store a dead letter in the stream {}", subjects.stream)))
            }
        }
    }

    /// Stores it, unless it was dropped; returns whether it is there and was not before.
    ///
    /// A drop stores its note and then looks up which copy it removes. This stores a copy and then looks for that note
    /// again: so the drop removes the copy, or this does. It removes no other copy, because another process may rely on
    /// that one: the drop may have found a row since, and have removed its note.
    async fn store_unless_dropped(
        &self,
        subjects: &DeadLetterSubjects,
        refused: &NewDeadLetter<'_>,
        parts: DeadLetterParts,
    ) -> anyhow::Result<bool> {
        let key = refused.key;
        let is_dropped = async || {
            let note = self.stored_last(subjects, &subjects.dropped(key)).await?;
            anyhow::Ok(note.is_some())
        };
        if is_dropped().await? {
            return Ok(false);
        }
        let stored = self.store_or_renew(subjects, refused, parts).await?;
        if let Stored::New(sequence) | Stored::Renewed(sequence) = stored
            && is_dropped().await?
        {
            self.delete_message(subjects, sequence).await?;
            self.delete_before(subjects, &subjects.second_part(key), sequence).await?;
            return Ok(false);
        }
        Ok(matches!(stored, Stored::New(_)))
    }

    /// Stores it if its key has none.
    ///
    /// Where a message is noted as the order of that key, the dead letter that is there is stored once more: the process
    /// that made the note may still be about to remove that copy, though the table has gone back since. It makes the note
    /// before it commits the row, so a process that becomes the writer later finds it.
    async fn store_or_renew(
        &self,
        subjects: &DeadLetterSubjects,
        refused: &NewDeadLetter<'_>,
        DeadLetterParts { headers, first, second }: DeadLetterParts,
    ) -> anyhow::Result<Stored> {
        let key = refused.key;
        let subject = subjects.dead_letter(key);
        let store_first = || in_time(self.put(subject.clone(), headers.clone(), first.clone()));
        let is_replay = Key::sequence_of(key) != Some(refused.sequence);
        // Most messages are refused for the first time.
        if !is_replay
            && second.is_none()
            && let Some(stored) = store_first().await?
        {
            return Ok(Stored::New(stored));
        }
        loop {
            let Some(found) = self.stored_last(subjects, &subject).await? else {
                if let Some(second) = &second {
                    // Before the first part, so that readers of the first part find the second.
                    self.put_second_part(subjects.second_part(key), second).await?;
                }
                if let Some(stored) = store_first().await? {
                    return Ok(Stored::New(stored));
                }
                continue;
            };
            if in_time(self.taken_in(subjects, key)).await?.is_none() {
                return Ok(Stored::Before);
            }
            if let Some(stored) = self.renew(subjects, key, found).await? {
                return Ok(Stored::Renewed(stored));
            }
        }
    }

    /// Stores a dead letter once more, and removes this copy. Returns the sequence of the new copy; `None`: it was changed
    /// meanwhile.
    async fn renew(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
        found: StreamMessage,
    ) -> anyhow::Result<Option<u64>> {
        let copy = StoredCopy::of(&found);
        let letter = DeadLetter::new(found.sequence, key, found.headers.clone());
        let [first_subject, second_subject] = [subjects.dead_letter(key), subjects.second_part(key)];
        let second = match letter.has_two_parts() {
            true => self.stored_last(subjects, &second_subject).await?,
            false => None,
        };
        let renewed = async {
            if let Some(second) = second.clone()
                && self
                    .put_over(second.sequence, second_subject.clone(), once(), second.payload)
                    .await?
                    .is_none()
            {
                return Ok(None);
            }
            let StreamMessage { sequence, headers, payload, .. } = found.clone();
            self.put_over(sequence, first_subject.clone(), headers, payload).await
        };
        match renewed.await {
            Ok(stored) => {
                if stored.is_some() {
                    self.remove_copies(subjects, key, copy).await?;
                }
                Ok(stored)
            }
            // A full stream, and one that keeps one message for each subject, has room only once the copy is gone.
            Err(error) if is_refused(&error) => {
                self.remove_copies(subjects, key, copy).await?;
                if let Some(second) = second {
                    in_time(self.put(second_subject, once(), second.payload)).await?;
                }
                self.put_over(0, first_subject, found.headers, found.payload).await
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the second part, in place of what a removal may have left there.
    async fn put_second_part(&self, subject: String, second: &Bytes) -> anyhow::Result<()> {
        if in_time(self.put(subject.clone(), once(), second.clone())).await?.is_some() {
            return Ok(());
        }
        let subjects = self.subjects().await?;
        if let Some(left) = self.stored_last(&subjects, &subject).await? {
            self.put_over(left.sequence, subject, once(), second.clone()).await?;
        }
        Ok(())
    }

    /// Stores it if the last message with that subject has this sequence, 0 if there is none. Returns as [`Self::put`].
    pub(super) async fn put_over(
        &self,
        sequence: u64,
        subject: String,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> anyhow::Result<Option<u64>> {
        let name = async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
        headers.insert(name, sequence.to_string().as_str());
        in_time(self.put(subject, headers, payload)).await
    }

    /// The last message with that subject, within the time limit for storing.
    pub(super) async fn stored_last(
        &self,
        subjects: &DeadLetterSubjects,
        subject: &str,
    ) -> anyhow::Result<Option<StreamMessage>> {
        in_time(self.last(subjects, subject)).await
    }

    /// The first message with that subject: an earlier copy, if a later one could be stored and this one not deleted.
    pub(super) async fn stored_first(
        &self,
        subjects: &DeadLetterSubjects,
        subject: &str,
    ) -> anyhow::Result<Option<StreamMessage>> {
        let stream = self.stream(subjects).await?;
        in_time(async { found(stream.get_first_raw_message_by_subject(subject, 1).await) }).await
    }

    /// Deletes what is stored with that subject before this sequence.
    pub(super) async fn delete_before(
        &self,
        subjects: &DeadLetterSubjects,
        subject: &str,
        sequence: u64,
    ) -> anyhow::Result<()> {
        while let Some(found) = self.stored_first(subjects, subject).await?
            && found.sequence < sequence
        {
            self.delete_message(subjects, found.sequence).await?;
        }
        Ok(())
    }

    /// Stores a message, and returns its sequence; `None`: the last one with that subject is not the expected one.
    pub(super) async fn put(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> anyhow::Result<Option<u64>> {
        use jetstream::context::PublishErrorKind as Kind;
        let ack = self.context.publish_with_headers(subject, headers, payload).await?;
        match tokio::time::timeout(PUBLISH_TIMEOUT, ack.into_future()).await? {
            Ok(stored) => Ok(Some(stored.sequence)),
            Err(error) if error.kind() == Kind::WrongLastSequence => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Records in NATS that the order with that key is erased, for a table that goes back. Creates the stream if
    /// missing. A full stream does not block erasures: the next start records keys that only the table has.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn note_erased(&self, key: &str) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        let Some(subject) = subjects.erased(key) else { return Ok(()) };
        if self.put(subject.clone(), once(), Bytes::new()).await.is_ok() {
            return Ok(());
        }
        self.open(&subjects.source).await?;
        match self.put(subject, once(), Bytes::new()).await {
            Err(error) if is_refused(&error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "can't store an erased key in NATS: a restored table would lack it");
                Ok(())
            }
            noted => noted.map(drop),
        }
    }

    /// The keys of all orders that were erased.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn erased(&self) -> anyhow::Result<Vec<String>> {
        let subjects = self.subjects().await?;
        let stored = info::subjects(&self.context, &subjects.stream, &subjects.all_erased()).await?;
        Ok(stored.iter().filter_map(|subject| subjects.erased_key(subject)).collect())
    }

    /// The dead letter of that key.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn find(&self, key: &str) -> anyhow::Result<Option<DeadLetter>> {
        // Anything else might be a wildcard, and so the key of whatever is stored.
        if !Key::is_from_stream(key) {
            return Ok(None);
        }
        let subjects = self.subjects().await?;
        let found = self.last(&subjects, &subjects.dead_letter(key)).await?;
        Ok(found.map(|found| DeadLetter::new(found.sequence, key, found.headers)))
    }

    /// Whether anything of a dead letter of that key is stored: a process that was killed may have left only the second
    /// part.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn has_any_part(&self, key: &str) -> anyhow::Result<bool> {
        if !Key::is_from_stream(key) {
            return Ok(false);
        }
        let subjects = self.subjects().await?;
        Ok(self.last(&subjects, &subjects.dead_letter(key)).await?.is_some()
            || self.last(&subjects, &subjects.second_part(key)).await?.is_some())
    }

    /// The whole payload, joined if it has two parts; `None` if the dead letter was accepted or dropped meanwhile.
    ///
    /// # Errors
    /// The server can't be reached, or one of two parts is missing.
    pub(crate) async fn payload(&self, letter: &DeadLetter) -> anyhow::Result<Option<Bytes>> {
        let subjects = self.subjects().await?;
        let Some(first) = self.last(&subjects, &subjects.dead_letter(&letter.key)).await? else {
            return Ok(None);
        };
        if !letter.has_two_parts() {
            return Ok(Some(first.payload));
        }
        let second = self.last(&subjects, &subjects.second_part(&letter.key)).await?;
        let missing = || format!("the second part of the dead letter {} is missing", letter.key);
        let second = second.with_context(missing)?;
        Ok(Some([first.payload, second.payload].concat().into()))
    }

    pub(super) async fn last(
        &self,
        subjects: &DeadLetterSubjects,
        subject: &str,
    ) -> anyhow::Result<Option<StreamMessage>> {
        found(self.stream(subjects).await?.get_last_raw_message_by_subject(subject).await)
    }

    /// Deletes a dead letter and its notes. Returns whether it existed.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn delete(&self, key: &str) -> anyhow::Result<bool> {
        if !Key::is_from_stream(key) {
            return Ok(false);
        }
        let subjects = self.subjects().await?;
        let was_there = self.delete_copies(&subjects, key).await?;
        self.delete_within(UNBATCHED_LOOKUP_TIMEOUT, &[subjects.taken_in(key), subjects.dropped(key)])
            .await?;
        Ok(was_there)
    }

    /// Deletes a message of the stream of dead letters, within the time limit for storing.
    pub(super) async fn delete_message(
        &self,
        subjects: &DeadLetterSubjects,
        sequence: u64,
    ) -> anyhow::Result<()> {
        let denied =
            || format!("the stream {} does not let a dead letter be deleted (deny_delete?)", subjects.stream);
        let stream = self.stream(subjects).await?;
        let deleted = in_time(async { Ok(stream.delete_message(sequence).await?) }).await;
        if deleted.is_err()
            && in_time(async { found(stream.get_raw_message(sequence).await) }).await?.is_none()
        {
            // Another process has deleted it.
            return Ok(());
        }
        deleted.map(drop).with_context(denied)
    }

    /// Deletes both parts, the first one first, because lists show only first parts.
    async fn delete_copies(&self, subjects: &DeadLetterSubjects, key: &str) -> anyhow::Result<bool> {
        let parts = [subjects.dead_letter(key), subjects.second_part(key)];
        self.delete_within(UNBATCHED_LOOKUP_TIMEOUT, &parts).await
    }

    pub(super) async fn delete_within(&self, limit: Duration, targets: &[String]) -> anyhow::Result<bool> {
        let subjects = self.subjects().await?;
        let mut was_there = false;
        for subject in targets {
            while let Some(found) = tokio::time::timeout(limit, self.last(&subjects, subject)).await?? {
                self.delete_message(&subjects, found.sequence).await?;
                was_there = true;
            }
        }
        Ok(was_there)
    }
}

/// A response within the time limit for storing.
pub(super) async fn in_time<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(STORE_TIMEOUT, asked).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

/// Whether the server has answered that it does not store a message: the stream is full, for instance.
pub(super) fn is_refused(error: &anyhow::Error) -> bool {
    use jetstream::context::{PublishError, PublishErrorKind as Kind};
    let kind = error.downcast_ref::<PublishError>().map(PublishError::kind);
    kind.is_some_and(|kind| !matches!(kind, Kind::TimedOut | Kind::BrokenPipe))
}

/// The requested message; `None` if message or stream does not exist.
pub(super) fn found(asked: Result<StreamMessage, RawMessageError>) -> anyhow::Result<Option<StreamMessage>> {
    match asked {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(refused)
                if refused.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(error.into()),
        },
    }
}
