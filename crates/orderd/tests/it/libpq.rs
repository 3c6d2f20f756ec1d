//! The service connects like psql, with the same string to the same server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devstack::{Postgres, PostgresOptions, TempDir, Tls};

/// Who may connect how; `postgres` always by either way.
const RULES: &str = "local all all trust
host all postgres 127.0.0.1/32 trust
host all either 127.0.0.1/32 trust
hostssl all only_tls 127.0.0.1/32 trust
hostnossl all no_tls 127.0.0.1/32 trust
host all asked 127.0.0.1/32 scram-sha-256";

const MODES: [&str; 7] = ["", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Certificate files, created as in PostgreSQL's manual.
struct Authority {
    temp_dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { temp_dir: TempDir::new().unwrap() };
        authority.root("root");
        // Another authority under the same name.
        authority.root("other");
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.temp_dir.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(shlex::split(arguments).unwrap()).current_dir(self.temp_dir.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn root(&self, name: &str) {
        self.openssl(&format!("req -new -nodes -out {name}.csr -keyout {name}.key -subj /CN=root.example"));
        std::fs::write(self.file("v3.ext"), "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign")
            .unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -days 3650 -extfile v3.ext -signkey {name}.key -out {name}.crt"
        ));
    }

    /// A certificate for `name`, with `more` extensions, signed by an authority.
    fn server(&self, name: &str, subject: &str, authority: &str, extensions: &str) -> Tls {
        self.openssl(&format!("req -new -nodes -out {name}.csr -keyout {name}.key -subj /CN={subject}"));
        std::fs::write(self.file("server.ext"), extensions).unwrap();
        let extended = if extensions.is_empty() { "" } else { "-extfile server.ext" };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -days 365 -CA {authority}.crt -CAkey {authority}.key -CAcreateserial {extended} -out {name}.crt"
        ));
        self.tls(name)
    }

    fn tls(&self, name: &str) -> Tls {
        Tls { certificate: self.file(&format!("{name}.crt")), key: self.file(&format!("{name}.key")) }
    }

    /// Server certificates, and the CA files of clients.
    fn kinds(&self) -> Vec<(&'static str, Tls, PathBuf)> {
        let root = self.file("root.crt");
        self.openssl("req -new -x509 -days 365 -nodes -out own.crt -keyout own.key -subj /CN=localhost");
        self.openssl(
            "req -new -x509 -days 365 -nodes -out another.crt -keyout another.key -subj /CN=localhost",
        );
        self.server(
            "between",
            "between.example",
            "root",
            "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign",
        );
        let chained = self.server("chained", "localhost", "between", "");
        let chain =
            [self.file("chained.crt"), self.file("between.crt")].map(|file| std::fs::read(file).unwrap());
        std::fs::write(&chained.certificate, chain.concat()).unwrap();
        vec![
            ("version 1", self.server("v1", "localhost", "root", ""), root.clone()),
            ("version 1, an address", self.server("v1ip", "127.0.0.1", "root", ""), root.clone()),
            ("version 1, another name", self.server("v1name", "db.example", "root", ""), root.clone()),
            (
                "version 1, another authority of that name",
                self.server("v1other", "localhost", "other", ""),
                root.clone(),
            ),
            ("version 1 by way of another", chained, root.clone()),
            (
                "common name",
                self.server("cn", "localhost", "root", "basicConstraints=CA:false"),
                root.clone(),
            ),
            (
                "another alternative name",
                self.server("san", "localhost", "root", "subjectAltName=DNS:db.example"),
                root.clone(),
            ),
            (
                "alternative name",
                self.server("good", "x", "root", "subjectAltName=DNS:localhost"),
                root.clone(),
            ),
            ("not for servers", self.server("use", "localhost", "root", "extendedKeyUsage=clientAuth"), root),
            ("its own authority", self.tls("own"), self.file("own.crt")),
            ("its own authority, not the known one", self.tls("own"), self.file("another.crt")),
        ]
    }
}

fn start(tls: Option<Tls>) -> Postgres {
    let settings =
        vec![("log_connections".into(), "on".into()), ("unix_socket_directories".into(), "/tmp".into())];
    let options = PostgresOptions { tls, rules: RULES.into(), settings, ..PostgresOptions::quick() };
    let postgres = Postgres::temporary(options).unwrap();
    let users = "create role either superuser login; create role only_tls superuser login; create role no_tls superuser login; \
                 create role asked superuser login password 'pa?s''s \\'; create table orders2 (id text primary key, data bytea)";
    postgres.psql(users).unwrap();
    postgres
}

