//! The phase of a connection: idle, receiving a request's head, or sending a response. Each has its own timeout, and
//! only an idle connection may be closed without notice.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::http::server::HEAD;

/// How long an idle connection stays open once the service stops, so that a request that is just being sent on it gets
/// a response, with `Connection: close`.
pub(crate) const CLOSE_NOTICE: Duration = Duration::from_millis(500);

/// The phase of one connection.
#[derive(Clone)]
pub(crate) struct Phase {
    state: Arc<Mutex<State>>,
    /// A response has begun and not ended.
    is_unfinished: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle(Instant),
    Head(Instant),
    Responding,
}

impl Phase {
    pub(crate) fn new(is_unfinished: Arc<AtomicBool>) -> Self {
        Self { state: Arc::new(Mutex::new(State::Idle(Instant::now()))), is_unfinished }
    }

    /// Records that bytes arrived.
    pub(crate) fn received(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Idle(_)) {
            *state = State::Head(Instant::now());
        }
    }

    /// A whole head has arrived. The response ends when the body of [`ResponseGuard`] is dropped.
    pub(crate) fn begin_response(&self) -> ResponseGuard {
        *self.state.lock() = State::Responding;
        ResponseGuard(self.clone())
    }

    fn is_idle(&self) -> bool {
        matches!(*self.state.lock(), State::Idle(_))
    }

    /// The deadline of the phase. Once the service stops, an idle connection gets its notice period from that moment
    /// on, however long it has been idle.
    fn deadline(&self, idle: Duration, stopped: Option<Instant>) -> Option<Instant> {
        match (*self.state.lock(), stopped) {
            (State::Idle(since), None) => Some(since + idle),
            (State::Idle(since), Some(stopped)) => {
                Some((since + idle).min(since.max(stopped) + CLOSE_NOTICE))
            }
            (State::Head(since), _) => Some(since + HEAD),
            (State::Responding, _) => None,
        }
    }
}

/// A response in flight.
pub(crate) struct ResponseGuard(Phase);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Idle(Instant::now());
    }
}

impl ResponseGuard {
    /// Wraps the body, with which the response ends.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Body::new(ResponseBody { body, responding: self })
    }
}

struct ResponseBody {
    body: Body,
    responding: ResponseGuard,
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let is_unfinished = match &frame {
            Poll::Ready(Some(Ok(_))) => !self.body.is_end_stream(),
            Poll::Ready(None) => false,
            Poll::Ready(Some(Err(_))) => true,
            Poll::Pending => return frame,
        };
        self.responding.0.is_unfinished.store(is_unfinished, Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection as hyper serves it.
pub(crate) trait ServedConnection: Future {
    /// Closes it if it is idle, otherwise after the response.
    fn close_in_order(self: Pin<&mut Self>);
}

/// Polls a connection until the client closes it, it has been idle for too long, or a request's head takes too long. A
/// phase changes only while the connection is polled, so checking it afterwards needs no signal.
pub(crate) async fn until_closed(
    served: impl ServedConnection,
    phase: &Phase,
    idle: Duration,
    stop: &CancellationToken,
) {
    let (mut served, mut stop) = (pin!(served), pin!(stop.cancelled()));
    let (mut timer, mut set) = (pin!(tokio::time::sleep(idle)), None);
    let (mut stopped, mut is_closing) = (None, false);
    poll_fn(|context| {
        loop {
            if served.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            // After polling the connection, so that bytes that have arrived count.
            if stopped.is_none() && stop.as_mut().poll(context).is_ready() {
                stopped = Some(Instant::now());
            }
            if !is_closing {
                let Some(deadline) = phase.deadline(idle, stopped) else { return Poll::Pending };
                if set.replace(deadline) != Some(deadline) {
                    timer.as_mut().reset(deadline.into());
                }
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if is_closing || !phase.is_idle() {
                return Poll::Ready(());
            }
            is_closing = true;
            timer.as_mut().reset((Instant::now() + HEAD).into());
            served.as_mut().close_in_order();
        }
    })
    .await;
}
