//! Go programs that tests compare with.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Go's program, or none: a test then passes with a line that says so, but in CI, where it fails.
pub(crate) fn go() -> Option<Command> {
    let found =
        Command::new("go").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "Go is needed in CI");
        eprintln!("skipped: there is no `go` here");
        return None;
    }
    let mut go = Command::new("go");
    // The standard library is all that is needed.
    go.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local").args(["run", "."]);
    Some(go)
}

/// A Go program of these files; runs it on `input` and gives back what it printed.
pub(crate) fn run(mut go: Command, files: &[(&str, &str)], input: String) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    go.current_dir(Path::new(folder.path())).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = go.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Go's program failed");
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) const SEED: (&str, &str) = ("seed.go", include_str!("../corpus/seed.go"));
pub(crate) const MODULE: (&str, &str) = ("go.mod", include_str!("../corpus/go.mod"));
