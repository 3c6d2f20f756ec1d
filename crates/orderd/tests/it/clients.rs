//! `/openapi.json` for other tools: linters find no problems, and clients from two generators work. The programs that
//! use the clients are in `tests/clients`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use devstack::TempDir;
use devstack::tools::{ensure_openapi_generator, ensure_openapi_packages};

use crate::support::{Service, Stack, eventually, orders};

const TOKENS: [(&str, &str); 3] = [
    ("HTTP_TOKEN", "reader-0123456789"),
    ("HTTP_REPLAY_TOKEN", "replayer-0123456789"),
    ("HTTP_ERASE_TOKEN", "eraser-0123456789"),
];

/// Names that mean something to Python, TypeScript and `/orders`.
const PARCEL: &str = r#"{"id": "p-1", "from": "x", "weight": 1.5, "n": 3, "is": true, "class": "c",
    "delivery": {"email": "a@b", "type": [1, 2]}}"#;

const SEARCH: &str = "from,weight,n,is,delivery.email,class";

fn say(line: &str) {
    eprintln!("{line}");
}

/// The programs from npm.
fn npm(program: &str) -> PathBuf {
    ensure_openapi_packages(&mut say).unwrap().join(".bin").join(program)
}

/// Runs a program; the error of a failure contains its output.
async fn succeeds(program: &Path, args: &[&str], folder: &Path) -> String {
    let mut command = tokio::process::Command::new(program);
    command.args(args).current_dir(folder).env("PYTHONPATH", "python").kill_on_drop(true);
    // redocly would ask its registry for a newer version.
    command.env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").env("REDOCLY_TELEMETRY", "off");
    let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{} {args:?}: {said}", program.display());
    said
}

/// Warnings count too.
async fn linters_find_nothing(service: &Service) {
    let temp_dir = TempDir::new().unwrap();
    fs::write(temp_dir.path().join("openapi.json"), service.get("/openapi.json").await.body).unwrap();
    fs::write(temp_dir.path().join("rules.yaml"), "extends: [\"spectral:oas\"]\n").unwrap();
    let spectral = ["lint", "--ruleset", "rules.yaml", "--fail-severity", "hint", "openapi.json"];
    succeeds(&npm("spectral"), &spectral, temp_dir.path()).await;
    let said =
        succeeds(&npm("redocly"), &["lint", "--extends", "recommended", "openapi.json"], temp_dir.path())
            .await;
    assert!(said.contains("is valid") && !said.contains("You have"), "{said}");
}

/// Makes a client for Python of the running service, and runs the program that uses it.
async fn use_python(service: &Service, program: &str, args: &[&str]) {
    let temp_dir = TempDir::new().unwrap();
    let generator = ensure_openapi_generator(&mut say).unwrap();
    let url = format!("http://{}", service.addr);
    let description = format!("{url}/openapi.json");
    let generate =
        ["generate", "-g", "python", "-i", &description, "-o", "python", "--package-name", "orderd_client"];
    succeeds(&generator, &generate, temp_dir.path()).await;
    let file = clients().join(program).display().to_string();
    let args = [&[&*file, &*url], args].concat();
    let said = succeeds(&generator.with_file_name("python"), &args, temp_dir.path()).await;
    assert!(said.contains("all as described"), "{said}");
}

/// Makes types for TypeScript of the running service, compiles the program that uses them, and runs it.
async fn use_typescript(service: &Service, program: &str, args: &[&str]) {
    let temp_dir = TempDir::new().unwrap();
    let folder = temp_dir.path();
    symlink(ensure_openapi_packages(&mut say).unwrap(), folder.join("node_modules")).unwrap();
    fs::write(folder.join("package.json"), "{\"type\": \"module\"}").unwrap();
    fs::copy(clients().join(program), folder.join("main.ts")).unwrap();
    let url = format!("http://{}", service.addr);
    succeeds(&npm("openapi-typescript"), &[&format!("{url}/openapi.json"), "-o", "api.d.ts"], folder).await;
    let compile = ["--strict", "--noUncheckedIndexedAccess", "--module", "nodenext", "--target", "es2022"];
    succeeds(&npm("tsc"), &[&compile[..], &["--types", "node", "main.ts"]].concat(), folder).await;
    let said = succeeds(Path::new("node"), &[&["main.js", &url], args].concat(), folder).await;
    assert!(said.contains("all as described"), "{said}");
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs generators: .ci/nightly clients"]
async fn generated_clients_get_what_the_service_has() {
    let stack = Stack::new();
    let service = stack.serve(&TOKENS).await;
    linters_find_nothing(&service).await;
    stack.publish(&orders(5)).await;
    let dead = async |count| {
        eventually("all are refused", async || {
            let listed = stack.run(&["dead-letters", "list", "--json"], "").await;
            (String::from_utf8_lossy(&listed.stdout).lines().count() == count).then_some(())
        })
        .await;
    };
    stack.publish(&["{"]).await;
    dead(1).await;
    let tokens = TOKENS.map(|(_, token)| token);
    for (count, program) in [(2, "orders.py"), (2, "orders.ts")] {
        stack.publish(&[r#"{"order_uid":1}"#]).await;
        dead(count).await;
        if program.ends_with("py") {
            use_python(&service, program, &tokens).await;
        } else {
            use_typescript(&service, program, &tokens).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs generators: .ci/nightly clients"]
async fn generated_clients_for_another_document_get_what_the_service_has() {
    let stack = Stack::new();
    let model = stack.temp_dir.path().join("parcel.json");
    fs::write(&model, PARCEL).unwrap();
    let model = model.display().to_string();
    let service = stack.serve(&[("MODEL", &model), ("SEARCH", SEARCH), ("PG_FORMAT", "jsonb")]).await;
    linters_find_nothing(&service).await;
    stack.publish(&[PARCEL]).await;
    service.wait_len(1).await;
    use_python(&service, "parcels.py", &[]).await;
    use_typescript(&service, "parcels.ts", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs linters: .ci/nightly clients"]
async fn linters_find_nothing_whatever_the_settings() {
    for settings in [
        &[("HTTP_ANONYMOUS", "true")][..],
        &[("SEARCH", "none"), ("HTTP_EVENT_READERS", "0")],
        &[("MODEL", "any"), ("HTTP_ERASE_TOKEN", "eraser-0123456789")],
    ] {
        let stack = Stack::new();
        linters_find_nothing(&stack.serve(settings).await).await;
    }
}
