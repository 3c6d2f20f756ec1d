//! Values to render the chart with, and the expected result of each.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::documents::Documents;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) release: &'static str,
    pub(super) values: &'static str,
    pub(super) expected: Expected,
}

#[derive(Clone, Copy)]
pub(super) enum Expected {
    Documents(fn(&Documents) -> Result<()>),
    /// Some words of the reason.
    Refused(&'static str),
}

use Expected::{Documents as Renders, Refused};

/// The minimal values.
const SMALLEST: &str = "settings: { NATS_URL: 'nats://nats:4222', PG_HOST: pg, HTTP_ANONYMOUS: true }";

const fn case(name: &'static str, values: &'static str, expected: Expected) -> Case {
    Case { name, release: "orderd", values, expected }
}

const fn released(
    name: &'static str,
    release: &'static str,
    values: &'static str,
    expected: Expected,
) -> Case {
    Case { name, release, values, expected }
}

pub(super) const CASES: &[Case] = &[
    case("the smallest values", SMALLEST, Renders(smallest)),
    case("all TLS, all secrets", ALL_TLS, Renders(all_tls)),
    case("TLS of HTTP alone", HTTP_TLS, Renders(http_tls)),
    case(
        "0 replicas",
        "{replicas: 0, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Renders(none),
    ),
    case(
        "no delay",
        "{shutdownDelaySeconds: 0, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Renders(no_delay),
    ),
    case("quotes, templates and references in values", QUOTES, Renders(quotes)),
    case("numbers, booleans and nothing in values", NUMBERS, Renders(numbers)),
    case("monitoring", MONITORING, Renders(monitoring)),
    case("labels that are the chart's own", LABELS, Renders(labels)),
    case("everything else that can be set", THE_REST, Renders(the_rest)),
    case("nothing but the Deployment and the Service", SWITCHED_OFF, Renders(switched_off)),
    released("a release of 53 characters", LONG_RELEASE, SMALLEST, Renders(|_| Ok(()))),
    released("a release that begins with a digit", "1st", SMALLEST, Renders(digit)),
    released("a release that YAML takes for a boolean", "true", SMALLEST, Renders(|_| Ok(()))),
    case("a name of 63 characters", LONG_NAME, Renders(|_| Ok(()))),
    case(
        "a name that YAML takes for nothing",
        "{fullnameOverride: 'null', nameOverride: 'yes', settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Renders(|_| Ok(())),
    ),
    case("ports of several servers", SEVERAL_PORTS, Renders(several_ports)),
    case("one port of several servers", ONE_PORT, Renders(one_port)),
    case("ports of odd addresses", ODD_ADDRESSES, Renders(odd_addresses)),
    case("ports that replace those of addresses", GIVEN_PORTS, Renders(given_ports)),
    case(
        "a list of no ports",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, networkPolicy: {natsPort: []}}",
        Refused("natsPort"),
    ),
    case(
        "a port that is too large, in a list",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, networkPolicy: {postgresPort: [5432, 65536]}}",
        Refused("postgresPort"),
    ),
    case("an empty setting beside its secret", EMPTY_BESIDE_SECRET, Renders(empty_beside_secret)),
    case("a null setting beside its secret", NULL_BESIDE_SECRET, Renders(empty_beside_secret)),
    case(
        "a boolean in another word",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: 'On'}}",
        Renders(|documents| documents.expect_env("HTTP_ANONYMOUS", Some("On"))),
    ),
    case(
        "a boolean as a number",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: 1}}",
        Renders(|documents| documents.expect_env("HTTP_ANONYMOUS", Some("1"))),
    ),
    case(
        "a list of ports where the service takes one",
        "{settings: {NATS_URL: nats, PG_HOST: p, PG_PORT: '5432,5433', HTTP_ANONYMOUS: true}}",
        Refused("settings.PG_PORT is \"5432,5433\", which is not a port"),
    ),
    case(
        "an invalid port, without a NetworkPolicy",
        "{settings: {NATS_HOST: nats, NATS_PORT: 'tcp://10.0.0.1:4222', PG_HOST: p, HTTP_ANONYMOUS: true}, networkPolicy: {enabled: false}}",
        Refused("settings.NATS_PORT is \"tcp://10.0.0.1:4222\", which is not a port"),
    ),
    case(
        "a port in an address that is too large",
        "{settings: {NATS_URL: 'nats://n:70000', PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Refused("a port in settings.NATS_URL is \"70000\""),
    ),
    case(
        "a password file, which its group can read",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, files: {PGPASSFILE: {secret: s, key: k}}}",
        Refused("Use secrets.PG_PASSWORD"),
    ),
    case("a collector's certificate authority", COLLECTOR, Renders(collector)),
    case("no values", "{}", Refused("say where NATS is")),
    case(
        "no PostgreSQL",
        "{settings: {NATS_URL: nats, HTTP_ANONYMOUS: true}}",
        Refused("say where PostgreSQL is"),
    ),
    case(
        "neither token nor anonymous",
        "{settings: {NATS_URL: nats, PG_HOST: p}}",
        Refused("set secrets.HTTP_TOKEN"),
    ),
    case(
        "not anonymous",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: false}}",
        Refused("set secrets.HTTP_TOKEN"),
    ),
    case(
        "a certificate without its key",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, files: {HTTP_TLS_CERT: {secret: s, key: k}}}",
        Refused("belong together"),
    ),
    case(
        "a setting that is misspelt",
        "{settings: {NATS_URL: nats, PG_HOTS: p, HTTP_ANONYMOUS: true}}",
        Refused("PG_HOTS"),
    ),
    case(
        "a secret among the settings",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_TOKEN: secret}}",
        Refused("HTTP_TOKEN"),
    ),
    case(
        "a setting of the chart's own",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true, SHUTDOWN_DELAY: 5s}}",
        Refused("SHUTDOWN_DELAY"),
    ),
    case(
        "a setting that is given twice",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, secrets: {NATS_URL: {name: s, key: k}}}",
        Refused("NATS_URL is given twice"),
    ),
    case(
        "a file from two sources",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, files: {NATS_CA: {secret: s, configMap: c, key: k}}}",
        Refused("NATS_CA"),
    ),
    case(
        "a key that leads out of its folder",
        "{settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}, files: {NATS_CA: {secret: s, key: ../k}}}",
        Refused("NATS_CA"),
    ),
    case(
        "fewer than no replicas",
        "{replicas: -1, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Refused("replicas"),
    ),
    case(
        "a value that the chart lacks",
        "{replicaCount: 3, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Refused("replicaCount"),
    ),
    case(
        "a name of 64 characters",
        "{fullnameOverride: a123456789b123456789c123456789d123456789e123456789f123456789g123, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Refused("fullnameOverride"),
    ),
    case(
        "an invalid name",
        "{fullnameOverride: Order_D, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}",
        Refused("fullnameOverride"),
    ),
];

