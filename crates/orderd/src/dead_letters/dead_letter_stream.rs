//! The stream of dead letters: created if it is missing, otherwise used without a change.

use anyhow::bail;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType};

use super::dead_letter_format::MAX_HEADERS;
use super::subjects::DeadLetterSubjects;
use crate::config::Nats;
use crate::nats::MADE_BY;
use crate::nats::create::{StreamSetting, create};
use crate::nats::info::{self, StreamConfig, StreamInfo};
use crate::subject;

/// The setting by which another stream is used.
pub(crate) const STREAM_SETTING: StreamSetting = StreamSetting("NATS_DEAD_STREAM");

/// The stream to create if missing.
pub(crate) fn config_of_new(subjects: &DeadLetterSubjects, replicas: usize) -> Config {
    Config {
        name: subjects.stream.clone(),
        subjects: vec![subjects.of_stream()],
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        metadata: [(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())].into(),
        ..Default::default()
    }
}

/// Creates the stream, or checks the existing one.
///
/// # Errors
/// A stream that can't be created or would lose dead letters, and what to do.
pub(super) async fn find_or_create(
    context: &Context,
    subjects: &DeadLetterSubjects,
    settings: &Nats,
    max_payload: usize,
) -> anyhow::Result<StreamInfo> {
    let found = match info::stream(context, &subjects.stream).await? {
        Some(found) => found,
        None => create_dead_letter_stream(context, subjects, settings).await?,
    };
    refuse_unfit(&found.config, subjects, max_payload)?;
    Ok(found)
}

async fn create_dead_letter_stream(
    context: &Context,
    subjects: &DeadLetterSubjects,
    settings: &Nats,
) -> anyhow::Result<StreamInfo> {
    let made = create(context, config_of_new(subjects, settings.replicas), STREAM_SETTING).await;
    // Another process may have created it meanwhile, with other settings.
    match (info::stream(context, &subjects.stream).await?, made) {
        (Some(found), _) => Ok(found),
        (None, Err(error)) => Err(error.context("dead letters need a stream")),
        (None, Ok(_)) => bail!("the stream {} was created and is gone again", subjects.stream),
    }
}

/// Refuses a stream that would lose dead letters, or does not accept them. `max_payload` is the server's.
///
/// # Errors
/// The problem and, after a semicolon, the fix.
pub(crate) fn refuse_unfit(
    found: &StreamConfig,
    subjects: &DeadLetterSubjects,
    max_payload: usize,
) -> anyhow::Result<()> {
    let problem = if found.name == subjects.source {
        "is the stream that messages are read from"
    } else if found.mirror.is_some() {
        "is a mirror, which accepts no messages"
    } else if found.sealed {
        "is sealed, and accepts no more messages"
    } else if found.deny_delete {
        "allows no deletes (deny_delete), so that replayed dead letters would stay"
    } else if found.no_ack {
        "acknowledges nothing (no_ack)"
    } else if found.retention == "interest" {
        "keeps only messages that a consumer waits for (its retention is interest)"
    } else if found.subject_transform.is_some() {
        "stores messages under other subjects (subject_transform)"
    } else {
        refuse_deaf(found, subjects)?;
        return refuse_narrow(found, max_payload);
    };
    bail!(
        "the stream {} can't keep dead letters: it {problem}; set NATS_DEAD_STREAM to another name",
        found.name
    )
}

/// Refuses a stream that lacks the subjects of dead letters.
///
/// # Errors
/// The missing subject and, after a semicolon, the fix.
pub(super) fn refuse_deaf(found: &StreamConfig, subjects: &DeadLetterSubjects) -> anyhow::Result<()> {
    let taken = subjects.of_stream();
    if found.subjects.iter().any(|wide| subject::covers(wide, &taken)) {
        return Ok(());
    }
    let subjects = [&found.subjects[..], std::slice::from_ref(&taken)].concat().join(",");
    let name = &found.name;
    bail!(
        "the stream {name} is there and does not store {taken}, where dead letters go; add the subject: nats stream edit \
         {name} --subjects='{subjects}', or set NATS_DEAD_STREAM to another name"
    )
}

/// Refuses a stream in which not even the half of a large payload has room.
fn refuse_narrow(found: &StreamConfig, max_payload: usize) -> anyhow::Result<()> {
    let StreamConfig { name, max_msg_size, .. } = found;
    let wanted = max_payload / 2 + MAX_HEADERS;
    if usize::try_from(*max_msg_size).is_ok_and(|max| 0 < max && max < wanted) {
        bail!(
            "the stream {name} can't keep dead letters: it takes {max_msg_size} bytes in a message (max_msg_size), and \
             {wanted} are needed for half of the largest payload and the reason; nats stream edit {name} \
             --max-msg-size=-1, or set NATS_DEAD_STREAM to another name"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::info::SubjectTransform;

    #[test]
    fn stream_that_would_lose_dead_letters_is_refused_by_what_is_wrong() {
        let subjects = DeadLetterSubjects::at("ORDERS", "TESTING", None);
        let fit = || StreamConfig {
            name: "ORDERS_DEAD".into(),
            subjects: vec!["dead.ORDERS.>".into()],
            ..Default::default()
        };
        assert!(refuse_unfit(&fit(), &subjects, 1 << 20).is_ok());
        let wide = StreamConfig { subjects: vec!["x".into(), "dead.>".into()], ..fit() };
        assert!(refuse_unfit(&wide, &subjects, 1 << 20).is_ok());
        let transform = Some(SubjectTransform::default());
        for (unfit, says) in [
            (StreamConfig { name: "ORDERS".into(), ..fit() }, "read from"),
            (StreamConfig { mirror: Some(Default::default()), ..fit() }, "mirror"),
            (StreamConfig { sealed: true, ..fit() }, "sealed"),
            (StreamConfig { deny_delete: true, ..fit() }, "deny_delete"),
            (StreamConfig { no_ack: true, ..fit() }, "no_ack"),
            (StreamConfig { retention: "interest".into(), ..fit() }, "retention"),
            (StreamConfig { subject_transform: transform, ..fit() }, "subject_transform"),
            (
                StreamConfig { subjects: vec!["dead.ORDERS.*".into()], ..fit() },
                "--subjects='dead.ORDERS.*,dead.ORDERS.>'",
            ),
        ] {
            let refused = refuse_unfit(&unfit, &subjects, 1 << 20).unwrap_err().to_string();
            assert!(refused.contains(says) && refused.contains("NATS_DEAD_STREAM"), "{refused}");
        }
        let sized = |max_msg_size| refuse_narrow(&StreamConfig { max_msg_size, ..fit() }, 1 << 20);
        assert!(sized(-1).is_ok() && sized(0).is_ok() && sized((1 << 19) + 4096).is_ok());
        assert!(sized((1 << 19) + 4095).unwrap_err().to_string().contains("max-msg-size"));
    }
}
