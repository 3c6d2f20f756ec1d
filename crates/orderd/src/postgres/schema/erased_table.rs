//! Checks the table of erased keys: whether the role may use or create it.

use tokio_postgres::{Client, Error};

use super::sibling::SiblingTable;
use super::{Finding, policies, quoted};
use crate::config::Table;
use crate::postgres;

pub(super) async fn check(
    client: &Client,
    table: &Table,
    role: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let Some(found) = SiblingTable::find(client, table, postgres::ERASED).await? else { return Ok(()) };
    let (name, erased) = (format!("{}.{}", table.schema(), postgres::ERASED), postgres::erased_table(table));
    let Some(oid) = found.oid else {
        if !found.may_create {
            findings.push(Finding::warning(
                format!(
                    "{name}, which stores erased keys, is missing, and role {role} may not create it, so that \
                     nothing can be erased"
                ),
                format!(
                    "{}; GRANT SELECT, INSERT ON {erased} TO {};",
                    postgres::create_erased_statement(table),
                    quoted(role)
                ),
            ));
        }
        return Ok(());
    };
    let grant = |rights: &str| format!("GRANT {rights} ON {erased} TO {};", quoted(role));
    if !found.may_select {
        // A row is written only if its key is not erased.
        findings.push(Finding::refusal(
            format!(
                "role {role} may not read {name}, which stores erased keys, so that it can write no rows"
            ),
            grant(if found.may_insert { "SELECT" } else { "SELECT, INSERT" }),
        ));
    } else if !found.may_insert {
        findings.push(Finding::warning(
            format!("role {role} may not add to {name}, so that nothing can be erased"),
            grant("INSERT"),
        ));
    }
    if found.is_unlogged {
        findings.push(Finding::refusal(
            format!(
                "{name} is UNLOGGED: a crash of PostgreSQL empties it, and what is erased could come back"
            ),
            format!("ALTER TABLE {erased} SET LOGGED;"),
        ));
    }
    if found.has_policies {
        policies::check(client, oid, (&name, &erased), role, &["r", "a"], findings).await?;
    }
    Ok(())
}