/// Helm's maximum length.
const LONG_RELEASE: &str = "r123456789r123456789r123456789r123456789r123456789-12";
const LONG_NAME: &str = "{fullnameOverride: a123456789b123456789c123456789d123456789e123456789f123456789g12, \
    monitoring: {dashboard: {enabled: true}}, settings: {NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true}}";

fn smallest(documents: &Documents) -> Result<()> {
    documents.expect_env("HTTP_TOKEN_FILE", None)?;
    documents.expect_env("HTTP_IDLE_TIMEOUT", Some("75s"))?;
    documents.expect_env("SHUTDOWN_DELAY", Some("10s"))?;
    ensure!(documents.get("Deployment")?["spec"]["replicas"] == 2);
    ensure!(documents.pod()?.get("volumes").is_none(), "volumes without a secret");
    for kind in ["PodDisruptionBudget", "NetworkPolicy", "Service", "ServiceAccount"] {
        documents.get(kind)?;
    }
    for kind in ["ServiceMonitor", "PrometheusRule", "ConfigMap"] {
        ensure!(documents.of_kind(kind).is_none(), "{kind}, which needs what a cluster may lack");
    }
    Ok(())
}

const ALL_TLS: &str = "
settings: { HTTP_HOSTS: none }
secrets:
  NATS_URL: { name: orderd, key: nats-url }
  DATABASE_URL: { name: orderd, key: database-url }
  HTTP_TOKEN: { name: orderd.http, key: token }
  HTTP_ERASE_TOKEN: { name: orderd.http, key: erase-token }
