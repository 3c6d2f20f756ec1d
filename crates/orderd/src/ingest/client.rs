//! The NATS client by which orders are read, and nothing else: where a message ends it, all others go on.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::Mutex;

use crate::client_end::ClientEnd;
use crate::config::Nats;
use crate::nats;

/// How long its connection is waited for, where the service's other one is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The client, made again when it has ended.
#[derive(Default)]
pub(crate) struct IntakeClient(Mutex<Option<(Client, ClientEnd)>>);

impl IntakeClient {
    /// The client, connected.
    ///
    /// # Errors
    /// It does not connect in time.
    pub(super) async fn connected(&self, settings: &Nats) -> anyhow::Result<Client> {
        let mut held = self.0.lock().await;
        let live = held.take().filter(|(_, end)| !end.has_ended());
        let (client, end) = match live {
            Some(live) => live,
            None => {
                let end = ClientEnd::default();
                (nats::connect_for_intake(settings, &end).await?, end)
            }
        };
        *held = Some((client.clone(), end.clone()));
        let connected = async {
            while client.connection_state() != State::Connected || client.try_server_info().is_none() {
                anyhow::ensure!(!end.has_ended(), "the NATS client that reads orders has ended");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
            Ok(connected) => connected.map(|()| client.clone()),
            Err(_) => anyhow::bail!("the connection that reads orders is not there"),
        }
    }
}
