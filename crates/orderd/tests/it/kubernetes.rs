//! The Helm chart and the plain manifests, compared with the program as far as possible without Helm. `cargo xtask
//! chart` checks what the chart renders.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Arg, CommandFactory};
use devstack::tools;
use orderd::cli::Cli;
use serde_json::Value;

/// Settings that the chart sets itself.
const OF_THE_CHART: [&str; 2] = ["HTTP_ADDR", "SHUTDOWN_DELAY"];

/// Variables of libpq and of OpenSSL that `files` has too: the first to say why it can't be a mounted file.
const OF_OTHERS: [&str; 2] = ["PGPASSFILE", "SSL_CERT_FILE"];

fn read(file: &str) -> String {
    std::fs::read_to_string(tools::workspace().join("deploy").join(file)).unwrap()
}

/// The settings of `serve` for which something holds.
fn settings(which: impl Fn(&Arg) -> bool) -> BTreeSet<String> {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    let settings = serve.get_arguments().filter(|arg| arg.get_env().is_some() && which(arg));
    settings.map(|arg| arg.get_env().unwrap().to_str().unwrap().to_owned()).collect()
}

/// `MODEL` names several files, or a word: `any`.
fn is_file(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() || arg.get_id() == "model"
}

/// The names that the chart's schema allows in one of its parts, without those of other programs.
fn taken(schema: &Value, part: &str) -> BTreeSet<String> {
    let names = &schema["properties"][part]["propertyNames"];
    let names = names.get("enum").unwrap_or_else(|| &names["anyOf"][0]["enum"]);
    let names = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with("PGSSL") && !OF_OTHERS.contains(&name.as_str())).collect()
}

#[test]
fn each_setting_of_serve_is_taken_by_the_chart_and_a_misspelt_one_is_not() {
    let schema: Value = serde_json::from_str(&read("helm/orderd/values.schema.json")).unwrap();
    let own = |name: &String| !OF_THE_CHART.contains(&name.as_str());
    let chart = |part: &str| taken(&schema, part).into_iter().collect::<BTreeSet<_>>();
    let serve = |which: fn(&Arg) -> bool| settings(which).into_iter().collect::<BTreeSet<_>>();
    let secrets = serve(Arg::is_hide_env_values_set);
    assert_eq!(chart("secrets"), secrets, "secrets: in values.schema.json; in `serve --help`");
    let files = serve(is_file);
    assert_eq!(chart("files"), files, "files: in values.schema.json; in `serve --help`");
    // An address of NATS without a password need not be a secret, and MODEL=any is not a file.
    let is_both = |name: &String| name == "NATS_URL" || name == "MODEL";
    let is_plain =
        |name: &String| own(name) && (is_both(name) || !secrets.contains(name) && !files.contains(name));
    let plain: BTreeSet<_> = serve(|_| true).into_iter().filter(is_plain).collect();
    assert_eq!(chart("settings"), plain, "settings: in values.schema.json; in `serve --help`");
}

#[test]
fn plain_manifests_set_what_serve_has() {
    let manifest = read("kubernetes/orderd.yaml");
    let env = manifest.split("env:\n").nth(1).unwrap().split("ports:\n").next().unwrap();
    let names: Vec<_> = env.lines().filter_map(|line| line.trim().strip_prefix("- name: ")).collect();
    assert!(names.len() > 5, "{names:?}");
    let known = settings(|_| true);
    for name in names {
        let setting = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains(setting), "{name}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = read("helm/orderd/Chart.yaml");
    for line in ["version", "appVersion"] {
        assert!(chart.contains(&format!("\n{line}: {}\n", env!("CARGO_PKG_VERSION"))), "{line}");
    }
}
