//! Checks the table of positions: whether the role may use or create it.

use tokio_postgres::{Client, Error};

use super::sibling::SiblingTable;
use super::{Finding, policies, quoted};
use crate::config::Table;
use crate::postgres::position;

pub(super) async fn check(
    client: &Client,
    table: &Table,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let Some(found) = SiblingTable::find(client, table, position::NAME).await? else { return Ok(()) };
    let (name, positions) = (format!("{}.{}", table.schema(), position::NAME), position::positions(table));
    let Some(oid) = found.oid else {
        if !found.may_create {
            findings.push(Finding::refusal(
                format!("{name}, which stores the position of {table} in its stream, is missing, and role {role} may not create it"),
                format!(
                    "{}; ALTER TABLE {positions} OWNER TO {};",
                    position::create_statement(table),
                    quoted(role)
                ),
            ));
        }
        return Ok(());
    };
    let rights = [("SELECT", found.may_select), ("INSERT", found.may_insert), ("UPDATE", found.may_update)];
    let missing: Vec<&str> = rights.iter().filter(|(_, has)| !has).map(|(right, _)| *right).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.push(Finding::refusal(
            format!(
                "role {role} may not {} {name}, which stores the position of {table} in its stream",
                missing.to_lowercase()
            ),
            format!("GRANT {missing} ON {positions} TO {};", quoted(role)),
        ));
    }
    if found.is_unlogged {
        findings.push(Finding::refusal(
            format!("{name} is UNLOGGED: a crash of PostgreSQL empties it"),
            format!("ALTER TABLE {positions} SET LOGGED;"),
        ));
    }
    if found.has_policies {
        let names = (name.as_str(), positions.as_str());
        policies::check(client, oid, names, role, &["r", "a", "w"], findings).await?;
    }
    Ok(())
}
