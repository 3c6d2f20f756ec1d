//! Runs the stages: no stage ends silently, and a stage that fails ends all others.

use std::collections::HashMap;

use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

/// The future of a stage.
pub(crate) type Stage = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The stages that run.
#[derive(Default)]
pub(crate) struct Supervisor {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, &'static str>,
}

impl Supervisor {
    /// Starts a stage; it ends at the latest when the service gives up.
    pub(crate) fn spawn(&mut self, name: &'static str, run: Stage, give_up: CancellationToken) {
        let stage = self.running.spawn(async move {
            tokio::select! {
                ended = run => ended,
                // The time limit of the shutdown: unfinished work is given up.
                () = give_up.cancelled() => Ok(()),
            }
        });
        self.names.insert(stage.id(), name);
    }

    /// Waits until all stages have ended. The first stage that fails, panics or ends unexpectedly stops all. A failure
    /// makes other stages end, which may be noticed first; the failure is still reported.
    ///
    /// # Errors
    /// The stage's name, and why it failed.
    pub(crate) async fn finish(
        mut self,
        stop: &CancellationToken,
        give_up: &CancellationToken,
    ) -> anyhow::Result<()> {
        let (mut failed, mut ended_first) = (None, None);
        while let Some(ended) = self.running.join_next_with_id().await {
            let id = ended.as_ref().map_or_else(task::JoinError::id, |(id, _)| *id);
            let name = self.names.get(&id).copied().unwrap_or("?");
            let error = match ended {
                Ok((_, Ok(()))) if stop.is_cancelled() => continue,
                Ok((_, Ok(()))) => {
                    ended_first = Some(anyhow::anyhow!("stage {name} ended unexpectedly"));
                    None
                }
                Ok((_, Err(error))) => Some(error.context(format!("stage {name} failed"))),
                // The panic's message is on stderr already, and may quote data.
                Err(_) => Some(anyhow::anyhow!("stage {name} panicked")),
            };
            stop.cancel();
            give_up.cancel();
            failed = failed.or(error);
        }
        failed.or(ended_first).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How all stages end where one of them ends like this, and another would never end.
    async fn ended_by(name: &'static str, run: Stage) -> String {
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut stages = Supervisor::default();
        stages.spawn("other", Box::pin(std::future::pending()), give_up.clone());
        stages.spawn(name, run, give_up.clone());
        let error = stages.finish(&stop, &give_up).await.unwrap_err();
        assert!(stop.is_cancelled());
        format!("{error:#}")
    }

    #[tokio::test]
    async fn stage_that_ends_fails_or_panics_stops_all_and_is_named() {
        let ended = ended_by("decode", Box::pin(async { Ok(()) })).await;
        assert_eq!(ended, "stage decode ended unexpectedly");
        let failed = ended_by("encode", Box::pin(async { anyhow::bail!("no room") })).await;
        assert_eq!(failed, "stage encode failed: no room");
        let panicked = ended_by("cache", Box::pin(async { panic!("an order's content") })).await;
        assert_eq!(panicked, "stage cache panicked");
    }

    #[tokio::test]
    async fn stages_that_are_stopped_end_without_an_error() {
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut stages = Supervisor::default();
        let told = stop.clone();
        let decode = async move {
            told.cancelled().await;
            Ok(())
        };
        stages.spawn("decode", Box::pin(decode), give_up.clone());
        stop.cancel();
        stages.finish(&stop, &give_up).await.unwrap();
        assert!(!give_up.is_cancelled());
    }
}
