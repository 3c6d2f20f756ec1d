//! Rows as `jsonb` and `json` compared with gob: ingestion, fill, and size; and what an index gains a query of a member.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::{REPETITIONS, backlog, orders, repetition, start, upper_bounds};

/// The types of the column `data`. The last one is gob, the baseline.
const COLUMN_TYPES: [&str; 3] = ["jsonb", "json", "bytea"];

/// The measurements of one type, one value per repetition: orders per second, rows per second, bytes per row,
/// milliseconds.
#[derive(Default)]
struct Measured {
    intake: Vec<f64>,
    start: Vec<f64>,
    /// Rows per second that `psql` copies out of the table.
    copied: Vec<f64>,
    bytes: Vec<f64>,
    /// A query of one document by a member, which reads the whole table, and the same with an index. None for gob, which
    /// SQL can't read.
    scanned: Vec<f64>,
    indexed: Vec<f64>,
}

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let count = env.orders;
    let mut measured = COLUMN_TYPES.map(|_| Measured::default());
    for number in 0..REPETITIONS {
        repetition("row formats", number);
        for (column_type, of) in COLUMN_TYPES.iter().zip(&mut measured) {
            let table = env.empty_table_of(column_type)?;
            let taken = backlog::take_into(env, count, table)?;
            of.intake.push(count as f64 / taken.seconds);
            env.postgres.psql(&format!("vacuum (analyze) {}", taken.table))?;
            of.start.push(count as f64 / start::fill(env, &taken.table, count)?.elapsed.as_secs_f64());
            of.copied.push(count as f64 / upper_bounds::copy_out(env, &taken.table)?);
            let bytes = env.postgres.psql(&format!("select pg_table_size('{}')", taken.table))?;
            of.bytes.push(bytes.trim().parse::<f64>()? / count as f64);
            if *column_type != "bytea" {
                of.scanned.push(query(env, &taken.table, count)?);
                let index = format!("create index on {0} ((data->>'order_uid')); analyze {0}", taken.table);
                env.postgres.psql(&index)?;
                of.indexed.push(query(env, &taken.table, count)?);
            }
            env.settle(Some(&taken.table))?;
        }
    }
    let [jsonb, json, gob] = measured;
    let of_type = |name: &str, ours: Measured| {
        let figure = |what: String, unit, ours, (limit, measured): (&str, &[f64]), goal| Figure {
            bench: "row-formats",
            what,
            unit,
            ours,
            limit: Some((limit.to_owned(), measured.to_vec())),
            goal,
            note: String::new(),
        };
        let intake = format!("backlog of {count} into {name} rows");
        let start = format!("start with {count} {name} rows");
        let row = format!("a {name} row in the table");
        let query = format!("SQL for one of {count} {name} rows by a member, with an index");
        [
            figure(intake, "orders/s", ours.intake, ("gob rows", &gob.intake), Goal::OfLimit(0.7)),
            figure(start.clone(), "rows/s", ours.start.clone(), ("gob rows", &gob.start), Goal::OfLimit(0.5)),
            figure(start, "rows/s", ours.start, ("psql copy out", &ours.copied), Goal::OfLimit(0.8)),
            figure(row, "B", ours.bytes, ("gob rows", &gob.bytes), Goal::TimesLimit(2.0)),
            figure(query, "ms", ours.indexed, ("without an index", &ours.scanned), Goal::TimesLimit(0.05)),
        ]
    };
    Ok([of_type("jsonb", jsonb), of_type("json", json)].concat())
}

/// The milliseconds that PostgreSQL takes to find one of `count` documents by a member.
fn query(env: &Environment, table: &str, count: u64) -> Result<f64> {
    let number = orders::order(count / 2).order_uid;
    let explain = format!(
        "explain (analyze, format json) select data from {table} where data->>'order_uid' = '{number}'"
    );
    let explained: Value = serde_json::from_str(&env.postgres.psql(&explain)?)?;
    let found = &explained[0]["Plan"]["Actual Rows"];
    ensure!(found.as_f64() == Some(1.0), "a query of one document found {found}");
    explained[0]["Execution Time"].as_f64().context("PostgreSQL does not say how long a query took")
}
