//! Checks row-level security: rows hidden by policies would be missing from memory, and would be read from the stream
//! again.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, quoted};

/// The commands: code, name, and the effect if policies do not allow one for all rows.
const COMMANDS: [(&str, &str, &str); 4] = [
    ("r", "hides rows from", "SELECT"),
    ("a", "refuses rows of", "INSERT"),
    ("w", "keeps rows from", "UPDATE"),
    ("d", "keeps rows from", "DELETE"),
];

/// A policy that applies to the role.
struct Policy {
    name: String,
    is_permissive: bool,
    /// `r`, `a`, `w`, `d`, or `*` for all.
    command: String,
    using: Option<String>,
    check: Option<String>,
}

impl Policy {
    fn is_for(&self, command: &str) -> bool {
        self.command == "*" || self.command == command
    }

    /// The condition on rows that are read, or on those that are written.
    fn condition(&self, command: &str) -> &str {
        let condition = match (command, &self.check) {
            ("a", Some(check)) => Some(check),
            _ => self.using.as_ref(),
        };
        condition.map_or("true", String::as_str)
    }
}

/// Whether policies allow the role these commands on all rows of a table, which is named for people and for SQL.
pub(super) async fn check(
    client: &Client,
    oid: u32,
    (table, table_quoted): (&str, &str),
    role: &str,
    commands: &[&str],
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let policies = policies(client, oid).await?;
    for (command, what, word) in COMMANDS.into_iter().filter(|(command, ..)| commands.contains(command)) {
        let Some(reason) = why_not_all(&policies, command) else { continue };
        let problem = format!("row-level security of {table} {what} role {role} ({word}: {reason})");
        let (name, role) = (quoted("orderd"), quoted(role));
        let is_restricted = policies.iter().any(|policy| policy.is_for(command) && !policy.is_permissive);
        let fix = if is_restricted {
            format!("ALTER ROLE {role} BYPASSRLS;")
        } else {
            format!("CREATE POLICY {name} ON {} TO {role} USING (true) WITH CHECK (true);", table_quoted)
        };
        // Without DELETE, only erasing fails.
        let finding = if command == "d" { Finding::warning } else { Finding::refusal };
        findings.push(finding(problem, fix));
        if command != "d" {
            // One policy fixes all.
            return Ok(());
        }
    }
    Ok(())
}

/// Why that command can't use all rows; `None` if it can.
fn why_not_all(policies: &[Policy], command: &str) -> Option<String> {
    let those = || policies.iter().filter(|policy| policy.is_for(command));
    let is_open = |policy: &&Policy| policy.condition(command) == "true";
    let restriction = those().find(|policy| !policy.is_permissive && !is_open(policy));
    if let Some(policy) = restriction {
        return Some(format!("restrictive policy {}", policy.name));
    }
    if those().any(|policy| policy.is_permissive && is_open(&policy)) {
        return None;
    }
    let names: Vec<&str> = those().map(|policy| policy.name.as_str()).collect();
    Some(if names.is_empty() { "no policy allows it".into() } else { format!("policy {}", names.join(", ")) })
}

async fn policies(client: &Client, oid: u32) -> Result<Vec<Policy>, Error> {
    let query = "SELECT polname::text, polpermissive, polcmd::text, pg_get_expr(polqual, polrelid),
                        pg_get_expr(polwithcheck, polrelid)
                 FROM pg_catalog.pg_policy
                 WHERE polrelid = $1 AND CASE WHEN 0 = ANY (polroles) THEN true ELSE EXISTS
                       (SELECT FROM unnest(polroles) AS r (oid) WHERE pg_has_role(r.oid, 'USAGE')) END
                 ORDER BY 1";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let policy = |row: &tokio_postgres::Row| {
        Ok(Policy {
            name: row.try_get(0)?,
            is_permissive: row.try_get(1)?,
            command: row.try_get(2)?,
            using: row.try_get(3)?,
            check: row.try_get(4)?,
        })
    };
    rows.iter().map(policy).collect()
}
