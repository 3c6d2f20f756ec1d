//! PostgreSQL's connection strings, read as libpq reads them: `postgresql://…` and `name = value …`. After
//! `conninfo_parse` and `conninfo_uri_parse_options` of PostgreSQL 18.

use percent_encoding::percent_decode_str;

use super::{host, pg_options};

/// The former name of sslmode, as in libpq.
pub(super) const REQUIRESSL: &str = "requiressl";

/// Options in the given order; the last value of a repeated option counts.
#[derive(Default)]
pub(super) struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// # Errors
    /// Which part can't be parsed, without its value, which may be secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let text = text.trim();
        match ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
            Some(rest) => read.address(rest)?,
            None if text.contains('=') => {
                let is_other = text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('='));
                if is_other {
                    return Err(no_address(text));
                }
                read.list(text)?;
            }
            None => return Err(no_address(text)),
        }
        Ok(read)
    }

    /// The value of an option; an empty value counts as missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Whether an option was given without a value.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        self.0.iter().rev().find(|(known, _)| known == name).is_some_and(|(_, value)| value.is_empty())
    }

    /// Whether an option was given, even if empty.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let (name, value) = match name {
            REQUIRESSL if value.starts_with('1') => ("sslmode", "require"),
            REQUIRESSL => ("sslmode", "prefer"),
            _ => (name, value),
        };
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Whether the last option may be secret.
    fn has_secret(&self) -> bool {
        self.0.last().is_some_and(|(name, _)| name.contains("password"))
    }

    /// `name = value`, separated by white space; a value may be quoted, and a backslash escapes the next character.
    fn list(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let end =
                rest.find(|letter: char| letter == '=' || letter.is_ascii_whitespace()).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let after = after.trim_start().strip_prefix('=');
            // It may be the rest of a value, such as that of a password.
            let Some(after) = after.filter(|_| pg_options::is_known(name) || !self.has_secret()) else {
                return Err(match self.0.last() {
                    Some((before, _)) => format!(
                        "has text after the value of {before} that is not option=value; put a value with blanks in \
                         quotes: {before}='…'"
                    ),
                    None => "does not begin with an option=value".into(),
                });
            };
            let (value, after) = value(after.trim_start())
                .ok_or_else(|| format!("has a quote that is not closed, in the value of {}", shown(name)))?;
            self.set(name, &value);
            rest = after.trim_start();
        }
        Ok(())
    }

    /// `[user[:password]@][host[:port],…][/database][?name=value&…]`
    fn address(&mut self, text: &str) -> Result<(), String> {
        // There may be a user if an @ precedes any slash; the password may then contain a ?, as in libpq.
        let stop = text.find(['@', '/']).filter(|&at| text[at..].starts_with('@'));
        let rest = match stop {
            Some(at) => {
                let (user, password) = match text[..at].split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (&text[..at], None),
                };
                self.set("user", &decoded(user, "its user")?);
                if let Some(password) = password {
                    self.set("password", &decoded(password, "its password")?);
                }
                &text[at + 1..]
            }
            None => text,
        };
        // Neither a host nor a database: what precedes it is the end of the password.
        if rest.split('?').next().is_some_and(|rest| rest.contains('@')) {
            return Err("has an @ too many: write / and @ in its user or password as %2F and %40".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (servers, rest) = rest.split_at(end);
        self.servers(servers)?;
        let (database, options) = match rest.strip_prefix('/') {
            Some(rest) => rest.split_once('?').unwrap_or((rest, "")),
            None => ("", rest.strip_prefix('?').unwrap_or_default()),
        };
        if !database.is_empty() {
            self.set("dbname", &decoded(database, "the name of its database")?);
        }
        // As in libpq, only the last option may be empty.
        let options = options.strip_suffix('&').unwrap_or(options);
        let mut options = options.split('&').filter(|_| !options.is_empty()).enumerate();
        options.try_for_each(|(index, option)| self.option(index + 1, option))
    }

    fn servers(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for (index, server) in text.split(',').enumerate() {
            let number = index + 1;
            let (host, port) = match server.strip_prefix('[') {
                Some(rest) => {
                    let (host, after) = rest.split_once(']').ok_or_else(|| {
                        format!("has an IPv6 address without its ], as host number {number}")
                    })?;
                    let port = after.strip_prefix(':');
                    if !after.is_empty() && port.is_none() {
                        return Err(format!(
                            "has something other than a port after the ] of host number {number}"
                        ));
                    }
                    (host, port.unwrap_or_default())
                }
                None if is_bare_ipv6(server) => {
                    return Err(format!(
                        "has an IPv6 address without brackets, as host number {number}: write it as [::1]:5432"
                    ));
                }
                None => server.split_once(':').unwrap_or((server, "")),
            };
            hosts.push(decoded(host, &format!("host number {number}"))?);
            ports.push(decoded(port, &format!("the port of host number {number}"))?);
        }
        self.set("host", &hosts.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", &ports.join(","));
        }
        Ok(())
    }

    /// `number` counts the options after the `?`.
    fn option(&mut self, number: usize, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').ok_or_else(|| match shown(option) {
            "an option" => format!("has no = in option number {number} behind its ?"),
            name => format!("has the option {name} without = and a value"),
        })?;
        if value.contains('=') {
            return Err(format!("has a second = in the value of {}: write it as %3D", shown(name)));
        }
        let value = decoded(value, &format!("the value of {}", shown(name)))?;
        let name = decoded(name, &format!("the name of option number {number}"))?;
        // As JDBC has it.
        if name == "ssl" && value == "true" {
            self.set("sslmode", "require");
        } else {
            self.set(&name, &value);
        }
        Ok(())
    }
}

