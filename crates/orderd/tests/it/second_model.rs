//! `orderd` is a service for any document of which one has a sample: the whole of it is built and run for one
//! that is no order.

use std::path::{Path, PathBuf};
use std::process::Command;

use devstack::Scratch;
use serde_json::Value;

use crate::support::{Stack, eventually};

/// The workspace, copied, with the model of `samples/station.json`, and a program and a version of their own:
/// cargo tells packages apart by their versions, not by where their workspace lies, and so the two can share
/// what is built of others.
fn station() -> (Scratch, PathBuf) {
    let workspace = devstack::tools::workspace();
    let copy = Scratch::new().unwrap();
    let files = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard"])
        .current_dir(&workspace)
        .output()
        .unwrap();
    for file in String::from_utf8(files.stdout).unwrap().lines() {
        let (from, to) = (workspace.join(file), copy.path().join(file));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
    }
    let json = std::fs::read_to_string(copy.path().join("samples/station.json")).unwrap();
    let model = codegen::infer(&[codegen::Sample { name: "samples/station.json", json: &json }]).unwrap();
    std::fs::write(copy.path().join("crates/order/src/model.rs"), model.rust().unwrap()).unwrap();
    edit(&copy.path().join("crates/orderd/Cargo.toml"), |text| {
        text.to_owned() + "\n[[bin]]\nname = \"station\"\npath = \"src/main.rs\"\n"
    });
    edit(&copy.path().join("Cargo.toml"), |text| {
        assert!(text.contains("\nversion = \""));
        text.replacen("\nversion = \"", "\nversion = \"99", 1)
    });
    let program = built(copy.path());
    (copy, program)
}

fn edit(file: &Path, change: impl FnOnce(&str) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(&text)).unwrap();
}

fn built(copy: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_orderd")).ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--package", "orderd", "--bin", "station"]);
    let built = cargo.current_dir(copy).env("CARGO_TARGET_DIR", target).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/station")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_for_another_document() {
    let (_copy, program) = tokio::task::spawn_blocking(station).await.unwrap();
    let stack = Stack { program, ..Stack::new() };
    let sample: Value = serde_json::from_str(include_str!("../../../../samples/station.json")).unwrap();

    let unset = stack.run(&["serve"], "").await;
    assert_eq!(unset.status.code(), Some(2), "the default names members that this model lacks");
    assert!(String::from_utf8_lossy(&unset.stderr).contains("REQUIRE"));

    let settings = [("REQUIRE", "station_id"), ("SEARCH", "station_id,имя,🌡")];
    let mut service = stack.serve(&settings).await;
    stack.publish(&[sample.to_string(), "{\"station_id\":\"\"}".into()]).await;
    assert!(stack.run(&["publish", "--count", "2"], "").await.status.success());
    service.wait_len(3).await;
    let id = service.ids().await[0].clone();
    let before = service.get(&format!("/order/{id}")).await.body;
    for (name, value) in serde_json::from_str::<Value>(&before).unwrap().as_object().unwrap() {
        assert!(sample.get(name).is_some_and(|expected| alike(value, expected)), "{name}: {value}");
    }
    assert_eq!(service.get("/orders?%D0%B8%D0%BC%D1%8F=nowhere").await.body, "[]");
    assert_eq!(service.get("/orders?station_id=svo-07").await.json().as_array().unwrap().len(), 3);
    eventually("all rows are committed", async || (stack.rows() == 3).then_some(())).await;
    assert_eq!(service.stop(), Some(0));
    let service = stack.serve(&settings).await;
    assert_eq!(service.get(&format!("/order/{id}")).await.body, before);
}

/// The same, but for what the model adds: zero values where the sample leaves a member out or says null.
fn alike(served: &Value, sample: &Value) -> bool {
    match (served, sample) {
        (Value::Object(served), Value::Object(sample)) => served
            .iter()
            .all(|(name, value)| sample.get(name).map_or(is_zero(value), |expected| alike(value, expected))),
        (Value::Array(served), Value::Array(sample)) => {
            served.len() == sample.len()
                && served.iter().zip(sample).all(|(served, sample)| alike(served, sample))
        }
        (Value::Number(served), Value::Number(sample)) => served.as_f64() == sample.as_f64(),
        (served, Value::Null) => is_zero(served),
        (served, sample) => served == sample,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(is_zero),
        Value::Array(elements) => elements.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Null => true,
    }
}
