//! memwritechan -> cache: the only stage that inserts orders. It also passes them to `/events`, and evicts committed
//! orders while memory exceeds its budget.

use cache::{Cache, Entries, WantedInserts};
use tokio::sync::mpsc;

use crate::events::live_feed::Feed;

/// Runs until `memwritechan` closes.
pub(crate) async fn run(
    cache: &Cache,
    feed: &Feed,
    mut memwritechan: mpsc::Receiver<Entries>,
) -> anyhow::Result<()> {
    let mut commits = cache.commits();
    loop {
        let received = tokio::select! {
            received = memwritechan.recv() => received,
            _ = commits.changed(), if cache.is_bounded() => {
                cache.evict_committed();
                continue;
            }
        };
        let Some(Entries { generation, through, entries }) = received else { return Ok(()) };
        // A chunk has arrived or was read, as a whole.
        if let Some(through) = through {
            feed.publish(&cache.insert(generation, entries, Some(through), feed.wanted()));
            cache.note_applied(generation, through);
        } else if entries.first().is_some_and(|entry| entry.arrived) {
            feed.publish(&cache.insert(generation, entries, None, feed.wanted()));
        } else {
            let count = entries.len() as u64;
            cache.insert(generation, entries, None, WantedInserts::default());
            cache.note_filled(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache::{Entry, ValueHashes};
    use futures_util::FutureExt;
    use order::{Body, Layouts};

    use super::*;

    #[tokio::test]
    async fn rows_count_as_filled_once_they_are_in_memory() {
        let layouts = Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap());
        let cache = Cache::new(layouts.clone(), Vec::new(), None);
        let feed = Feed::new(layouts, &[], &[], 1);
        let entry =
            |key, arrived| Entry { body: Body::evicted(key, &[]), hashes: ValueHashes::default(), arrived };
        for (chunk, filled) in [(vec![entry("17-1", true)], 0), (vec![entry("17-2", false)], 1)] {
            assert!(cache.wait_filled(1).now_or_never().is_none());
            let (memwritechan, memwritechan_out) = mpsc::channel(1);
            memwritechan.send(Entries { generation: 0, through: None, entries: chunk }).await.unwrap();
            drop(memwritechan);
            run(&cache, &feed, memwritechan_out).await.unwrap();
            assert!(cache.wait_filled(filled).now_or_never().is_some());
        }
        assert_eq!(cache.count(), 2);
    }
}
