//! A budget for large responses. A payload of 1 MiB can become an order of 40 MiB, because missing members are
//! rendered, and a client may read slowly. So the bytes that wait for slow clients are limited.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::json;
use crate::http::routes::order::unavailable;

/// A longer response is large, in bytes.
pub(crate) const LARGE_BYTES: usize = 64 << 10;

/// Maximum size of all waiting large responses, in KiB; a single response may be larger.
const BUDGET_KIB: u32 = 128 << 10;

/// How long a piece of a response waits for budget.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits the bytes of large responses that wait for slow clients.
pub(crate) struct ResponseBudget(Arc<Semaphore>);

impl ResponseBudget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB as usize)))
    }

    /// The response, which keeps its share of the budget until it is sent; or 503.
    pub(crate) fn json(&self, body: Vec<u8>) -> Response {
        if body.len() <= LARGE_BYTES {
            return json(body);
        }
        match self.0.clone().try_acquire_many_owned(kib(body.len())) {
            Ok(room) => json(axum::body::Body::new(BudgetedBody { left: body.into(), _room: room })),
            Err(_) => unavailable("503 too many large responses wait for slow clients"),
        }
    }

    /// Waits for budget for a piece of a response; `None` if it timed out.
    pub(crate) async fn wait(&self, bytes: usize) -> Option<Option<OwnedSemaphorePermit>> {
        if bytes <= 2 * LARGE_BYTES {
            return Some(None);
        }
        let room = self.0.clone().acquire_many_owned(kib(bytes));
        tokio::time::timeout(BUDGET_TIMEOUT, room).await.ok()?.ok().map(Some)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes >> 10).unwrap_or(BUDGET_KIB).min(BUDGET_KIB)
}

/// A body with its share of the budget, in pieces: hyper copies each piece, and asks for the next when it is sent.
struct BudgetedBody {
    left: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Body for BudgetedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.left.len().min(LARGE_BYTES);
        let piece = (piece > 0).then(|| Ok(Frame::data(self.left.split_to(piece))));
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn large_answers_wait_within_bounds() {
        let room = ResponseBudget::new();
        let large = || room.json(vec![b' '; 40 << 20]);
        let mut waiting: Vec<_> = (0..3).map(|_| large()).collect();
        assert!(waiting.iter().all(|response| response.status() == StatusCode::OK));
        let refused = large();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(room.json(vec![b' '; LARGE_BYTES]).status(), StatusCode::OK);
        waiting.pop();
        assert_eq!(large().status(), StatusCode::OK);
        waiting.clear();
        assert_eq!(room.json(vec![b' '; 300 << 20]).status(), StatusCode::OK);
    }
}
