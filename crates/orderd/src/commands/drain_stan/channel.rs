//! A channel of a NATS Streaming server, through a durable subscription.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message as _;

use super::stan_protocol::{
    Ack, CloseRequest, ConnectRequest, ConnectResponse, Delivered, ErrorResponse, Ping, StartPosition,
    SubscriptionRequest, SubscriptionResponse, UnsubscribeRequest,
};
use crate::cli::DrainStanArgs;

/// Maximum number of unacknowledged deliveries.
pub(super) const MAX_IN_FLIGHT: usize = 1024;

/// Seconds after which one that was not is delivered again.
const ACK_WAIT: i32 = 30;

/// Time limit for an answer. Before it accepts us, the server asks a client with the same name whether it is still
/// alive, for half a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for the last message of a channel, which an empty channel does not have.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to the server. While it exists, no other client can use the client id.
pub(super) struct StanServer {
    client: Client,
    subjects: ConnectResponse,
    client_id: String,
    connection_id: Vec<u8>,
}

/// A durable subscription.
pub(super) struct StanChannel {
    server: StanServer,
    name: String,
    subscription: Subscription,
}

struct Subscription {
    messages: Subscriber,
    ack_inbox: String,
}

impl StanServer {
    /// Connects as the client whose durable subscription it is.
    pub(super) async fn connect(client: Client, args: &DrainStanArgs) -> anyhow::Result<Self> {
        let (client_id, connection_id) = (args.client_id.clone(), client.new_inbox().into_bytes());
        let heartbeats = client.new_inbox();
        answer_heartbeats(&client, heartbeats.clone()).await?;
        let request = ConnectRequest {
            client_id: client_id.clone(),
            heartbeat_inbox: heartbeats,
            protocol: 1,
            connection_id: connection_id.clone(),
        };
        let discover = format!("_STAN.discover.{}", args.cluster);
        let subjects: ConnectResponse = ask(&client, &discover, &request)
            .await
            .with_context(|| {
                format!(
                    "no NATS Streaming server of cluster {} answers; set --cluster to its cluster id, and STAN_URL to its \
                     address",
                    args.cluster
                )
            })?;
        refused(&subjects.error).with_context(|| {
            format!("can't connect as {client_id}; is the program with that client id stopped?")
        })?;
        Ok(Self { client, subjects, client_id, connection_id })
    }

    /// The last message of a channel; `None` if it is empty.
    pub(super) async fn last(&self, channel: &str) -> anyhow::Result<Option<u64>> {
        let request = SubscriptionRequest {
            start: StartPosition::Last.into(),
            max_in_flight: 1,
            ..self.plain(channel)
        };
        let mut subscription = self.subscribe(request).await?;
        let last = match tokio::time::timeout(CLOSE_TIMEOUT, subscription.messages.next()).await {
            Ok(Some(message)) => Some(Delivered::decode(message.payload)?.sequence),
            _ => None,
        };
        self.leave(&self.subjects.unsubscribe, channel, &subscription).await?;
        Ok(last)
    }

    /// Resumes the durable subscription; an unknown one begins with the first message that the channel still has.
    pub(super) async fn take(self, args: &DrainStanArgs, channel: &str) -> anyhow::Result<StanChannel> {
        let request = SubscriptionRequest {
            queue_group: args.queue_group.clone().unwrap_or_default(),
            durable: args.durable.clone(),
            start: StartPosition::First.into(),
            max_in_flight: MAX_IN_FLIGHT as i32,
            ..self.plain(channel)
        };
        let subscription = self.subscribe(request).await?;
        Ok(StanChannel { server: self, name: channel.into(), subscription })
    }

    fn plain(&self, channel: &str) -> SubscriptionRequest {
        SubscriptionRequest {
            client_id: self.client_id.clone(),
            channel: channel.into(),
            inbox: self.client.new_inbox(),
            ack_wait_seconds: ACK_WAIT,
            ..Default::default()
        }
    }

    async fn subscribe(&self, request: SubscriptionRequest) -> anyhow::Result<Subscription> {
        let messages = self.client.subscribe(request.inbox.clone()).await?;
        let response: SubscriptionResponse = ask(&self.client, &self.subjects.subscribe, &request).await?;
        refused(&response.error)
            .with_context(|| format!("can't subscribe to the channel {}", request.channel))?;
        Ok(Subscription { messages, ack_inbox: response.ack_inbox })
    }

    async fn leave(&self, subject: &str, channel: &str, subscription: &Subscription) -> anyhow::Result<()> {
        let request = UnsubscribeRequest {
            client_id: self.client_id.clone(),
            channel: channel.into(),
            ack_inbox: subscription.ack_inbox.clone(),
        };
        let response: SubscriptionResponse = ask(&self.client, subject, &request).await?;
        refused(&response.error)
    }
}

impl StanChannel {
    /// The next message, if one comes within so long.
    pub(super) async fn next(&mut self, within: Duration) -> anyhow::Result<Option<Delivered>> {
        match tokio::time::timeout(within, self.subscription.messages.next()).await {
            Ok(Some(message)) => Ok(Some(Delivered::decode(message.payload)?)),
            Ok(None) => bail!("the connection to NATS Streaming ended"),
            Err(_) => Ok(None),
        }
    }

    /// Acknowledges a message. If the acknowledgement is lost, the server delivers the message again.
    pub(super) async fn acknowledge(&self, sequence: u64) -> anyhow::Result<()> {
        let ack = Ack { channel: self.name.clone(), sequence }.encode_to_vec();
        Ok(self.server.client.publish(self.subscription.ack_inbox.clone(), ack.into()).await?)
    }

    /// Checks that the server answers and knows us.
    pub(super) async fn ping(&self) -> anyhow::Result<()> {
        let ping = Ping { connection_id: self.server.connection_id.clone() };
        let outcome: ErrorResponse = ask(&self.server.client, &self.server.subjects.ping, &ping).await?;
        refused(&outcome.error)
    }

    /// Closes the connection. The durable subscription stays, with all messages that are not acknowledged.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        let Self { server, name, subscription } = self;
        server.leave(&server.subjects.close_subscription, &name, &subscription).await?;
        let request = CloseRequest { client_id: server.client_id.clone() };
        let outcome: ErrorResponse = ask(&server.client, &server.subjects.close, &request).await?;
        refused(&outcome.error)
    }
}

/// A client that doesn't answer these is taken for dead.
async fn answer_heartbeats(client: &Client, inbox: String) -> anyhow::Result<()> {
    let mut heartbeats = client.subscribe(inbox).await?;
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(heartbeat) = heartbeats.next().await {
            if let Some(reply) = heartbeat.reply {
                // The next one may get through.
                drop(client.publish(reply, Bytes::new()).await);
            }
        }
    });
    Ok(())
}

async fn ask<Answer: prost::Message + Default>(
    client: &Client,
    subject: &str,
    question: &impl prost::Message,
) -> anyhow::Result<Answer> {
    let question = question.encode_to_vec().into();
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.request(subject.to_owned(), question)).await;
    let answer =
        answer.context("NATS Streaming does not answer")?.context("NATS Streaming does not answer")?;
    Ok(Answer::decode(answer.payload)?)
}

fn refused(error: &str) -> anyhow::Result<()> {
    ensure!(error.is_empty(), "NATS Streaming: {error}");
    Ok(())
}
