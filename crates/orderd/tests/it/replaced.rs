//! Passwords, credentials and certificates replaced on disk take effect on a running service, without a signal: the
//! next connection uses the new ones, and an incomplete replacement does no harm.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use devstack::breaker::{Breaker, Mode};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, TempDir, Tls};
use nkeys::KeyPair;
use serde_json::json;

use crate::access::{Certificates, claim};
use crate::support::{Service, Stack, eventually, orders};

const OLD: &str = "pw-4f1dbe0a";
const NEW: &str = "pw-9c27a6d3";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder of files as Kubernetes mounts a secret: each is a link through `..data`, which is replaced as a whole.
struct Mounted(TempDir);

impl Mounted {
    fn new(files: &[(&str, &str)]) -> Self {
        let mounted = Self(TempDir::new().unwrap());
        mounted.replace("..first", files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mounted.file(name)).unwrap();
        }
        mounted
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `folder` is a name that was not there before.
    fn replace(&self, folder: &str, files: &[(&str, &str)]) {
        fs::create_dir(self.file(folder)).unwrap();
        for (name, content) in files {
            fs::write(self.file(folder).join(name), content).unwrap();
        }
        symlink(folder, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
    }
}

/// Ends the connections of the service to PostgreSQL, as an outage does.
fn cut(postgres: &Postgres) {
    postgres
        .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orderd'")
        .unwrap();
}

async fn wait_rows(stack: &Stack, count: usize) {
    eventually(&format!("{count} rows"), async || (stack.rows() == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn password_of_postgres_that_is_replaced_in_a_file_counts_from_the_next_connection_on() {
    for setting in ["PG_PASSWORD_FILE", "DATABASE_URL_FILE"] {
        let options = PostgresOptions { password: Some(OLD.into()), ..PostgresOptions::quick() };
        let mut stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
        let port = stack.postgres.port();
        let content = |password: &str| match setting {
            "PG_PASSWORD_FILE" => format!("{password}\n"),
            _ => format!("postgresql://postgres:{password}@127.0.0.1:{port}/demo1\n"),
        };
        let mounted = Mounted::new(&[("secret", &content(OLD))]);
        let service = stack.serve(&[(setting, text(&mounted.file("secret")))]).await;
        stack.publish(&orders(3)).await;
        wait_rows(&stack, 3).await;
        // Incomplete: an invalid file leaves the previous content in use.
        mounted.replace("..empty", &[("secret", "")]);
        eventually("it says so", async || service.process.log().contains(setting).then_some(())).await;
        cut(&stack.postgres);
        stack.publish(&orders(3)).await;
        wait_rows(&stack, 6).await;
        stack.postgres.set_password(NEW).unwrap();
        mounted.replace("..new", &[("secret", &content(NEW))]);
        cut(&stack.postgres);
        stack.publish(&orders(3)).await;
        wait_rows(&stack, 9).await;
        let log = service.process.log();
        assert!(!log.contains(OLD) && !log.contains(NEW), "{setting}: a secret in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_replaced_in_a_file_are_followed() {
    let stack = Stack::new();
    let before = |port| Breaker::start((std::net::Ipv4Addr::LOCALHOST, port).into()).unwrap();
    let (to_nats, to_postgres) = (before(stack.nats.port()), before(stack.postgres.port()));
    let nats = |port: u16| format!("nats://127.0.0.1:{port}");
    let postgres = |port: u16| format!("postgresql://postgres@127.0.0.1:{port}/demo1");
    let files = Mounted::new(&[
        ("nats", &nats(to_nats.addr().port())),
        ("postgres", &postgres(to_postgres.addr().port())),
    ]);
    let (nats_file, pg_file) = (files.file("nats"), files.file("postgres"));
    let env = [("NATS_URL_FILE", text(&nats_file)), ("DATABASE_URL_FILE", text(&pg_file))];
    let service = stack.serve(&env).await;
    let (nats, postgres) = (nats(stack.nats.port()), postgres(stack.postgres.port()));
    files.replace("..moved", &[("nats", &nats), ("postgres", &postgres)]);
    wait_complaint(&service, "the servers in NATS_URL have changed").await;
    to_nats.set(Mode::Refused);
    to_postgres.set(Mode::Refused);
    stack.publish(&orders(3)).await;
    wait_rows(&stack, 3).await;
    service.wait_ready().await;
}

/// The client of NATS takes no commands while it is not connected.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_nats_that_are_replaced_while_it_is_away_are_followed() {
    let stack = Stack::new();
    let before = Breaker::start((std::net::Ipv4Addr::LOCALHOST, stack.nats.port()).into()).unwrap();
    let nats = |port: u16| format!("nats://127.0.0.1:{port}");
    let file = Mounted::new(&[("nats", &nats(before.addr().port()))]);
    let service = stack.serve(&[("NATS_URL_FILE", text(&file.file("nats")))]).await;
    before.set(Mode::Refused);
    eventually("NATS is away", async || {
        let health = service.get("/readyz").await.json();
        (health["nats"]["up"] == false).then_some(())
    })
    .await;
    // The first of them is not there, and has no address.
    let moved = format!("nats://nowhere.invalid:4222,{}", nats(stack.nats.port()));
    file.replace("..moved", &[("nats", &moved)]);
    stack.publish(&orders(3)).await;
    wait_rows(&stack, 3).await;
    service.wait_ready().await;
}

/// A database of the same names, but without our position, is not written to.
#[tokio::test(flavor = "multi_thread")]
async fn another_database_in_the_file_is_named_and_not_written_to() {
    let (stack, other) = (Stack::new(), Stack::new());
    let url = |stack: &Stack, database: &str| {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", stack.postgres.port())
    };
    let file = Mounted::new(&[("postgres", &url(&stack, "demo1"))]);
    let service = stack.serve(&[("DATABASE_URL_FILE", text(&file.file("postgres")))]).await;
    stack.publish(&orders(3)).await;
    stack.wait_settled(3).await;
    stack.postgres.psql("create database other").unwrap();
    let places = [("..other", url(&stack, "other")), ("..server", url(&other, "demo1"))];
    for (folder, place) in places {
        file.replace(folder, &[("postgres", &place)]);
        let warned = eventually("a warning", async || {
            let health = service.get("/readyz").await.json();
            let warnings = health["warnings"].as_array()?.clone();
            warnings.into_iter().find(|warning| warning["what"] == "file_unusable")
        })
        .await;
        let words = warned["text"].as_str().unwrap().to_owned();
        assert!(words.contains("rows are not there") && words.contains("restart orderd"), "{words}");
        cut(&stack.postgres);
        stack.publish(&orders(1)).await;
        // Orders in memory are served, and the reason for the failing commits is reported.
        eventually("it says why", async || {
            let health = service.get("/readyz").await.json();
            health["postgres"]["reason"].as_str()?.contains("rows are not there").then_some(())
        })
        .await;
        assert!(service.ids().await.len() >= 3);
        file.replace(&format!("{folder}-back"), &[("postgres", &url(&stack, "demo1"))]);
        service.wait_ready().await;
        eventually("no warning", async || {
            let health = service.get("/readyz").await.json();
            let is_there = |warning: &serde_json::Value| warning["what"] == "file_unusable";
            (!health["warnings"].as_array()?.iter().any(is_there)).then_some(())
        })
        .await;
    }
    wait_rows(&stack, 5).await;
    let tables = other.postgres.psql("select count(*) from pg_tables where schemaname = 'public'").unwrap();
    assert_eq!(tables.trim(), "0", "something was made in the other database");
    // A copy that has the position continues.
    let port = stack.postgres.port();
    let to = format!("-h 127.0.0.1 -p {port} -U postgres");
    let copy = format!("pg_dump {to} demo1 | psql -q -v ON_ERROR_STOP=1 {to} other");
    assert!(std::process::Command::new("sh").args(["-c", &copy]).output().unwrap().status.success());
    file.replace("..copy", &[("postgres", &url(&stack, "other"))]);
    wait_complaint(&service, "new connections go to the new address").await;
    cut(&stack.postgres);
    stack.publish(&orders(1)).await;
    eventually("6 rows in the copy", async || {
        let count = stack.postgres.psql_on("other", "select count(*) from orders2").unwrap();
        (count.trim() == "6").then_some(())
    })
    .await;
    service.wait_ready().await;
}

/// An operator's server with one account, of which some users were revoked.
struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    fn config(&self, revoked: Option<&KeyPair>) -> String {
        let ours = json!({"type": "operator", "version": 2});
        let ours = claim(&self.operator, &self.operator.public_key(), ours);
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let mut account = json!({"type": "account", "version": 2, "limits": limits});
        if let Some(user) = revoked {
            account["revocations"] = json!({ user.public_key(): 1_800_000_000 });
        }
        let (account, system) = (
            claim(&self.operator, &self.account.public_key(), account),
            claim(&self.operator, &self.system.public_key(), json!({"type": "account", "version": 2})),
        );
        let (account_id, system_id) = (self.account.public_key(), self.system.public_key());
        format!(
            "operator: {ours}\nresolver: MEMORY\nsystem_account: {system_id}\n\
             resolver_preload {{ {account_id}: {account}, {system_id}: {system} }}"
        )
    }

    fn credentials(&self, user: &KeyPair) -> String {
        let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let jwt = claim(&self.account, &user.public_key(), claims);
        let seed = user.seed().unwrap();
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

async fn publish_by(stack: &Stack, flags: &[&str]) {
    let publish = [&["publish", "--count", "3"][..], flags].concat();
    let sent = stack.run(&publish, "").await;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_nats_that_are_replaced_behind_a_link_count_from_the_next_connection_on() {
    let (operator, first, second) = (Operator::new(), KeyPair::new_user(), KeyPair::new_user());
    let options = NatsOptions { extra_config: operator.config(None), ..NatsOptions::default() };
    let mut stack = Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() };
    let mounted = Mounted::new(&[("creds", &operator.credentials(&first))]);
    let file = mounted.file("creds");
    let service = stack.serve(&[("NATS_CREDS", text(&file))]).await;
    publish_by(&stack, &["--nats-creds", text(&file)]).await;
    wait_rows(&stack, 3).await;
    // Half written: without the seed.
    let half = operator.credentials(&second).split("-----BEGIN USER").next().unwrap().to_owned();
    mounted.replace("..half", &[("creds", &half)]);
    eventually("it says so", async || {
        service.process.log().contains("it contains no seed of a user's nkey").then_some(())
    })
    .await;
    stack.nats.start_again().unwrap();
    service.wait_ready().await;
    mounted.replace("..second", &[("creds", &operator.credentials(&second))]);
    stack.nats.set_extra_config(&operator.config(Some(&first)));
    stack.nats.start_again().unwrap();
    publish_by(&stack, &["--nats-creds", text(&file)]).await;
    wait_rows(&stack, 6).await;
    service.wait_ready().await;
    for user in [&first, &second] {
        assert!(!service.process.log().contains(&user.seed().unwrap()), "a secret in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_of_nats_that_is_replaced_in_a_file_counts_from_the_next_connection_on() {
    let config = |password: &str| format!("authorization {{ user: orderd, password: {password} }}");
    let options = NatsOptions { extra_config: config(OLD), ..NatsOptions::default() };
    let mut stack = Stack { nats: Nats::temporary(options).unwrap(), ..Stack::new() };
    let url = |password: &str| format!("nats://orderd:{password}@127.0.0.1:{}", stack.nats.port());
    let (old, new) = (url(OLD), url(NEW));
    let mounted = Mounted::new(&[("url", &old)]);
    let service = stack.serve(&[("NATS_URL_FILE", text(&mounted.file("url")))]).await;
    mounted.replace("..new", &[("url", &new)]);
    stack.nats.set_extra_config(&config(NEW));
    stack.nats.start_again().unwrap();
    publish_by(&stack, &["--nats-url", &new]).await;
    wait_rows(&stack, 3).await;
    assert!(!service.process.log().contains(NEW), "a secret in the log");
}

/// Files of an authority and of a certificate with its key, of which copies are replaced.
struct Copies {
    temp_dir: TempDir,
}

impl Copies {
    fn of(files: &Certificates) -> Self {
        let copies = Self { temp_dir: TempDir::new().unwrap() };
        copies.certificate(files);
        copies.rest(files);
        copies
    }

    fn file(&self, name: &str) -> PathBuf {
        self.temp_dir.path().join(name)
    }

    fn certificate(&self, files: &Certificates) {
        fs::copy(&files.certificate, self.file("certificate")).unwrap();
    }

    fn rest(&self, files: &Certificates) {
        fs::copy(&files.key, self.file("key")).unwrap();
        fs::copy(&files.authority, self.file("authority")).unwrap();
    }
}

async fn wait_complaint(service: &Service, words: &str) {
    let said = format!("it says that {words}");
    eventually(&said, async || service.process.log().contains(words).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_nats_that_are_replaced_count_from_the_next_connection_on() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (old, new) = (Certificates::new(first.path()), Certificates::new(second.path()));
    let (server, ours) = (Copies::of(&old), Copies::of(&old));
    let extra_config = format!(
        "tls {{ cert_file: '{}', key_file: '{}', ca_file: '{}', verify: true }}",
        server.file("certificate").display(),
        server.file("key").display(),
        server.file("authority").display()
    );
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    let mut stack = Stack { nats, ..Stack::new() };
    let url = format!("tls://localhost:{}", stack.nats.port());
    let files = ["certificate", "key", "authority"].map(|name| ours.file(name));
    let [certificate, key, authority] = files.each_ref().map(|file| text(file));
    let settings =
        [("NATS_URL", url.as_str()), ("NATS_CERT", certificate), ("NATS_KEY", key), ("NATS_CA", authority)];
    let service = stack.serve(&settings).await;
    let metrics = service.get("/metrics").await.body;
    for setting in ["NATS_CERT", "NATS_CA"] {
        let named = format!("orderd_certificate_expiry_timestamp_seconds{{setting=\"{setting}\"}} 1");
        assert!(metrics.contains(&named), "{metrics}");
    }
    // The old key is still beside the new certificate.
    ours.certificate(&new);
    wait_complaint(&service, "is not the key of the certificate").await;
    stack.nats.start_again().unwrap();
    service.wait_ready().await;
    ours.rest(&new);
    server.certificate(&new);
    server.rest(&new);
    stack.nats.start_again().unwrap();
    let flags = ["--nats-url", &url, "--nats-cert", certificate, "--nats-key", key, "--nats-ca", authority];
    publish_by(&stack, &flags).await;
    wait_rows(&stack, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_postgres_that_are_replaced_count_from_the_next_connection_on() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (old, new) = (Certificates::new(first.path()), Certificates::new(second.path()));
    let tls = Tls { certificate: old.certificate.clone(), key: old.key.clone() };
    let options = PostgresOptions { tls: Some(tls), ..PostgresOptions::quick() };
    let stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
    let data = stack.postgres.data_dir();
    let server = |files: &Certificates| {
        for (from, to) in
            [(&files.certificate, "server.crt"), (&files.key, "server.key"), (&files.authority, "ca.crt")]
        {
            // Into the existing file, which PostgreSQL's user owns.
            fs::write(data.join(to), fs::read(from).unwrap()).unwrap();
        }
    };
    server(&old);
    stack.postgres.psql("create role certified superuser login").unwrap();
    stack.postgres.psql("alter system set ssl_ca_file = 'ca.crt'").unwrap();
    let rules = fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    let certified = "hostssl all certified all trust clientcert=verify-ca\n";
    fs::write(data.join("pg_hba.conf"), format!("{certified}{rules}")).unwrap();
    stack.postgres.psql("select pg_reload_conf()").unwrap();

    let ours = Copies::of(&old);
    let (certificate, key) = (ours.file("certificate"), ours.file("key"));
    let url = format!(
        "postgresql://certified@localhost:{}/demo1?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
        stack.postgres.port(),
        ours.file("authority").display(),
        certificate.display(),
        key.display()
    );
    let service = stack.serve(&[("DATABASE_URL", &url)]).await;
    stack.publish(&orders(3)).await;
    wait_rows(&stack, 3).await;
    let metrics = service.get("/metrics").await.body;
    for setting in ["sslcert", "sslrootcert"] {
        let named = format!("orderd_certificate_expiry_timestamp_seconds{{setting=\"{setting}\"}} 1");
        assert!(metrics.contains(&named), "{metrics}");
    }
    // The old key is still beside the new certificate.
    ours.certificate(&new);
    wait_complaint(&service, "does not fit sslcert").await;
    cut(&stack.postgres);
    stack.publish(&orders(3)).await;
    wait_rows(&stack, 6).await;
    ours.rest(&new);
    server(&new);
    stack.postgres.psql("select pg_reload_conf()").unwrap();
    cut(&stack.postgres);
    stack.publish(&orders(3)).await;
    wait_rows(&stack, 9).await;
}
