//! Settings of NATS: servers, login, topic and streams.

use async_nats::Client;
use async_nats::ServerAddr;
use async_nats::jetstream::{self, Context};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::path::Path;

use super::nats_login::{self, Login, UrlLogin};
use super::reloadable::{Files, Reload, Reloaded};
use super::{ConfigError, Secret, certificates, host, list, secret, wrong};
use crate::cli::NatsArgs;
use crate::subject::{self, DEAD_PREFIX, DEAD_SUFFIX};

/// Maximum length of the topic as one token, in bytes: a subject has to fit into one protocol line, which servers limit
/// to 4 KiB.
const MAX_TOPIC_TOKEN: usize = 1024;

/// First tokens of the subjects of requests to NATS and of their responses. Streams do not take the former; a stream
/// of the latter would store every response to the service as an order.
const RESERVED: [&str; 5] = ["$JS", "$JSC", "$NRG", "$SYS", "_INBOX"];

/// Subjects under the reserved tokens that streams may take.
const STORABLE: [&str; 2] = ["$JS.EVENT.>", "$SYS.ACCOUNT.>"];

/// Maximum length of a stream's name, as servers have it.
const MAX_STREAM_NAME: usize = 255;

/// The NATS servers, and what to read from them.
#[derive(Debug, Clone)]
pub struct Nats {
    /// Servers, and the user in their addresses.
    pub(crate) address: Reloaded<Address>,
    /// The login.
    pub(crate) login: Login,
    /// Whether TLS is required, and when it begins.
    pub tls: Tls,
    /// CAs to trust besides the machine's.
    pub(crate) authorities: Option<Reloaded<Authorities>>,
    /// Our own certificate and its key.
    pub certificate: Option<Reloaded<CertifiedKey>>,
    /// JetStream's domain; `None` for the server's.
    pub domain: Option<String>,
    /// The subject.
    pub topic: String,
    /// The stream to create if no stream has the subject.
    pub stream: String,
    /// The stream of dead letters; `None` for the name of the stream of orders with `_DEAD` appended.
    pub dead_stream: Option<String>,
    /// Replicas of the streams that are created.
    pub replicas: usize,
}

/// Certificates of authorities.
pub(crate) type Authorities = Vec<CertificateDer<'static>>;

/// The content of NATS_URL, or of host and port.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) servers: Secret<Vec<ServerAddr>>,
    pub(crate) named: UrlLogin,
}

/// TLS to the servers.
#[derive(Debug, Clone, Copy)]
pub struct Tls {
    /// Never connect without TLS, whatever a server offers.
    pub required: bool,
    /// TLS begins before the server's greeting.
    pub first: bool,
}

