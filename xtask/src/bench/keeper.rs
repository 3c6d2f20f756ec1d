//! The least that a further process can do: it hears what is told, and keeps the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::proc;

/// How often it looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// A thread of its own, so that its CPU can be told from the bench's.
pub(super) struct Keeper {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Kept>>,
}

/// What it has done.
pub(super) struct Kept {
    pub(super) cpu: Duration,
    pub(super) bytes: usize,
}

impl Keeper {
    /// The server knows of its subscription when this returns.
    pub(super) fn start(url: String) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let (ready, subscribed) = oneshot::channel();
        let thread = std::thread::spawn({
            let end = end.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(keep(&url, ready, &end))
            }
        });
        subscribed.blocking_recv().map_err(|_| anyhow!("the keeper of what is told can't subscribe"))?;
        Ok(Self { end, thread })
    }

    pub(super) fn stop(self) -> Result<Kept> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the keeper of what is told panicked"))?
    }
}

/// Each message is copied, as an order is that stays: what the client read it into is used again.
async fn keep(url: &str, ready: oneshot::Sender<()>, end: &AtomicBool) -> Result<Kept> {
    let client = async_nats::connect(url).await?;
    let mut told = client.subscribe("orderd.told.>").await?;
    client.flush().await?;
    let _ = ready.send(());
    let before = proc::cpu_of_this_thread();
    let mut kept: Vec<Box<[u8]>> = Vec::new();
    while !end.load(Ordering::Relaxed) {
        if let Ok(Some(message)) = timeout(LOOK, told.next()).await {
            kept.push(message.payload[..].into());
        }
    }
    let cpu = proc::cpu_of_this_thread().saturating_sub(before);
    Ok(Kept { cpu, bytes: kept.iter().map(|message| message.len()).sum() })
}
