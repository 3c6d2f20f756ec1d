//! Rows as `jsonb` and `json` compared with gob: ingestion, fill, and size.

use anyhow::Result;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::{REPETITIONS, backlog, repetition, start, upper_bounds};

/// The types of the column `data`. The last one is gob, the baseline.
const COLUMN_TYPES: [&str; 3] = ["jsonb", "json", "bytea"];

/// The measurements of one type, one value per repetition: orders per second, rows per second, bytes per row.
#[derive(Default)]
struct Measured {
    intake: Vec<f64>,
    start: Vec<f64>,
    /// Rows per second that `psql` copies out of the table.
    copied: Vec<f64>,
    bytes: Vec<f64>,
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
        [
            figure(intake, "orders/s", ours.intake, ("gob rows", &gob.intake), Goal::OfLimit(0.7)),
            figure(start.clone(), "rows/s", ours.start.clone(), ("gob rows", &gob.start), Goal::OfLimit(0.5)),
            figure(start, "rows/s", ours.start, ("psql copy out", &ours.copied), Goal::OfLimit(0.8)),
            figure(row, "B", ours.bytes, ("gob rows", &gob.bytes), Goal::TimesLimit(2.0)),
        ]
    };
    Ok([of_type("jsonb", jsonb), of_type("json", json)].concat())
}