/// Whether a program got in, and whether by TLS.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Plain,
    Encrypted,
    Nothing,
}

fn got(postgres: &Postgres, mut command: Command, name: &str, home: &Path) -> (Got, String) {
    command.env("HOME", home).env("PGAPPNAME", name).stdin(Stdio::null());
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return (Got::Nothing, words);
    }
    let log = postgres.log();
    let marks = format!("application_name={name}");
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("connection authorized") && line.contains(&marks)).collect();
    assert!(!lines.is_empty(), "{name}: {log}");
    let encrypted = lines.iter().all(|line| line.contains("SSL enabled"));
    (if encrypted { Got::Encrypted } else { Got::Plain }, words)
}

/// Compares psql and the service for a string.
fn compare(postgres: &Postgres, home: &Path, what: &str, string: &str) -> (Got, String) {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut psql = Command::new("psql");
    psql.args(["-X", "-w", "-c", "select 1", string]);
    let (theirs, words) = got(postgres, psql, &format!("psql_{number}"), home);
    let mut orderd = Command::new(env!("CARGO_BIN_EXE_orderd"));
    orderd.arg("export").env("DATABASE_URL", string);
    let (ours, our_words) = got(postgres, orderd, &format!("orderd_{number}"), home);
    assert_eq!(ours, theirs, "{what}: {string}\npsql: {words}\norderd: {our_words}");
    (ours, our_words)
}

#[test]
fn every_certificate_is_taken_or_refused_as_psql_does() {
    let authority = Authority::new();
    let mut seen = Vec::new();
    for (kind, tls, root) in authority.kinds() {
        let postgres = start(Some(tls));
        for host in ["localhost", "127.0.0.1"] {
            for mode in MODES {
                // Modes that ignore the file, such as the default, must not fail because of it.
                let mode = if mode.is_empty() { String::new() } else { format!("sslmode={mode}") };
                let root = format!("sslrootcert='{}'", root.display());
                let string = format!(
                    "host={host} hostaddr=127.0.0.1 port={} user=either dbname=demo1 {mode} {root}",
                    postgres.port()
                );
                seen.push(compare(&postgres, authority.temp_dir.path(), kind, &string).0);
            }
        }
    }
    // The table has all in it.
    for got in [Got::Plain, Got::Encrypted, Got::Nothing] {
        assert!(seen.contains(&got), "{got:?}");
    }
}

#[test]
fn rules_for_tls_and_against_it_are_met_as_psql_does() {
    let authority = Authority::new();
    for tls in [None, Some(authority.server("v1", "localhost", "root", ""))] {
        let has_tls = tls.is_some();
        let postgres = start(tls);
        for user in ["either", "only_tls", "no_tls"] {
            for mode in &MODES[..5] {
                let mode = if mode.is_empty() { String::new() } else { format!("?sslmode={mode}") };
                let string = format!("postgresql://{user}@127.0.0.1:{}/demo1{mode}", postgres.port());
                compare(&postgres, authority.temp_dir.path(), &format!("TLS {has_tls}"), &string);
            }
        }
    }
}

