//! `orderd publish`.

use std::path::PathBuf;

use clap::Args;

use super::connection_args::NatsArgs;
use super::model::ModelArgs;

/// `orderd publish`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd publish --count 1000\n  orderd publish --from orders.jsonl\n  \
    PUB_TOPIC='orders.>' orderd publish --subject orders.new\n  \
    producer | orderd publish --from - --core\n  \
    orderd publish --from orders.jsonl --wait-committed\n\n\
    Exit codes: 0 the server has acknowledged all documents (with --core: they were sent; with --wait-committed: \
    the service has committed them), 1 otherwise.")]
pub struct PublishArgs {
    /// Number of documents to generate from the model's sample and send.
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "from", value_parser = count)]
    pub count: u64,
    /// Documents to send per second: 100 or 100/s; 0 is as fast as possible.
    #[arg(long, default_value_t = 0.0, value_name = "R", value_parser = rate)]
    pub rate: f64,
    /// Send these JSON documents, byte for byte: one per line, or each over many lines. - reads stdin. If part of a
    /// file is not JSON, nothing is sent; from stdin, the documents before the error are sent.
    #[arg(long, value_name = "FILE|-")]
    pub from: Option<PathBuf>,
    /// Send to this subject of the topic; required if PUB_TOPIC has wildcards.
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Plain NATS publish, as any NATS client does, instead of JetStream publish with its acknowledgement.
    #[arg(long)]
    pub core: bool,
    /// Request a receipt for each message from the service, and wait until all are committed or refused. Exits with 1
    /// if a message is refused, or its receipt does not arrive.
    #[arg(long)]
    pub wait_committed: bool,
    /// How long --wait-committed waits for the next receipt: 30s, 10m.
    #[arg(long, default_value = "30s", value_name = "TIME", requires = "wait_committed")]
    pub timeout: String,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

fn count(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| "it takes a whole number from 0".to_owned())
}

/// The least is one document a day.
fn rate(text: &str) -> Result<f64, String> {
    let is_valid = |rate: &f64| *rate == 0.0 || (rate.is_finite() && *rate >= 0.000_01);
    let text = text.trim();
    text.strip_suffix("/s").unwrap_or(text).trim_end().parse().ok().filter(is_valid).ok_or_else(|| {
        "it takes documents per second, such as 100 or 100/s: 0 for as fast as possible, or at least 0.00001"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_may_have_its_unit() {
        for (text, meant) in [("0", 0.0), ("100", 100.0), ("100/s", 100.0), (" 0.5 /s", 0.5)] {
            assert_eq!(rate(text), Ok(meant), "{text}");
        }
        for wrong in ["-1", "/s", "100/m", "100/s/s", "NaN"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