/// Whether this is an IPv6 address, or one with a port.
fn is_bare_ipv6(server: &str) -> bool {
    host::is_ipv6(server) || server.rsplit_once(':').is_some_and(|(address, _)| host::is_ipv6(address))
}

/// The text has neither form. Only a scheme is quoted: the text may be a password in the wrong setting.
fn no_address(text: &str) -> String {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &&str| {
        scheme.len() < 20 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    };
    match scheme.filter(is_scheme) {
        Some(scheme) => {
            format!("is not a PostgreSQL address: it begins with {scheme}://, and not with postgresql://")
        }
        None => {
            "is not a PostgreSQL address, which begins with postgresql://, and no list of option=value".into()
        }
    }
}

/// A name that may be quoted: anything else may be a part of a password.
fn shown(name: &str) -> &str {
    if pg_options::is_known(name) { name } else { "an option" }
}

/// The value at the start of the text, and the rest; `None`: a quote is not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let text = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted.is_some() => return Some((value, &text[at + 1..])),
            letter if quoted.is_none() && letter.is_ascii_whitespace() => return Some((value, &text[at..])),
            letter => value.push(letter),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// `part` names the text.
fn decoded(text: &str, part: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_wrong = |at: usize| bytes[at] == b'%' && !(is_digit(at + 1) && is_digit(at + 2));
    if (0..bytes.len()).any(is_wrong) {
        return Err(format!("has a % without two hexadecimal digits in {part}: write a % as %25"));
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| format!("has bytes that are not UTF-8 in {part}"))?;
    if decoded.contains('\0') {
        return Err(format!("has %00 in {part}"));
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        Conninfo::parse(text).unwrap().0
    }

    #[test]
    fn connection_strings_are_read_as_libpq_reads_them() {
        let cases: [(&str, &[(&str, &str)]); 15] = [
            ("host=a sslmode = require", &[("host", "a"), ("sslmode", "require")]),
            (
                "host=a\n\tuser='b c'\r\npassword=d\\ e",
                &[("host", "a"), ("user", "b c"), ("password", "d e")],
            ),
            (r"password='it\'s \\' dbname=''", &[("password", r"it's \"), ("dbname", "")]),
            ("password= user=x", &[("password", "user=x")]),
            (
                "postgresql://u:pa?ss@h/d?sslmode=require",
                &[
                    ("user", "u"),
                    ("password", "pa?ss"),
                    ("host", "h"),
                    ("dbname", "d"),
                    ("sslmode", "require"),
                ],
            ),
            (
                "postgres://u%40x:p%3Aq%2F@h:5433",
                &[("user", "u@x"), ("password", "p:q/"), ("host", "h"), ("port", "5433")],
            ),
            (
                "postgresql://[::1]:1,b,[fe80::2]/d",
                &[("host", "::1,b,fe80::2"), ("port", "1,,"), ("dbname", "d")],
            ),
            ("postgresql://%2Ftmp%2Fs/d", &[("host", "/tmp/s"), ("dbname", "d")]),
            ("postgresql:///d?host=h&port=2", &[("dbname", "d"), ("host", "h"), ("port", "2")]),
            ("postgresql://h?ssl=true", &[("host", "h"), ("sslmode", "require")]),
            ("postgresql://", &[]),
            ("postgresql://u@", &[("user", "u")]),
            ("postgresql://h/d?options=-c%20x%3Dy", &[("host", "h"), ("dbname", "d"), ("options", "-c x=y")]),
            ("host=a requiressl=1", &[("host", "a"), ("sslmode", "require")]),
            (" \npostgresql://h/d\n", &[("host", "h"), ("dbname", "d")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_libpq_refuses_is_refused_without_its_values() {
        for (text, part) in [
            ("secret", "option=value"),
            ("host secret", "option=value"),
            ("host=a secret c=d", "after the value of host"),
            ("host=a password=my secret", "after the value of password"),
            ("host=a password=my secret=b port=1", "after the value of password"),
            ("password='secret", "the value of password"),
            ("secret='b", "the value of an option"),
            ("mysql://secret@h", "begins with mysql://"),
            ("my secret://b", "option=value"),
            ("postgresql://100%secret@h", "its user"),
            ("postgresql://u:100%secret@h", "its password"),
            ("postgresql://u:my@secret@h/d", "write / and @ in its user or password as %2F and %40"),
            ("postgresql://u:1/secret@h/d", "write / and @ in its user or password as %2F and %40"),
            ("postgresql://h,%secret", "host number 2"),
            ("postgresql://h:%secret/d", "the port of host number 1"),
            ("postgresql://h/d?sslmode", "the option sslmode"),
            ("postgresql://h/d?sslmode=require&secret", "option number 2"),
            ("postgresql://h/d?options=-c a=secret", "the value of options"),
            ("postgresql://h/d?secret=a=b", "the value of an option"),
            ("postgresql://h/d?user=%secret", "the value of user"),
            ("postgresql://h/d?&a=secret", "option number 1"),
            ("postgresql://h/d?a=secret&&b=c", "option number 2"),
            ("postgresql://h,[::secret", "host number 2"),
            ("postgresql://u:secret@::1:5432/d", "host number 1: write it as [::1]:5432"),
            ("postgresql://u:secret@h,fd00::5", "host number 2: write it as [::1]:5432"),
            ("postgresql://[::1]secret/d", "host number 1"),
            ("postgresql://h/%00", "its database"),
            ("postgresql://h/%ff", "its database"),
        ] {
            let problem = Conninfo::parse(text).err().unwrap();
            assert!(problem.contains(part) && !problem.contains("secret"), "{text}: {problem}");
        }
    }
}