files:
  HTTP_TLS_CERT: { secret: orderd-tls, key: tls.crt }
  HTTP_TLS_KEY: { secret: orderd-tls, key: tls.key }
  NATS_CA: { configMap: ca, key: ca.crt }
  NATS_CERT: { secret: nats-client, key: tls.crt }
  NATS_KEY: { secret: nats-client, key: tls.key }
  PGSSLROOTCERT: { configMap: ca, key: ca.crt }
";

fn all_tls(documents: &Documents) -> Result<()> {
    documents.expect_env("NATS_URL_FILE", Some("/etc/orderd/secret/orderd/nats-url"))?;
    documents.expect_env("HTTP_TOKEN_FILE", Some("/etc/orderd/secret/orderd.http/token"))?;
    documents.expect_env("HTTP_TLS_KEY", Some("/etc/orderd/secret/orderd-tls/tls.key"))?;
    // Two settings, one file.
    documents.expect_env("NATS_CA", Some("/etc/orderd/configMap/ca/ca.crt"))?;
    documents.expect_env("PGSSLROOTCERT", Some("/etc/orderd/configMap/ca/ca.crt"))?;
    let volumes = documents.pod()?["volumes"].as_array().context("no volumes")?;
    ensure!(volumes.len() == 5, "{} volumes for five sources", volumes.len());
    Ok(())
}

const HTTP_TLS: &str = "
settings: { NATS_URL: 'nats://nats', PG_HOST: pg, HTTP_ANONYMOUS: 'true' }
files: { HTTP_TLS_CERT: { secret: s, key: c }, HTTP_TLS_KEY: { secret: s, key: k } }
monitoring: { serviceMonitor: { enabled: true, tlsConfig: { insecureSkipVerify: true } } }
";

fn http_tls(documents: &Documents) -> Result<()> {
    let endpoint = &documents.get("ServiceMonitor")?["spec"]["endpoints"][0];
    ensure!(
        endpoint["scheme"] == "https" && endpoint["tlsConfig"]["insecureSkipVerify"] == true,
        "{endpoint}"
    );
    Ok(())
}

fn none(documents: &Documents) -> Result<()> {
    ensure!(documents.get("Deployment")?["spec"]["replicas"] == 0);
    Ok(())
}

fn no_delay(documents: &Documents) -> Result<()> {
    documents.expect_env("SHUTDOWN_DELAY", Some("0s"))
}

const QUOTES: &str = r#"
settings:
  NATS_URL: nats://nats
  PG_HOST: "p\"g'`"
  PG_DBNAME: "{{ .Values.secrets }} # : - %\t\\ \u00fc\u4e16"
  PG_USER: "$(NATS_URL) $NATS_URL $$(X)"
  LOG: "no"
  HTTP_ANONYMOUS: true
  REQUIRE: "null"
podAnnotations: { note: "a \"note\": {{ yes }}", number: "1" }
"#;

fn quotes(documents: &Documents) -> Result<()> {
    documents.expect_env("PG_HOST", Some("p\"g'`"))?;
    documents.expect_env("PG_DBNAME", Some("{{ .Values.secrets }} # : - %\t\\ \u{fc}\u{4e16}"))?;
    // Kubernetes turns `$$(` into `$(`, and keeps all other dollars.
    documents.expect_env("PG_USER", Some("$$(NATS_URL) $NATS_URL $$$(X)"))?;
    documents.expect_env("LOG", Some("no"))?;
    documents.expect_env("REQUIRE", Some("null"))?;
    let annotations = &documents.get("Deployment")?["spec"]["template"]["metadata"]["annotations"];
    ensure!(annotations["note"] == "a \"note\": {{ yes }}", "{annotations}");
    Ok(())
}

const NUMBERS: &str = "
settings:
  NATS_HOST: nats
  NATS_PORT: 14222
  PG_HOST: pg
  PG_PORT: 15432
  CACHE_MAX_BYTES: 4294967296
  NATS_REPLICAS: 3
  HTTP_ANONYMOUS: yes
  HTTP_IDLE_TIMEOUT: null
  STREAM_KEEP: 0
