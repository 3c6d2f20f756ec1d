//! Programs of docs/CLIENTS.md that send orders: each is run, and says what became of its order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use devstack::{free_port, tools};
use futures_util::future::join_all;

use super::markdown::Document;
use crate::drain_stan::go;
use crate::support::{Stack, in_time};

/// A program, ready to run.
struct Program {
    path: PathBuf,
    args: Vec<PathBuf>,
    asks_for_receipt: bool,
}

impl Program {
    async fn run(&self) -> Output {
        let mut command = tokio::process::Command::new(&self.path);
        // They read a file of the clone.
        command.args(&self.args).current_dir(tools::workspace()).kill_on_drop(true);
        in_time("a program of docs/CLIENTS.md", command.output()).await.unwrap()
    }
}

/// The programs, with the addresses of this stack and of a service that listens on this port.
fn programs(stack: &Stack, http: u16) -> Vec<Program> {
    let mut programs = Vec::new();
    for (number, block) in Document::read("docs/CLIENTS.md").blocks.iter().enumerate() {
        let is_program = match block.mark.as_str() {
            "go" => block.text.starts_with("package main"),
            "python" => block.text.contains("nats.connect"),
            _ => false,
        };
        if !is_program {
            continue;
        }
        let text = block.text.replace(":4222", &format!(":{}", stack.nats.port()));
        let text = text.replace(":8090", &format!(":{http}"));
        let folder = stack.temp_dir.path().join(format!("program-{number}"));
        fs::create_dir(&folder).unwrap();
        let (path, args) = match block.mark.as_str() {
            "go" => match built_by_go(&folder, &text) {
                Some(program) => (program, Vec::new()),
                None => continue,
            },
            _ => {
                let file = folder.join("main.py");
                fs::write(&file, text).unwrap();
                let python = tools::find_nats_py().expect("nats-py: `cargo xtask test` installs it");
                (python, vec![file])
            }
        };
        programs.push(Program { path, args, asks_for_receipt: block.text.contains("Orderd-Receipt") });
    }
    programs
}

/// `None` without Go. The version of `nats.go` is that of `tests/stan`, so that Go fetches no second one.
fn built_by_go(folder: &Path, text: &str) -> Option<PathBuf> {
    let go = go()?;
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stan");
    for file in ["go.mod", "go.sum"] {
        fs::copy(module.join(file), folder.join(file)).unwrap();
    }
    fs::write(folder.join("main.go"), text).unwrap();
    let built = std::process::Command::new(go).args(["build", "-o", "program"]).current_dir(folder).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(folder.join("program"))
}

/// Runs the programs at once; each must end with this code, and print a line that begins with this.
async fn print(programs: impl Iterator<Item = &Program>, code: i32, begin: &str) -> Vec<String> {
    let ran = join_all(programs.map(Program::run)).await;
    let lines = ran.into_iter().map(|output| {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        // Go's log begins with the date.
        let line = said.lines().find_map(|line| Some(line[line.find(begin)?..].to_owned()));
        line.unwrap_or_else(|| panic!("{said} and not {begin}"))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_send_orders_say_what_became_of_them() {
    let stack = Stack::new();
    let http = free_port();
    let address = format!("127.0.0.1:{http}");
    let serve = async |setting: (&str, &str)| stack.serve(&[("HTTP_ADDR", &address), setting]).await;
    let programs = programs(&stack, http);
    let languages = if go().is_some() { 2 } else { 1 };
    let asking = || programs.iter().filter(|program| program.asks_for_receipt);
    assert_eq!((programs.len(), asking().count()), (2 * languages, languages));

    let mut service = serve(("LOG", "info")).await;
    let sending = programs.iter().filter(|program| !program.asks_for_receipt);
    print(sending, 0, "in the stream at ").await;
    let lines = print(asking(), 0, "committed, key ").await;
    // One order by JetStream and one by core NATS from each program that asks for nothing.
    service.wait_len(3 * languages as u64).await;
    let ids = service.ids().await;
    for line in lines {
        assert!(ids.iter().any(|id| line.ends_with(id.as_str())), "{line}: {ids:?}");
    }
    service.stop();

    let mut service = serve(("REQUIRE", "order_uid,track_number")).await;
    print(asking(), 1, "refused: missing_member, key ").await;
    service.stop();

    // No receipt, and the order is there.
    let mut service = serve(("RECEIPT_SUBJECTS", "none")).await;
    print(asking(), 0, "accepted, at ").await;
    service.stop();

    print(asking(), 1, "unknown, at ").await;
}
