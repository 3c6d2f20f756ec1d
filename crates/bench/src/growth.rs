//! How the cost of an order depends on the number of orders; it has to stay flat.

use anyhow::{Context, Result};

use crate::chart::{self, Panel};
use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::say;
use crate::{backlog, memory, reads};

/// Maximum factor to the cost at a tenth of the orders that counts as flat, because of CPU caches.
const FLAT: f64 = 1.25;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let counts = [env.rows / 100, env.rows / 10, env.rows];
    let [mut intake, mut read, mut bytes] = [(); 3].map(|()| Vec::new());
    for count in counts {
        say(&format!("growth, {count} orders"));
        let taken = backlog::take_in(env, count)?;
        env.settle(Some(&taken.table))?;
        intake.push(taken.seconds * 1e6 / count as f64);
        read.push(1e6 / reads::random_rate(env, count)?);
        bytes.push(memory::an_order(env, count)?);
    }
    let panels = [
        Panel { title: "taking in an order, µs", values: intake },
        Panel { title: "a read on one core, µs", values: read },
        Panel { title: "an order in memory, B", values: bytes },
    ];
    let file = devstack::tools::workspace().join("docs/images/bench.svg");
    std::fs::create_dir_all(file.parent().context("no folder for the chart")?)?;
    std::fs::write(&file, chart::svg(&counts, &panels))?;
    Ok(panels.into_iter().map(|panel| figure(panel, &counts)).collect())
}

fn figure(panel: Panel, counts: &[u64; 3]) -> Figure {
    let values = panel.values;
    let (first, last) = (counts[1], counts[2]);
    Figure {
        bench: "growth",
        what: format!("{}, of {last}", panel.title),
        unit: "",
        ours: vec![values[2]],
        limit: Some((format!("of {first}"), vec![values[1]])),
        goal: Goal::TimesLimit(FLAT),
        note: format!("{:.1} of {}, once each", values[0], counts[0]),
    }
}
