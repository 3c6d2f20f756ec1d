//! What remains of a request's body after the response is made. hyper closes a connection whose next request it can't
//! find, without notice in the response. So the rest of a small body is read and discarded, and otherwise the response
//! says `Connection: close` (RFC 9112, 9.3).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

/// Limits for the rest of a body that is read so that the connection can be used again.
const MAX_DISCARDED_BYTES: u64 = 64 << 10;
const DISCARD_TIMEOUT: Duration = Duration::from_millis(100);

/// A body that its handler and [`UnreadBody`] share: the handler drops it when it is done.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Incoming>>);

impl hyper::body::Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// The rest of a request's body.
pub(crate) struct UnreadBody {
    body: SharedBody,
    /// The client may wait for `100 Continue` before it sends the body, or send it without.
    expects_continue: bool,
}

/// Separates the rest of the body from the request. `None`: it has no body.
pub(crate) fn shared(request: Request<Incoming>) -> (Request<Body>, Option<UnreadBody>) {
    if request.body().is_end_stream() {
        return (request.map(|_| Body::empty()), None);
    }
    let expected = request.headers().get_all(header::EXPECT).iter();
    let expects_continue =
        expected.into_iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (head, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let unread = UnreadBody { body: body.clone(), expects_continue };
    (Request::from_parts(head, Body::new(body)), Some(unread))
}

impl UnreadBody {
    /// Discards it if it is small and arrives soon. `false`: some of it remains, and the next request can't be found.
    pub(crate) async fn discard(mut self) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        if self.expects_continue || self.body.size_hint().lower() > MAX_DISCARDED_BYTES {
            return false;
        }
        let discarding = async {
            let mut count = 0;
            while let Some(frame) = self.body.frame().await {
                let Ok(frame) = frame else { return false };
                count += frame.data_ref().map_or(0, |data| data.len() as u64);
                if count > MAX_DISCARDED_BYTES {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(DISCARD_TIMEOUT, discarding).await.unwrap_or(false)
    }
}
