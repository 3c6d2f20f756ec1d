//! Hosts and ports as people and platforms write them: IPv6 addresses with and without brackets, and the values that
//! Kubernetes sets in variables with our names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use super::{ConfigError, wrong};

/// The longest name of a host.
const MAX_NAME_BYTES: usize = 253;

/// A host's name or address, without brackets.
///
/// # Errors
/// The text is not a host, for example an address with a port.
pub(super) fn host(setting: &'static str, text: &str) -> Result<String, ConfigError> {
    let text = text.trim();
    let bare = without_brackets(text);
    if is_ipv6(bare) {
        return Ok(bare.to_owned());
    }
    if bare.is_empty() || bare != text || bare.contains([':', '/', '@', ' ', '?', '#', '[', ']']) {
        let takes = "it takes a name or an address alone, such as db.example.com, 10.0.0.7 or ::1";
        return Err(wrong(setting, format!("{text:?} is not a host: {takes}")));
    }
    Ok(bare.to_owned())
}

/// A port. `instead` is the setting that makes it unneeded.
///
/// # Errors
/// The text is not a port; where Kubernetes set it, the error says so.
pub(super) fn port(setting: &'static str, text: &str, instead: &str) -> Result<u16, ConfigError> {
    let text = text.trim();
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        // For a Service "nats", each Pod beside it gets NATS_PORT=tcp://10.96.0.10:4222.
        _ if text.contains("://") => Err(wrong(
            setting,
            format!(
                "{text:?} is not a port. Kubernetes sets this variable for a Service of that name: set {instead}, \
                 which replaces it, set {setting} in the container, or set enableServiceLinks: false in the Pod"
            ),
        )),
        _ => Err(wrong(setting, format!("{text:?} is not a port: it takes a number from 1 to 65535"))),
    }
}

/// A host in the form of URLs.
pub(super) fn in_url(host: &str) -> String {
    if is_ipv6(host) { format!("[{host}]") } else { host.to_owned() }
}

/// Adds the missing brackets of an IPv6 address in a URL.
///
/// `::1:4222` may be an address, or an address and a port. If the part after the last colon looks like a port, it is
/// treated as one, because `$HOST:$PORT` produces that.
pub(super) fn url_with_brackets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    let (user, authority) =
        rest.rsplit_once('@').map_or((None, rest), |(user, authority)| (Some(user), authority));
    let (authority, path) = authority.find('/').map_or((authority, ""), |slash| authority.split_at(slash));
    let authority = match authority.rsplit_once(':') {
        Some((host, port)) if is_ipv6(host) && looks_like_a_port(port) => format!("[{host}]:{port}"),
        _ => in_url(authority),
    };
    let scheme = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}{user}{authority}{path}")
}

fn looks_like_a_port(text: &str) -> bool {
    (4..=5).contains(&text.len()) && text.parse::<u16>().is_ok()
}

/// An address as an error may quote it, without parts that may be secret. `None` if it does not look like an address:
/// it may be a secret in the wrong setting.
pub(super) fn without_secrets(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (user, authority) = rest.rsplit_once('@').map_or(("", rest), |(_, authority)| ("***@", authority));
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    let behind = if end < authority.len() { "…" } else { "" };
    let authority = &authority[..end];
    let (host, port) = match authority.rsplit_once(':') {
        Some(_) if authority.ends_with(']') || is_ipv6(authority) => (authority, String::new()),
        // A password whose host was left out stands where a port belongs.
        Some((host, port)) => {
            (host, format!(":{}", port.parse::<u16>().map_or("…".into(), |port| port.to_string())))
        }
        None => (authority, String::new()),
    };
    let is_plain = |text: &str, more: &[char]| {
        text.len() <= MAX_NAME_BYTES
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(&letter))
    };
    let looks_right =
        is_plain(scheme, &['+', '-', '.']) && is_plain(host, &['-', '.', '_', ':', '[', ']', '%']);
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    looks_right.then(|| format!("{scheme}{user}{host}{port}{behind}"))
}

/// An address to listen on: `127.0.0.1:8090`, `[::1]:8090`, `::1:8090`, `localhost:8090`, `:8090`.
///
/// # Errors
/// The text is not an address, or its name can't be resolved.
pub(super) fn listen(setting: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.trim();
    let takes = "it takes an address and a port, such as 127.0.0.1:8090, [::1]:8090 or :8090";
    let no_port = || Err(wrong(setting, format!("{text:?} names no port: {takes}")));
    let Some((host, number)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
        return no_port();
    };
    let port = number.parse().map_err(|_| wrong(setting, format!("{number:?} is not a port: {takes}")))?;
    let host = without_brackets(host);
    if host.is_empty() || host == "*" {
        return Ok(SocketAddr::new(everywhere(), port));
    }
    if host.contains([':', '/', '@']) && !is_ipv6(host) {
        if is_ipv6(text) {
            return no_port();
        }
        return Err(wrong(setting, format!("{text:?} is not an address: {takes}")));
    }
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| wrong(setting, format!("can't find the address of {host:?}: {error}; {takes}")))?
        .collect();
    // `localhost` often has both; scripts mostly use 127.0.0.1.
    let best = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| wrong(setting, format!("{host:?} has no address; {takes}")))
}

