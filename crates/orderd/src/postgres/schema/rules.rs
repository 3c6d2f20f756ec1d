//! Checks rules (`CREATE RULE`): PostgreSQL refuses `INSERT … ON CONFLICT` into a table that has some.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, quoted};
use crate::config::Table;

/// Refuses rules that prevent writing, and warns of rules on DELETE.
pub(super) async fn check(
    client: &Client,
    oid: u32,
    table: &Table,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    // 2: UPDATE, 3: INSERT, 4: DELETE. A rule on UPDATE counts even while it is disabled.
    let query = "SELECT rulename::text, ev_type::text FROM pg_catalog.pg_rewrite
                 WHERE ev_class = $1 AND (ev_type = '2' OR ev_type IN ('3', '4') AND ev_enabled IN ('O', 'A'))
                 ORDER BY ev_type DESC, rulename";
    for row in client.query_typed(query, &[(&oid, Type::OID)]).await? {
        let (rule, event): (String, &str) = (row.try_get(0)?, row.try_get(1)?);
        let drop = format!("DROP RULE {} ON {};", quoted(&rule), table.quoted());
        findings.push(match event {
            "4" => Finding::warning(
                format!("{table} has the rule {rule} on DELETE, so that rows may stay that are erased or expire by KEEP"),
                drop,
            ),
            event => {
                let event = if event == "3" { "INSERT" } else { "UPDATE" };
                Finding::refusal(
                    format!(
                        "{table} has the rule {rule} on {event}, with which PostgreSQL refuses INSERT … ON CONFLICT"
                    ),
                    format!("{drop} a trigger can do what the rule does"),
                )
            }
        });
    }
    Ok(())
}
