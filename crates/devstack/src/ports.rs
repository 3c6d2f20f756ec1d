//! Leases of free ports.
//!
//! A free port from the kernel can be taken in the next moment, by another test or as the local port of a connection.
//! So these ports are below the range of local ports, and each is reserved by a file lock, which all processes of this
//! crate respect, for as long as its server may restart.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Error;
use crate::temp_dir;

const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;
const STRIDE: u16 = 16;

static NEXT: AtomicU16 = AtomicU16::new(0);
static KEPT: Mutex<Vec<Lease>> = Mutex::new(Vec::new());

/// A reserved port: no other process of this crate gets it while this exists.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) port: u16,
    _lock: Option<File>,
}

impl Lease {
    /// A port that nobody listens on.
    pub(crate) fn take() -> Result<Self, Error> {
        (0..COUNT).find_map(|_| Self::try_take(candidate())).ok_or_else(none_left)
    }

    /// A port chosen by the caller, which may turn out to be in use when the server binds it.
    pub(crate) fn of(port: u16) -> Self {
        Self { port, _lock: None }
    }

    /// A port and the listener on it. Binding again would not be safe: a process that another thread is just starting
    /// holds a copy of the socket for a moment.
    pub(crate) fn listen() -> Result<(Self, TcpListener), Error> {
        let listen = |lease: Self| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port)).ok()?;
            Some((lease, listener))
        };
        (0..COUNT).find_map(|_| Self::lock(candidate()).and_then(listen)).ok_or_else(none_left)
    }

    fn try_take(port: u16) -> Option<Self> {
        Self::lock(port).filter(|lease| is_free((Ipv4Addr::LOCALHOST, lease.port)))
    }

    fn lock(port: u16) -> Option<Self> {
        let path = temp_dir::own_folder("orderd-ports").ok()?.join(port.to_string());
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
        lock.try_lock().ok()?;
        Some(Self { port, _lock: Some(lock) })
    }
}

fn none_left() -> Error {
    Error::failed("find a free port", format!("all of {FIRST}..{} are taken", FIRST + COUNT))
}

/// A free port of 127.0.0.1, reserved until this process ends. If our range is exhausted, the kernel chooses, or the
/// result is 0, which means any port.
pub fn free_port() -> u16 {
    let Ok(lease) = Lease::take() else { return kernels_choice().unwrap_or(0) };
    let port = lease.port;
    KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(lease);
    port
}

/// Whether an address can be bound now.
pub fn is_free(address: impl ToSocketAddrs) -> bool {
    TcpListener::bind(address).is_ok()
}

/// Processes start at different offsets of the range, so that they rarely try the same port; the steps leave room for
/// servers that try the next port if one is in use.
fn candidate() -> u16 {
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let turn = step / u32::from(COUNT / STRIDE);
    let offset = (start + step * u32::from(STRIDE) + turn) % u32::from(COUNT);
    FIRST + u16::try_from(offset).unwrap_or(0)
}

fn kernels_choice() -> Option<u16> {
    Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port())
}