/// All addresses of the machine; only those of IPv4 if the kernel lacks IPv6.
fn everywhere() -> IpAddr {
    let all = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    if UdpSocket::bind((all, 0)).is_ok() { all } else { IpAddr::from([0, 0, 0, 0]) }
}

pub(super) fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.filter(|inner| is_ipv6(inner)).unwrap_or(host)
}

/// Possibly with a zone: `fe80::1%eth0`.
pub(super) fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').map_or((host, "zone"), |(address, zone)| (address, zone));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && !zone.contains(['/', ':', ']', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_ipv6_need_no_brackets_and_may_have_them() {
        for (given, bare, url) in [
            ("::1", "::1", "[::1]"),
            ("[::1]", "::1", "[::1]"),
            ("fe80::1%eth0", "fe80::1%eth0", "[fe80::1%eth0]"),
            (" db.example.com\n", "db.example.com", "db.example.com"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.7"),
        ] {
            let host = host("NATS_HOST", given).unwrap();
            assert_eq!((host.as_str(), in_url(&host).as_str()), (bare, url));
        }
        for wrong in ["", "db:5432", "[db]", "nats://db", "u@db", "::1:x", "[::1", "a b"] {
            let error = host("NATS_HOST", wrong).unwrap_err().to_string();
            assert!(error.starts_with("NATS_HOST: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn urls_of_ipv6_need_no_brackets() {
        for (given, meant) in [
            ("nats://u:p@::1", "nats://u:p@[::1]"),
            ("nats://::1:4222", "nats://[::1]:4222"),
            ("tls://[fd00::5]:4222", "tls://[fd00::5]:4222"),
            ("fd00::5", "[fd00::5]"),
            ("fd00::5:14222/", "[fd00::5]:14222/"),
            ("nats://a@b:c@host:4222", "nats://a@b:c@host:4222"),
            ("host", "host"),
        ] {
            assert_eq!(url_with_brackets(given), meant);
        }
    }

    #[test]
    fn addresses_are_quoted_without_secrets() {
        for (given, quoted) in [
            ("http://db:4222", Some("http://db:4222")),
            ("nats://me:s3cret@db:42a2", Some("nats://***@db:…")),
            ("nats://me:s3/cr@et@db", Some("nats://***@db")),
            ("s3cret@", Some("***@")),
            ("nats://me:s3cret", Some("nats://me:…")),
            ("nats://db:4222/?token=s3cret", Some("nats://db:4222…")),
            ("nats://db#s3cret", Some("nats://db…")),
            ("tls://[::1]:4222", Some("tls://[::1]:4222")),
            ("tls://::1", Some("tls://::1")),
            ("my s3cret", None),
            ("-----BEGIN NATS USER JWT-----\ns3cret", None),
        ] {
            assert_eq!(without_secrets(given).as_deref(), quoted, "{given}");
        }
    }

    #[test]
    fn ports_that_kubernetes_sets_are_explained() {
        assert_eq!(port("NATS_PORT", " 4222\n", "NATS_URL").unwrap(), 4222);
        let error = port("NATS_PORT", "tcp://10.96.0.10:4222", "NATS_URL").unwrap_err().to_string();
        assert!(error.contains("Kubernetes") && error.contains("NATS_URL"), "{error}");
        for wrong in ["0", "65536", "-1", "4222x"] {
            assert!(port("NATS_PORT", wrong, "NATS_URL").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_listened_on_is_an_address_a_name_or_all() {
        let addr = |text| listen("HTTP_ADDR", text).map(|addr| addr.to_string());
        assert_eq!(addr("127.0.0.1:0").unwrap(), "127.0.0.1:0");
        assert_eq!(addr("[::1]:8090").unwrap(), "[::1]:8090");
        assert_eq!(addr("::1:8090").unwrap(), "[::1]:8090");
        assert_eq!(addr("localhost:8090").unwrap(), "127.0.0.1:8090");
        let everywhere = [":8090", "*:8090"].map(|text| listen("HTTP_ADDR", text).unwrap());
        assert!(everywhere.iter().all(|addr| addr.ip().is_unspecified() && addr.port() == 8090));
        for wrong in [
            "127.0.0.1",
            "::1",
            "localhost",
            "http://a:80",
            "a:http",
            "a:65536",
            "",
            ":",
            "fd00::8090",
            "[::1",
        ] {
            let error = addr(wrong).unwrap_err().to_string();
            assert!(error.starts_with("HTTP_ADDR: ") && error.contains("127.0.0.1:8090"), "{wrong}: {error}");
        }
        for without in ["127.0.0.1", "[::1]", "[fe80::1%eth0]", "::1", "fd00::8090", "localhost"] {
            let error = addr(without).unwrap_err().to_string();
            assert!(error.contains(&format!("{without:?} names no port: ")), "{error}");
        }
    }
}
