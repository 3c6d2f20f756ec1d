//! Checks a partitioned table: whether its partitions take the rows of orders that arrive now.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Finding, quoted};
use crate::config::Table;

/// Refuses a table without partitions, and warns of one whose partitions don't take new rows.
pub(super) async fn check(
    client: &Client,
    oid: u32,
    table: &Table,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    // The condition on the rows of each partition, with that on its parents; a lone DEFAULT partition has none.
    let query = "SELECT coalesce(pg_catalog.pg_get_partition_constraintdef(relid), 'true')
                 FROM pg_catalog.pg_partition_tree($1::oid::regclass) WHERE isleaf";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let conditions: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if conditions.is_empty() {
        findings.push(Finding::refusal(
            format!("{table} is partitioned and has no partition, so that PostgreSQL refuses each row"),
            fix(client, oid, true).await?,
        ));
    } else if let Some(id) = id_without_partition(client, oid, &conditions).await? {
        findings.push(Finding::warning(
            format!(
                "{table} has no partition for new ids such as {id}, so that PostgreSQL refuses their rows, which become \
                 dead letters"
            ),
            fix(client, oid, false).await?,
        ));
    }
    Ok(())
}

/// One of a hundred keys of now that no partition takes: of hash partitions, only some may be missing.
async fn id_without_partition(
    client: &Client,
    oid: u32,
    conditions: &[String],
) -> Result<Option<String>, Error> {
    let query = "SELECT pg_catalog.format_type(a.atttypid, a.atttypmod),
                        (SELECT format('COLLATE %I.%I', n.nspname, c.collname)
                         FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
                         WHERE c.oid = a.attcollation)
                 FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attname = 'id'";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (of_type, collation): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let query = format!(
        "SELECT id::text FROM
             (SELECT (((extract(epoch FROM now()) * 1000000)::int8 * 1000 + n)::text || '-' || n)::{of_type} {} AS id
              FROM generate_series(1, 100) AS n) AS new
         WHERE NOT (({})) LIMIT 1",
        collation.unwrap_or_default(),
        conditions.join(") OR (")
    );
    let rows = client.query_typed(&query, &[]).await?;
    rows.first().map(|row| row.try_get(0)).transpose()
}

/// The statement that makes a partition: of the first partitioned table without any, or of the table itself.
async fn fix(client: &Client, oid: u32, is_first: bool) -> Result<String, Error> {
    let query = "SELECT n.nspname::text, c.relname::text, p.partstrat::text
                 FROM pg_catalog.pg_partition_tree($1::oid::regclass) t JOIN pg_catalog.pg_class c ON c.oid = t.relid
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                      JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
                 ORDER BY EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid), t.level LIMIT 1";
    let rows = client.query_typed(query, &[(&oid, Type::OID)]).await?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let (schema, name, strategy): (String, String, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let partition_of = |suffix: &str| {
        let (schema, partition) = (quoted(&schema), quoted(&format!("{name}_{suffix}")));
        format!("CREATE TABLE {schema}.{partition} PARTITION OF {schema}.{}", quoted(&name))
    };
    Ok(match strategy {
        "h" if is_first => format!("{} FOR VALUES WITH (MODULUS 1, REMAINDER 0);", partition_of("0")),
        "h" => format!("make the partitions of {schema}.{name} for the remainders that have none"),
        _ => format!("{} DEFAULT;", partition_of("default")),
    })
}
