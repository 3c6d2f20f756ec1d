//! Access: tokens, TLS, and the responses to unauthorized requests.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devstack::breaker::{Breaker, Mode};
use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, TempDir, Tls};
use hyper::{Request, StatusCode};

use crate::support::{Service, Stack, eventually, order, orders};

async fn asked(service: &Service, path: &str, token: &str) -> StatusCode {
    service.send(Request::get(path).header("authorization", format!("Bearer {token}"))).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_what_shows_orders_and_can_be_rotated() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("tokens");
    std::fs::write(&file, "old,older\n").unwrap();
    let service = stack.start(&[("HTTP_TOKEN_FILE", file.to_str().unwrap())]).await;
    for path in [
        "/mem_len",
        "/order_pages/last",
        "/order/x",
        "/orders?order_uid=x",
        "/dead_letters",
        "/dead_letters/1-1",
    ] {
        let refused = service.get(path).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(refused.headers.contains_key("www-authenticate"), "{path}");
        assert!(!refused.body.contains("not valid"), "{path}: {}", refused.body);
        let wrong = service.send(Request::get(path).header("authorization", "Bearer wrong")).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(wrong.body.contains("not valid"), "{path}: {}", wrong.body);
        assert_ne!(asked(&service, path, "older").await, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(service.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    std::fs::write(&file, "new\nold\n").unwrap();
    eventually("the new token opens", async || {
        (asked(&service, "/mem_len", "new").await == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(asked(&service, "/mem_len", "old").await, StatusCode::OK);
    assert_eq!(asked(&service, "/mem_len", "older").await, StatusCode::UNAUTHORIZED);
    // An emptied file must not grant access to everyone.
    std::fs::write(&file, "").unwrap();
    eventually("it says why", async || service.process.log().contains("HTTP_TOKEN_FILE: ").then_some(()))
        .await;
    assert_eq!(service.get("/mem_len").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_to_erase_can_be_rotated_too() {
    let stack = Stack::new();
    let folder = |name: &str, token: &str| {
        let folder = stack.temp_dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("token"), token).unwrap();
    };
    folder("old", "old");
    folder("new", "new");
    // As Kubernetes mounts secrets.
    let path = |name: &str| stack.temp_dir.path().join(name);
    std::os::unix::fs::symlink("old", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/token", path("token")).unwrap();
    let service = stack.serve(&[("HTTP_ERASE_TOKEN_FILE", path("token").to_str().unwrap())]).await;
    assert_eq!(service.erase("1-1", "new").await, StatusCode::UNAUTHORIZED);
    std::os::unix::fs::symlink("new", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    eventually("the new token erases", async || {
        (service.erase("1-1", "new").await != StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert_eq!(service.erase("1-1", "old").await, StatusCode::UNAUTHORIZED);
}

/// An authority, and a certificate of it for the name `localhost` alone.
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub(crate) fn new(dir: &Path) -> Self {
        let sign = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem \
             -addext basicConstraints=critical,CA:TRUE 2>/dev/null && \
             openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null && \
             printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > ext && \
             openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext \
             -out server.pem 2>/dev/null";
        assert!(Command::new("sh").args(["-c", sign]).current_dir(dir).status().unwrap().success());
        let file = |name: &str| dir.join(name);
        Self { authority: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_as_sure_as_sslmode_says() {
    let dir = TempDir::new().unwrap();
    let files = Certificates::new(dir.path());
    let tls = Tls { certificate: files.certificate.clone(), key: files.key.clone() };
    let postgres =
        Postgres::temporary(PostgresOptions { tls: Some(tls), ..PostgresOptions::quick() }).unwrap();
    let stack = Stack { postgres, ..Stack::new() };
    let (port, authority) = (stack.postgres.port(), files.authority.display());
    for (host, options, gets_in) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=verify-ca".to_owned(), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={authority}"), true),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={authority}"), false),
        ("localhost", format!("sslmode=verify-full&sslrootcert={authority}"), true),
    ] {
        let url = format!("postgresql://postgres@{host}:{port}/demo1?{options}");
        let exported = stack.run(&["import", "--database-url", &url], "").await;
        let errors = String::from_utf8_lossy(&exported.stderr);
        assert_eq!(exported.status.success(), gets_in, "{host} {options}: {errors}");
        let checks = options.contains("verify");
        assert!(gets_in || !checks || errors.contains("certificate"), "{host} {options}: {errors}");
    }
    let url =
        format!("postgresql://postgres@localhost:{port}/demo1?sslmode=verify-full&sslrootcert={authority}");
    let service = stack.serve(&[("DATABASE_URL", &url)]).await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    eventually("rows are committed", async || (stack.rows() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_by_tls() {
    let stack = Stack::new();
    let files = Certificates::new(stack.temp_dir.path());
    let other = stack.temp_dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let other = Certificates::new(&other);
    let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
    let alone = stack.run(&["serve", "--http-tls-cert", certificate], "").await;
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("HTTP_TLS_KEY"));
    let service = stack.start(&[("HTTP_TLS_CERT", certificate), ("HTTP_TLS_KEY", key)]).await;
    let url = format!("https://localhost:{}/mem_len", service.addr.port());
    let curl = |authority: &Path| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--cacert"]).arg(authority).arg(&url);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert_eq!(curl(&files.authority), "{\"mem_len\": 0}");
    assert_eq!(curl(&other.authority), "", "another's authority");
    // A client without TLS is disconnected, and a silent one blocks nobody.
    let silent = tokio::net::TcpStream::connect(service.addr).await.unwrap();
    let addr = service.addr.to_string();
    eventually("the service's own commands ask it", async || {
        let asked = stack.run(&["check", "--http-addr", &addr, "--http-tls-cert", certificate], "").await;
        asked.status.success().then_some(())
    })
    .await;
    drop(silent);

    let theirs = other.certificate.to_str().unwrap();
    let check = stack.run(&["check", "--http-addr", &addr, "--http-tls-cert", theirs], "").await;
    assert!(String::from_utf8_lossy(&check.stderr).contains("not the one in HTTP_TLS_CERT"), "{check:?}");
    let ends = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--cacert"])
        .arg(&files.authority)
        .arg(url.replace("/mem_len", "/metrics"))
        .output()
        .unwrap();
    let ends = String::from_utf8_lossy(&ends.stdout);
    assert!(
        ends.contains("orderd_certificate_expiry_timestamp_seconds{setting=\"HTTP_TLS_CERT\"} 1"),
        "{ends}"
    );
    // A new certificate beside an old key harms nothing.
    std::fs::copy(&other.certificate, &files.certificate).unwrap();
    eventually("it says so", async || service.process.log().contains("HTTP_TLS_CERT: ").then_some(())).await;
    assert_eq!(curl(&files.authority), "{\"mem_len\": 0}");
    std::fs::copy(&other.key, &files.key).unwrap();
    eventually("it shows its new certificate", async || {
        (curl(&other.authority) == "{\"mem_len\": 0}").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_with_certificates_user_and_token() {
    let dir = TempDir::new().unwrap();
    let files = Certificates::new(dir.path());
    let (authority, certificate, key) =
        (files.authority.display().to_string(), files.certificate.display(), files.key.display());
    let tls = format!(
        "tls {{ cert_file: '{certificate}', key_file: '{key}', ca_file: '{authority}', verify: true }}"
    );
    for (config, address, ours) in [
        ("authorization { user: me, password: 'pass/word' }", "nats://me:pass%2Fword@127.0.0.1", false),
        ("authorization { token: secret }", "nats://secret@127.0.0.1", false),
        (tls.as_str(), "tls://localhost", true),
    ] {
        let nats = Nats::temporary(NatsOptions { extra_config: config.into(), ..NatsOptions::default() });
        let Ok(nats) = nats else { panic!("{config}") };
        let url = format!("{address}:{}", nats.port());
        let stack = Stack { nats, ..Stack::new() };
        let mut settings = vec![("NATS_URL", url.as_str())];
        let (certificate, key) = (certificate.to_string(), key.to_string());
        if ours {
            settings.extend([
                ("NATS_CA", authority.as_str()),
                ("NATS_CERT", &certificate),
                ("NATS_KEY", &key),
            ]);
        }
        let service = stack.serve(&settings).await;
        assert!(
            !service.process.log().contains("secret") && !service.process.log().contains("pass"),
            "{config}"
        );
        drop(service);
        // Without a usable server, it reports that and keeps retrying.
        let plain = format!("nats://127.0.0.1:{}", stack.nats.port());
        let service = stack.start(&[("NATS_URL", &plain)]).await;
        eventually("NATS is away", async || {
            let report = service.get("/readyz").await.json();
            report["nats"]["reason"].as_str().is_some_and(|reason| reason != "starting").then_some(())
        })
        .await;
    }
}

/// A connection takes several round trips, and all of them together more than the limit for one.
#[tokio::test(flavor = "multi_thread")]
async fn distant_nats_is_reached_by_tls() {
    let dir = TempDir::new().unwrap();
    let files = Certificates::new(dir.path());
    let extra_config = format!(
        "tls {{ cert_file: '{}', key_file: '{}' }}",
        files.certificate.display(),
        files.key.display()
    );
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    let far = Breaker::start((Ipv4Addr::LOCALHOST, stack.nats.port()).into()).unwrap();
    far.set(Mode::Distant(Duration::from_millis(350)));
    let url = format!("tls://localhost:{}", far.addr().port());
    let authority = files.authority.display().to_string();
    drop(stack.serve(&[("NATS_URL", &*url), ("NATS_CA", &*authority)]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_by_tls_from_the_first_byte_with_authorities_of_the_machine_and_ours() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (files, others) = (Certificates::new(dir.path()), Certificates::new(other.path()));
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let extra_config =
        format!("tls {{ cert_file: '{certificate}', key_file: '{key}', handshake_first: true }}");
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    let url = format!("tls://localhost:{}", stack.nats.port());
    let (ours, others) = (files.authority.display().to_string(), others.authority.display().to_string());
    for (machine, extra) in [(&ours, &others), (&others, &ours)] {
        let settings =
            [("NATS_URL", url.as_str()), ("NATS_TLS_FIRST", "yes"), ("SSL_CERT_FILE", machine.as_str())];
        drop(stack.serve(&[&settings[..], &[("NATS_CA", extra.as_str())]].concat()).await);
    }
    for (flags, advice) in [
        (&["--nats-ca", ours.as_str()][..], "NATS_TLS_FIRST=true"),
        (&["--nats-ca", others.as_str(), "--nats-tls-first", "true"][..], "NATS_CA"),
    ] {
        let flags = [&["dead-letters", "list", "--nats-url", url.as_str()][..], flags].concat();
        let refused = stack.run(&flags, "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains(advice), "{errors}");
    }
}

/// If the machine's CAs are needed and can't be read, the error names the variable to change.
#[tokio::test(flavor = "multi_thread")]
async fn machine_authorities_that_cannot_be_read_are_named_by_their_variable() {
    let stack = Stack::new();
    let empty = stack.temp_dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let folder = stack.temp_dir.path().join("authorities");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let check = || {
        let mut check = Command::new(&stack.program);
        check.args(["check", "--settings"]).envs(stack.env());
        check.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        check
    };
    let urls = [
        ("NATS_URL", "tls://127.0.0.1:1"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/d?sslrootcert=system"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/d?sslmode=verify-full"),
    ];
    for (variable, value) in [
        ("SSL_CERT_FILE", "/nope.pem"),
        ("SSL_CERT_FILE", empty),
        ("SSL_CERT_DIR", "/nope"),
        ("SSL_CERT_DIR", folder),
    ] {
        for (setting, url) in urls {
            let output = check().env(setting, url).env(variable, value).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{variable}={value} {url}: {errors}");
            assert!(errors.contains(&format!("{variable}: ")), "{variable}={value} {url}: {errors}");
        }
        // Neither is needed without TLS.
        let output = check().env(variable, value).output();
        assert!(output.as_ref().unwrap().status.success(), "{output:?}");
    }
    // Empty counts as not set.
    let mut blank = check();
    blank.env("NATS_URL", "tls://127.0.0.1:1").env("SSL_CERT_FILE", "").env("SSL_CERT_DIR", " ");
    let output = blank.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `NATS_CA` requires TLS: a server without TLS receives neither user nor orders.
#[tokio::test(flavor = "multi_thread")]
async fn nats_without_tls_is_refused_where_an_authority_is_set() {
    let dir = TempDir::new().unwrap();
    let authority = Certificates::new(dir.path()).authority.display().to_string();
    let stack = Stack::new();
    let refused = stack.run(&["dead-letters", "list", "--nats-ca", &authority], "").await;
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("does not answer with TLS"), "{errors}");
}

/// A claim for NATS servers: a JWT signed by an nkey.
pub(crate) fn claim(issuer: &nkeys::KeyPair, subject: &str, what: serde_json::Value) -> String {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let claims = serde_json::json!({
        "jti": subject, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test", "sub": subject, "nats": what,
    });
    let signed = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_with_a_credentials_file() {
    use nkeys::KeyPair;
    use serde_json::json;
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let ours = claim(&operator, &operator.public_key(), json!({"type": "operator", "version": 2}));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({"type": "account", "version": 2, "limits": limits});
    let accounts = claim(&operator, &account.public_key(), of_account);
    let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let users = claim(&account, &user.public_key(), of_user);
    let system = KeyPair::new_account();
    let systems = claim(&operator, &system.public_key(), json!({"type": "account", "version": 2}));
    let config = format!(
        "operator: {ours}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload {{ {}: {accounts}, {}: {systems} }}",
        system.public_key(),
        account.public_key(),
        system.public_key()
    );
    let nats = Nats::temporary(NatsOptions { extra_config: config, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    let file = stack.temp_dir.path().join("orderd.creds");
    let seed = user.seed().unwrap();
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{users}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&file, creds).unwrap();
    let creds = file.to_str().unwrap();
    let service = stack.serve(&[("NATS_CREDS", creds)]).await;
    let sent = stack.run(&["publish", "--count", "3", "--nats-creds", creds], "").await;
    assert!(sent.status.success(), "{sent:?}");
    service.wait_len(3).await;
    assert!(!service.process.log().contains(&seed), "a secret in the log");
    let refused = stack.run(&["dead-letters", "list"], "").await;
    assert_eq!(refused.status.code(), Some(1), "without the file nobody gets in: {refused:?}");
}

/// The error names what to correct, and no secret.
#[tokio::test(flavor = "multi_thread")]
async fn refused_connection_is_explained() {
    let options = PostgresOptions { password: Some("sesame".into()), ..PostgresOptions::quick() };
    let stack = Stack { postgres: Postgres::temporary(options).unwrap(), ..Stack::new() };
    let at = |user: &str, database: &str| {
        format!("postgresql://{user}@127.0.0.1:{}/{database}", stack.postgres.port())
    };
    for (url, reason) in [
        (at("postgres:guessed", "demo1"), "password authentication failed"),
        (at("nobody:sesame", "demo1"), "nobody"),
        (at("postgres:sesame", "elsewhere"), "\"elsewhere\" does not exist"),
    ] {
        let refused = stack.run(&["export", "--database-url", &url], "").await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains(reason), "{errors}");
        assert!(!errors.contains("guessed") && !errors.contains("sesame"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_no_secret() {
    let stack = Stack::new();
    let secrets = [
        "PG_PASSWORD",
        "DATABASE_URL",
        "NATS_URL",
        "HTTP_TOKEN",
        "HTTP_REPLAY_TOKEN",
        "HTTP_ERASE_TOKEN",
        "STAN_URL",
    ];
    for command in ["serve", "publish", "export", "import", "verify", "erase", "check", "drain-stan"] {
        let mut help = Command::new(&stack.program);
        help.args([command, "--help"]).envs(secrets.map(|name| (name, "sesame")));
        let help = help.output().unwrap();
        assert!(help.status.success(), "{command}");
        assert!(!String::from_utf8_lossy(&help.stdout).contains("sesame"), "{command}");
    }
}

/// At `trace`, libraries log what they read, and passwords.
#[tokio::test(flavor = "multi_thread")]
async fn no_level_of_the_log_shows_a_secret_or_an_order() {
    let extra_config = "authorization { user: orderd, password: nats-secret }".to_owned();
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() }).unwrap();
    let stack = Stack { nats, ..Stack::new() };
    let url = format!("nats://orderd:nats-secret@127.0.0.1:{}", stack.nats.port());
    let service = stack.serve(&[("LOG", "trace"), ("NATS_URL", &url), ("HTTP_TOKEN", "http-secret")]).await;
    let options = async_nats::ConnectOptions::with_user_and_password("orderd".into(), "nats-secret".into());
    let context = async_nats::jetstream::new(options.connect(stack.nats.url()).await.unwrap());
    for payload in
        [order("uid-of-an-order"), order("uid-of-an-order").replace("\"sm_id\":99", "\"sm_id\":\"x\"")]
    {
        context.publish("TESTING", payload.into()).await.unwrap().await.unwrap();
    }
    eventually("the row is committed", async || (stack.rows() == 1).then_some(())).await;
    let asked =
        Request::get("/orders?order_uid=uid-of-an-order").header("authorization", "Bearer http-secret");
    assert_eq!(service.send(asked).await.status, StatusCode::OK);
    let log = service.process.log();
    assert!(log.contains("listening"), "{log}");
    for secret in ["nats-secret", "http-secret", "uid-of-an-order", "Test Testov"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}
