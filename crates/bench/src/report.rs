//! The figures: each against its limit and its goal, as a table for people and as JSON for programs.

use serde_json::{Value, json};

use crate::stats::median;

/// The goal of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// At least this fraction of its limit.
    OfLimit(f64),
    /// At most this multiple of its limit.
    TimesLimit(f64),
    /// At most this value.
    Below(f64),
}

/// One row of the table, with the values of all repetitions; the medians count.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) bench: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Vec<f64>,
    /// The name of the limit, and its values.
    pub(crate) limit: Option<(String, Vec<f64>)>,
    pub(crate) goal: Goal,
    /// A note for the reader.
    pub(crate) note: String,
}

impl Figure {
    fn our_median(&self) -> f64 {
        median(&self.ours)
    }

    fn limit(&self) -> Option<f64> {
        self.limit.as_ref().map(|(_, values)| median(values))
    }

    fn ratio(&self) -> Option<f64> {
        self.limit().filter(|limit| *limit > 0.0).map(|limit| self.our_median() / limit)
    }

    /// `None` without the limit to compare it with.
    pub(crate) fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::OfLimit(share) => self.ratio().map(|ratio| ratio >= share),
            Goal::TimesLimit(times) => self.ratio().map(|ratio| ratio <= times),
            Goal::Below(most) => Some(self.our_median() <= most),
        }
    }

    fn cells(&self) -> [String; 6] {
        let of = |value: f64| format!("{} {}", number(value), self.unit);
        let limit = self.limit.as_ref().map(|(name, values)| format!("{} ({name})", of(median(values))));
        let goal = match self.goal {
            Goal::OfLimit(share) => format!(">= {share}"),
            Goal::TimesLimit(times) => format!("<= {times}"),
            Goal::Below(most) => format!("<= {}", of(most)),
        };
        let met = self.met().map_or("unknown", |met| if met { "yes" } else { "**no**" });
        [
            self.what.clone(),
            of(self.our_median()),
            limit.unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            goal,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let (limit, limits) = match &self.limit {
            Some((name, values)) => (json!(name), json!(values)),
            None => (Value::Null, json!([])),
        };
        let (goal, value) = match self.goal {
            Goal::OfLimit(value) => ("ratio_at_least", value),
            Goal::TimesLimit(value) => ("ratio_at_most", value),
            Goal::Below(value) => ("at_most", value),
        };
        json!({
            "bench": self.bench, "figure": self.what, "unit": self.unit,
            "ours": self.our_median(), "ours_runs": self.ours,
            "limit_is": limit, "limit": self.limit(), "limit_runs": limits,
            "ratio": self.ratio(), "goal": { "kind": goal, "value": value }, "met": self.met(),
            "note": self.note,
        })
    }
}

/// All figures as a Markdown table, and their notes below it.
pub(crate) fn text(figures: &[Figure]) -> String {
    let head = ["figure", "ours", "limit", "ratio", "goal", "met"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut lines: Vec<_> = rows.iter().map(|row| line(row, widths)).collect();
    lines.insert(1, format!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|")));
    let notes = figures.iter().filter(|figure| !figure.note.is_empty());
    lines.push(String::new());
    lines.extend(notes.map(|figure| format!("- {}: {}", figure.what, figure.note)));
    lines.join("\n")
}

fn line(cells: &[String; 6], widths: [usize; 6]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
}

pub(crate) fn to_json(machine: &[(String, String)], figures: &[Figure]) -> Value {
    let machine: serde_json::Map<_, _> =
        machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "machine": machine, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>() })
}

/// Three significant digits, with thousands separators.
pub(crate) fn number(value: f64) -> String {
    if value >= 1000.0 {
        return grouped(value.round() as u64);
    }
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    if value >= 0.1 || value == 0.0 { format!("{value:.decimals$}") } else { format!("{value:.3}") }
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
    use super::*;

    fn figure(ours: f64, limit: Option<f64>, goal: Goal) -> Figure {
        let limit = limit.map(|value| ("psql".to_owned(), vec![value]));
        let (what, note) = ("backlog".to_owned(), String::new());
        Figure { bench: "backlog", what, unit: "orders/s", ours: vec![ours], limit, goal, note }
    }

    #[test]
    fn goals_are_met_or_not() {
        assert_eq!(figure(55.0, Some(100.0), Goal::OfLimit(0.55)).met(), Some(true));
        assert_eq!(figure(54.0, Some(100.0), Goal::OfLimit(0.55)).met(), Some(false));
        assert_eq!(figure(150.0, Some(100.0), Goal::TimesLimit(1.5)).met(), Some(true));
        assert_eq!(figure(151.0, Some(100.0), Goal::TimesLimit(1.5)).met(), Some(false));
        assert_eq!(figure(5.0, None, Goal::Below(5.0)).met(), Some(true));
        assert_eq!(figure(5.0, None, Goal::OfLimit(0.5)).met(), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(1000.0), "1,000");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(1.234), "1.23");
        assert_eq!(number(0.0123), "0.012");
        assert_eq!(number(0.0), "0.00");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let figures =
            [figure(55_000.0, Some(100_000.0), Goal::OfLimit(0.55)), figure(5.0, None, Goal::Below(1.0))];
        let text = text(&figures);
        let bars =
            |line: &str| line.char_indices().filter(|(_, c)| *c == '|').map(|(at, _)| at).collect::<Vec<_>>();
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| bars(line) == bars(lines[0])), "{text}");
        assert!(lines[2].contains("| 0.55 ") && lines[2].contains("100,000 orders/s (psql)"), "{text}");
    }
}
