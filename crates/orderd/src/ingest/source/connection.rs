//! The NATS client that only reads orders: a message that breaks its connection does not affect the other client.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ServerAddr};
use tokio::sync::{Mutex, watch};

use crate::config::Nats;
use crate::nats;
use crate::nats::client_end::ClientEnd;

/// Time limit for its connection while the service's other connection is up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The client, recreated when it has ended.
#[derive(Default)]
pub(crate) struct IntakeClient(Mutex<Option<HeldConnection>>);

#[derive(Clone)]
struct HeldConnection {
    client: Client,
    end: ClientEnd,
    cuts: watch::Receiver<u64>,
    /// Why it is not connected, as far as known.
    why: watch::Receiver<Option<String>>,
    /// The servers that it knows.
    servers: Vec<ServerAddr>,
}

/// The client, while it is connected.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// Changes when the connection breaks: messages in flight are then lost without notice.
    pub(crate) cuts: watch::Receiver<u64>,
    /// Whether the connection is new.
    pub(crate) is_new: bool,
}

/// Whether the client is connected, and has received the server's info.
fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected && client.try_server_info().is_some()
}

impl IntakeClient {
    /// Waits for the connected client.
    ///
    /// # Errors
    /// The client does not connect in time.
    pub(crate) async fn connected(&self, settings: &Nats) -> anyhow::Result<Connected> {
        let mut held = self.0.lock().await;
        let servers = settings.servers();
        let live = held.take().filter(|live| !live.end.has_ended() && live.servers == servers);
        let was_held = live.is_some();
        let live = match live {
            Some(live) => live,
            None => {
                let (end, (cut, cuts)) = (ClientEnd::default(), watch::channel(0));
                let (explain, why) = watch::channel(None);
                let client = nats::connect_for_intake(settings, &end, cut, explain).await?;
                HeldConnection { client, end, cuts, why, servers }
            }
        };
        let HeldConnection { client, end, mut cuts, why, .. } = held.insert(live).clone();
        let is_new = !was_held || !is_connected(&client);
        let connected = async {
            while !is_connected(&client) {
                anyhow::ensure!(!end.has_ended(), "the NATS client that reads the stream has ended");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
            Ok(connected) => connected.map(|()| {
                cuts.mark_unchanged();
                Connected { client: client.clone(), cuts, is_new }
            }),
            Err(_) => {
                let why = why.borrow().clone();
                anyhow::bail!(
                    "the connection that reads the stream is not made within {} s: {}",
                    CONNECT_TIMEOUT.as_secs(),
                    why.as_deref().unwrap_or("the server does not answer")
                )
            }
        }
    }
}
