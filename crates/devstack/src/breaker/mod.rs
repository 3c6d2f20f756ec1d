//! A TCP proxy that breaks connections the way networks and dying servers do.
//!
//! A client connects to [`Breaker::addr`] instead of the server; [`Breaker::set`] then decides what
//! becomes of its bytes, on connections that exist and on new ones.

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
    /// Connections are cut; new ones are refused, as where no server listens.
    Refused,
    /// Nothing passes and nothing is closed, as where packets are dropped. What was sent meanwhile
    /// passes afterwards, as TCP would send it again.
    BlackHole,
    /// As a black hole, permanently: connections that were there before, or are made meanwhile, never pass anything
    /// again, as behind a gateway that has lost them. Only those that are made afterwards pass.
    Swallow,
    /// What is connected passes everything; a new connection reaches the server after this time, as where networks are far
    /// and TLS is slow.
    Late(Duration),
    /// Each direction of each connection passes this number of bytes a second.
    Slow {
        /// How many; 0 counts as 1.
        bytes_per_second: u64,
    },
    /// So many more bytes pass, all connections and directions together; then all connections are
    /// cut in the middle of whatever was under way, and new ones pass.
    CutAfter {
        /// How many.
        bytes: u64,
    },
}

/// A running proxy, ended when this is dropped.
pub struct Breaker {
    shared: Arc<Shared>,
    addr: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    _lease: Lease,
}

impl Breaker {
    /// Starts it in front of a server, on a free port of 127.0.0.1, with everything passing.
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

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the mode; it holds for all connections when this returns.
    pub fn set(&self, mode: Mode) {
        self.shared.set(mode);
        self.wake();
        self.shared.wait_for_listener();
    }

    /// The mode that holds now.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// How many connections pass through it now.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// How many connections clients have made since the start, whatever became of them.
    pub fn made(&self) -> u64 {
        self.shared.made()
    }

    /// The acceptor sleeps in `accept`; any connection makes it look at the mode.
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

/// Takes connections until the breaker is dropped. While they are to be refused there is no
/// listener; the port stays ours by its lease.
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

/// To close it would not do: a program that another thread is just starting holds a copy of it for a
/// moment, and clients would still get in.
fn stop_listening(listener: TcpListener) {
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
}

/// The kernel may need a moment until the port can be listened on again.
fn listen_again(addr: SocketAddr, shared: &Shared) -> Option<TcpListener> {
    while !shared.is_over() {
        match TcpListener::bind(addr) {
            Ok(listener) => return Some(listener),
            Err(_) => thread::yield_now(),
        }
    }
    None
}
