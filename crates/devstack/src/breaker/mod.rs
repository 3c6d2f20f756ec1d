//! A TCP proxy that breaks connections the way networks and dying servers do.
//!
//! A client connects to [`Breaker::addr`] instead of the server; [`Breaker::set`] then decides what happens to existing
//! and new connections.

mod pump;
mod state;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Error;
use crate::ports::Lease;
use state::Shared;

/// What the breaker does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections are cut; new ones are accepted and closed at once.
    Closed,
    /// Connections are cut; new ones are refused, as if no server listened.
    Refused,
    /// Nothing passes and nothing is closed, as if packets were dropped. Bytes sent meanwhile pass afterwards, as TCP
    /// would retransmit them.
    BlackHole,
    /// Like a black hole, but permanent: existing connections, and those made during this mode, never pass anything
    /// again, as behind a gateway that has lost them. Connections made afterwards pass.
    Swallow,
    /// Existing connections pass everything; a new one reaches the server after this delay, as on a slow network.
    Late(Duration),
    /// Everything passes this much later, in each direction, as to a distant server.
    Distant(Duration),
    /// Each direction of each connection passes a number of bytes per second.
    Slow {
        /// The rate; 0 counts as 1.
        bytes_per_second: u64,
    },
    /// This many more bytes pass, over all connections and directions; then all connections are cut, even in the middle
    /// of a message, and new ones pass.
    CutAfter {
        /// How many.
        bytes: u64,
    },
    /// Everything passes until one side sends this text, in one piece; it is lost, all connections are cut, and new ones
    /// pass.
    CutAt {
        /// What is looked for.
        text: &'static str,
    },
}

/// A running proxy, stopped on drop.
pub struct Breaker {
    shared: Arc<Shared>,
    addr: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    _lease: Lease,
}

impl Breaker {
    /// Starts it in front of a server, on a free port of 127.0.0.1, in mode `Pass`.
    pub fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let (lease, listener) = Lease::listen()?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port));
        let shared = Arc::new(Shared::new(upstream));
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(listener, addr, &shared)
        });
        Ok(Self { shared, addr, acceptor: Some(acceptor), _lease: lease })
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the mode; it applies to all connections when this returns.
    pub fn set(&self, mode: Mode) {
        self.shared.set(mode);
        self.wake();
        self.shared.wait_for_listener();
    }

    /// The current mode.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// The number of connections that clients have made since the start.
    pub fn made(&self) -> u64 {
        self.shared.made()
    }

    /// The acceptor blocks in `accept`; a connection makes it check the mode.
    fn wake(&self) {
        drop(TcpStream::connect(self.addr));
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.shared.close();
        self.wake();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Accepts connections until the breaker is dropped. In mode `Refused` it closes the listener; the lease keeps the
/// port.
fn accept(mut listener: TcpListener, addr: SocketAddr, shared: &Arc<Shared>) {
    while !shared.is_over() {
        if shared.mode() == Mode::Refused {
            stop_listening(listener);
            shared.sleep_while_refused();
            let Some(new) = listen_again(addr, shared) else { return };
            listener = new;
            shared.now_listening();
        }
        let Ok((client, _)) = listener.accept() else { continue };
        if !matches!(shared.mode(), Mode::Closed | Mode::Refused) {
            let shared = Arc::clone(shared);
            thread::spawn(move || pump::serve(client, &shared));
        }
    }
}

/// Closing the socket does not suffice: a process that another thread is just starting holds a copy for a moment, and
/// clients could still connect.
fn stop_listening(listener: TcpListener) {
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
}

/// The kernel may need a moment until the port can be bound again.
fn listen_again(addr: SocketAddr, shared: &Shared) -> Option<TcpListener> {
    while !shared.is_over() {
        match TcpListener::bind(addr) {
            Ok(listener) => return Some(listener),
            Err(_) => thread::yield_now(),
        }
    }
    None
}
