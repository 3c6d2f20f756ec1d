//! `orderd publish`.

use std::path::PathBuf;

use clap::Args;

use super::model::ModelArgs;
use super::servers::NatsArgs;

/// `orderd publish`
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd publish --count 1000\n  orderd publish --from orders.jsonl\n  \
    PUB_TOPIC='orders.>' orderd publish --subject orders.new\n  \
    producer | orderd publish --from - --core\n  \
    orderd publish --from orders.jsonl --wait-committed\n\n\
    Exit codes: 0 the server has acknowledged all of them (with --core: was given all of them; with --wait-committed: \
    the service has committed all of them), 1 it has not.")]
pub struct PublishArgs {
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How many to send, made from the model's sample.
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "from")]
    pub count: u64,
    /// How many to send in a second; 0 is as fast as possible.
    #[arg(long, default_value_t = 0.0, value_name = "R")]
    pub rate: f64,
    /// Send these JSON documents, byte for byte: one a line, or each over many lines. - reads stdin. Of a file that is
    /// not JSON throughout, nothing is sent; of stdin, what stands before the error.
    #[arg(long, value_name = "FILE|-")]
    pub from: Option<PathBuf>,
    /// Send to this subject of the topic; needed where PUB_TOPIC has wildcards.
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Plain NATS publish, as any NATS client does, instead of JetStream publish with its acknowledgement.
    #[arg(long)]
    pub core: bool,
    /// Ask the service for a receipt of each message, and wait until all of them are committed or refused. Exits with 1
    /// where a message is refused, or its receipt does not come.
    #[arg(long)]
    pub wait_committed: bool,
    /// How long --wait-committed waits for the next receipt: 30s, 10m.
    #[arg(long, default_value = "30s", value_name = "TIME", requires = "wait_committed")]
    pub timeout: String,
}
