//! Checks the table: its kind, columns, privileges, and unique key.

use order::RowFormat;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::{Finding, columns, partitions, quoted, rules};
use crate::config::Table;

/// A unique index that `ON CONFLICT (id)` can use.
const IS_KEY: &str =
    "i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate AND i.indpred IS NULL
                      AND i.indexprs IS NULL AND i.indnkeyatts = 1 AND a.attname = 'id'";

/// The relation with the table's name.
pub(super) struct Relation {
    pub(super) oid: u32,
    /// As in `pg_class.relkind`.
    kind: String,
    is_unlogged: bool,
    pub(super) row_security: bool,
    /// A trigger before INSERT, or a table that inherits from this one: rows may be stored elsewhere.
    pub(super) routes_rows: bool,
    pub(super) has_trigger: bool,
    may_use_schema: bool,
    may_delete: bool,
}

impl Relation {
    pub(super) async fn find(client: &Client, table: &Table) -> Result<Option<Self>, Error> {
        // 2 and 4: before, INSERT. 1: for each row.
        let query = "SELECT c.oid, c.relkind::text, c.relpersistence = 'u', row_security_active(c.oid),
                            EXISTS (SELECT FROM pg_catalog.pg_trigger t
                                    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
                                          AND t.tgtype::int & 7 = 7),
                            c.relkind <> 'p' AND EXISTS
                                (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid),
                            has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'DELETE')
                     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relname = $2";
        let names = [(&table.schema() as _, Type::TEXT), (&table.name() as _, Type::TEXT)];
        let rows = client.query_typed(query, &names).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (has_trigger, has_heirs): (bool, bool) = (row.try_get(4)?, row.try_get(5)?);
        Ok(Some(Self {
            oid: row.try_get(0)?,
            kind: row.try_get(1)?,
            is_unlogged: row.try_get(2)?,
            row_security: row.try_get(3)?,
            routes_rows: has_trigger || has_heirs,
            has_trigger,
            may_use_schema: row.try_get(6)?,
            may_delete: row.try_get(7)?,
        }))
    }

    pub(super) async fn check(
        &self,
        client: &Client,
        table: &Table,
        format: RowFormat,
        role: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        if !["r", "p"].contains(&self.kind.as_str()) {
            let problem = format!("{table} is {}, not a table", self.kind_in_words());
            findings.push(Finding::refusal(problem, "set PG_TABLE to a table, or to a name that is free"));
            return Ok(());
        }
        if self.is_unlogged {
            findings.push(unlogged(&table.to_string(), &table.quoted()));
        }
        self.check_rights(table, role, findings);
        rules::check(client, self.oid, table, findings).await?;
        let fits =
            columns::check(client, (self.oid, table), format, role, self.has_trigger, findings).await?;
        if fits {
            let before = findings.len();
            self.check_key(client, table, format, findings).await?;
            let has_key = findings.len() == before;
            self.check_parts(client, table, findings).await?;
            // With a key, it is partitioned by the id.
            if self.kind == "p" && has_key {
                partitions::check(client, self.oid, table, findings).await?;
            }
        }
        Ok(())
    }

    fn kind_in_words(&self) -> &'static str {
        match self.kind.as_str() {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            "S" => "a sequence",
            "i" | "I" => "an index",
            _ => "a type",
        }
    }

    fn check_rights(&self, table: &Table, role: &str, findings: &mut Vec<Finding>) {
        let role_quoted = quoted(role);
        if !self.may_use_schema {
            findings.push(Finding::refusal(
                format!("role {role} may not use schema {}", table.schema()),
                format!("GRANT USAGE ON SCHEMA {} TO {role_quoted};", quoted(table.schema())),
            ));
        }
        if !self.may_delete {
            findings.push(Finding::warning(
                format!(
                    "role {role} may not delete from {table}, so that nothing can be erased, or expire by KEEP"
                ),
                format!("GRANT DELETE ON {} TO {role_quoted};", table.quoted()),
            ));
        }
    }

    async fn check_key(
        &self,
        client: &Client,
        table: &Table,
        format: RowFormat,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let query = format!(
            "SELECT {IS_KEY}, c.relname::text, i.indisprimary, i.indimmediate, i.indisvalid AND i.indisready,
                    i.indpred IS NULL, i.indexprs IS NULL, coalesce(a.attname, '') = 'id',
                    k.conname::text
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
             WHERE i.indrelid = $1 AND i.indisunique"
        );
        let rows = client.query_typed(&query, &[(&self.oid, Type::OID)]).await?;
        for row in &rows {
            if row.try_get::<_, Option<bool>>(0)? == Some(true) {
                return Ok(());
            }
        }
        let mut problem =
            format!("{table} has no unique key on id alone, so that a message could be stored twice");
        for row in &rows {
            problem.push_str(&format!(" ({} is {})", row.try_get::<_, String>(1)?, why_no_key(row)?));
        }
        if self.kind == "p" {
            findings.push(self.partitioned_key(client, table, format, problem).await?);
            return Ok(());
        }
        let fix = format!(
            "{} (first remove duplicate rows: DELETE FROM {name} a USING {name} b WHERE a.id = b.id AND a.ctid > \
             b.ctid;)",
            key_statement(&rows, table)?,
            name = table.quoted()
        );
        findings.push(Finding::refusal(problem, fix));
        Ok(())
    }

    /// A key of a partitioned table must contain the partition columns.
    async fn partitioned_key(
        &self,
        client: &Client,
        table: &Table,
        format: RowFormat,
        problem: String,
    ) -> Result<Finding, Error> {
        let query = "SELECT pg_get_partkeydef($1) ~ '^[A-Z]+ \\(id\\)$'";
        let rows = client.query_typed(query, &[(&self.oid, Type::OID)]).await?;
        let by_id = rows.first().map(|row| row.try_get::<_, Option<bool>>(0)).transpose()?.flatten();
        Ok(if by_id == Some(true) {
            Finding::refusal(problem, format!("ALTER TABLE {} ADD PRIMARY KEY (id);", table.quoted()))
        } else {
            Finding::refusal(
                format!("{problem}; it is not partitioned by id, so that it can have none"),
                format!(
                    "move its rows into a table made by CREATE TABLE {} (id text NOT NULL PRIMARY KEY, data {}) \
                     PARTITION BY HASH (id);",
                    table.quoted(),
                    format.column_type()
                ),
            )
        })
    }

    /// Partitions and inheriting tables: each row is in one of them.
    async fn check_parts(
        &self,
        client: &Client,
        table: &Table,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let query = format!(
            "WITH RECURSIVE part AS (SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1 UNION
                    SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN part ON h.inhparent = part.inhrelid)
             SELECT c.oid::regclass::text, c.relpersistence = 'u', c.relkind = 'f',
                    c.relispartition OR EXISTS
                        (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
                                ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                         WHERE i.indrelid = c.oid AND {IS_KEY})
             FROM part JOIN pg_catalog.pg_class c ON c.oid = part.inhrelid ORDER BY 1"
        );
        for row in client.query_typed(&query, &[(&self.oid, Type::OID)]).await? {
            let name: String = row.try_get(0)?;
            if row.try_get(1)? {
                findings.push(unlogged(&name, &name));
            }
            if row.try_get(2)? {
                findings.push(Finding::refusal(
                    format!("{name}, a part of {table}, is a foreign table, which can't keep each id once"),
                    format!("make {name} a table of this database"),
                ));
            } else if !row.try_get::<_, bool>(3)? {
                findings.push(Finding::refusal(
                    format!("{name}, which inherits from {table}, has no unique key on id alone"),
                    format!("ALTER TABLE {name} ADD PRIMARY KEY (id);"),
                ));
            }
        }
        Ok(())
    }
}

