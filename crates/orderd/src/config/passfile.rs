//! libpq's password file: one `host:port:database:user:password` per line; `*` matches anything, and a backslash
//! escapes the next character.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::reloadable::Files;

/// The password for a server. As in libpq, a file that others can read is ignored.
pub(super) fn find(file: &Path, server: &Config, files: &mut Files) -> Option<String> {
    if !files.is_file(file) {
        return None;
    }
    let metadata = std::fs::metadata(file).ok()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "other users can read the password file, so it is ignored; chmod 600 it");
        return None;
    }
    let host = match server.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        // A socket in a default folder counts as localhost.
        Some(Host::Unix(folder))
            if folder == Path::new("/var/run/postgresql") || folder == Path::new("/tmp") =>
        {
            "localhost".into()
        }
        Some(Host::Unix(folder)) => folder.display().to_string(),
        None => server.get_hostaddrs().first()?.to_string(),
    };
    let port = server.get_ports().first()?.to_string();
    let user = server.get_user().unwrap_or_default();
    let database = server.get_dbname().unwrap_or(user);
    let text = files.read_text(file).ok()?;
    text.lines().find_map(|line| password(line, [&host, &port, database, user]))
}

fn password(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for wanted in wanted {
        let (field, after) = field(rest)?;
        if &rest[..rest.len() - after.len() - 1] != "*" && field != wanted {
            return None;
        }
        rest = after;
    }
    // The password is the rest of the line, up to an unescaped colon.
    let password = field(rest).map_or_else(|| unescaped(rest), |(field, _)| field);
    (!password.is_empty()).then_some(password)
}

/// The text up to the next colon, and the rest.
fn field(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            ':' if !escaped => return Some((unescaped(&text[..at]), &text[at + 1..])),
            letter => escaped = letter == '\\' && !escaped,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut read = String::new();
    while let Some(letter) = letters.next() {
        read.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    read
}

#[cfg(test)]
mod tests {
    use super::password;

    #[test]
    fn lines_are_read_as_libpq_reads_them() {
        let wanted = ["h:1", "5432", "d", "u"];
        let cases = [
            (r"h\:1:5432:d:u:pass", Some("pass")),
            ("*:*:*:*:a b", Some("a b")),
            (r"*:*:*:*:a\:b\\c", Some(r"a:b\c")),
            ("h:5432:d:u:pass", None),
            ("#*:*:*:*:pass", None),
            (r"\*:*:*:*:pass", None),
            ("*:*:*:*:", None),
            ("*:*", None),
        ];
        for (line, expected) in cases {
            assert_eq!(password(line, wanted).as_deref(), expected, "{line}");
        }
    }
}