#[test]
fn strings_are_read_as_psql_reads_them() {
    let (postgres, home) = (start(None), TempDir::new().unwrap());
    let port = postgres.port();
    let plain = format!("host=127.0.0.1 port={port} user=either dbname=demo1");
    let address = format!("127.0.0.1:{port}/demo1");
    let compare = |string: &str| compare(&postgres, home.path(), "no TLS", string).0;
    for string in [
        plain.clone(),
        plain.replace('=', " = "),
        plain.replace(' ', "\n"),
        format!("host='127.0.0.1'port='{port}'user='either'dbname=demo1"),
        format!("host=127.0.0.1 port={port} user=asked dbname=demo1 password='pa?s\\'s \\\\'"),
        format!("postgresql://asked:pa%3Fs's%20%5C@{address}"),
        format!("postgresql://asked:pa?s's%20%5C@{address}"),
        format!("postgresql://e%69ther@{address}?connect_timeout=5&fallback_application_name=x"),
        format!("postgresql://either@127.0.0.1:1,{address}"),
        format!("postgresql:///demo1?host=127.0.0.1&port={port}&user=either"),
        format!("postgresql://either@{address}?target_session_attrs=primary"),
        format!(
            "postgresql://either@{address}?options=-c%20statement_timeout%3D1s&gssencmode=disable&keepalives=0"
        ),
        format!("{plain} options='-c statement_timeout=1s' sslcompression=0 sslsni=0 tcp_user_timeout=1000"),
        format!("{plain} channel_binding=prefer gssencmode=prefer requiressl=0"),
        format!("host=/tmp port={port} user=either dbname=demo1 sslmode=require"),
        format!("host=/tmp port={port} user=asked dbname=demo1 sslmode=prefer"),
        format!("postgresql:///demo1?host=/tmp&port={port}&user=either"),
        format!("postgresql://either@%2Ftmp:{port}/demo1"),
        format!("postgresql://either@/demo1?host=/nowhere,/tmp&port={port},{port}"),
        format!("{plain} sslcert=/nowhere.crt sslmode=disable"),
        format!("{plain} keepalives=2 tcp_user_timeout=-5 connect_timeout=-1 sslsni=off"),
        format!("{plain} connect_timeout=' 5 ' ssl_min_protocol_version=''"),
        format!("postgresql://either@{address}?connect_timeout=5&"),
    ] {
        let got = compare(&string);
        assert_eq!(got, Got::Plain, "{string}");
    }
    for string in [
        format!("{plain} sslmode = require"),
        format!("{plain} requiressl=1"),
        format!("postgresql://either@{address}?requiressl=1"),
        format!("{plain} sslmode=''"),
        format!("postgresql://either@{address}?sslmode="),
        format!("{plain} channel_binding=''"),
        format!("{plain} target_session_attrs=''"),
        format!("{plain} connect_timeout=''"),
        format!("{plain} connect_timeout=99999999999"),
        format!("{plain} keepalives=''"),
        format!("{plain} keepalives=on"),
        format!("{plain} tcp_user_timeout=''"),
        format!("{plain} service=''"),
        format!("postgresql://either@{address}?&application_name=x"),
        format!("host=/nowhere port={port} user=either dbname=demo1"),
        format!("host=@nowhere port={port} user=either dbname=demo1"),
        format!("{plain} ssl_min_protocol_version=TLSv2"),
        format!("{plain}\nsslmode='require'"),
        format!("postgresql://asked:pa?ss@{address}?sslmode=require"),
        format!("postgresql://either@{address}?sslmode=verify-full"),
        format!("postgresql://either@{address}?ssl=true"),
        format!("{plain} sslmode=Require"),
        format!("{plain} sslrootcert=/nowhere/root.crt sslmode=verify-ca"),
        format!("postgresql://asked:wrong@{address}"),
        format!("postgresql://either@{address}?target_session_attrs=read-only"),
        format!("postgresql://either@{address}?channel_binding=require"),
        format!("postgresql://either@{address}?gssencmode=require"),
        format!("postgresql://either@{address}?nothing=known"),
        format!("postgresql://either@127.0.0.1:{port},127.0.0.1:{port}/demo1?port=1,2,3"),
        format!("{plain} service=nowhere"),
        "host=127.0.0.1 password=two words".to_owned(),
    ] {
        let got = compare(&string);
        assert_eq!(got, Got::Nothing, "{string}");
    }
}

#[test]
fn a_password_and_an_authority_that_are_replaced_count_from_the_next_connection_on() {
    let (postgres, home) = (start(None), TempDir::new().unwrap());
    let passfile = home.path().join(".pgpass");
    let address = format!("postgresql://asked@127.0.0.1:{}/demo1", postgres.port());
    for (password, expected) in [("wrong", Got::Nothing), ("pa?s's \\\\", Got::Plain)] {
        std::fs::write(&passfile, format!("*:*:demo1:asked:{password}\n")).unwrap();
        std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(compare(&postgres, home.path(), "passfile", &address).0, expected);
    }
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(compare(&postgres, home.path(), "passfile", &address).0, Got::Nothing);
}