/// The name of the index that makes ids unique, if any.
pub(crate) async fn key(client: &Client, table: &Table) -> Result<Option<String>, Error> {
    let query = format!(
        "SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
              JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
              JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
              JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
         WHERE n.nspname = $1 AND t.relname = $2 AND {IS_KEY} LIMIT 1"
    );
    let names = [(&table.schema() as _, Type::TEXT), (&table.name() as _, Type::TEXT)];
    client.query_typed(&query, &names).await?.first().map(|row| row.try_get(0)).transpose()
}

/// `quoted` is the name for SQL.
fn unlogged(name: &str, quoted: &str) -> Finding {
    Finding::refusal(
        format!("{name} is UNLOGGED: a crash of PostgreSQL empties it"),
        format!("ALTER TABLE {quoted} SET LOGGED;"),
    )
}

/// Why a unique index does not make ids unique.
fn why_no_key(row: &Row) -> Result<&'static str, Error> {
    let (immediate, valid): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let (whole, plain, begins_with_id): (bool, bool, bool) =
        (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?);
    Ok(match () {
        () if !valid => "invalid",
        () if !plain => "on an expression",
        () if !whole => "partial",
        () if !begins_with_id => "on other columns",
        () if !immediate => "deferrable",
        () => "on more columns",
    })
}

/// The statement that adds a key: a table has one primary key at most.
fn key_statement(rows: &[Row], table: &Table) -> Result<String, Error> {
    let table = table.quoted();
    for row in rows {
        let (begins_with_id, immediate): (bool, bool) = (row.try_get(7)?, row.try_get(3)?);
        if row.try_get(2)? {
            let constraint: Option<String> = row.try_get(8)?;
            return Ok(match constraint {
                Some(name) if begins_with_id && !immediate => {
                    format!("ALTER TABLE {table} DROP CONSTRAINT {}, ADD PRIMARY KEY (id);", quoted(&name))
                }
                _ => format!("CREATE UNIQUE INDEX ON {table} (id);"),
            });
        }
    }
    Ok(format!("ALTER TABLE {table} ADD PRIMARY KEY (id);"))
}
