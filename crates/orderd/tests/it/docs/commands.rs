//! Command blocks of the documents: each is run, or checked as far as possible.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{iter, thread};

use devstack::wait_for;

use super::markdown::{Block, Document};
use super::up::{Up, UpCommand};
use super::words::ours;
use crate::support::LIMIT;

/// What can't be run here, and why: Docker has no engine, Kubernetes no cluster, systemd is not for tests to change,
/// the `nats` command is not installed, it takes minutes, changes the sources or doesn't end, or it is the reader's own
/// program.
const CHECKED: [&str; 6] = [
    "sh needs=docker",
    "sh needs=kubernetes",
    "sh needs=systemd",
    "sh needs=nats-cli",
    "sh needs=time",
    "sh needs=yours",
];

/// The page that needs orders: [`recovery_restores_all_orders_but_an_erased_one`] runs it.
const RECOVERY: &str = "docs/RECOVERY.md";

/// Maximum number of documents followed at once: each has separate servers, whose data are recreated.
const AT_ONCE: usize = 2;

/// How the names of translations end.
const RUSSIAN: &str = ".ru.md";

/// Languages of blocks that are not commands; `json_rows` runs the SQL.
const NO_COMMANDS: [&str; 9] = ["", "go", "python", "rust", "ts", "json", "ini", "yaml", "sql"];

#[test]
fn each_block_of_commands_says_what_is_done_with_it() {
    let mut commands = 0;
    for document in Document::all() {
        for block in document.blocks.iter().filter(|block| !NO_COMMANDS.contains(&block.mark.as_str())) {
            match block.mark.as_str() {
                "sh up" => drop(UpCommand::of(&block.text)),
                "sh run" => check_syntax(&document, block),
                mark if CHECKED.contains(&mark) => check_syntax(&document, block),
                mark => panic!("{}: {mark:?} does not say what is done with\n{}", document.name, block.text),
            }
            commands += 1;
        }
    }
    assert!(commands > 30, "{commands} blocks are too few to have been found all");
}

fn check_syntax(document: &Document, block: &Block) {
    let checked = Command::new("bash").args(["-n", "-c", &block.text]).output().unwrap();
    let problem = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{}: {problem}\n{}", document.name, block.text);
}

/// A reader who only ran `cargo xtask up` has no `orderd` to call.
#[test]
fn pages_with_our_commands_say_how_to_run_them_after_up() {
    let mut pages = 0;
    for document in Document::all() {
        // There, each command comes with its own way to run it.
        if document.name.starts_with("deploy/") || document.name.contains("INSTALL") {
            continue;
        }
        let is_ours = |line: &str| {
            let mut words = line.split_whitespace().skip_while(|word| word.contains('='));
            words.next() == Some("orderd")
        };
        if document.blocks.iter().any(|block| block.mark.starts_with("sh") && block.text.lines().any(is_ours))
        {
            let file = devstack::tools::workspace().join(&document.name);
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains("`cargo xtask orderd`"), "{}", document.name);
            pages += 1;
        }
    }
    assert!(pages > 10, "{pages} pages are too few to have been found all");
}