shutdownDelaySeconds: 1000
";

fn numbers(documents: &Documents) -> Result<()> {
    for (name, value) in [
        ("NATS_PORT", Some("14222")),
        ("CACHE_MAX_BYTES", Some("4294967296")),
        ("NATS_REPLICAS", Some("3")),
        ("HTTP_ANONYMOUS", Some("true")),
        ("STREAM_KEEP", Some("0")),
        ("HTTP_IDLE_TIMEOUT", None),
        ("SHUTDOWN_DELAY", Some("1000s")),
    ] {
        documents.expect_env(name, value)?;
    }
    egress(documents, &[53, 53, 14222, 15432])
}

const MONITORING: &str = "
settings: { NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true }
monitoring:
  serviceMonitor: { enabled: true, interval: 5s, labels: { release: prometheus } }
  rules: { enabled: true, labels: { release: prometheus }, runbookBase: 'https://example.com/orderd/' }
  dashboard: { enabled: true }
";

fn monitoring(documents: &Documents) -> Result<()> {
    let monitor = documents.get("ServiceMonitor")?;
    ensure!(monitor["metadata"]["labels"]["release"] == "prometheus", "{monitor}");
    // The alerts select this job.
    let job = json!([{"action": "replace", "targetLabel": "job", "replacement": "orderd"}]);
    ensure!(monitor["spec"]["endpoints"][0]["relabelings"] == job, "{monitor}");
    let rules =
        documents.get("PrometheusRule")?["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    ensure!(rules.len() > 10, "{} rules", rules.len());
    for rule in rules {
        let annotations = &rule["annotations"];
        let wanted =
            format!("https://example.com/orderd/{}", annotations["runbook"].as_str().context("no runbook")?);
        ensure!(annotations["runbook_url"] == wanted, "{annotations}");
    }
    let board = documents.get("ConfigMap")?["data"]["orderd.json"].as_str().context("no board")?;
    let board: serde_json::Value = serde_json::from_str(board).context("the dashboard is not JSON")?;
    ensure!(board["panels"].as_array().is_some_and(|panels| !panels.is_empty()), "the board has no panels");
    Ok(())
}

const LABELS: &str = "
settings: { NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true }
podLabels: { app.kubernetes.io/name: other, app.kubernetes.io/instance: other, team: orders }
";

fn labels(documents: &Documents) -> Result<()> {
    let labels = &documents.get("Deployment")?["spec"]["template"]["metadata"]["labels"];
    ensure!(labels["team"] == "orders" && labels["app.kubernetes.io/name"] == "orderd", "{labels}");
    Ok(())
}

const THE_REST: &str = "
settings: { NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true }
image:
  repository: registry.example.com:5000/orders/orderd
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullSecrets: [registry]
resources: {}
service: { type: LoadBalancer, port: 80, annotations: { a: b } }
serviceAccount: { create: false, name: existing }
podDisruptionBudget: { maxUnavailable: 50% }
topologySpreadConstraints: []
networkPolicy:
  from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: shop } } }]
  natsTo: [{ podSelector: { matchLabels: { app: nats } } }]
  postgresTo: [{ ipBlock: { cidr: 10.0.0.0/8 } }]
  extraEgress: [{ ports: [{ protocol: TCP, port: 4317 }] }]
nodeSelector: { kubernetes.io/os: linux }
tolerations: [{ key: orders, operator: Exists }]
affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: a, operator: Exists }] }] } } }
priorityClassName: high
";

fn the_rest(documents: &Documents) -> Result<()> {
    let image = documents.container()?["image"].as_str().unwrap_or_default();
    ensure!(image.starts_with("registry.example.com:5000/orders/orderd@sha256:0123"), "{image}");
    ensure!(documents.pod()?["serviceAccountName"] == "existing");
    ensure!(documents.of_kind("ServiceAccount").is_none(), "an account that should not be made");
    ensure!(documents.pod()?["topologySpreadConstraints"] == json!([]));
    ensure!(documents.get("PodDisruptionBudget")?["spec"]["maxUnavailable"] == "50%");
    let policy = &documents.get("NetworkPolicy")?["spec"];
    ensure!(
        policy["ingress"][0]["from"][0].is_object() && policy["egress"][2]["to"][0]["ipBlock"].is_object(),
        "{policy}"
    );
    ensure!(documents.egress_ports()?.contains(&4317));
    Ok(())
}