impl Nats {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &NatsArgs) -> Result<Self, ConfigError> {
        let address = {
            let args = args.clone();
            Reloaded::new("NATS_URL", move |files| address(&args, files))?
        };
        let topic = args.pub_topic.trim();
        if !subject::is_valid(topic) {
            return Err(wrong(
                "PUB_TOPIC",
                format!("{topic:?} is not a NATS subject, such as TESTING or orders.>"),
            ));
        }
        if subject::to_token(topic).len() > MAX_TOPIC_TOKEN {
            return Err(wrong(
                "PUB_TOPIC",
                format!("the subject is too long: it takes {MAX_TOPIC_TOKEN} bytes at most, percent-encoded"),
            ));
        }
        if let Some(reserved) = reserved(topic) {
            return Err(wrong(
                "PUB_TOPIC",
                format!(
                    "{topic:?} lies under {reserved}.>, which NATS uses itself: set it to a subject outside of that, such \
                     as TESTING or orders.>"
                ),
            ));
        }
        let dead = format!("{DEAD_PREFIX}.>");
        if subject::overlap(topic, &dead) {
            return Err(wrong(
                "PUB_TOPIC",
                format!(
                    "{topic:?} covers {dead} too, where dead letters are kept: set it to a subject outside of that"
                ),
            ));
        }
        let certificate = certificate(args)?;
        let authorities = args.nats_ca.clone().map(|file| {
            Reloaded::new("NATS_CA", move |files| certificates::authorities("NATS_CA", &file, files))
        });
        let authorities = authorities.transpose()?;
        if !(1..=5).contains(&args.nats_replicas) {
            return Err(wrong("NATS_REPLICAS", "it takes 1 to 5"));
        }
        let domain = domain(args.nats_js_domain.as_deref())?;
        let asks_for_tls = args.nats_tls_first || authorities.is_some() || certificate.is_some();
        let tls = Tls { required: asks_for_tls || address.current().wants_tls(), first: args.nats_tls_first };
        if tls.required
            && let Err(problem) = certificates::machine(&mut Files::default())
            && (authorities.is_none() || problem.variable.is_some())
        {
            return Err(problem.of("NATS_CA"));
        }
        let stream = stream_name("NATS_STREAM", &args.nats_stream)?;
        let dead_stream =
            args.nats_dead_stream.as_deref().map(|name| stream_name("NATS_DEAD_STREAM", name)).transpose()?;
        if dead_stream.is_none() && stream.len() + DEAD_SUFFIX.len() > MAX_STREAM_NAME {
            return Err(wrong(
                "NATS_STREAM",
                format!(
                    "the name with {DEAD_SUFFIX} behind it, for dead letters, is too long: NATS takes {MAX_STREAM_NAME} \
                     bytes at most; set NATS_DEAD_STREAM, or a shorter name"
                ),
            ));
        }
        if dead_stream.as_ref() == Some(&stream) {
            return Err(wrong(
                "NATS_DEAD_STREAM",
                format!(
                    "{stream} is NATS_STREAM, from which messages are taken: dead letters need another stream"
                ),
            ));
        }
        Ok(Self {
            login: login(args, &address)?,
            address,
            tls,
            authorities,
            certificate,
            domain,
            topic: topic.into(),
            stream,
            dead_stream,
            replicas: args.nats_replicas as usize,
        })
    }
}

impl Nats {
    /// Values that are loaded from files, and reloaded when these change.
    pub(super) fn files(&self) -> Vec<Box<dyn Reload>> {
        let mut files: Vec<Box<dyn Reload>> = vec![Box::new(self.address.clone())];
        files.extend(self.login.files());
        files.extend(self.certificate.clone().map(|pair| Box::new(pair) as Box<dyn Reload>));
        files.extend(self.authorities.clone().map(|trusted| Box::new(trusted) as Box<dyn Reload>));
        files
    }

    /// The currently configured servers.
    pub(crate) fn servers(&self) -> Vec<ServerAddr> {
        self.address.fresh().servers.0.clone()
    }

    /// JetStream, in the configured domain.
    pub(crate) fn jetstream(&self, client: Client) -> Context {
        match &self.domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        }
    }

    /// The subject to publish on: that of `--subject`, or the topic.
    ///
    /// # Errors
    /// It has wildcards, or is not within the topic.
    pub fn subject(&self, given: Option<&str>) -> Result<String, ConfigError> {
        let topic = &self.topic;
        match given {
            None if subject::is_wild(topic) => Err(wrong(
                "--subject",
                format!("is needed: PUB_TOPIC {topic:?} has wildcards, and a message needs one subject"),
            )),
            Some(given) if !subject::is_valid(given) || subject::is_wild(given) => Err(wrong(
                "--subject",
                format!("{given:?} is not one NATS subject without wildcards, such as orders.new"),
            )),
            Some(given) if !subject::covers(topic, given) => Err(wrong(
                "--subject",
                format!("{given:?} is outside PUB_TOPIC {topic:?}: it takes a subject of the topic"),
            )),
            given => Ok(given.unwrap_or(topic).to_owned()),
        }
    }

    /// The settings for other servers, whose login comes only from their address.
    #[cfg(feature = "drain-stan")]
    pub(crate) fn at(
        &self,
        setting: &'static str,
        given: Option<&str>,
        default: &str,
    ) -> Result<Self, ConfigError> {
        let (given, default) = (Secret(given.map(ToOwned::to_owned)), default.to_owned());
        let address = Reloaded::new(setting, move |files| {
            let url = secret(setting, given.0.as_deref(), files)?;
            Address::of(setting, servers(setting, url.as_deref().unwrap_or(&default))?)
        })?;
        Ok(Self {
            login: Login::Address(address.clone()),
            tls: Tls { required: address.current().wants_tls(), first: false },
            address,
            certificate: None,
            domain: None,
            ..self.clone()
        })
    }
}