#[test]
fn our_commands_are_there_with_their_flags() {
    let mut found = BTreeSet::new();
    for document in Document::all() {
        let blocks = document.blocks.iter().filter(|block| block.mark.starts_with("sh"));
        found.extend(blocks.flat_map(|block| ours(&block.text)));
        found.extend(document.code.iter().flat_map(|code| ours(code)));
    }
    assert!(found.len() > 20, "{found:?} are too few to have been found all");
    let wrong: Vec<_> = found.iter().filter_map(|ours| Some((ours, ours.problem()?))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn translations_have_the_same_commands_pictures_links_and_sections() {
    let documents = Document::all();
    let translations = documents.iter().filter(|document| document.name.ends_with(RUSSIAN));
    let mut compared = 0;
    for russian in translations {
        let english = Document::read(&russian.name.replace(RUSSIAN, ".md"));
        assert_eq!(commands(russian), commands(&english), "{}", russian.name);
        assert_eq!(led_to(russian), led_to(&english), "{}", russian.name);
        assert_eq!(russian.headings.len(), english.headings.len(), "{:?}", russian.headings);
        assert_eq!(rows(russian), rows(&english), "{}: rows of tables", russian.name);
        compared += 1;
    }
    assert_eq!(compared, 11);
}

/// Files and pictures, whatever their language; headings have other names there.
fn led_to(document: &Document) -> BTreeSet<String> {
    let files = document.links.iter().filter_map(|link| link.split('#').next());
    files.filter(|file| !file.is_empty()).map(|file| file.replace(RUSSIAN, ".md")).collect()
}

/// The widths of all rows.
fn rows(document: &Document) -> Vec<usize> {
    document.rows.iter().map(|row| row.cells.len()).collect()
}

fn commands(document: &Document) -> Vec<(&str, String)> {
    document.blocks.iter().map(|block| (block.mark.as_str(), without_comments(&block.text))).collect()
}

/// Comments are translated.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("  #").next().unwrap_or_default().trim_end());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn blocks_to_run_end_well() {
    // A translation has the same ones.
    let is_run = |document: &Document| !document.name.ends_with(RUSSIAN) && document.name != RECOVERY;
    let documents = Mutex::new(Document::all().into_iter().filter(is_run));
    let some =
        || iter::from_fn(|| documents.lock().unwrap().next()).map(|document| run(&document)).sum::<usize>();
    let ran: usize = thread::scope(|scope| {
        let running = [(); AT_ONCE].map(|()| scope.spawn(some));
        running.into_iter().map(|run| run.join().unwrap()).sum::<usize>()
    });
    assert!(ran > 20, "{ran} blocks are too few to have been found all");
}

/// Runs the runnable blocks of a document in order.
fn run(document: &Document) -> usize {
    let blocks = document.blocks.iter().enumerate();
    let blocks: Vec<_> = blocks.filter(|(_, block)| block.mark == "sh run").collect();
    if !blocks.is_empty() {
        let mut up = Up::start();
        let mut next = 0;
        for (at, block) in &blocks {
            let between = document.blocks[next..*at].iter().filter(|block| block.mark == "sh up");
            for command in between.map(|block| UpCommand::of(&block.text)).filter(UpCommand::is_special) {
                up.settle();
                up = up.start_again(&command);
            }
            next = at + 1;
            up.settle();
            let said = up.run(&document.name, &block.text);
            let answer = document.blocks.get(at + 1).filter(|next| next.follows && next.mark.is_empty());
            if let Some(Block { text, .. }) = answer {
                let is_so = said.iter().any(|said| is_like(said, text));
                assert!(is_so, "{}: {}says\n{}, not\n{text}", document.name, block.text, said.concat());
            }
        }
        up.stop();
    }
    blocks.len()
}

/// The page of disaster recovery, against a service that has orders, and stores more while the page is followed. One is
/// erased after the backup.
#[test]
fn recovery_restores_all_orders_but_an_erased_one() {
    const BEFORE: usize = 30;
    const AFTER: usize = 20;
    let page = Document::read(RECOVERY);
    let up = Up::start();
    let run = |commands: &str| up.run(RECOVERY, commands);
    let number = |[said, _]: [String; 2]| said.trim().parse::<usize>().unwrap();
    let count = || number(run("psql demo1 --tuples-only --no-align -c 'SELECT count(*) FROM orders2'"));
    run(&format!("orderd publish --count {BEFORE}"));
    up.settle();
    assert_eq!(count(), BEFORE);
    let [erased, _] = run("curl --silent http://127.0.0.1:8090/order_pages/1");
    let erased: Vec<String> = serde_json::from_str(&erased).unwrap();
    let [erased, ..] = erased.as_slice() else { panic!("nothing is listed") };
    let (ends, turn) = (AtomicBool::new(false), Mutex::new(()));
    let (exported, meanwhile) = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut published = 0;
            while !ends.load(Ordering::Relaxed) {
                let turn = turn.lock().unwrap();
                run("orderd publish --count 1");
                drop(turn);
                published += 1;
                thread::sleep(Duration::from_millis(200));
            }
            published
        });
        // However this ends, publishing ends.
        let end = SetOnDrop(&ends);
        let mut exported = None;
        for block in page.blocks.iter().filter(|block| block.mark == "sh run") {
            let mut alone = None;
            if block.text.contains("pg_restore --dbname=demo1 ") {
                run(&format!("orderd erase --yes {erased}"));
                // PostgreSQL may end it because of a deadlock with a write of the service, as the page says.
                alone = turn.lock().ok();
                up.settle();
            }
            let [_, said] = run(&block.text);
            drop(alone);
            up.settle();
            if block.text.contains("PG_DBNAME=restored") {
                let words = said.lines().find_map(|line| line.split_once(" orders in ")).unwrap();
                exported = words.0.parse::<usize>().ok();
            }
            if block.text.contains("orderd publish") {
                assert!(block.text.contains(&format!("--count {AFTER}")), "{}", block.text);
            }
        }
        drop(end);
        (exported.unwrap(), publishing.join().unwrap())
    });
    assert!(exported >= BEFORE, "the backup has {exported} orders");
    up.settle();
    // An erasure is repeated a little later than the rows are back.
    let all = BEFORE + AFTER + meanwhile - 1;
    assert!(wait_for(LIMIT, || count() == all), "{} rows, not {all}", count());
    let shown = format!(
        "curl --silent --output answer --write-out '%{{http_code}}' 'http://127.0.0.1:8090/order/{erased}' || true"
    );
    assert!(wait_for(LIMIT, || run(&shown)[0] == "404"), "the erased order is served");
    up.stop();
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each `up` of the block, with the commands after it, on a data folder for the test.
#[test]
fn other_documents_than_orders_are_published_and_served_as_the_readme_says() {
    let readme = Document::read("README.md");
    let name = readme.name.as_str();
    let block = readme.blocks.iter().find(|block| block.text.contains("up --model any")).unwrap();
    let mut starts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.text.lines() {
        match starts.last_mut() {
            _ if line.contains("cargo xtask up ") => starts.push((line, Vec::new())),
            Some((_, commands)) => commands.push(line),
            None => panic!("{line}: nothing runs"),
        }
    }
    let asked = [
        ("any", "/orders?full=true", "[{\"id\":…,\"order\":{\"room\": 7, \"tags\": [\"new\"]}}]"),
        ("samples/station.json", "/orders?station_id=svo-07&limit=10", "[\"1-1\",…,\"1-10\"]"),
    ];
    assert_eq!(starts.len(), asked.len());
    thread::scope(|scope| {
        for ((up, commands), (model, path, shown)) in starts.iter().zip(asked) {
            scope.spawn(move || {
                let words = shlex::split(up).unwrap();
                let [.., flag, named, data_dir, folder] = &words[..] else { panic!("{up}") };
                assert_eq!([flag, named, data_dir], ["--model", model, "--data-dir"], "{up}");
                let up = Up::start_with(&UpCommand::of(up));
                for command in commands {
                    let here = format!("ORDERD_DATA_DIR={folder} ");
                    assert!(command.contains(&here), "{command}");
                    up.run(name, &command.replace(&here, ""));
                }
                up.settle();
                let [answer, _] = up.run(name, &format!("curl --silent 'http://127.0.0.1:8090{path}'"));
                assert!(is_like(&answer, shown), "{model}: {answer}");
                up.stop();
            });
        }
    });
}

