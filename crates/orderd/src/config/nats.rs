//! Where NATS is, and what is taken from it.

use std::path::PathBuf;

use super::reload::Files;
use super::{ConfigError, Secret, host, list, secret, wrong};
use crate::cli::NatsArgs;
use crate::nats::{DEAD_PREFIX, DEAD_STREAM};
use crate::{subject, telling};

/// Where NATS is and what is taken from it.
#[derive(Debug, Clone)]
pub struct Nats {
    /// Servers, with what is needed to get in.
    pub servers: Secret<Vec<async_nats::ServerAddr>>,
    /// Credentials file.
    pub credentials: Option<PathBuf>,
    /// Authorities to trust besides the machine's.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The subject.
    pub topic: String,
    /// The stream that is made where none takes the subject.
    pub stream: String,
    /// On how many servers the streams are kept that are made.
    pub replicas: usize,
}

impl Nats {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn new(args: &NatsArgs) -> Result<Self, ConfigError> {
        let servers = match secret("NATS_URL", args.nats_url.as_deref(), &mut Files::default())? {
            Some(url) => servers("NATS_URL", &url)?,
            None => {
                let host = host::host("NATS_HOST", &args.nats_host)?;
                let port = host::port("NATS_PORT", &args.nats_port, "NATS_URL")?;
                servers("NATS_HOST", &format!("nats://{}:{port}", host::in_url(&host)))?
            }
        };
        let topic = args.pub_topic.trim();
        if !subject::is_valid(topic) {
            return Err(wrong(
                "PUB_TOPIC",
                format!("{topic:?} is no NATS subject, such as TESTING or orders.>"),
            ));
        }
        let dead = format!("{DEAD_PREFIX}.>");
        if subject::overlap(topic, &dead) {
            return Err(wrong(
                "PUB_TOPIC",
                format!("{topic:?} takes {dead} too, where dead letters are kept"),
            ));
        }
        let told = format!("{}.>", telling::PREFIX);
        if subject::overlap(topic, &told) {
            return Err(wrong(
                "PUB_TOPIC",
                format!("{topic:?} takes {told} too, by which processes tell each other what they took"),
            ));
        }
        let certificate = match (&args.nats_cert, &args.nats_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(wrong("NATS_CERT", "needs NATS_KEY, and the other way round")),
        };
        let stream = stream_name("NATS_STREAM", &args.nats_stream)?;
        if stream == DEAD_STREAM {
            return Err(wrong("NATS_STREAM", format!("{DEAD_STREAM} is where dead letters are kept")));
        }
        if let Some(file) = &args.nats_creds
            && let Err(error) = std::fs::File::open(file)
        {
            return Err(wrong("NATS_CREDS", format!("can't read {}: {error}", file.display())));
        }
        Ok(Self {
            servers,
            credentials: args.nats_creds.clone(),
            authorities: args.nats_ca.clone(),
            certificate,
            topic: topic.into(),
            stream,
            replicas: args.nats_replicas as usize,
        })
    }
}

impl Nats {
    /// The one subject to publish on: what `--subject` says, or the topic.
    ///
    /// # Errors
    /// It has wildcards, or is none that the topic means.
    pub fn subject(&self, given: Option<&str>) -> Result<String, ConfigError> {
        let topic = &self.topic;
        match given {
            None if subject::is_wild(topic) => Err(wrong(
                "--subject",
                format!("is needed: PUB_TOPIC {topic:?} has wildcards, and a message needs one subject"),
            )),
            Some(given) if !subject::is_valid(given) || subject::is_wild(given) => {
                Err(wrong("--subject", format!("{given:?} is no single NATS subject")))
            }
            Some(given) if !subject::covers(topic, given) => {
                Err(wrong("--subject", format!("{given:?} is none that PUB_TOPIC {topic:?} takes")))
            }
            given => Ok(given.unwrap_or(topic).to_owned()),
        }
    }

    /// Other servers, to which we are nobody but what their address says.
    #[cfg(feature = "drain-stan")]
    pub(crate) fn at(
        &self,
        setting: &'static str,
        given: Option<&str>,
        default: &str,
    ) -> Result<Self, ConfigError> {
        let url = secret(setting, given, &mut Files::default())?.unwrap_or_else(|| default.into());
        let authorities = self.authorities.clone();
        Ok(Self {
            servers: servers(setting, &url)?,
            credentials: None,
            authorities,
            certificate: None,
            ..self.clone()
        })
    }
}

fn servers(setting: &'static str, url: &str) -> Result<Secret<Vec<async_nats::ServerAddr>>, ConfigError> {
    let servers =
        list(url).iter().map(|server| host::url_with_brackets(server).parse()).collect::<Result<Vec<_>, _>>();
    // The error quotes the address, which may hold a password.
    let servers = servers
        .map_err(|_| wrong(setting, "takes addresses such as nats://host:4222, separated by commas"))?;
    if servers.is_empty() {
        return Err(wrong(setting, "names no server"));
    }
    Ok(Secret(servers))
}

pub(super) fn stream_name(setting: &'static str, name: &str) -> Result<String, ConfigError> {
    let usable = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if usable {
        Ok(name.into())
    } else {
        Err(wrong(setting, format!("{name:?} is no name: it takes letters, digits, - and _")))
    }
}