#[test]
fn options_of_tls_are_read_as_psql_reads_them() {
    let authority = Authority::new();
    let postgres =
        start(Some(authority.server("server", "localhost", "root", "subjectAltName=DNS:localhost")));
    postgres.psql("alter role asked password 'right'").unwrap();
    postgres.psql("alter system set ssl_max_protocol_version = 'TLSv1.2'").unwrap();
    postgres.psql("select pg_reload_conf()").unwrap();
    let home = authority.temp_dir.path();
    let to = |user: &str, more: &str| {
        format!("host=127.0.0.1 port={} user={user} dbname=demo1 {more}", postgres.port())
    };
    let open_key = authority.server("open", "either", "root", "");
    std::fs::set_permissions(&open_key.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    authority.openssl("pkey -in server.key -aes256 -passout pass:x -out encrypted.key");
    authority.openssl("pkey -in server.key -outform DER -out server.der");
    let file = |name: &str| authority.file(name).display().to_string();
    let (certificate, key) = (file("server.crt"), file("server.key"));
    for (string, expected) in [
        (to("asked", "password=right channel_binding=require sslmode=require"), Got::Encrypted),
        (to("asked", "password=right channel_binding=disable"), Got::Encrypted),
        (to("asked", "password=right channel_binding=require sslmode=disable"), Got::Nothing),
        (to("either", "channel_binding=require"), Got::Nothing),
        (to("either", "ssl_min_protocol_version=tlsv1.2 sslmode=require"), Got::Encrypted),
        (to("either", "ssl_min_protocol_version=TLSv1.3 sslmode=require"), Got::Nothing),
        (to("either", "ssl_max_protocol_version=TLSv1.2 sslmode=require"), Got::Encrypted),
        (to("either", "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2"), Got::Nothing),
        (to("either", "sslsni=0 sslmode=require"), Got::Encrypted),
        (to("either", &format!("sslcert={certificate} sslkey={key} sslmode=require")), Got::Encrypted),
        (
            to("either", &format!("sslcert={certificate} sslkey={} sslmode=require", file("server.der"))),
            Got::Encrypted,
        ),
        (to("either", &format!("sslcert={certificate} sslmode=require")), Got::Nothing),
        (
            to("either", &format!("sslcert={certificate} sslkey={} sslmode=require", file("root.key"))),
            Got::Nothing,
        ),
        (
            to("either", &format!("sslcert={certificate} sslkey={} sslmode=require", file("encrypted.key"))),
            Got::Nothing,
        ),
        (
            to(
                "either",
                &format!("sslcert={} sslkey={} sslmode=require", file("open.crt"), file("open.key")),
            ),
            Got::Nothing,
        ),
        (to("either", &format!("sslcert={certificate} sslkey=engine:x sslmode=require")), Got::Nothing),
    ] {
        let (got, words) = compare(&postgres, home, "options of TLS", &string);
        assert_eq!(got, expected, "{string}: {words}");
        // Each error names the option to change.
        let option = ["sslkey", "channel_binding", "ssl_m", "channel binding"];
        assert!(
            expected != Got::Nothing || option.iter().any(|option| words.contains(option)),
            "{string}: {words}"
        );
    }
    // A certificate in libpq's folder for the user needs no options.
    std::fs::create_dir(authority.file(".postgresql")).unwrap();
    for (from, to) in
        [("server.crt", "postgresql.crt"), ("server.key", "postgresql.key"), ("root.crt", "root.crt")]
    {
        std::fs::copy(authority.file(from), authority.file(".postgresql").join(to)).unwrap();
    }
    for (more, expected) in
        [("", Got::Encrypted), ("sslmode=verify-ca", Got::Encrypted), ("sslmode=verify-full", Got::Nothing)]
    {
        let string = to("either", more);
        assert_eq!(compare(&postgres, home, "files of the user", &string).0, expected, "{string}");
    }
}

/// The variable that PGSSLMODE has replaced still counts in libpq.
#[test]
fn deprecated_variable_for_tls_is_not_dropped() {
    let (postgres, home) = (start(None), TempDir::new().unwrap());
    let string = format!("postgresql://either@127.0.0.1:{}/demo1", postgres.port());
    for (name, value, gets_in) in [
        ("PGREQUIRESSL", "1", false),
        ("PGREQUIRESSL", "0", true),
        ("PGSSLMODE", "", true),
        ("PGMINPROTOCOLVERSION", "3.2", false),
        ("PGMINPROTOCOLVERSION", "3.0", true),
        ("PGMAXPROTOCOLVERSION", "3.2", true),
        ("PGREQUIREAUTH", "scram-sha-256", false),
        ("PGGSSENCMODE", "require", false),
    ] {
        let mut orderd = Command::new(env!("CARGO_BIN_EXE_orderd"));
        orderd.arg("export").env("DATABASE_URL", &string).env(name, value).env("HOME", home.path());
        let output = orderd.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), gets_in, "{name}={value}: {words}");
    }
}

