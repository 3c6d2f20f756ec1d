//! The chart of growth as SVG: a panel for each cost, a bar for each number of orders.

use std::fmt::Write as _;

use crate::report::number;

const WIDTH: usize = 280;
const HEIGHT: usize = 220;
const BASE: usize = 180;
const TALLEST: f64 = 120.0;

/// One cost, with its value for each number of orders.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) values: Vec<f64>,
}

/// The panels side by side.
pub(crate) fn svg(counts: &[u64], panels: &[Panel]) -> String {
    let width = WIDTH * panels.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>The cost of an order, by how many there are</title>\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut svg, at * WIDTH, counts, panel);
    }
    svg + "</svg>\n"
}

fn draw(svg: &mut String, left: usize, counts: &[u64], panel: &Panel) {
    let most = panel.values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let step = (WIDTH - 40) / counts.len().max(1);
    // Writing to a String can't fail.
    let _ = writeln!(svg, "<text x=\"{}\" y=\"24\" font-weight=\"bold\">{}</text>", left + 20, panel.title);
    for (at, (count, value)) in counts.iter().zip(&panel.values).enumerate() {
        let (x, tall) = (left + 20 + at * step, (value / most * TALLEST).round() as usize);
        let middle = x + (step - 16) / 2;
        let bar = format!("x=\"{x}\" y=\"{}\" width=\"{}\" height=\"{tall}\"", BASE - tall, step - 16);
        let _ = writeln!(svg, "<rect {bar} fill=\"#2f6f9f\"/>");
        let _ = writeln!(svg, "{}", label(middle, BASE - tall - 6, &number(*value)));
        let _ = writeln!(svg, "{}", label(middle, BASE + 20, &number(*count as f64)));
    }
    let (from, to) = (left + 16, left + WIDTH - 20);
    let _ = writeln!(svg, "<path d=\"M{from} {BASE}H{to}\" stroke=\"#333\"/>");
}

fn label(x: usize, y: usize, text: &str) -> String {
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bar_and_its_number() {
        let panel = |title| Panel { title, values: vec![1.0, 2.0, 4.0] };
        let svg = svg(&[10_000, 100_000, 1_000_000], &[panel("a"), panel("b")]);
        assert_eq!(svg.matches("<rect x=").count(), 6);
        assert_eq!(svg.matches(">1,000,000<").count(), 2);
        assert!(svg.contains("height=\"120\"") && svg.contains("height=\"30\""), "{svg}");
    }
}