impl Address {
    fn of(setting: &'static str, servers: Secret<Vec<ServerAddr>>) -> Result<Self, ConfigError> {
        let named = UrlLogin::of(&servers.0).map_err(|problem| wrong(setting, problem))?;
        Ok(Self { servers, named })
    }

    fn wants_tls(&self) -> bool {
        self.servers.0.iter().any(ServerAddr::tls_required)
    }
}

fn address(args: &NatsArgs, files: &mut Files) -> Result<Address, ConfigError> {
    if let Some(url) = secret("NATS_URL", args.nats_url.as_deref(), files)? {
        return Address::of("NATS_URL", servers("NATS_URL", &url)?);
    }
    let host = host::host("NATS_HOST", &args.nats_host)?;
    let port = host::port("NATS_PORT", &args.nats_port, "NATS_URL")?;
    Address::of("NATS_HOST", servers("NATS_HOST", &format!("nats://{}:{port}", host::in_url(&host)))?)
}

fn servers(setting: &'static str, url: &str) -> Result<Secret<Vec<ServerAddr>>, ConfigError> {
    // The parser's error quotes the address, which may contain a password.
    let takes = |given: &str| {
        let problem = match host::without_secrets(given) {
            Some(shown) => format!("{shown} is not the address of a NATS server"),
            None => {
                "one of its addresses is invalid (not quoted, because it may contain a password)".to_owned()
            }
        };
        wrong(
            setting,
            format!(
                "{problem}; it takes addresses such as nats://host:4222 or tls://host, separated by commas"
            ),
        )
    };
    let read = |given: &String| -> Result<ServerAddr, ConfigError> {
        let server: ServerAddr = host::url_with_brackets(given).parse().map_err(|_| takes(given))?;
        let url = server.clone().into_inner();
        // The client would connect without TLS for other schemes, and ignore options.
        if !["nats", "tls"].contains(&url.scheme()) || server.host().is_empty() {
            return Err(takes(given));
        }
        if url.query().is_some() || url.fragment().is_some() || !["", "/"].contains(&url.path()) {
            let shown = host::without_secrets(given).map_or(String::new(), |shown| format!("{shown}: "));
            return Err(wrong(
                setting,
                format!(
                    "{shown}it takes addresses without anything behind the port; everything else has its own \
                     setting, such as NATS_TLS_FIRST"
                ),
            ));
        }
        Ok(server)
    };
    let servers = list(url).iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(wrong(setting, "it names no server; it takes addresses such as nats://host:4222"));
    }
    Ok(Secret(servers))
}

/// Two kinds of login are refused, because one would be ignored silently.
fn login(args: &NatsArgs, address: &Reloaded<Address>) -> Result<Login, ConfigError> {
    let ways = [("NATS_CREDS", credentials(args)?), ("NATS_NKEY", nkey(args)?)];
    let mut given = ways.into_iter().filter_map(|(setting, way)| Some((setting, way?)));
    let Some((setting, login)) = given.next() else { return Ok(Login::Address(address.clone())) };
    if let Some((other, _)) = given.next() {
        return Err(wrong(other, format!("and {setting} are two ways to log in; set one of them")));
    }
    if !matches!(address.current().named, UrlLogin::Anonymous) {
        return Err(wrong(
            setting,
            "and the user or token in NATS_URL are two ways to log in; set one of them",
        ));
    }
    login.check().map_err(|problem| wrong(setting, problem))?;
    Ok(login)
}

