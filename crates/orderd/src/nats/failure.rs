//! Explains why there is no connection to NATS: which server, its answer, and what to change.

use std::time::Duration;

use async_nats::{Server, ServerAddr};

/// Time limit for resolving a host name, to explain a failure.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Each server's last failure, in words; `None` if nothing has failed yet.
pub(crate) async fn explain(servers: &[Server]) -> Option<String> {
    let mut failures = Vec::new();
    for server in servers {
        if server.failed_attempts > 0
            && let Some(error) = &server.last_error
        {
            failures.push(describe(ServerKind::Nats, &server.addr, error));
        } else if let Some(error) = unresolved(&server.addr).await {
            failures.push(describe(ServerKind::Nats, &server.addr, &error));
        }
    }
    (!failures.is_empty()).then(|| format!("can't connect to NATS at {}", failures.join("; at ")))
}

/// Why one server can't be reached: its address, the cause, and what to do.
pub(crate) fn describe(kind: ServerKind, server: &ServerAddr, error: &str) -> String {
    let cause = cause(error);
    match advice(kind, &cause) {
        Some(advice) => format!("{}: {cause}; {advice}", shown(server)),
        None => format!("{}: {cause}", shown(server)),
    }
}

/// An address without user and password.
pub(crate) fn shown(server: &ServerAddr) -> String {
    let (scheme, host, port) = (server.scheme(), server.host(), server.port());
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

/// The client counts a name that can't be resolved as a failure, but does not report it.
async fn unresolved(server: &ServerAddr) -> Option<String> {
    let resolved = async { server.socket_addrs().await.map(|mut addresses| addresses.next().is_some()) };
    match tokio::time::timeout(RESOLVE_TIMEOUT, resolved).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) => Some("DNS error: the name has no address".into()),
        Ok(Err(error)) => Some(format!("DNS error: {error}")),
        Err(_) => Some(format!("DNS error: no answer within {} s", RESOLVE_TIMEOUT.as_secs())),
    }
}

/// The cause without the kind before it and the number after it.
pub(crate) fn cause(error: &str) -> String {
    let error = error.strip_prefix("IO error: ").unwrap_or(error);
    let error = error.split(" (os error").next().unwrap_or(error).trim_end_matches(": ");
    error.trim().to_owned()
}

/// A server that is connected to. Its settings differ, and so does what to change about them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Nats,
    /// Of NATS Streaming, for `orderd drain-stan`: address and login are in `STAN_URL` or `--from`.
    Stan,
}

