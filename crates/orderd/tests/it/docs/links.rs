//! Every link and picture points to an existing file and heading.

use std::path::{Component, Path, PathBuf};

use devstack::tools;

use super::markdown::Document;

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let documents = Document::all();
    let mut followed = 0;
    for document in &documents {
        for link in document.links.iter().filter(|link| !is_elsewhere(link)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = target(&document.name, file);
            assert!(tools::workspace().join(&target).exists(), "{}: {link} is not there", document.name);
            if !anchor.is_empty() {
                let led = documents.iter().find(|other| Path::new(&other.name) == target);
                let led = led.unwrap_or_else(|| panic!("{}: {link} is not a document", document.name));
                assert!(anchors(led).contains(&anchor.into()), "{}: {link} is not a heading", document.name);
            }
            followed += 1;
        }
    }
    assert!(followed > 15, "{followed} links are too few to have been found all");
}

fn is_elsewhere(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://")
}

/// The target of a link, relative to the workspace.
fn target(document: &str, file: &str) -> PathBuf {
    if file.is_empty() {
        return document.into();
    }
    let mut path = PathBuf::new();
    for part in Path::new(document).parent().unwrap().join(file).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{document}: {file} is outside of the workspace"),
            part => path.push(part),
        }
    }
    path
}

/// The anchors of a document's headings, as GitHub generates them.
pub(super) fn anchors(document: &Document) -> Vec<String> {
    let mut anchors = Vec::new();
    for heading in &document.headings {
        let anchor = anchor(heading);
        assert!(!anchors.contains(&anchor), "{}: two headings {heading:?}", document.name);
        anchors.push(anchor);
    }
    anchors
}

pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
