//! Checks the columns `id` and `data`, and that other columns do not prevent an insert.

use order::RowFormat;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::{Finding, format, quoted};
use crate::config::Table;

/// Characters of the longest key: nanoseconds since 1970, a dash, a sequence number of 64 bits.
const MAX_KEY_CHARS: usize = 40;

struct Column {
    name: String,
    type_oid: u32,
    type_name: String,
    is_not_null: bool,
    has_default: bool,
    is_generated: bool,
    is_deterministic: bool,
    may_select: bool,
    may_insert: bool,
}

/// Whether `id` and `data` are there and can be used. `is_filled`: a trigger may fill the other columns.
pub(super) async fn check(
    client: &Client,
    (oid, table): (u32, &Table),
    row_format: RowFormat,
    role: &str,
    is_filled: bool,
    findings: &mut Vec<Finding>,
) -> Result<bool, Error> {
    let columns = columns(client, oid).await?;
    let before = findings.len();
    for (name, definition) in [("id", "text"), ("data", row_format.column_type())] {
        match columns.iter().find(|column| column.name == name) {
            Some(column) => column.check(table, definition, findings),
            None => findings.push(Finding::refusal(
                format!("{table} has no column {name}"),
                format!("ALTER TABLE {} ADD COLUMN {name} {definition};", table.quoted()),
            )),
        }
    }
    let others = columns.iter().filter(|column| !["id", "data"].contains(&column.name.as_str()));
    for column in others.filter(|column| column.is_not_null && !column.has_default && !is_filled) {
        findings.push(Finding::refusal(
            format!(
                "column {} of {table} must not be null and has no default: no row can be stored",
                column.name
            ),
            format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;", table.quoted(), quoted(&column.name)),
        ));
    }
    let fits = findings.len() == before;
    if fits {
        check_rights(&columns, table, role, findings);
    }
    Ok(fits)
}

fn check_rights(columns: &[Column], table: &Table, role: &str, findings: &mut Vec<Finding>) {
    let used = || columns.iter().filter(|column| ["id", "data"].contains(&column.name.as_str()));
    let lacking: Vec<&str> = [
        ("SELECT", used().all(|column| column.may_select)),
        ("INSERT", used().all(|column| column.may_insert)),
    ]
    .into_iter()
    .filter_map(|(right, is_there)| (!is_there).then_some(right))
    .collect();
    if !lacking.is_empty() {
        findings.push(Finding::refusal(
            format!("role {role} lacks {} on {table}", lacking.join(" and ")),
            format!("GRANT {} ON {} TO {};", lacking.join(", "), table.quoted(), quoted(role)),
        ));
    }
}

impl Column {
    fn check(&self, table: &Table, definition: &str, findings: &mut Vec<Finding>) {
        let (column, quoted) = (format!("column {} of {table}", self.name), table.quoted());
        if self.is_generated {
            findings.push(Finding::refusal(
                format!("{column} is generated, and can't be written"),
                format!("make {column} a plain column of type {definition}"),
            ));
        } else if !self.has_usable_type() {
            let fix = match self.name.as_str() {
                "id" => format!("ALTER TABLE {quoted} ALTER COLUMN id TYPE text;"),
                _ => "set PG_TABLE to another table, or to a name that is free".into(),
            };
            let takes = if self.name == "id" { "text" } else { "bytea, jsonb or json" };
            let problem = format!("{column} has the type {}, not {takes}", self.type_name);
            findings.push(Finding::refusal(problem, fix));
        } else if self.name == "id" && !self.is_deterministic {
            findings.push(Finding::refusal(
                format!("{column} has a collation by which different ids can be equal"),
                format!("ALTER TABLE {quoted} ALTER COLUMN id TYPE text COLLATE \"C\";"),
            ));
        } else if self.name == "id" && !self.is_not_null {
            findings.push(Finding::refusal(
                format!("{column} may be null: such a row has no id"),
                format!("ALTER TABLE {quoted} ALTER COLUMN id SET NOT NULL;"),
            ));
        }
    }

    fn has_usable_type(&self) -> bool {
        let is_one_of = |types: &[Type]| types.iter().any(|one| one.oid() == self.type_oid);
        match self.name.as_str() {
            "id" => is_one_of(&[Type::TEXT]) || (is_one_of(&[Type::VARCHAR]) && self.holds_keys()),
            _ => format::of_type(self.type_oid).is_some(),
        }
    }
}

impl Column {
    /// Whether a `varchar(n)` is wide enough.
    fn holds_keys(&self) -> bool {
        let width =
            self.type_name.split_once('(').and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
        width.is_none_or(|width: usize| width >= MAX_KEY_CHARS)
    }
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>, Error> {
    let query = "SELECT a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                        a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
                        a.attgenerated <> '' OR a.attidentity = 'a', coalesce(o.collisdeterministic, true),
                        has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
                        has_column_privilege(a.attrelid, a.attnum, 'INSERT')
                 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                      LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation
                 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let column = |row: &Row| {
        Ok(Column {
            name: row.try_get(0)?,
            type_oid: row.try_get(1)?,
            type_name: row.try_get(2)?,
            is_not_null: row.try_get(3)?,
            has_default: row.try_get(4)?,
            is_generated: row.try_get(5)?,
            is_deterministic: row.try_get(6)?,
            may_select: row.try_get(7)?,
            may_insert: row.try_get(8)?,
        })
    };
    rows.iter().map(column).collect()
}
