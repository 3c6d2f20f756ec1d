//! Closes connections without loss. If unread bytes remain at the close, the kernel resets the connection, and the
//! client may lose a response that it has not read yet. So our side shuts down first, and then reads and discards for a
//! moment.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Time limit for the client to close.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// Size of the buffer for discarded bytes.
const DISCARD_BUFFER_BYTES: usize = 4096;

/// A stream whose shutdown also waits for the client's end.
pub(crate) struct LingeringClose<S> {
    stream: S,
    /// A response has begun and not ended: the shutdown would tell clients of HTTP/1.0 that it is complete.
    is_unfinished: Arc<AtomicBool>,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> LingeringClose<S> {
    pub(crate) fn new(stream: S, is_unfinished: Arc<AtomicBool>) -> Self {
        Self { stream, is_unfinished, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringClose<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringClose<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unfinished.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let Self { stream, until, .. } = &mut *self;
        let until = match until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
                until.insert(Box::pin(tokio::time::sleep(LINGER_TIMEOUT)))
            }
        };
        let mut scrap = [0; DISCARD_BUFFER_BYTES];
        while until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
