//! One connection through the breaker: for each direction a thread that reads, waits for permission, and writes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;

use super::Mode;
use super::state::{Link, Permit, Shared};

/// Serves one client until either end closes or the mode cuts it.
pub(super) fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let generation = shared.count();
    if !shared.wait_for_passage(generation) {
        return;
    }
    if let Mode::Late(delay) = shared.mode() {
        thread::sleep(delay);
    }
    let Ok(upstream) = TcpStream::connect(shared.upstream) else { return };
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let link = Arc::new(Link { client, upstream, generation });
    if !shared.add(&link) {
        return link.cut();
    }
    let back = thread::spawn({
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        move || pump(&link, &link.upstream, &link.client, &shared)
    });
    pump(&link, &link.client, &link.upstream, shared);
    let _ = back.join();
}

/// One direction. Forwards the end of the stream too, but no sooner than bytes would pass.
fn pump(link: &Link, from: &TcpStream, to: &TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut source = from;
        match source.read(&mut buffer) {
            Ok(0) if shared.wait_for_passage(link.generation) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(count) if count > 0 && forward(link.generation, &buffer[..count], to, shared) => {}
            _ => return link.cut(),
        }
    }
}

/// Forwards the bytes. Returns whether the connection continues.
fn forward(generation: u64, mut bytes: &[u8], mut to: &TcpStream, shared: &Shared) -> bool {
    if let Mode::Distant(delay) = shared.mode() {
        thread::sleep(delay);
    }
    while !bytes.is_empty() {
        let (count, pause) = match shared.permit(generation, bytes) {
            Permit::Pass(count, pause) => (count, pause),
            Permit::PassAndCut(count) => {
                let _ = to.write_all(&bytes[..count]);
                shared.cut_all();
                return false;
            }
            Permit::Stop => return false,
        };
        if to.write_all(&bytes[..count]).is_err() {
            return false;
        }
        bytes = &bytes[count..];
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    true
}
