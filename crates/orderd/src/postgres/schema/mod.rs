//! Checks, at startup and on each new connection of the writer, that database and table support the service's
//! guarantees. The checks change nothing. Each finding names a problem and the statement that fixes it.

mod columns;
mod format;
mod erased_table;
mod missing_table;
mod policies;
mod partitions;
mod position_table;
mod rules;
mod sibling;
mod server;
mod table;

use std::fmt::{self, Display};

use order::RowFormat;
use tokio_postgres::{Client, Error};

pub(crate) use self::format::{format_of_table, wrong_format};
pub(crate) use self::missing_table::create_statement;
pub(crate) use self::server::FEWEST_CONNECTIONS;
use self::table::Relation;
pub(crate) use self::table::key;
use crate::config::{Postgres, Table};
pub(crate) use crate::finding::{Finding, Severity};

/// What the checks found.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Whether the table exists.
    pub(crate) is_there: bool,
    pub(crate) findings: Vec<Finding>,
    /// How to write to the table.
    pub(crate) traits: TableTraits,
}

/// Properties that statements must consider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TableTraits {
    /// Row-level security applies to the role: PostgreSQL refuses `COPY … FROM`.
    pub(crate) refuses_copy: bool,
    /// Rows may be stored in other tables than this one, by a trigger or by inheritance. `ON CONFLICT (id)` does not
    /// see them there.
    pub(crate) routes_rows: bool,
    /// A trigger before INSERT may keep rows out, or change their ids.
    pub(crate) has_trigger: bool,
    /// The format of the rows, by the column's type.
    pub(crate) format: RowFormat,
}

/// The findings for which the service does not use the table.
#[derive(Debug, thiserror::Error)]
pub(crate) struct TableRefused(pub(super) Vec<Finding>);

impl Display for TableRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ". Also: " };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl Inspection {
    /// # Errors
    /// The findings for which the service does not use the table.
    pub(crate) fn accepted(self) -> Result<TableTraits, TableRefused> {
        let refusals: Vec<Finding> =
            self.findings.into_iter().filter(|finding| finding.severity == Severity::Refusal).collect();
        if refusals.is_empty() { Ok(self.traits) } else { Err(TableRefused(refusals)) }
    }

    /// All others.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity != Severity::Refusal)
    }
}

/// Inspects the server, the database and the table, without changes.
///
/// # Errors
/// PostgreSQL can't be reached.
pub(crate) async fn inspect(client: &Client, settings: &Postgres) -> Result<Inspection, Error> {
    let table = &settings.table;
    let mut findings = Vec::new();
    let role = server::check(client, &mut findings).await?;
    let Some(relation) = Relation::find(client, table).await? else {
        format::check_encoding(client, settings.format, &mut findings).await?;
        missing_table::check(client, settings, &role, &mut findings).await?;
        if findings.iter().all(|finding| finding.severity != Severity::Refusal) {
            position_table::check(client, table, &role, &mut findings).await?;
            erased_table::check(client, table, &role, &mut findings).await?;
        }
        return Ok(Inspection { findings, ..Inspection::default() });
    };
    let format = format::of(client, relation.oid, settings).await?;
    format::check_encoding(client, format, &mut findings).await?;
    findings.extend(wrong_format(format, settings));
    relation.check(client, table, format, &role, &mut findings).await?;
    position_table::check(client, table, &role, &mut findings).await?;
    erased_table::check(client, table, &role, &mut findings).await?;
    let traits = TableTraits {
        refuses_copy: relation.row_security,
        routes_rows: relation.routes_rows,
        has_trigger: relation.has_trigger,
        format,
    };
    if relation.row_security {
        let (name, quoted) = (table.to_string(), table.quoted());
        policies::check(client, relation.oid, (&name, &quoted), &role, &["r", "a", "d"], &mut findings)
            .await?;
    }
    Ok(Inspection { is_there: true, findings, traits })
}

/// Row-level security that keeps the role from deleting all rows of the table.
///
/// # Errors
/// PostgreSQL can't be reached.
pub(crate) async fn policy_against_delete(client: &Client, table: &Table) -> Result<Option<Finding>, Error> {
    let Some(relation) = Relation::find(client, table).await?.filter(|relation| relation.row_security) else {
        return Ok(None);
    };
    let role = client.query_typed("SELECT current_user::text", &[]).await?;
    let role: String = role.first().map_or(Ok(String::new()), |row| row.try_get(0))?;
    let (name, quoted) = (table.to_string(), table.quoted());
    let mut findings = Vec::new();
    policies::check(client, relation.oid, (&name, &quoted), &role, &["d"], &mut findings).await?;
    Ok(findings.pop())
}

/// A name, quoted for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
