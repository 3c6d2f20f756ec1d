//! PostgreSQL's connection strings, read as libpq reads them: `postgresql://…` and `name = value …`. After
//! `conninfo_parse` and `conninfo_uri_parse_options` of PostgreSQL 18.

use percent_encoding::percent_decode_str;

/// Options in the given order; the last value of a repeated option counts.
#[derive(Default)]
pub(super) struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// # Errors
    /// What can't be parsed, without values, which may be secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let text = text.trim();
        match ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
            Some(rest) => read.address(rest)?,
            None if text.contains('=') => {
                let is_other = text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('='));
                if is_other {
                    return Err("is not a PostgreSQL address: that begins with postgresql://".into());
                }
                read.list(text)?;
            }
            None => return Err("is not a PostgreSQL address: that begins with postgresql://".into()),
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
        // The former name of sslmode, as in libpq.
        let (name, value) = match name {
            "requiressl" if value.starts_with('1') => ("sslmode", "require"),
            "requiressl" => ("sslmode", "prefer"),
            _ => (name, value),
        };
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// `name = value`, separated by white space; a value may be quoted, and a backslash escapes the next character.
    fn list(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let end =
                rest.find(|letter: char| letter == '=' || letter.is_ascii_whitespace()).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let Some(after) = after.trim_start().strip_prefix('=') else {
                return Err("has a name without =, or a value with blanks that is not quoted".into());
            };
            let (value, after) = value(after.trim_start())?;
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
                self.set("user", &decoded(user)?);
                password.map(decoded).transpose()?.inspect(|password| self.set("password", password));
                &text[at + 1..]
            }
            None => text,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (servers, rest) = rest.split_at(end);
        self.servers(servers)?;
        let (database, options) = match rest.strip_prefix('/') {
            Some(rest) => rest.split_once('?').unwrap_or((rest, "")),
            None => ("", rest.strip_prefix('?').unwrap_or_default()),
        };
        if !database.is_empty() {
            self.set("dbname", &decoded(database)?);
        }
        // As in libpq, only the last option may be empty.
        let options = options.strip_suffix('&').unwrap_or(options);
        let mut options = options.split('&').filter(|_| !options.is_empty());
        options.try_for_each(|option| self.option(option))
    }

    fn servers(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for server in text.split(',') {
            let (host, port) = match server.strip_prefix('[') {
                Some(rest) => {
                    let (host, after) = rest.split_once(']').ok_or("has an IPv6 address without its ]")?;
                    let port = after.strip_prefix(':');
                    if !after.is_empty() && port.is_none() {
                        return Err("has something other than a port after ]".into());
                    }
                    (host, port.unwrap_or_default())
                }
                None => server.split_once(':').unwrap_or((server, "")),
            };
            hosts.push(decoded(host)?);
            ports.push(decoded(port)?);
        }
        self.set("host", &hosts.join(","));
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", &ports.join(","));
        }
        Ok(())
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').ok_or("has an option without =")?;
        if value.contains('=') {
            return Err("has a second = in the value of an option: write it as %3D".into());
        }
        let (name, value) = (decoded(name)?, decoded(value)?);
        // As JDBC has it.
        if name == "ssl" && value == "true" {
            self.set("sslmode", "require");
        } else {
            self.set(&name, &value);
        }
        Ok(())
    }
}

/// The value at the start of the text, and the rest.
fn value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.strip_prefix('\'');
    let text = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted.is_some() => return Ok((value, &text[at + 1..])),
            letter if quoted.is_none() && letter.is_ascii_whitespace() => return Ok((value, &text[at..])),
            letter => value.push(letter),
        }
    }
    if quoted.is_some() { Err("has a quote that is not closed".into()) } else { Ok((value, "")) }
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_wrong = |at: usize| bytes[at] == b'%' && !(is_digit(at + 1) && is_digit(at + 2));
    if (0..bytes.len()).any(is_wrong) {
        return Err("has a % without two hexadecimal digits: write a % as %25".into());
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "has bytes that are not UTF-8")?;
    if decoded.contains('\0') {
        return Err("has %00".into());
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
        for text in [
            "host",
            "host=a b c=d",
            "password='secret",
            "mysql://secret@h",
            "postgresql://u:100%secret@h",
            "postgresql://h/d?sslmode",
            "postgresql://h/d?a=secret=b",
            "postgresql://h/d?&a=secret",
            "postgresql://h/d?a=secret&&b=c",
            "postgresql://[::1",
            "postgresql://[::1]x/d",
            "postgresql://h/%00",
        ] {
            let problem = Conninfo::parse(text).err().unwrap();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
