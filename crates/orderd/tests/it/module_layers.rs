//! Which folder of the source may import which: the list goes from the lowest to the highest. No crate of the workspace
//! imports in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use devstack::tools;

/// The modules of `crates/orderd/src`, line by line from the lowest to the highest. Each may import those before it.
const LAYERS: &str = "
    version random aligned_interval wording finding subject traceparent tls
    cli config logging metrics backoff
    flow_state orders_in_doubt fill_progress
    nats postgres
    health memory_watch warning_rules
    receipts dead_letters pipeline_chunks traces erasure
    retention ingest persist events fill read_through pipeline
    http reload_watch shutdown commands fuzzing lib main
";

/// What to do about a refused import.
const HOW_TO_MOVE: &str = "Move what both need into a lower module: `flow_state` and `pipeline_chunks` have \
    what stages share, `nats` and `postgres` know neither stages nor `health`, `health`, `metrics` and `config` know \
    nothing of their users. Or pass it down as a value or a callback. LAYERS in this file has the order.";

#[test]
fn modules_of_orderd_import_only_modules_below_them() {
    let modules: Vec<&str> = LAYERS.split_whitespace().collect();
    let rank = |module: &str| modules.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    for (file, imported) in imports(&tools::workspace().join("crates/orderd/src")) {
        let module = top(&file);
        let Some(own) = rank(&module) else { panic!("{file} is in no module of LAYERS. {HOW_TO_MOVE}") };
        for other in imported.iter().filter(|other| **other != module) {
            match rank(other) {
                Some(rank) if rank < own => {}
                _ => wrong.push(format!("{file} imports `{other}`, which is above `{module}`")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}. {HOW_TO_MOVE}", wrong.join("; "));
}

#[test]
fn no_crate_imports_in_circles() {
    for name in ["bench", "cache", "chaos", "devstack", "model", "order", "protocol-model", "release"] {
        let root = tools::workspace().join("crates").join(name).join("src");
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, imported) in imports(&root) {
            graph.entry(top(&file)).or_default().extend(imported);
        }
        assert!(graph.len() > 3, "{name}: {graph:?}");
        // Repeatedly removes modules without remaining imports; what remains is a cycle.
        loop {
            let is_left = |other: &String| graph.contains_key(other);
            let free = graph
                .iter()
                .find(|(own, imported)| !imported.iter().any(|other| other != *own && is_left(other)))
                .map(|(own, _)| own.clone());
            let Some(free) = free else { break };
            graph.remove(&free);
        }
        assert!(graph.is_empty(), "crates/{name}/src has a circle of imports among {graph:?}");
    }
}

/// The client parses the headers of such an answer, and would fail again at a message that it can't take. Dead letters
/// and notes of the drain are of our own making.
#[test]
fn orders_are_looked_up_in_the_stream_by_stored_message_alone() {
    let root = tools::workspace().join("crates/orderd/src");
    let asks = |file: &PathBuf| {
        let source = std::fs::read_to_string(file).unwrap();
        ["raw_message", "direct_get"].iter().any(|call| source.contains(call))
    };
    let asking: Vec<_> = files(&root).into_iter().filter(asks).collect();
    let own = |file: &&PathBuf| {
        !["dead_letters", "drain_stan"].iter().any(|module| file.to_str().unwrap().contains(module))
    };
    assert!(!asking.is_empty(), "the calls have other names now");
    let others: Vec<_> = asking.iter().filter(own).collect();
    assert!(others.is_empty(), "{others:?}: use nats::stored_message");
}

#[test]
fn imports_are_found_in_each_of_their_forms() {
    let imported = |file, source| imported(Path::new(file), source).into_iter().collect::<Vec<_>>().join(" ");
    let grouped = "use crate::{config, nats::{self, info}};\nfn part() -> crate::health::Part {}";
    assert_eq!(imported("http/mod.rs", grouped), "config health nats");
    assert_eq!(imported("http/server/mod.rs", "use super::super::cli::Cli;\nuse super::text;"), "cli");
    assert_eq!(
        imported("position.rs", "use super::{pipeline_chunks, backoff::Backoff};"),
        "backoff pipeline_chunks"
    );
    assert_eq!(imported("a.rs", "// crate::b\n#[cfg(test)]\nmod tests { use crate::c; }"), "");
}

/// The top-level module that a file belongs to.
fn top(file: &str) -> String {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// Each file below `root`, and the top-level modules that it names.
fn imports(root: &Path) -> Vec<(String, BTreeSet<String>)> {
    let read = |file: PathBuf| {
        let source = std::fs::read_to_string(&file).unwrap();
        let relative = file.strip_prefix(root).unwrap();
        (relative.to_str().unwrap().to_owned(), imported(relative, &source))
    };
    files(root).into_iter().map(read).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    let is_source = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".rs") && !name.ends_with("tests.rs")
    };
    all.filter(is_source).collect()
}

/// The top-level modules that a file names outside its comments and its tests.
fn imported(file: &Path, source: &str) -> BTreeSet<String> {
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let source = lines.collect::<Vec<_>>().join("\n");
    let tests =
        source.find("#[cfg(test)]\nmod tests").or(source.find("#[cfg(target_os = \"linux\")]\nmod tests"));
    let source = &source[..tests.unwrap_or(source.len())];
    let is_root = file.file_name().is_some_and(|name| name == "mod.rs");
    let depth = file.components().count() - usize::from(is_root);
    let mut found = BTreeSet::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth)] {
        let mut rest = source;
        while let Some(at) = rest.find(&prefix) {
            let before = rest[..at].chars().next_back();
            rest = &rest[at + prefix.len()..];
            if before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_' && letter != ':') {
                found.extend(modules(rest));
            }
        }
    }
    found
}

/// The modules that a path, or a group of paths, begins with.
fn modules(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    match path.strip_prefix('{') {
        None => names.push(name(path)),
        Some(group) => {
            let (mut depth, mut begins) = (0, true);
            for (at, letter) in group.char_indices() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => begins = true,
                    letter if begins && !letter.is_whitespace() => {
                        names.push(name(&group[at..]));
                        begins = false;
                    }
                    _ => {}
                }
            }
        }
    }
    // Types, constants and the two functions of the crate's root are not modules.
    names.retain(|name| {
        name.starts_with(char::is_lowercase) && !["super", "self", "listen", "run"].contains(&name.as_str())
    });
    names
}
