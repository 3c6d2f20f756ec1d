//! The files of `deploy/`: as secure as documented, and with settings that the service accepts.

use devstack::{Nats, NatsOptions, TempDir, tools};
use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::support::Stack;

fn read(file: &str) -> String {
    std::fs::read_to_string(tools::workspace().join("deploy").join(file)).unwrap()
}

/// The values of `name:` in compose.yaml.
fn values<'a>(compose: &'a str, name: &str) -> Vec<&'a str> {
    let lines = compose.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    lines.map(str::trim).filter(|value| !value.is_empty()).collect()
}

#[test]
fn images_are_pinned_and_ports_are_published_on_loopback_only() {
    let compose = read("compose.yaml");
    for image in values(&compose, "image") {
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no version")).1;
        assert!(tag == "local" || tag.contains(|c: char| c.is_ascii_digit()), "{image}");
    }
    let published = compose.matches(":-").count();
    assert!(published >= 8);
    assert_eq!(compose.matches("127.0.0.1:${").count(), published);
    for line in
        read(".env").lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.contains('='))
    {
        let (name, port) = line.split_once('=').unwrap();
        assert!(compose.contains(&format!("${{{name}:-{port}}}")), "{line}");
    }
}

#[test]
fn all_that_is_mounted_is_there_and_every_secret_is_made() {
    let compose = read("compose.yaml");
    let mounted =
        compose.split(|c: char| c.is_whitespace() || c == '"').filter(|word| word.starts_with("./"));
    let script = read("make-secrets.sh");
    for file in mounted.map(|word| word.split(':').next().unwrap()) {
        match file.strip_prefix("./secrets/") {
            Some(secret) => assert!(script.contains(&format!("keep {secret} ")), "{secret}"),
            None => assert!(tools::workspace().join("deploy").join(file).exists(), "{file}"),
        }
    }
}

/// A checker's complaints about a file; empty if there are none. `cargo xtask test` installs it.
fn said(program: &str, args: &[&str]) -> String {
    let folder = tools::workspace().join("deploy");
    let output = std::process::Command::new(program).args(args).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { words } else { format!("{words} {}", output.status) }
}

#[test]
fn nats_takes_its_configuration() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("auth.conf"), "user: orderd, password: \"secret\"\n").unwrap();
    let file = dir.path().join("nats.conf");
    std::fs::copy(tools::workspace().join("deploy/nats/nats.conf"), &file).unwrap();
    let program = tools::find_nats_server().unwrap();
    let checked = std::process::Command::new(program).arg("-t").arg("-c").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Whether the Dockerfile's instruction that copies libraries succeeds where `ldd` is this script, and what it copied.
fn copies_libraries(ldd: &str) -> (bool, Vec<String>) {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir_all(path("image/etc")).unwrap();
    let stand_in = |name: &str, script: &str| {
        std::fs::write(path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path(name), executable).unwrap();
    };
    stand_in("ldd", ldd);
    stand_in("cp", &format!("echo \"$3\" >> {}", path("copied")));
    let file = read("Dockerfile");
    let run = file.split("\nRUN ").find(|run| run.starts_with("ldd ")).unwrap();
    let lines = run.lines().filter(|line| !line.trim_start().starts_with('#'));
    let script: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let script =
        script.join("\n").replace("/tmp/", &path("")).replace(" /image", &format!(" {}", path("image")));
    let search = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let status = std::process::Command::new("sh").args(["-c", &script]).env("PATH", search).status().unwrap();
    let copied = std::fs::read_to_string(path("copied")).unwrap_or_default();
    (status.success(), copied.lines().map(str::to_owned).collect())
}

#[test]
fn an_image_without_its_libraries_is_not_built() {
    let listed = "echo 'libc.so.6 => /lib/libc.so.6 (0x1)'; echo ' /lib64/ld.so (0x2)'";
    let (is_built, copied) = copies_libraries(listed);
    assert!(is_built);
    assert_eq!(copied, ["/lib/libc.so.6", "/lib64/ld.so", "/etc/ssl/certs/ca-certificates.crt"]);
    for ldd in [
        "exit 1".to_owned(),
        format!("{listed}; exit 1"),
        "exit 0".to_owned(),
        format!("{listed}; echo 'libssl.so.3 => not found'"),
    ] {
        assert!(!copies_libraries(&ldd).0, "{ldd}");
    }
}

/// The mount point of a file or a folder of `deploy/` in compose.yaml.
fn mounted_at(file: &str) -> String {
    let compose = read("compose.yaml");
    let mount = compose.lines().find_map(|line| line.trim().strip_prefix(&format!("- ./{file}:")));
    mount.unwrap_or_else(|| panic!("{file} is not mounted")).trim_end_matches(":ro").to_owned()
}

#[test]
fn pgadmin_knows_the_server_that_compose_starts() {
    let servers: Value = serde_json::from_str(&read("pgadmin/servers.json")).unwrap();
    let server = &servers["Servers"]["1"];
    // The members that pgAdmin requires of each, or it loads none.
    for member in ["Name", "Group", "Host", "Port", "MaintenanceDB", "Username"] {
        assert!(!server[member].is_null(), "{member} is missing: {server}");
    }
    let compose = read("compose.yaml");
    let host = server["Host"].as_str().unwrap();
    assert!(compose.contains(&format!("\n  {host}:\n")), "compose starts no {host}");
    let login = format!("{host}:{}:*:{}:", server["Port"], server["Username"].as_str().unwrap());
    assert!(read("make-secrets.sh").contains(&format!("keep pgpass \"{login}")), "{login}");
    assert_eq!(mounted_at("pgadmin/servers.json"), "/pgadmin4/servers.json");
}