fn credentials(args: &NatsArgs) -> Result<Option<Login>, ConfigError> {
    let Some(file) = args.nats_creds.clone() else { return Ok(None) };
    let read = move |files: &mut Files| {
        let unusable =
            |problem: String| wrong("NATS_CREDS", format!("can't use {}: {problem}", file.display()));
        let text = files.read_text(&file).map_err(|error| unusable(error.to_string()))?;
        let credentials = nats_login::Credentials::parse(&text).map_err(|problem| {
            unusable(format!("{problem}; it takes a file of credentials, as nsc generate creds makes it"))
        })?;
        files.note_end("NATS_CREDS", credentials.end());
        Ok(credentials)
    };
    Ok(Some(Login::Credentials(Reloaded::new("NATS_CREDS", read)?)))
}

fn nkey(args: &NatsArgs) -> Result<Option<Login>, ConfigError> {
    let given = args.nats_nkey.clone().map(Secret);
    let key = Reloaded::new("NATS_NKEY", move |files| {
        let seed = secret("NATS_NKEY", given.as_ref().map(|given| given.0.as_str()), files)?;
        seed.map(|seed| nats_login::user_key(&seed))
            .transpose()
            .map_err(|problem| wrong("NATS_NKEY", problem))
    })?;
    Ok(key.current().is_some().then_some(Login::Nkey(key)))
}

fn certificate(args: &NatsArgs) -> Result<Option<Reloaded<CertifiedKey>>, ConfigError> {
    let (certificate, key) = match (&args.nats_cert, &args.nats_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(wrong(
                "NATS_KEY",
                "it is required if NATS_CERT is set: the file of that certificate's key",
            ));
        }
        (None, Some(_)) => {
            return Err(wrong(
                "NATS_CERT",
                "it is required if NATS_KEY is set: the file of the certificate for that key",
            ));
        }
    };
    Reloaded::new("NATS_CERT", move |files| pair(&certificate, &key, files)).map(Some)
}

/// A certificate and its key, which belong together.
fn pair(certificate: &Path, key: &Path, files: &mut Files) -> Result<CertifiedKey, ConfigError> {
    let chain = certificates::chain("NATS_CERT", certificate, files)?;
    let secret = certificates::key("NATS_KEY", key, files)?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| {
        let (key, certificate) = (key.display(), certificate.display());
        wrong("NATS_KEY", format!("{key} is not the key of the certificate in {certificate}: {error}"))
    })
}

fn domain(given: Option<&str>) -> Result<Option<String>, ConfigError> {
    let Some(domain) = given.map(str::trim).filter(|domain| !domain.is_empty()) else { return Ok(None) };
    if domain.contains(['.', '*', '>']) || domain.contains(char::is_whitespace) {
        return Err(wrong("NATS_JS_DOMAIN", format!("{domain:?} is not the name of a domain, such as hub")));
    }
    Ok(Some(domain.to_owned()))
}

/// The reserved token under which a topic lies.
fn reserved(topic: &str) -> Option<&'static str> {
    let first = topic.split('.').next().unwrap_or_default();
    let is_storable = STORABLE.iter().any(|wide| subject::covers(wide, topic));
    RESERVED.into_iter().find(|reserved| *reserved == first && !is_storable)
}

pub(super) fn stream_name(setting: &'static str, name: &str) -> Result<String, ConfigError> {
    let usable = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !usable {
        return Err(wrong(
            setting,
            format!("{name:?} is not a name of a stream: it takes letters, digits, - and _"),
        ));
    }
    if name.len() > MAX_STREAM_NAME {
        return Err(wrong(
            setting,
            format!("the name is too long: NATS takes {MAX_STREAM_NAME} bytes at most"),
        ));
    }
    Ok(name.into())
}
