//! Whether a connection may be used after DATABASE_URL has changed.

use tokio_postgres::Client;

use super::{describe, position};
use crate::config::DatabaseIdentity;
use crate::finding::Finding;

/// Admits a connection. If the address has changed, its table must have our position: nothing is written to a table
/// without it.
///
/// # Errors
/// What the database has instead.
pub(super) async fn admit(
    identity: &DatabaseIdentity,
    client: &Client,
    address: &str,
) -> Result<(), Finding> {
    let Some((key, created)) = identity.expected_at(address) else {
        identity.set_address(address);
        return Ok(());
    };
    let problem = match position::read(client, &key).await {
        Ok(Some(found)) if found.stream_created == created => {
            tracing::info!(address, "DATABASE_URL has changed: new connections go to the new address");
            identity.set_address(address);
            return Ok(());
        }
        Ok(Some(_)) => format!("its position is of another stream {}", key.stream),
        Ok(None) => format!("it has no position of {} in the stream {}", key.table, key.stream),
        Err(error) => describe(&error),
    };
    Err(Finding::blocked(
        format!(
            "the changed DATABASE_URL leads to {address}, and this service's rows are not there: {problem}"
        ),
        "restart orderd to begin in that database, or put the previous address back",
    ))
}