/// Whether output equals the output in a document, except for numbers, ids, times, and parts replaced by `…`.
fn is_like(said: &str, shown: &str) -> bool {
    let said = without_numbers(said);
    let shown = without_numbers(shown);
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || shown.ends_with('…')
}

/// Each word with a digit is as good as any other, and so is any space.
fn without_numbers(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let words = text.split_inclusive(|c| !is_of_word(c)).map(|word| {
        let end = word.trim_end_matches(|c| !is_of_word(c));
        match end.contains(|c: char| c.is_ascii_digit()) {
            true => format!("#{}", &word[end.len()..]),
            false => word.to_owned(),
        }
    });
    words.collect::<String>().split_whitespace().collect()
}

#[test]
fn answers_are_compared_but_for_numbers() {
    assert!(is_like("{\"mem_len\":7}\n", "{\"mem_len\": 10}\n"));
    assert!(!is_like("{\"mem_size\":7}", "{\"mem_len\": 10}"));
    assert!(is_like("[\"1-1\",\"1-2\",\"1-3\"]", "[\"17-1\", …,\"18-10\"]"));
    assert!(!is_like("[\"1-1\",\"1-2\"", "[\"17-1\", …,\"18-10\"]"));
    assert!(!is_like("[\"1-1\"] and more", "[\"17-1\"]"));
}

#[test]
fn code_in_go_and_python_parses() {
    for document in Document::all() {
        for block in &document.blocks {
            let parsed = match block.mark.as_str() {
                "go" => fed("gofmt", &[], &block.text),
                "python" => {
                    fed("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"], &block.text)
                }
                _ => continue,
            };
            let Some(parsed) = parsed else {
                assert!(std::env::var_os("CI").is_none(), "{} is needed in CI", block.mark);
                eprintln!("{}: {} is not here, its code is not looked at", document.name, block.mark);
                continue;
            };
            let problem = String::from_utf8_lossy(&parsed.stderr);
            assert!(parsed.status.success(), "{}: {problem}\n{}", document.name, block.text);
        }
    }
}

/// Runs a program with this input on stdin; `None` if it is not installed.
fn fed(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    // It may stop reading early; its exit code shows that.
    drop(child.stdin.take()?.write_all(input.as_bytes()));
    child.wait_with_output().ok()
}
