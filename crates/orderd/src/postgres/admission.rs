//! Whether a connection may be used after DATABASE_URL has changed.

use tokio_postgres::Client;

use super::{describe, position};
use crate::config::DatabaseIdentity;
use crate::finding::Finding;

/// Lets a connection be used. One to another place than before has to lead to a table with our position: what has none
/// is not written to.
///
/// # Errors
/// What is there instead.
pub(super) async fn admit(identity: &DatabaseIdentity, client: &Client, place: &str) -> Result<(), Finding> {
    let Some((key, created)) = identity.expected_at(place) else {
        identity.set_place(place);
        return Ok(());
    };
    let problem = match position::read(client, &key).await {
        Ok(Some(found)) if found.stream_created == created => {
            tracing::info!(place, "DATABASE_URL has changed: new connections go to another place");
            identity.set_place(place);
            return Ok(());
        }
        Ok(Some(_)) => format!("its position is of another stream {}", key.stream),
        Ok(None) => format!("it has no position of {} in the stream {}", key.table, key.stream),
        Err(error) => describe(&error),
    };
    Err(Finding::blocked(
        format!(
            "the changed DATABASE_URL leads to {place}, and this service's rows are not there: {problem}"
        ),
        "restart orderd to begin in that database, or put the previous address back",
    ))
}
