//! Settings as platforms set them: empty, with other words for booleans, injected, unknown; and the errors for invalid
//! ones.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use clap::{Arg, CommandFactory};
use hyper::StatusCode;
use orderd::cli::Cli;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Stack, eventually, orders};

/// The arguments of a command that a variable sets.
fn settings_of(command: &str) -> Vec<Arg> {
    let cli = Cli::command();
    let command = cli.find_subcommand(command).unwrap();
    command.get_arguments().filter(|arg| arg.get_env().is_some()).cloned().collect()
}

fn variable(setting: &Arg) -> String {
    setting.get_env().unwrap().to_str().unwrap().to_owned()
}

/// All variables of a command, and those that name the files of its secrets.
fn variables_of(command: &str) -> Vec<String> {
    let settings = settings_of(command);
    let files = settings.iter().filter(|arg| arg.is_hide_env_values_set());
    let files: Vec<_> = files.map(|arg| format!("{}_FILE", variable(arg))).collect();
    settings.iter().map(variable).chain(files).collect()
}

/// Runs `orderd` to its end with exactly this environment.
fn run(args: &[&str], env: &[(&str, &OsStr)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.args(args).env_clear().envs(env.iter().copied()).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An address in use: with valid settings, `serve` fails there.
struct Taken(std::net::TcpListener);

impl Taken {
    fn new() -> Self {
        Self(std::net::TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn addr(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_variables_and_unknown_ones_change_nothing() {
    let stack = Stack::new();
    let (nats, postgres) = (stack.nats.port().to_string(), stack.postgres.port().to_string());
    let variables = variables_of("serve");
    assert!(variables.len() > 25 && variables.contains(&"PG_PASSWORD_FILE".into()), "{variables:?}");
    let addresses = ["--nats-port", &nats, "--pg-port", &postgres, "--http-addr", "127.0.0.1:0"];
    for empty in ["", " \n"] {
        let mut env: Vec<_> = variables.iter().map(|name| (name.as_str(), empty)).collect();
        // Of other programs, or of Services that have our prefixes in their names.
        env.extend([
            ("NATS_SERVICE_HOST", "10.96.0.10"),
            ("NATS_PORT_4222_TCP_PROTO", "tcp"),
            ("PG_COLOUR", "always"),
            ("HTTP_PORT", "x"),
        ]);
        let service = stack.start_with(&addresses, &env).await;
        service.wait_ready().await;
        // `REQUIRE` and `SEARCH` have their defaults.
        let count = service.mem_len().await;
        stack.publish(&["{}".to_owned(), orders(1).remove(0)]).await;
        service.wait_len(count + 1).await;
        eventually("what lacks a member is refused", async || {
            (service.metric("myapp_orders_errors").await >= 1.0).then_some(())
        })
        .await;
        assert_eq!(service.get("/orders?track_number=x").await.status, StatusCode::OK);
    }
}

#[test]
fn empty_variables_are_no_mistake_for_any_command() {
    for (command, args) in [
        ("publish", &[][..]),
        ("export", &[]),
        ("import", &[]),
        ("check", &[]),
        ("verify", &[]),
        ("dead-letters", &["list"]),
    ] {
        let cli = Cli::command();
        let found = cli.find_subcommand(command).unwrap();
        let args: Vec<&str> = std::iter::once(command).chain(args.iter().copied()).collect();
        let inner = args.get(1).and_then(|name| found.find_subcommand(name)).unwrap_or(found);
        let variables: Vec<_> =
            inner.get_arguments().filter(|arg| arg.get_env().is_some()).map(variable).collect();
        assert!(!variables.is_empty(), "{command}");
        let mut env: Vec<_> = variables.iter().map(|name| (name.as_str(), OsStr::new(""))).collect();
        // An unused port, where a flag would hide that the variable is not set.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (nats, postgres) = (format!("nats://{closed}"), format!("postgresql://postgres@{closed}/demo1"));
        env.extend([("NATS_URL", OsStr::new(&nats)), ("DATABASE_URL", OsStr::new(&postgres))]);
        let output = run(&args, &env);
        assert_ne!(output.status.code(), Some(2), "{command}: {}", errors(&output));
    }
}

#[test]
fn a_flag_that_is_typed_and_empty_is_named() {
    for flags in [&["serve", "--nats-host", ""][..], &["--require="], &["export", "--pg-password", " "]] {
        let output = run(flags, &[]);
        let flag = flags.iter().find(|flag| flag.starts_with("--")).unwrap().trim_end_matches('=');
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", errors(&output));
        assert!(errors(&output).contains(flag), "{flags:?}: {}", errors(&output));
    }
}

#[test]
fn help_lists_settings_whose_variables_are_empty() {
    let output = run(&["serve", "--help"], &[("NATS_HOST", OsStr::new(""))]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("NATS_HOST"));
}

/// Whatever is set to nonsense: the start ends because of it with the variable's name, or because of the address.
#[test]
fn a_variable_that_cant_be_used_is_named() {
    let taken = Taken::new();
    let addr = taken.addr();
    let mut refused = 0;
    for nonsense in [OsStr::new("?! sesame"), OsStr::from_bytes(b"sesame\xff")] {
        for setting in settings_of("serve") {
            let name = variable(&setting);
            let mut env: Vec<(&str, &OsStr)> = vec![(&name, nonsense)];
            if name != "HTTP_ADDR" {
                env.push(("HTTP_ADDR", OsStr::new(&addr)));
            }
            let output = run(&["serve"], &env);
            let said = errors(&output);
            let code = output.status.code().unwrap();
            assert!(code == 2 || said.contains("HTTP_ADDR"), "{name}: {code}: {said}");
            assert!(code != 2 || said.contains(&name), "{name}: {said}");
            assert!(
                code != 2 || !setting.is_hide_env_values_set() || !said.contains("sesame"),
                "{name}: {said}"
            );
            refused += usize::from(code == 2);
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn files_of_secrets_are_named_where_they_cant_be_used() {
    let temp_dir = devstack::TempDir::new().unwrap();
    let empty = temp_dir.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let taken = Taken::new();
    let addr = taken.addr();
    for setting in settings_of("serve").iter().filter(|setting| setting.is_hide_env_values_set()) {
        let name = format!("{}_FILE", variable(setting));
        for file in [OsStr::new("/nope"), empty.as_os_str()] {
            let output = run(&["serve"], &[(&name, file), ("HTTP_ADDR", OsStr::new(&addr))]);
            let said = errors(&output);
            assert_eq!(output.status.code(), Some(2), "{name}: {said}");
            assert!(said.contains(&format!("{name}: ")) && said.contains(file.to_str().unwrap()), "{said}");
        }
    }
}

#[test]
fn a_secret_beside_its_file_is_refused_and_a_flag_replaces_both() {
    let temp_dir = devstack::TempDir::new().unwrap();
    let file = temp_dir.path().join("secret");
    std::fs::write(&file, "x").unwrap();
    let taken = Taken::new();
    let addr = taken.addr();
    for setting in settings_of("serve").iter().filter(|setting| setting.is_hide_env_values_set()) {
        let (name, sesame) = (variable(setting), OsStr::new("sesame"));
        let of_file = format!("{name}_FILE");
        let both: [(&str, &OsStr); 3] =
            [(&name, sesame), (&of_file, file.as_os_str()), ("HTTP_ADDR", OsStr::new(&addr))];
        let output = run(&["serve"], &both);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(
            said.contains(&format!("{name}: {of_file} is set too")) && !said.contains("sesame"),
            "{said}"
        );
    }
    let flag = ["serve", "--http-token", "typed", "--http-addr", &addr];
    let output = run(&flag, &[("HTTP_TOKEN", OsStr::new("sesame")), ("HTTP_TOKEN_FILE", file.as_os_str())]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("can't listen on HTTP_ADDR"), "{}", errors(&output));
}

#[test]
fn yes_and_no_have_many_words() {
    let taken = Taken::new();
    let port = taken.0.local_addr().unwrap().port();
    // The address decides whether tokens are needed; the port in use ends the start.
    let everywhere = format!("0.0.0.0:{port}");
    let booleans: Vec<_> = settings_of("serve")
        .into_iter()
        .filter(|arg| arg.get_value_names().is_some_and(|names| names[0] == "true|false"))
        .collect();
    assert!(!booleans.is_empty());
    for setting in &booleans {
        for word in ["true", "1", "yes", "on", "TRUE", "Yes", "false", "0", "no", "off", "False"] {
            let env = [(variable(setting), word), ("HTTP_ADDR".into(), taken.addr().leak() as &str)];
            let env: Vec<(&str, &OsStr)> =
                env.iter().map(|(name, value)| (name.as_str(), OsStr::new(*value))).collect();
            let output = run(&["serve"], &env);
            assert_eq!(output.status.code(), Some(1), "{word}: {}", errors(&output));
        }
    }
    for (word, code) in [("on", 1), ("Yes", 1), ("off", 2), ("0", 2)] {
        let env = [("HTTP_ANONYMOUS", OsStr::new(word)), ("HTTP_ADDR", OsStr::new(&everywhere))];
        assert_eq!(run(&["serve"], &env).status.code(), Some(code), "{word}");
    }
}

#[test]
fn usage_doesnt_list_what_is_set() {
    let env: Vec<(&str, &OsStr)> = ["NATS_HOST", "PG_HOST", "PG_USER", "PG_DBNAME", "PUB_TOPIC"]
        .map(|name| (name, OsStr::new("x")))
        .into();
    for args in [
        &["dead-letters", "replay"][..],
        &["dead-letters", "show"],
        &["serve", "--no-such"],
        &["completions"],
    ] {
        let said = errors(&run(args, &env));
        let usage = said.lines().find(|line| line.starts_with("Usage:")).unwrap_or_else(|| panic!("{said}"));
        assert!(
            usage.contains(args[0]) && !usage.contains("--pg-host") && !usage.contains("--nats-host"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_kubernetes_injects_do_no_harm_beside_urls() {
    let stack = Stack::new();
    let injected = [("NATS_PORT", "tcp://10.96.0.10:4222"), ("PG_PORT", "tcp://10.96.0.11:5432")];
    let (nats, postgres) = (stack.nats.url(), stack.postgres.url());
    let urls = [("NATS_URL", nats.as_str()), ("DATABASE_URL", postgres.as_str())];
    stack.serve(&[injected, urls].concat()).await;
    for (name, value) in injected {
        let output = run(&["serve"], &[(name, OsStr::new(value))]);
        assert_eq!(output.status.code(), Some(2));
        let said = errors(&output);
        assert!(said.contains(&format!("{name}: ")) && said.contains("Kubernetes"), "{said}");
    }
}

/// Forwards connections to `[::1]` at a free port.
async fn on_ipv6(to: u16) -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_may_be_addresses_of_ipv6() {
    let stack = Stack::new();
    let nats = on_ipv6(stack.nats.port()).await.port().to_string();
    let postgres = on_ipv6(stack.postgres.port()).await.port().to_string();
    for host in ["::1", "[::1]"] {
        let url = format!("postgresql://postgres@[::1]:{postgres}/demo1");
        let nats_url = format!("nats://{host}:{nats}");
        let listen = format!("{host}:0");
        let by_parts = [
            ("NATS_HOST", host),
            ("NATS_PORT", &nats),
            ("PG_HOST", host),
            ("PG_PORT", &postgres),
            ("HTTP_ADDR", &listen),
        ];
        let by_urls = [("NATS_URL", nats_url.as_str()), ("DATABASE_URL", &url), ("HTTP_ADDR", &listen)];
        let words = format!("host={host} port={postgres} user=postgres dbname=demo1");
        let by_words = [
            ("NATS_URL", nats_url.as_str()),
            ("DATABASE_URL", &words),
            ("HTTP_ADDR", &listen),
            ("HTTP_HOSTS", host),
        ];
        for settings in [&by_parts[..], &by_urls, &by_words] {
            let service = stack.serve(settings).await;
            assert!(service.addr.is_ipv6());
            let addr = format!("{host}:{}", service.addr.port());
            let check = stack.run(&["check", "--http-addr", &addr], "").await;
            assert!(check.status.success(), "{}", errors(&check));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_port_listens_on_all_addresses() {
    let stack = Stack::new();
    let refused = run(&["serve"], &[("HTTP_ADDR", OsStr::new(":0"))]);
    assert_eq!(refused.status.code(), Some(2), "not without a token");
    let service = stack.serve(&[("HTTP_ADDR", ":0"), ("HTTP_ANONYMOUS", "yes")]).await;
    for host in ["127.0.0.1", "::1"] {
        TcpStream::connect((host, service.addr.port()))
            .await
            .unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    let check = stack.run(&["check", "--http-addr", &format!(":{}", service.addr.port())], "").await;
    assert!(check.status.success(), "{}", errors(&check));
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_the_word_for_no_members() {
    let stack = Stack::new();
    let service = stack.serve(&[("REQUIRE", "none"), ("SEARCH", "none")]).await;
    stack.publish(&["{}"]).await;
    service.wait_len(1).await;
    for name in ["REQUIRE", "SEARCH"] {
        let output = run(&["serve"], &[(name, OsStr::new(","))]);
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains("none"), "{}", errors(&output));
    }
}
