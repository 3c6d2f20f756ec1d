//! `orderd drain-stan`.

use clap::Args;

use super::connection_args::NatsArgs;

/// `orderd drain-stan`
#[cfg(feature = "drain-stan")]
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  orderd drain-stan --client-id service --durable my-durable\n  \
    orderd drain-stan --from nats://old:4222 --cluster c1 --client-id service --durable d1\n\n\
    First stop the program that owns the durable subscription. NATS Streaming identifies the subscription by client \
    id, channel, name and queue group, and sends any other subscription all that the channel still has. Its \
    monitoring shows them: /streaming/channelsz?channel=TESTING&subs=1\n\n\
    After a kill or an error, run it again to continue.")]
pub struct DrainStanArgs {
    /// Server of NATS Streaming: nats://user:password@host:port, by default nats://127.0.0.1:4223. Also read from the
    /// file that STAN_URL_FILE names.
    #[arg(
        long,
        env = "STAN_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "NATS Streaming"
    )]
    pub from: Option<String>,
    /// Cluster of the NATS Streaming server.
    #[arg(long, default_value = "TESTCLUSTER", value_name = "NAME", help_heading = "NATS Streaming")]
    pub cluster: String,
    /// Client id of the durable subscription.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub client_id: String,
    /// Name of the durable subscription.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub durable: String,
    /// Queue group of the subscription, if it has one.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub queue_group: Option<String>,
    /// The channel; by default the name of the subject.
    #[arg(long, value_name = "NAME", help_heading = "NATS Streaming")]
    pub channel: Option<String>,
    /// Send to this subject of the topic; required if PUB_TOPIC has wildcards.
    #[arg(long, value_name = "SUBJECT", help_heading = "NATS")]
    pub subject: Option<String>,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}