/// The server refuses a wrong value, so that it shows whether a variable is sent.
#[test]
fn variables_of_the_session_are_sent_as_psql_sends_them() {
    let (postgres, home) = (start(None), TempDir::new().unwrap());
    let string = format!("postgresql://either@127.0.0.1:{}/demo1", postgres.port());
    for (name, value, gets_in) in [
        ("PGTZ", "Asia/Kolkata", true),
        ("PGTZ", "No Where", false),
        ("PGTZ", "Default", true),
        ("PGDATESTYLE", "SQL, DMY", true),
        ("PGDATESTYLE", "no style", false),
        ("PGGEQO", "off", true),
        ("PGGEQO", "no\\ne", false),
        ("PGOPTIONS", "-c statement_timeout=9s", true),
        ("PGOPTIONS", "-c no_such.x", false),
    ] {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-w", "-c", "select 1", &string]);
        let mut orderd = Command::new(env!("CARGO_BIN_EXE_orderd"));
        orderd.arg("export").env("DATABASE_URL", &string);
        for mut program in [psql, orderd] {
            let output = program.env(name, value).env("HOME", home.path()).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), gets_in, "{program:?} {name}={value}: {words}");
        }
    }
}

/// An option that is given without a value is not looked for in the environment.
#[test]
fn empty_option_is_not_replaced_by_its_variable() {
    let (postgres, home) = (start(None), TempDir::new().unwrap());
    let port = postgres.port();
    // Without a host, the socket in /tmp.
    let no_host = format!("host='' port={port} user=either dbname=demo1");
    let no_mode = format!("host=127.0.0.1 port={port} user=either dbname=demo1 sslmode=''");
    for (string, name, value, gets_in) in
        [(no_host, "PGHOST", "/nowhere", true), (no_mode, "PGSSLMODE", "disable", false)]
    {
        let mut orderd = Command::new(env!("CARGO_BIN_EXE_orderd"));
        orderd.arg("export").env("DATABASE_URL", &string).env(name, value).env("HOME", home.path());
        let output = orderd.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), gets_in, "{string} {name}={value}: {words}");
    }
}

/// libpq reads a list of revoked certificates that lies beside the authorities of the user.
#[test]
fn list_of_revoked_certificates_is_not_ignored() {
    let authority = Authority::new();
    let postgres =
        start(Some(authority.server("server", "localhost", "root", "subjectAltName=DNS:localhost")));
    let home = authority.temp_dir.path();
    std::fs::create_dir(authority.file(".postgresql")).unwrap();
    std::fs::write(authority.file("index.txt"), "").unwrap();
    std::fs::write(authority.file("crlnumber"), "01\n").unwrap();
    let settings = "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n";
    std::fs::write(authority.file("ca.cnf"), settings).unwrap();
    authority.openssl("ca -config ca.cnf -cert root.crt -keyfile root.key -revoke server.crt");
    authority.openssl("ca -config ca.cnf -cert root.crt -keyfile root.key -gencrl -out .postgresql/root.crl");
    let to = |more: &str| {
        format!("host=localhost hostaddr=127.0.0.1 port={} user=either dbname=demo1 {more}", postgres.port())
    };
    let root = authority.file("root.crt").display().to_string();
    for (more, expected) in [
        ("sslmode=require".to_owned(), Got::Encrypted),
        (format!("sslmode=verify-full sslrootcert={root}"), Got::Nothing),
        (format!("sslmode=require sslrootcert={root}"), Got::Nothing),
    ] {
        let (got, words) = compare(&postgres, home, "revoked", &to(&more));
        assert_eq!(got, expected, "{more}: {words}");
        assert!(got == Got::Encrypted || words.contains("sslcrl") && words.contains("root.crl"), "{words}");
    }
}

/// Each is refused by its name and without a value.
#[test]
fn options_that_are_not_honoured_are_refused_by_name() {
    for option in [
        "sslcrl",
        "sslpassword",
        "requirepeer",
        "require_auth",
        "service",
        "krbsrvname",
        "sslkeylogfile",
        "sslcrldir",
        "gsslib",
        "servicefile",
        "min_protocol_version",
        "max_protocol_version",
        "gssencmode",
        "gssdelegation",
        "load_balance_hosts",
        "sslnegotiation",
        "sslcertmode",
        "channel_binding",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "ssl_min_protocol_version",
        "scram_client_key",
        "oauth_issuer",
        "unknown",
    ] {
        let mut orderd = Command::new(env!("CARGO_BIN_EXE_orderd"));
        orderd.arg("export").env("DATABASE_URL", format!("postgresql://u@127.0.0.1:1/d?{option}=secret"));
        let output = orderd.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(
            words.contains("DATABASE_URL") && words.contains(option) && !words.contains("secret"),
            "{words}"
        );
    }
}