const SWITCHED_OFF: &str = "
settings: { NATS_URL: nats, PG_HOST: p, HTTP_ANONYMOUS: true }
podDisruptionBudget: { enabled: false }
networkPolicy: { enabled: false }
serviceAccount: { create: false }
";

fn switched_off(documents: &Documents) -> Result<()> {
    ensure!(documents.all().count() == 2, "{} manifests", documents.all().count());
    Ok(())
}

fn digit(documents: &Documents) -> Result<()> {
    let name = &documents.get("Service")?["metadata"]["name"];
    ensure!(name == "orderd-1st-orderd", "{name}");
    Ok(())
}

const SEVERAL_PORTS: &str = "
settings: { NATS_URL: 'tls://a.example.com:14222, b.example.com,nats://c.example.com:14223/', PG_HOST: p, HTTP_ANONYMOUS: true }
";

fn several_ports(documents: &Documents) -> Result<()> {
    egress(documents, &[53, 53, 14222, 4222, 14223, 5432])
}

const ONE_PORT: &str = "
settings: { NATS_URL: 'tls://a.example.com:14222,tls://b.example.com:14222', PG_HOST: p, HTTP_ANONYMOUS: true }
networkPolicy: { postgresPort: 6432 }
";

fn one_port(documents: &Documents) -> Result<()> {
    egress(documents, &[53, 53, 14222, 6432])
}

/// Passwords, and IPv6 with and without brackets, as the service reads them.
const ODD_ADDRESSES: &str = "
settings:
  NATS_URL: 'nats://u:14223@a,u:14224@b:14225,nats://[fd00::5]:14226,[fd00::1422],fd00::5:14228,fd00::1423,fd00::7'
  PG_HOST: p
  HTTP_ANONYMOUS: true
";

fn odd_addresses(documents: &Documents) -> Result<()> {
    egress(documents, &[53, 53, 4222, 14225, 14226, 14228, 5432])
}

const GIVEN_PORTS: &str = "
settings: { NATS_URL: 'nats://a:14222', PG_HOST: p, PG_PORT: 15432, HTTP_ANONYMOUS: true }
networkPolicy: { natsPort: [4222, 4223, 4222], postgresPort: [5432, 6432] }
";

fn given_ports(documents: &Documents) -> Result<()> {
    egress(documents, &[53, 53, 4222, 4223, 5432, 6432])
}

const EMPTY_BESIDE_SECRET: &str = "
settings: { NATS_URL: '', PG_HOST: p, HTTP_ANONYMOUS: true }
secrets: { NATS_URL: { name: s, key: k } }
";

const NULL_BESIDE_SECRET: &str = "
settings: { NATS_URL: null, PG_HOST: p, HTTP_ANONYMOUS: true }
secrets: { NATS_URL: { name: s, key: k } }
";

fn empty_beside_secret(documents: &Documents) -> Result<()> {
    let nats_url = documents.env()?.get("NATS_URL").copied().unwrap_or_default();
    ensure!(nats_url.is_empty(), "NATS_URL is {nats_url}");
    documents.expect_env("NATS_URL_FILE", Some("/etc/orderd/secret/s/k"))
}

const COLLECTOR: &str = "
settings:
  NATS_URL: nats
  PG_HOST: p
  HTTP_ANONYMOUS: true
  OTEL_EXPORTER_OTLP_ENDPOINT: https://collector.example.com:4318
files: { SSL_CERT_FILE: { configMap: internal-ca, key: ca.crt } }
";

fn collector(documents: &Documents) -> Result<()> {
    documents.expect_env("SSL_CERT_FILE", Some("/etc/orderd/configMap/internal-ca/ca.crt"))
}

fn egress(documents: &Documents, expected: &[u64]) -> Result<()> {
    let ports = documents.egress_ports()?;
    ensure!(ports == expected, "{ports:?}");
    Ok(())
}
