//! Who may connect to a private PostgreSQL, and how: `pg_hba.conf` and the certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{PostgresOptions, cluster};
use crate::Error;
use crate::run_as::User;

/// Writes the rules at each start, so that new options also apply to existing data.
pub(super) fn write(home: &Path, user: Option<User>, options: &PostgresOptions) -> Result<(), Error> {
    let data = cluster::data_of(home);
    let kind = if options.tls.is_some() { "hostssl" } else { "host" };
    let method = if options.password.is_some() { "scram-sha-256" } else { "trust" };
    let first = &options.rules;
    let rules = format!(
        "{first}\n{kind} all all 127.0.0.1/32 {method}\n{kind} replication all 127.0.0.1/32 {method}\n"
    );
    let target = data.join("pg_hba.conf");
    fs::write(&target, rules).map_err(Error::path("write", &target))?;
    if let Some(tls) = &options.tls {
        private_copy(&tls.certificate, &data.join("server.crt"), user)?;
        private_copy(&tls.key, &data.join("server.key"), user)?;
    }
    Ok(())
}

/// PostgreSQL refuses a key that others can read.
fn private_copy(from: &Path, to: &Path, user: Option<User>) -> Result<(), Error> {
    fs::copy(from, to).map_err(Error::path("copy", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).map_err(Error::path("close", to))?;
    user.map_or(Ok(()), |user| user.give_ownership(to))
}

pub(super) fn settings(options: &PostgresOptions) -> Vec<(String, String)> {
    let ssl = options.tls.as_ref().map(|_| {
        let pairs = [("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
    });
    ssl.into_iter().flatten().collect()
}
