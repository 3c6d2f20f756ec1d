//! Where traces are sent, and which.

use std::collections::HashMap;
use std::env;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::secret::{Secret, secret};
use super::{ConfigError, Files, Reload, Reloaded, host, list, machine_authorities, wrong};
use crate::cli::TracesArgs;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The path for traces, appended to an address for all signals.
const PATH: &str = "/v1/traces";

/// Where traces are sent, and which.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The URL to post to.
    pub(crate) endpoint: Uri,
    /// The collector's host, without brackets, and its port.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For `https`.
    pub(crate) tls: Option<Reloaded<Arc<ClientConfig>>>,
    pub(crate) headers: Reloaded<HeaderMap>,
    pub(crate) service_name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) sampling: Sampling,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Whether the parent span decides, if there is one.
    pub(crate) asks_parent: bool,
    /// The fraction of other traces, or of all, to record.
    pub(crate) ratio: f64,
}

impl Traces {
    /// Parses and checks the arguments; `None` without tracing.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub(super) fn new(args: &TracesArgs) -> Result<Option<Self>, ConfigError> {
        // Read like every secret, even if unused: a missing file is a mistake.
        let given_headers = args.otel_exporter_otlp_headers.clone().map(Secret);
        let headers = Reloaded::new(HEADERS, move |files| {
            let text = secret(HEADERS, given_headers.as_ref().map(|given| given.0.as_str()), files)?;
            headers(text.as_deref().unwrap_or_default())
        })?;
        let given = args.otel_exporter_otlp_endpoint.as_deref().map(str::trim).unwrap_or_default();
        if given.is_empty() {
            return Ok(None);
        }
        refuse_other_forms(|name| env::var(name).ok())?;
        let endpoint = endpoint(given)?;
        let is_https = endpoint.scheme_str() == Some("https");
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = endpoint.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tls = is_https.then(|| Reloaded::new(ENDPOINT, tls)).transpose()?;
        let mut attributes = pairs(ATTRIBUTES, args.otel_resource_attributes.as_deref().unwrap_or_default())?;
        let named = attributes.iter().position(|(name, _)| name == "service.name");
        let named = named.map(|at| attributes.swap_remove(at).1);
        let service_name = args.otel_service_name.clone().or(named).unwrap_or_else(|| "orderd".into());
        let sampling = sampling(&args.otel_traces_sampler, args.otel_traces_sampler_arg.as_deref())?;
        Ok(Some(Self { endpoint, host, port, tls, headers, service_name, attributes, sampling }))
    }

    /// Values that are loaded from files.
    pub(super) fn files(&self) -> Vec<Box<dyn Reload>> {
        let tls = self.tls.clone().map(|tls| Box::new(tls) as Box<dyn Reload>);
        tls.into_iter().chain([Box::new(self.headers.clone()) as Box<dyn Reload>]).collect()
    }
}

