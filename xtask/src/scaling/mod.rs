//! `cargo xtask scaling`: the resources that a number of orders needs, from measured costs. The tables of
//! docs/SCALING.md are its output.
#![allow(clippy::print_stdout, reason = "the table is this command's result")]

mod costs;
mod model;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use model::Need;

/// Calculate the resources of NATS, PostgreSQL and the service for a number of orders
///
/// Calculates with measured costs; docs/SCALING.md lists them, and which are assumed. Several rates and numbers of
/// orders, separated by commas, give several columns.
///
/// Examples: cargo xtask scaling --rate 10000,100000 --orders 100000000
///           cargo xtask scaling --rate 5000 --orders 1000000 --order-bytes 835 --replicas 1 --cores 4
#[derive(clap::Args, Clone)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Orders per second
    #[arg(long, value_name = "R,…", value_delimiter = ',', default_value = "10000,100000,1000000")]
    rate: Vec<f64>,
    /// Orders in the table
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "100000000,1000000000")]
    orders: Vec<f64>,
    /// JSON of an order
    #[arg(long, value_name = "BYTES", default_value_t = costs::ORDER_BYTES)]
    order_bytes: f64,
    /// Minimum number of processes in each cell
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    replicas: f64,
    /// Cores of each server
    #[arg(long, value_name = "N", default_value_t = 16.0)]
    cores: f64,
    /// Planned utilization of a server
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    busy: f64,
    /// Memory of a process for orders
    #[arg(long, value_name = "GB", default_value_t = 64.0)]
    memory: f64,
    /// Keep only the index in memory, and read bodies from the table (CACHE_MAX_BYTES)
    #[arg(long)]
    bounded: bool,
    /// Servers that keep each stream
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    nats_replicas: f64,
    /// Outage of PostgreSQL that the streams have to bridge
    #[arg(long, value_name = "MINUTES", default_value_t = 60.0)]
    outage: f64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { order_bytes, cores, busy, memory, .. } = options;
    let counts = [*order_bytes, *cores, *busy, *memory].into_iter().chain(options.rate.clone());
    ensure!(counts.chain(options.orders.clone()).all(|count| count > 0.0), "all figures must be above 0");
    ensure!(options.replicas >= 1.0 && options.nats_replicas >= 1.0, "there is one replica at least");
    print!("{}", table(options));
    Ok(ExitCode::SUCCESS)
}

/// A column for each case, as Markdown.
fn table(options: &Options) -> String {
    let cases =
        options.orders.iter().flat_map(|&orders| options.rate.iter().map(move |&rate| (rate, orders)));
    let needs: Vec<Need> = cases.map(|(rate, orders)| model::need(options, rate, orders)).collect();
    let row = |what: &str, cell: fn(&Need) -> String| {
        format!("| {what} | {} |\n", needs.iter().map(cell).collect::<Vec<_>>().join(" | "))
    };
    [
        row("orders a second", |need| number(need.rate)),
        format!("|---|{}\n", "---|".repeat(needs.len())),
        row("orders kept", |need| number(need.orders)),
        row("**cells**", |need| format!("**{}**", number(need.cells))),
        row("what bounds a cell", |need| need.first.to_owned()),
        row("processes in a cell", |need| number(need.processes)),
        row("memory of a process for orders, GB", |need| number(need.memory)),
        row("its start on two cores, s", |need| number(need.start)),
        row("cores of all processes", |need| number(need.cores[0])),
        row("cores of PostgreSQL, all cells", |need| number(need.cores[1])),
        row("cores of NATS, all cells", |need| number(need.cores[2])),
        row("all tables, GB", |need| number(need.table)),
        row("transaction log of a cell, MB/s", |need| number(need.log)),
        row("a cell's stream after the outage, GB on each of its servers", |need| number(need.stream)),
        row("its disks, MB/s each", |need| number(need.stream_disk)),
        row("the network of its leader, MB/s", |need| number(need.network)),
    ]
    .concat()
}

/// Two significant digits, with thousands separators.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    grouped(value.round() as u64)
}

