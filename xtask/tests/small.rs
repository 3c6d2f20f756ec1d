//! xtask is built before `cargo xtask up` can print anything, so it has to stay small.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;

/// Maximum number of crates to build for it, including itself. Each delays the first output by seconds.
const MAX_CRATES: usize = 40;

#[test]
fn xtask_depends_on_no_client_of_a_server_and_no_async_runtime() {
    let mut tree = devstack::cargo::command();
    let edges = ["tree", "--package", "xtask", "--edges", "normal,build", "--prefix", "none"];
    let output = tree.args(edges).args(["--offline", "--format", "{lib}"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<_> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(crates.contains("devstack") && crates.contains("clap"), "{crates:?}");
    for heavy in ["tokio", "async_nats", "tokio_postgres", "chaos", "bench", "order", "model", "rustsec"] {
        assert!(
            !crates.contains(heavy),
            "xtask depends on {heavy}: move the command that needs it into a separate program, as in src/tool.rs"
        );
    }
    assert!(crates.len() <= MAX_CRATES, "{} crates: {crates:?}", crates.len());
}