/// A collector's address accepts only one of OTLP's protocols.
fn refuse_other_forms(variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    for (names, takes) in [
        (["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf"),
        (["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none"),
    ] {
        for name in names {
            let given = variable(name).unwrap_or_default();
            let given = given.trim();
            if !given.is_empty() && given != takes {
                return Err(wrong(
                    name,
                    format!(
                        "{given:?} is not supported: set it to {takes}, and {ENDPOINT} to a port for that"
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn endpoint(given: &str) -> Result<Uri, ConfigError> {
    let refused = |problem: &str| {
        // The address may contain a password.
        wrong(ENDPOINT, format!("{problem}; it takes the collector's address, such as http://127.0.0.1:4318"))
    };
    let given = host::url_with_brackets(given);
    let uri: Uri = given.parse().map_err(|_| refused("it is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refused("it begins with neither http:// nor https://"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused(
            "user and password in it are not sent: put them into OTEL_EXPORTER_OTLP_HEADERS",
        ));
    }
    if uri.host().unwrap_or_default().is_empty() || uri.query().is_some() {
        return Err(refused("it has no host, or a query"));
    }
    format!("{}{PATH}", given.trim_end_matches('/')).parse().map_err(|_| refused("it is not a URL"))
}

/// TLS with the machine's CAs, as for other servers.
fn tls(files: &mut Files) -> Result<Arc<ClientConfig>, ConfigError> {
    let authorities = machine_authorities(files)
        .map_err(|error| ConfigError::new(error.variable.unwrap_or(ENDPOINT), error.problem))?;
    let mut roots = RootCertStore::empty();
    // An unusable CA certificate must not disable the others.
    roots.add_parsable_certificates(authorities);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(ENDPOINT, error))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn headers(text: &str) -> Result<HeaderMap, ConfigError> {
    // Secrets must not be quoted.
    let header = |(name, value): (String, String)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let pairs = pairs(HEADERS, text)?;
    let headers: Option<HeaderMap> = pairs.into_iter().map(header).collect();
    headers.ok_or_else(|| {
        wrong(HEADERS, "one of them is not a header; it takes name=value, separated by commas")
    })
}

/// `name=value`, separated by commas, with values that may be percent-encoded.
fn pairs(setting: &'static str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let pair = |part: String| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?.into_owned();
        Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
    };
    let pairs: Option<Vec<_>> = list(text).into_iter().map(pair).collect();
    pairs.ok_or_else(|| {
        wrong(setting, "it takes name=value, separated by commas, with values percent-encoded")
    })
}

fn sampling(name: &str, ratio: Option<&str>) -> Result<Sampling, ConfigError> {
    let given = || match ratio.map(str::trim).filter(|text| !text.is_empty()) {
        None => Ok(1.0),
        Some(text) => match text.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(wrong(SAMPLER_ARG, format!("{text:?} is not a number from 0 to 1, such as 0.01"))),
        },
    };
    let name = name.trim();
    let known: HashMap<&str, Option<f64>> =
        HashMap::from([("always_on", Some(1.0)), ("always_off", Some(0.0)), ("traceidratio", None)]);
    let (asks_parent, kind) = name.strip_prefix("parentbased_").map_or((false, name), |kind| (true, kind));
    match known.get(kind) {
        Some(Some(ratio)) => Ok(Sampling { asks_parent, ratio: *ratio }),
        Some(None) => Ok(Sampling { asks_parent, ratio: given()? }),
        None => Err(wrong(
            SAMPLER,
            format!(
                "{name:?} is unknown; it takes always_on, always_off or traceidratio, each also with parentbased_ before it"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_to_an_address_that_can_be_used() {
        for given in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"] {
            assert_eq!(endpoint(given).unwrap(), "http://127.0.0.1:4318/v1/traces");
        }
        assert_eq!(endpoint("https://[::1]/otlp").unwrap(), "https://[::1]/otlp/v1/traces");
        assert_eq!(endpoint("http://::1:4318").unwrap(), "http://[::1]:4318/v1/traces");
        for wrong in
            ["127.0.0.1:4318", "grpc://a:4317", "http://", "http://a b", "http://u:secret@a", "http://a?b=c"]
        {
            let error = endpoint(wrong).unwrap_err().to_string();
            assert!(error.starts_with(ENDPOINT) && !error.contains("secret"), "{wrong}: {error}");
        }
    }

    #[test]
    fn other_forms_of_otlp_are_refused_by_name() {
        let set = |name: &'static str, value: &'static str| {
            refuse_other_forms(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").is_ok());
        assert!(set("OTEL_EXPORTER_OTLP_PROTOCOL", " ").is_ok());
        for (name, value) in
            [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")]
        {
            assert!(set(name, value).unwrap_err().to_string().starts_with(name));
        }
    }

    #[test]
    fn headers_and_attributes_are_decoded_and_not_quoted() {
        assert_eq!(headers("authorization=Bearer%20abc, x=1").unwrap()["authorization"], "Bearer abc");
        for wrong in ["secret", "=secret", "a b=secret", "a=secret%0a", "a=secret%ff"] {
            let error = headers(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let attributes = pairs(ATTRIBUTES, "deployment.environment.name=a%2Cb").unwrap();
        assert_eq!(attributes, [("deployment.environment.name".to_owned(), "a,b".to_owned())]);
    }

    #[test]
    fn samplers_have_the_names_of_opentelemetry() {
        let of = |name, ratio| sampling(name, ratio).map(|it| (it.asks_parent, it.ratio));
        assert_eq!(of("always_on", None).unwrap(), (false, 1.0));
        assert_eq!(of("parentbased_always_off", Some("x")).unwrap(), (true, 0.0));
        assert_eq!(of("parentbased_traceidratio", Some("0.25")).unwrap(), (true, 0.25));
        assert_eq!(of("traceidratio", None).unwrap(), (false, 1.0));
        for (name, ratio) in [("xray", None), ("traceidratio", Some("2")), ("traceidratio", Some("NaN"))] {
            assert!(of(name, ratio).is_err(), "{name}");
        }
    }
}