/// What to do about causes with one of these words, at NATS and at NATS Streaming. The first match counts.
const ADVICE: [(&[&str], &str, &str); 14] = [
    (
        &["connections exceeded", "maximum connections"],
        "orderd needs two connections: end others, or raise max_connections of the server or the account",
        "end other connections, or raise max_connections of the server or the account",
    ),
    (
        &["ssl_cert_file", "ssl_cert_dir"],
        "correct that variable, or leave it out for the authorities of the system",
        "correct that variable, or leave it out for the authorities of the system",
    ),
    (
        &["expired"],
        "replace the credentials or the certificate that has expired; NATS_CREDS and NATS_CERT are read again by \
         themselves",
        "replace the certificate or the login that has expired",
    ),
    (
        &["authorization", "authentication", "nkey", "credentials"],
        "the server refuses the login: check the user or token in NATS_URL, NATS_CREDS or NATS_NKEY",
        "the server refuses the login: put its user and password, or its token, into STAN_URL",
    ),
    (
        &["dns", "resolve", "lookup"],
        "the host has no address: check NATS_HOST or NATS_URL",
        "the host has no address: check STAN_URL or --from",
    ),
    (
        &["invalidcontenttype", "corrupt message"],
        "the server does not answer with TLS, which tls://, NATS_CA, NATS_CERT or NATS_TLS_FIRST asks for; or it \
         starts TLS only after its greeting, where NATS_TLS_FIRST must not be set",
        "the server does not answer with TLS, which tls:// in STAN_URL asks for",
    ),
    (
        &["unknownissuer", "badsignature", "no authorities"],
        "the server's certificate is of an unknown authority: set NATS_CA to the file with its authority",
        "the server's certificate is of an unknown authority: set NATS_CA to the file with its authority",
    ),
    (
        &["notvalidforname"],
        "the server's certificate is for another name: use that name in NATS_HOST or NATS_URL",
        "the server's certificate is for another name: use that name in STAN_URL",
    ),
    (
        &["certificaterequired", "badcertificate", "certificate required"],
        "the server requires a client certificate: set NATS_CERT and NATS_KEY",
        "the server requires a client certificate, which drain-stan can't present",
    ),
    (&["certificate"], "check the server's certificate", "check the server's certificate"),
    (
        &["refused"],
        "nothing listens there: check NATS_HOST and NATS_PORT, or NATS_URL, and that the server runs",
        "nothing listens there: set STAN_URL or --from to the address of the NATS Streaming server, and start it",
    ),
    (
        &["timed out", "timeout"],
        "the server does not answer: check address and firewall; where the server starts with TLS \
         (handshake_first), set NATS_TLS_FIRST=true",
        "the server does not answer: check STAN_URL or --from, the firewall, and whether the server is stuck",
    ),
    (
        &["expected info", "broken pipe", "eof", "reset"],
        "the server closed the connection: is it NATS, and does it want TLS first (NATS_TLS_FIRST=true) or a \
         certificate (NATS_CERT)?",
        "the server closed the connection: is it NATS Streaming, and does it want TLS (tls:// in STAN_URL)?",
    ),
    (&["unreachable"], "check the address and the network", "check the address and the network"),
];

/// What to do about a cause.
pub(crate) fn advice(kind: ServerKind, cause: &str) -> Option<&'static str> {
    let cause = cause.to_lowercase();
    let &(_, at_nats, at_stan) =
        ADVICE.iter().find(|(words, ..)| words.iter().any(|word| cause.contains(word)))?;
    Some(if kind == ServerKind::Nats { at_nats } else { at_stan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_server_cause_and_remedy_and_no_secret() {
        let server: ServerAddr = "nats://me:secret@db.example:4333".parse().unwrap();
        for (error, wanted) in [
            ("IO error: Connection refused (os error 111)", "Connection refused; nothing listens there"),
            ("authorization violation: nats: authorization violation", "NATS_CREDS"),
            ("timed out", "NATS_TLS_FIRST=true"),
            ("IO error: invalid peer certificate: UnknownIssuer", "NATS_CA"),
            ("IO error: invalid peer certificate: NotValidForName", "another name"),
            ("IO error: received fatal alert: CertificateRequired", "NATS_CERT and NATS_KEY"),
            ("IO error: received corrupt message of type InvalidContentType", "does not answer with TLS"),
            ("DNS error: failed to lookup address information", "has no address"),
        ] {
            let said = describe(ServerKind::Nats, &server, error);
            assert!(said.starts_with("nats://db.example:4333: ") && said.contains(wanted), "{said}");
            assert!(!said.contains("secret") && !said.contains("os error"), "{said}");
        }
        assert_eq!(shown(&"tls://[::1]:4222".parse().unwrap()), "tls://[::1]:4222");
    }

    /// The certificate authorities are the same for both servers.
    #[test]
    fn advice_about_nats_streaming_names_no_other_setting_of_nats() {
        for (words, at_nats, at_stan) in ADVICE {
            for word in words {
                assert!(
                    advice(ServerKind::Nats, &word.to_uppercase()).is_some_and(|said| !said.contains("STAN"))
                );
            }
            assert!(!at_nats.contains("--from"), "{at_nats}");
            assert!(!at_stan.replace("NATS_CA ", "").contains("NATS_"), "{at_stan}");
        }
    }
}
