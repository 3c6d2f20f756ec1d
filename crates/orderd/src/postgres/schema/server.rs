//! Checks the server, the database and the role.

use tokio_postgres::{Client, Error};

use super::{Finding, quoted};

/// The oldest tested version; `pg_collation.collisdeterministic` and others exist since 12.
const MIN_SERVER_VERSION: i32 = 120_000;

/// Connections that `serve` needs: the writer, the fill, look-ups of single orders, and erased keys.
pub(crate) const FEWEST_CONNECTIONS: i32 = 4;

/// Checks them, and returns the role's name.
pub(super) async fn check(client: &Client, findings: &mut Vec<Finding>) -> Result<String, Error> {
    let query = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                        pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_user::text,
                        coalesce((SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user), -1)::int,
                        coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = session_user), false),
                        (SELECT datconnlimit FROM pg_database WHERE datname = current_database())::int,
                        current_database()::text";
    let row = client.query_typed(query, &[]).await?;
    let Some(row) = row.first() else { return Ok(String::new()) };
    let (version, text): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    let (is_standby, is_read_only): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
    let role: String = row.try_get(4)?;
    if version < MIN_SERVER_VERSION {
        findings.push(Finding::refusal(
            format!("PostgreSQL {text} is older than 12"),
            "use PostgreSQL 12 or newer",
        ));
    }
    if is_standby {
        findings.push(Finding::blocked(
            "the server is a standby, which accepts no writes",
            "name the primary, or all servers with target_session_attrs=read-write, in DATABASE_URL",
        ));
    } else if is_read_only {
        findings.push(Finding::blocked(
            format!("transactions of role {role} are read-only by default, so that nothing can be written"),
            format!("ALTER ROLE {} SET default_transaction_read_only = off;", quoted(&role)),
        ));
    }
    let is_superuser: bool = row.try_get(6)?;
    if !is_superuser {
        connection_limits(&role, &row.try_get::<_, String>(8)?, row.try_get(5)?, row.try_get(7)?, findings);
    }
    Ok(role)
}

/// -1 means no limit; superusers have no limit.
fn connection_limits(
    role: &str,
    database: &str,
    of_role: i32,
    of_database: i32,
    findings: &mut Vec<Finding>,
) {
    let limits = [("role", "ROLE", role, of_role), ("database", "DATABASE", database, of_database)];
    for (what, keyword, name, limit) in limits {
        if (0..FEWEST_CONNECTIONS).contains(&limit) {
            findings.push(Finding::refusal(
                format!("{what} {name} is limited to {limit} connections, and the service needs {FEWEST_CONNECTIONS}"),
                format!("ALTER {keyword} {} CONNECTION LIMIT {FEWEST_CONNECTIONS};", quoted(name)),
            ));
        }
    }
}
