//! Dead letters of earlier versions, stored under `dead.{subject}.{key}`. Their subjects do not name a stream, so an
//! installation can't distinguish its own: it only counts them at startup.

use std::collections::BTreeSet;

use async_nats::jetstream::Context;
use order::Key;

use super::subjects::DeadLetterSubjects;
use crate::finding::Finding;
use crate::nats::info;
use crate::subject::{self, DEAD_PREFIX};
use crate::wording::counted;

/// Their number for this topic, their streams, and what to do.
///
/// # Errors
/// The server can't be reached.
pub(crate) async fn findings(
    context: &Context,
    subjects: &DeadLetterSubjects,
    topic: &str,
) -> anyhow::Result<Vec<Finding>> {
    let counts = count(context, subjects, topic).await?;
    Ok(counts.into_iter().map(|(stream, count)| finding(&stream, count, topic)).collect())
}

fn finding(stream: &str, count: usize, topic: &str) -> Finding {
    let (filter, letters) = (filter(topic), counted(count as u64, "dead letter"));
    Finding::warning(
        format!(
            "the stream {stream} holds {letters} of an earlier version, under {filter}: they are not listed"
        ),
        format!(
            "read them (nats stream view {stream} --subject='{filter}'), publish their payloads again, and remove them \
             (nats stream purge {stream} --subject='{filter}')"
        ),
    )
}

/// The streams that hold some, and how many.
async fn count(
    context: &Context,
    subjects: &DeadLetterSubjects,
    topic: &str,
) -> anyhow::Result<Vec<(String, usize)>> {
    let filter = filter(topic);
    let mut streams = BTreeSet::from([subjects.stream.clone()]);
    streams.extend(info::names(context, &filter).await?);
    let mut counts = Vec::new();
    for stream in streams {
        let stored = info::subjects(context, &stream, &filter).await?;
        let count = stored.iter().filter(|subject| is_earlier(subject, topic, subjects)).count();
        if count > 0 {
            counts.push((stream, count));
        }
    }
    Ok(counts)
}

/// The subjects under which they would be.
fn filter(topic: &str) -> String {
    if topic.ends_with('>') { format!("{DEAD_PREFIX}.{topic}") } else { format!("{DEAD_PREFIX}.{topic}.*") }
}

fn is_earlier(dead: &str, topic: &str, subjects: &DeadLetterSubjects) -> bool {
    let Some((subject, key)) = dead.strip_prefix(DEAD_PREFIX).and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    let Some(subject) = subject.strip_prefix('.') else { return false };
    Key::is_from_stream(key) && subject::covers(topic, subject) && !subjects.has(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1700000000123456789-42";

    #[test]
    fn only_letters_of_the_topic_and_of_no_installation_are_of_an_earlier_version() {
        let is = |subject: &str, topic: &str, source: &str| {
            let subjects = DeadLetterSubjects::at(source, topic, None);
            is_earlier(&format!("dead.{subject}.{KEY}"), topic, &subjects)
        };
        assert!(is("TESTING", "TESTING", "ORDERS"));
        assert!(is("orders.new", "orders.>", "ORDERS"));
        assert!(!is("ORDERS.TESTING", "TESTING", "ORDERS"), "of this version");
        assert!(!is("PARCELS", "TESTING", "ORDERS"), "of another topic");
        assert!(
            !is("orders.orders%2E%3E", "orders.>", "orders"),
            "its own, in a stream called as the topic begins"
        );
        let subjects = DeadLetterSubjects::at("ORDERS", "TESTING", None);
        for dead in
            ["dead.TESTING", "dead.TESTING.x", &format!("dead.TESTING.{KEY}.rest"), &format!("dead.{KEY}")]
        {
            assert!(!is_earlier(dead, "TESTING", &subjects), "{dead}");
        }
        assert_eq!((filter("TESTING"), filter("a.>")), ("dead.TESTING.*".into(), "dead.a.>".into()));
    }
}
