//! The generated Go source is formatted as by gofmt, and compiles.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use model::{Model, Source};

/// Names and values that could break a comment, a tag or an identifier.
const ODD: &str = r##"{
    "quotes": "''it``s", "comment": "*/ //", "directive": "go:build ignore", "list": "  - item",
    "heading": "# Heading",
    "long": "01234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "func": 1, "-": 2, "a,b": 3, "`": 4, "\"": 5, "\\": 6, "tag:\"x\"": 7, "LocalID": 8, "\u202e": "\u202e",
    "имя": [[{"": [null, 1]}]], "ß": 9, "ªº": 10, "ǆ": 11, "名前": 12, "Ⅷ": 13, "a\u0301": 14,
    "%": {"-": 15, "omitempty": 1.5}
}"##;

#[test]
fn gofmt_and_go_take_the_source() -> Result<(), Box<dyn Error>> {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("Go is not installed: its verdict on the Go source is left to CI");
        assert!(env::var_os("CI").is_none(), "CI has to have Go");
        return Ok(());
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    for (name, json) in [
        ("order.json", fs::read_to_string(samples.join("order.json"))?),
        ("station.json", fs::read_to_string(samples.join("station.json"))?),
        ("odd\n name.json", ODD.to_owned()),
    ] {
        let source = Model::new(name, &[Source { name, json: &json }])?.go();
        check(&source).map_err(|err| format!("{name:?}: {err}\n{source}"))?;
    }
    Ok(())
}

fn check(source: &str) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("go.mod"), "module data\n\ngo 1.18\n")?;
    fs::write(dir.path().join("order.go"), source)?;
    succeeds(dir.path(), "gofmt", &["-d", "order.go"])?;
    succeeds(dir.path(), "go", &["vet", "./..."])?;
    succeeds(dir.path(), "go", &["build", "./..."])
}

/// gofmt reports differences only in its output; its exit code is 0.
fn succeeds(dir: &Path, program: &str, args: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    let Output { status, stdout, stderr } = command.output()?;
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    if status.success() && said.is_empty() {
        Ok(())
    } else {
        Err(format!("{program} {args:?}: {said}").into())
    }
}
