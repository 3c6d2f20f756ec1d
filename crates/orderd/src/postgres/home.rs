//! Where orders are kept. A changed DATABASE_URL may lead to the same database by another way, to a standby or to a copy, but not
//! to a database that merely has the same names.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;

use super::describe;
use super::position::{self, PositionKey};
use crate::finding::Finding;

/// The database that the service began with, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Home(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Servers and database, in words.
    place: Option<String>,
    /// The row of `orderd_position`, and when its stream was made.
    position: Option<(PositionKey, i64)>,
}

impl Home {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the row by which this database is known from others.
    pub(crate) fn note(&self, key: &PositionKey, stream_created: i64) {
        self.known().position = Some((key.clone(), stream_created));
    }

    /// Whether these servers and this database are not those in use.
    pub(crate) fn is_elsewhere(&self, place: &str) -> bool {
        self.known().place.as_deref().is_some_and(|known| known != place)
    }

    /// Lets a connection be used. One to another place has to lead to a table with our position: what has none is not written to.
    ///
    /// # Errors
    /// What is there instead.
    pub(super) async fn admit(&self, client: &Client, place: &str) -> Result<(), Finding> {
        let expected = {
            let mut known = self.known();
            match &known.position {
                Some(expected) if known.place.as_deref().is_some_and(|known| known != place) => {
                    expected.clone()
                }
                // As long as nothing was found anywhere, the address may have been wrong.
                _ => {
                    known.place = Some(place.to_owned());
                    return Ok(());
                }
            }
        };
        let (key, created) = expected;
        let problem = match position::read(client, &key).await {
            Ok(Some(found)) if found.stream_created == created => {
                tracing::info!(place, "DATABASE_URL has changed: new connections go to another place");
                self.known().place = Some(place.to_owned());
                return Ok(());
            }
            Ok(Some(_)) => format!("its position is of another stream {}", key.stream),
            Ok(None) => format!("it has no position of {} in the stream {}", key.table, key.stream),
            Err(error) => describe(&error),
        };
        Err(Finding::blocked(
            format!(
                "the changed DATABASE_URL leads to {place}, and orders of this service are not kept there: {problem}"
            ),
            "restart orderd to begin in that database, or put the previous address back",
        ))
    }
}
