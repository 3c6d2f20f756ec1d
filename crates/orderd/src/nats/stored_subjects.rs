//! The subjects under which a stream stores messages. They may differ from those that clients publish on, and a
//! consumer filters by the stored ones.

use super::info::{StreamConfig, StreamSource, SubjectTransform};
use crate::subject;

/// Patterns of all subjects under which the stream may store messages; `>` if that is unknown.
pub(crate) fn subjects(config: &StreamConfig) -> Vec<String> {
    let own = config.subjects.iter().cloned();
    let sourced = config.sources.iter().flat_map(from);
    let all: Vec<String> =
        own.chain(sourced).flat_map(|taken| through(config.subject_transform.as_ref(), taken)).collect();
    all.into_iter().chain(config.mirror.iter().flat_map(from)).collect()
}

/// Whether the stream may store messages under a subject of the topic.
pub(crate) fn may_have(config: &StreamConfig, topic: &str) -> bool {
    subjects(config).iter().any(|stored| subject::overlap(stored, topic))
}

/// Whether a stream has messages that were not published on its own subjects, or stores them under others.
pub(crate) fn is_indirect(config: &StreamConfig) -> bool {
    config.mirror.is_some() || !config.sources.is_empty() || config.subject_transform.is_some()
}

fn from(source: &StreamSource) -> Vec<String> {
    let all = || ">".to_owned();
    if source.subject_transforms.is_empty() {
        let filter = source.filter_subject.clone();
        return vec![if filter.is_empty() { all() } else { filter }];
    }
    source
        .subject_transforms
        .iter()
        .map(|transform| {
            let stays = transform.dest.is_empty();
            let given = if stays { &transform.src } else { &transform.dest };
            if given.is_empty() { all() } else { pattern(given) }
        })
        .collect()
}

/// Applies a transform to a pattern: subjects that match the source get the destination, the others stay.
fn through(transform: Option<&SubjectTransform>, taken: String) -> Vec<String> {
    let Some(transform) = transform.filter(|transform| !transform.dest.is_empty()) else {
        return vec![taken];
    };
    let src = if transform.src.is_empty() { ">" } else { &transform.src };
    let dest = pattern(&transform.dest);
    if subject::covers(src, &taken) {
        vec![dest]
    } else if subject::overlap(src, &taken) {
        vec![taken, dest]
    } else {
        vec![taken]
    }
}

/// A destination as a pattern: a placeholder may become any token, a split function several tokens.
fn pattern(dest: &str) -> String {
    let mut tokens = Vec::new();
    for token in dest.split('.') {
        if token.contains("{{") && token.to_lowercase().contains("split")
            || token.to_lowercase().contains("slice")
        {
            tokens.push(">");
            break;
        }
        tokens.push(if token.contains("{{") || token.starts_with('$') { "*" } else { token });
    }
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> StreamConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn transforms_sources_and_mirrors_decide() {
        for (text, wanted) in [
            (r#"{"subjects":["a","b.>"]}"#, &["a", "b.>"][..]),
            (
                r#"{"subjects":["shop.>"],"subject_transform":{"src":"shop.>","dest":"orders.>"}}"#,
                &["orders.>"],
            ),
            (
                r#"{"subjects":["shop.>","x"],"subject_transform":{"src":"shop.*","dest":"o.{{wildcard(1)}}"}}"#,
                &["shop.>", "o.*", "x"],
            ),
            (
                r#"{"subjects":["a.*"],"subject_transform":{"src":"a.*","dest":"b.$1.{{partition(3,1)}}"}}"#,
                &["b.*.*"],
            ),
            (r#"{"subjects":["a.*"],"subject_transform":{"src":"","dest":"b.{{split(1,-)}}.c"}}"#, &["b.>"]),
            (r#"{"sources":[{"name":"A"}]}"#, &[">"]),
            (
                r#"{"sources":[{"name":"A","filter_subject":"a.>"},{"name":"B","subject_transforms":[{"src":"b.*","dest":"c.$1"},{"src":"d","dest":""}]}]}"#,
                &["a.>", "c.*", "d"],
            ),
            (r#"{"mirror":{"name":"A","filter_subject":"a"}}"#, &["a"]),
        ] {
            assert_eq!(subjects(&config(text)), wanted, "{text}");
        }
        let transformed =
            config(r#"{"subjects":["shop.>"],"subject_transform":{"src":"shop.>","dest":"orders.>"}}"#);
        assert!(may_have(&transformed, "orders.>") && may_have(&transformed, "orders.new"));
        assert!(!may_have(&transformed, "shop.>"));
    }
}