/// A number with thousands separators.
fn grouped(value: u64) -> String {
    if value < 1000 {
        return value.to_string();
    }
    format!("{},{:03}", grouped(value / 1000), value % 1000)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Line::parse_from(std::iter::once("scaling").chain(line.split_whitespace())).options
    }

    fn need(line: &str) -> Need {
        let options = options(line);
        model::need(&options, options.rate[0], options.orders[0])
    }

    #[test]
    fn what_is_small_needs_one_of_each() {
        let small = need("--rate 1000 --orders 1000000 --replicas 1 --nats-replicas 1");
        assert_eq!((small.cells, small.processes), (1.0, 1.0));
        let micros = costs::TAKE_US[0] * 1000.0;
        assert!((small.cores[0] - micros / 1e6 / 0.6).abs() < 1e-9);
        assert!((small.memory - costs::MEMORY_BYTES / 1e3).abs() < 1e-9);
    }

    #[test]
    fn a_wall_makes_more_cells_and_not_larger_ones() {
        let one = need("--rate 40000 --orders 1000000");
        let many = need("--rate 400000 --orders 1000000");
        assert_eq!((one.cells, one.first), (1.0, "one stream"));
        assert_eq!(many.cells, 9.0);
        assert!(many.log <= one.log * 1.2);
        let slow_disk = need("--rate 40000 --orders 1000000 --order-bytes 20000");
        assert_eq!(slow_disk.first, "PostgreSQL's transaction log");
    }

    #[test]
    fn memory_makes_cells_too_unless_it_is_bounded() {
        let whole = need("--rate 1000 --orders 1000000000");
        assert_eq!((whole.cells, whole.first), (15.0, "memory of a process"));
        let bounded = need("--rate 1000 --orders 1000000000 --bounded");
        assert_eq!(bounded.cells, 2.0);
        assert!(bounded.memory <= 64.0);
    }

    #[test]
    fn each_process_more_costs_more_than_itself() {
        let (two, four) = (need("--rate 10000 --replicas 2"), need("--rate 10000 --replicas 4"));
        assert!((0..3).all(|of| four.cores[of] >= two.cores[of]));
        assert!(four.cores[0] > two.cores[0] && four.network > two.network);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.54), "0.5");
        assert_eq!(number(12.6), "13");
        assert_eq!(number(2.0), "2");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }

    /// `<!-- cargo xtask scaling ARGS -->`, an empty line, and the table, up to the next empty line. UPDATE=1 rewrites
    /// them.
    #[test]
    fn the_documents_tables_are_the_models() {
        let file = devstack::tools::workspace().join("docs/SCALING.md");
        let text = std::fs::read_to_string(&file).unwrap();
        let mark = "<!-- cargo xtask scaling";
        let mut parts = text.split(mark);
        let mut wanted = parts.next().unwrap().to_owned();
        for part in parts {
            let (line, rest) = part.split_once(" -->\n\n").unwrap();
            let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
            wanted += &format!("{mark}{line} -->\n\n{}\n{after}", table(&options(line)));
        }
        assert!(text.matches(mark).count() >= 2, "no tables in the document");
        if std::env::var_os("UPDATE").is_some() {
            return std::fs::write(&file, wanted).unwrap();
        }
        assert!(
            text == wanted,
            "UPDATE=1 cargo test -p xtask scaling writes the tables of the model into the document"
        );
    }

    /// The numbers in the cells of a document's tables, with what separates thousands and decimals there.
    fn numbers(document: &str, thousands: char, decimals: char) -> Vec<String> {
        let text = std::fs::read_to_string(devstack::tools::workspace().join("docs").join(document)).unwrap();
        let cells = text.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('|'));
        let cells = cells.map(|cell| cell.trim_matches([' ', '*']));
        let is_number = |cell: &&str| {
            cell.starts_with(|c: char| c.is_ascii_digit())
                && cell.chars().all(|c| c.is_ascii_digit() || c == thousands || c == decimals)
        };
        cells.filter(is_number).map(|cell| cell.replace(thousands, "").replace(decimals, ".")).collect()
    }

    #[test]
    fn the_translation_has_the_same_numbers() {
        let english = numbers("SCALING.md", ',', '.');
        assert!(english.len() > 100, "{english:?}");
        assert_eq!(numbers("SCALING.ru.md", ' ', ','), english);
    }
}
