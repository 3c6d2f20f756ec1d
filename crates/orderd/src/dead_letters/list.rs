//! Lists the waiting dead letters. Messages are fetched one by one, without a consumer, so that listing leaves nothing
//! behind on the server and counts against no limit.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use order::Key;

use super::dead_letter_format::DeadLetter;
use super::store::{DeadLetterStore, found};
use super::subjects::DeadLetterSubjects;
use crate::nats::info;

/// Maximum number of requests in flight.
const REQUESTS_IN_FLIGHT: usize = 32;

/// A range of at most this length is fetched message by message.
const MAX_LISTED_ONE_BY_ONE: u64 = 64;

/// The keys of all dead letters, unordered.
pub(crate) async fn keys(store: &DeadLetterStore) -> anyhow::Result<Vec<String>> {
    let subjects = store.subjects().await?;
    let stored = info::subjects(&store.context, &subjects.stream, &subjects.all_dead_letters()).await?;
    Ok(stored.iter().filter_map(|subject| Some(subjects.key(subject)?.to_owned())).collect())
}

/// The keys of all dead letters, also of those that a killed process has left the second part of; unordered.
pub(crate) async fn keys_of_parts(store: &DeadLetterStore) -> anyhow::Result<HashSet<String>> {
    let subjects = store.subjects().await?;
    let mut keys = HashSet::new();
    for filter in [subjects.all_dead_letters(), subjects.all_second_parts()] {
        let stored = info::subjects(&store.context, &subjects.stream, &filter).await?;
        keys.extend(stored.iter().filter_map(|subject| subjects.key_of_part(subject)).map(str::to_owned));
    }
    Ok(keys)
}

/// The keys of [`keys_of_parts`] whose time is before `cutoff`, in nanoseconds since 1970; the oldest first.
///
/// # Errors
/// The server can't be reached.
pub(crate) async fn keys_before(store: &DeadLetterStore, cutoff: i128) -> anyhow::Result<Vec<String>> {
    let end = Key::first_of_time(cutoff);
    let is_old = |key: &String| Key::has_time(key) && key.as_str() < end.as_str();
    let mut keys: Vec<_> = keys_of_parts(store).await?.into_iter().filter(is_old).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// The keys of dead letters that were dropped, as long as their messages are in the stream of orders.
pub(crate) async fn dropped(store: &DeadLetterStore) -> anyhow::Result<Vec<String>> {
    let subjects = store.subjects().await?;
    let stored = info::subjects(&store.context, &subjects.stream, &subjects.all_dropped()).await?;
    Ok(stored.iter().filter_map(|subject| Some(subjects.decided_key(subject)?.to_owned())).collect())
}

/// The dead letters of these keys, unordered.
pub(crate) async fn of_keys(store: &DeadLetterStore, keys: &[String]) -> anyhow::Result<Vec<DeadLetter>> {
    let asked = stream::iter(keys.to_vec()).map(|key| async move { store.find(&key).await });
    asked.buffer_unordered(REQUESTS_IN_FLIGHT).try_filter_map(async |found| Ok(found)).try_collect().await
}

/// All dead letters, in the order of their messages in the stream of orders. Several are stored at once, so their
/// numbers may be in another order.
pub(crate) async fn all(store: &DeadLetterStore) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = of_keys(store, &keys(store).await?).await?;
    letters.sort_unstable_by_key(|letter| Key::time_and_sequence(&letter.key));
    Ok(letters)
}

/// The newest, or the newest with a number below `before`; newest first, `count` at most.
///
/// A stream can only be read forwards, has gaps where dead letters were replayed or dropped, and may have dead letters
/// of other installations. So the range is halved, the upper half first, until it is small.
pub(crate) async fn newest(
    store: &DeadLetterStore,
    before: Option<u64>,
    count: usize,
) -> anyhow::Result<Vec<DeadLetter>> {
    let subjects = store.subjects().await?;
    let Some(info) = store.info(&subjects).await? else { return Ok(Vec::new()) };
    let end = before.unwrap_or(u64::MAX).min(info.state.last_seq.saturating_add(1));
    let mut letters = Vec::new();
    let mut stretches = vec![(info.state.first_seq.max(1), end)];
    while let Some((start, end)) = stretches.pop() {
        if letters.len() >= count {
            break;
        }
        if end.saturating_sub(start) <= MAX_LISTED_ONE_BY_ONE {
            letters.extend(stretch(store, &subjects, start, end).await?.into_iter().rev());
            continue;
        }
        // Skips a gap in the sequences.
        let Some(start) = next(store, &subjects, start).await?.filter(|start| *start < end) else { continue };
        let middle = start + (end - start) / 2;
        stretches.extend([(start, middle), (middle, end)]);
    }
    letters.truncate(count);
    Ok(letters)
}

/// The sequence of the first dead letter from `start` on.
async fn next(
    store: &DeadLetterStore,
    subjects: &DeadLetterSubjects,
    start: u64,
) -> anyhow::Result<Option<u64>> {
    let stream = store.stream(subjects).await?;
    let asked = stream.raw_message_builder().sequence(start).next_by_subject(subjects.all_dead_letters());
    Ok(found(asked.send().await)?.map(|message| message.sequence))
}

/// Dead letters with numbers from `start` to below `end`.
async fn stretch(
    store: &DeadLetterStore,
    subjects: &DeadLetterSubjects,
    start: u64,
    end: u64,
) -> anyhow::Result<Vec<DeadLetter>> {
    let stream = store.stream(subjects).await?;
    let asked = stream::iter(start..end)
        .map(|number| {
            let stream = &stream;
            async move { found(stream.get_raw_message(number).await) }
        })
        .buffered(REQUESTS_IN_FLIGHT);
    let of_ours = asked.try_filter_map(async |message| {
        let letter = message.and_then(|message| {
            let key = subjects.key(&message.subject)?;
            Some(DeadLetter::new(message.sequence, key, message.headers.clone()))
        });
        Ok(letter)
    });
    of_ours.try_collect().await
}
