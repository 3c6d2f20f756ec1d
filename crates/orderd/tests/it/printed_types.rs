//! `orderd model go|rust|typescript`: the printed types compile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use devstack::TempDir;

/// Values that could break names, comments and types.
const ODD: &str = r#"{"type": "t", "id": 1, "class": true, "*/": 0.5, "a-b": [[{"self": "s", "'": "`*/"}]], "1st": null,
    "имя": {"type": {"fn": 9007199254740993}}, "": "", "constructor": [1], "__proto__": "p"}"#;

/// Titles of schemas, after which types are named.
const ODD_TITLES: [&str; 7] = ["посылка №1", "2nd parcel", "📦", "名前", "", "*/ type\nself", "raw data"];

fn samples(temp_dir: &TempDir) -> Vec<PathBuf> {
    let odd = temp_dir.path().join("odd.json");
    fs::write(&odd, ODD.replace("null", "\"x\"")).unwrap();
    let samples = devstack::tools::workspace().join("samples");
    let titled = ODD_TITLES.iter().enumerate().map(|(number, title)| {
        let file = temp_dir.path().join(format!("titled_{number}.json"));
        let schema = serde_json::json!({
            "title": title, "type": "object",
            "properties": { "id": { "type": "string" }, "to": { "type": "object", "properties": {
                "title": { "type": "string" },
            } } },
        });
        fs::write(&file, schema.to_string()).unwrap();
        file
    });
    [samples.join("order.json"), samples.join("station.json"), odd].into_iter().chain(titled).collect()
}

/// The output of `orderd model` for a sample.
fn printed(language: &str, sample: &Path) -> String {
    printed_with(&[language], sample)
}

fn printed_with(args: &[&str], sample: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    let output = command.arg("model").args(args).arg(sample).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn the_compiler_of_typescript_takes_the_types() {
    let tsc = devstack::tools::ensure_typescript(&mut |line| eprintln!("{line}")).unwrap();
    let temp_dir = TempDir::new().unwrap();
    for sample in samples(&temp_dir) {
        let file = temp_dir.path().join("types.ts");
        fs::write(&file, printed("typescript", &sample)).unwrap();
        succeeds(Command::new(&tsc).args(["--strict", "--noEmit", "--skipLibCheck"]).arg(&file));
    }
    // The sample is one of them.
    let order = devstack::tools::workspace().join("samples/order.json");
    let types = printed("typescript", &order)
        + "export const order: RawOrderData = "
        + &fs::read_to_string(order).unwrap();
    let file = temp_dir.path().join("order.ts");
    fs::write(&file, &types).unwrap();
    succeeds(Command::new(&tsc).args(["--strict", "--noEmit"]).arg(&file));
    fs::write(&file, types.replace("\"sm_id\": 99", "\"sm_id\": \"99\"")).unwrap();
    assert!(!Command::new(&tsc).args(["--strict", "--noEmit"]).arg(&file).output().unwrap().status.success());
}

#[test]
fn the_types_of_rows_that_are_documents_allow_null_and_what_is_missing() {
    let tsc = devstack::tools::ensure_typescript(&mut |line| eprintln!("{line}")).unwrap();
    let temp_dir = TempDir::new().unwrap();
    let sample = devstack::tools::workspace().join("samples/order.json");
    let order =
        "export const order: RawOrderData = {\"payment\": null, \"items\": [null, {\"rid\": null}]};\n";
    for (rows, is_taken) in [("gob", false), ("jsonb", true), ("json", true)] {
        let file = temp_dir.path().join(format!("{rows}.ts"));
        fs::write(&file, printed_with(&["typescript", "--rows", rows], &sample) + order).unwrap();
        let output = Command::new(&tsc).args(["--strict", "--noEmit"]).arg(&file).output().unwrap();
        assert_eq!(output.status.success(), is_taken, "{rows}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_compiler_of_rust_takes_the_types() {
    let temp_dir = TempDir::new().unwrap();
    let source = temp_dir.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(
        temp_dir.path().join("Cargo.toml"),
        "[package]\nname = \"types\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n\
         serde = { version = \"1\", features = [\"derive\"] }\ngobwire = { version = \"0.1\", features = [\"derive\"] }\n\
         [workspace]\n",
    )
    .unwrap();
    let mut modules = String::new();
    for sample in samples(&temp_dir) {
        let name = sample.file_stem().unwrap().to_str().unwrap();
        fs::write(source.join(format!("{name}.rs")), printed("rust", &sample)).unwrap();
        fs::write(source.join(format!("{name}_gob.rs")), printed_with(&["rust", "--gob"], &sample)).unwrap();
        modules += &format!("pub mod {name};\npub mod {name}_gob;\n");
    }
    fs::write(source.join("lib.rs"), "#![deny(warnings)]\n".to_owned() + &modules).unwrap();
    // The versions that are here already.
    let lock = devstack::tools::workspace().join("Cargo.lock");
    fs::copy(lock, temp_dir.path().join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--offline", "--quiet"]).current_dir(temp_dir.path());
    succeeds(cargo.env("CARGO_TARGET_DIR", temp_dir.path().join("target")));
}

#[test]
fn the_compiler_of_go_takes_the_types() {
    let temp_dir = TempDir::new().unwrap();
    for sample in samples(&temp_dir) {
        fs::write(temp_dir.path().join("go.mod"), "module data\n\ngo 1.18\n").unwrap();
        fs::write(temp_dir.path().join("types.go"), printed("go", &sample)).unwrap();
        for args in [&["vet", "./..."][..], &["build", "./..."]] {
            let mut go = Command::new("go");
            go.args(args).current_dir(temp_dir.path());
            succeeds(go.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local"));
        }
    }
}

/// A schema that is printed is the same model.
#[test]
fn an_inferred_schema_is_the_model_of_its_samples() {
    let temp_dir = TempDir::new().unwrap();
    for sample in samples(&temp_dir) {
        let schema = temp_dir.path().join("anything.json");
        fs::write(&schema, printed("infer", &sample)).unwrap();
        for language in ["go", "rust", "typescript"] {
            // Examples in comments may be written another way: 1000.0 for 1e3.
            let code = |text: String| {
                let lines = text.lines().filter(|line| !line.trim_start().starts_with('/'));
                lines.map(|line| format!("{line}\n")).collect::<String>()
            };
            assert_eq!(code(printed(language, &schema)), code(printed(language, &sample)));
        }
    }
}