#[test]
fn grafana_finds_its_boards_and_their_data() {
    let provider = read("grafana/provisioning/dashboards/boards.yaml");
    let boards = mounted_at("grafana/dashboards");
    assert!(values(&provider, "path").contains(&boards.as_str()), "{boards} is not where Grafana looks");
    let compose = read("compose.yaml");
    let home = values(&compose, "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")[0];
    assert_eq!(home, format!("{boards}/orderd.json"));
    let sources = read("grafana/provisioning/datasources/prometheus.yaml");
    let urls = values(&sources, "url");
    assert!(
        urls.contains(&"http://prometheus:9090") && urls.contains(&"http://alertmanager:9093"),
        "{urls:?}"
    );
    let known = values(&sources, "uid");
    let kinds = values(&sources, "type");
    for file in ["grafana/dashboards/orderd.json", "grafana/dashboards/seed.json"] {
        let board: Value = serde_json::from_str(&read(file)).unwrap();
        let mut wanted = Vec::new();
        data_sources(&board, &mut wanted);
        assert!(!wanted.is_empty(), "{file}");
        for source in wanted {
            let (kind, uid) = (source["type"].as_str().unwrap(), source["uid"].as_str().unwrap());
            // Grafana's own, and the variable to choose one.
            let is_known = known.contains(&uid) || uid == "-- Grafana --" || chooses(&board, uid, kind);
            assert!(is_known && (kinds.contains(&kind) || kind == "grafana"), "{file}: {source}");
        }
    }
}

fn data_sources<'a>(part: &'a Value, found: &mut Vec<&'a Value>) {
    match part {
        Value::Object(members) => {
            found.extend(members.get("datasource").filter(|source| source.is_object()));
            members.values().for_each(|member| data_sources(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| data_sources(element, found)),
        _ => {}
    }
}

/// Whether `uid` is a variable of the dashboard for a data source of that kind.
fn chooses(board: &Value, uid: &str, kind: &str) -> bool {
    let variables = board["templating"]["list"].as_array().unwrap();
    let is_it = |variable: &&Value| {
        let name = variable["name"].as_str().unwrap();
        uid == format!("${{{name}}}") || uid == format!("${name}")
    };
    variables.iter().find(is_it).is_some_and(|it| it["type"] == "datasource" && it["query"] == kind)
}

#[test]
fn compose_takes_its_file() {
    assert_eq!(said("docker-compose", &["config", "--quiet"]), "");
}

#[test]
fn systemd_takes_the_unit() {
    let dir = TempDir::new().unwrap();
    let unit = dir.path().join("orderd.service");
    // It looks whether the program is there.
    let text = read("orderd.service").replace("/usr/bin/orderd", env!("CARGO_BIN_EXE_orderd"));
    std::fs::write(&unit, text).unwrap();
    // It skips unknown settings with a warning, and may also have warnings about the machine.
    let words = said("systemd-analyze", &["verify", "--man=no", unit.to_str().unwrap()]);
    assert!(!words.contains("orderd.service"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_files_as_compose_gives_them() {
    let mut stack = Stack::new();
    let authorization = "authorization { user: orderd, password: \"p@ss/word\" }".to_owned();
    stack.nats =
        Nats::temporary(NatsOptions { extra_config: authorization, ..NatsOptions::default() }).unwrap();
    let secret = |name: &str, text: &str| {
        let file = stack.temp_dir.path().join(name);
        std::fs::write(&file, format!("{text}\n")).unwrap();
        file.display().to_string()
    };
    let nats = secret("nats_url", &format!("nats://orderd:p%40ss%2Fword@127.0.0.1:{}", stack.nats.port()));
    let token = secret("http_token", "secret-token");
    let service = stack.serve(&[("NATS_URL_FILE", &nats), ("HTTP_TOKEN_FILE", &token)]).await;
    assert_eq!(service.get("/mem_len").await.status, StatusCode::UNAUTHORIZED);
    let asked = Request::get("/mem_len").header("authorization", "Bearer secret-token");
    assert_eq!(service.send(asked).await.status, StatusCode::OK);
    assert_eq!(service.get("/metrics").await.status, StatusCode::OK);
}

/// The supervisors wait longer than a `SHUTDOWN_DELAY` of a minute plus the 10 s in which the service exits.
#[test]
fn systemd_and_compose_wait_until_the_service_has_ended_by_itself() {
    let unit = read("orderd.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().to_owned();
    let compose = read("compose.yaml");
    let service = compose.split("\n  orderd:\n").nth(1).unwrap();
    let grace = values(service, "stop_grace_period")[0].trim_end_matches('s');
    for seconds in [unit.as_str(), grace] {
        assert!(seconds.parse::<u64>().unwrap() > 60 + 10, "{seconds}");
    }
}
