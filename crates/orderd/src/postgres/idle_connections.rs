//! Connections that are closed while idle if the role or the server allows no more, so that the writer gets one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::SessionWatch;

/// All spare connections of this process.
static SPARE: Mutex<Vec<Weak<SessionWatch>>> = Mutex::new(Vec::new());

pub(super) fn add(connection: &Arc<SessionWatch>) {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    spare.retain(|other| other.strong_count() > 0);
    spare.push(Arc::downgrade(connection));
}

/// Closes idle ones. Returns whether there was one.
pub(super) fn close_idle() -> bool {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let closed =
        spare.iter().filter_map(Weak::upgrade).filter(|connection| connection.close_if_idle()).count();
    closed > 0
}
