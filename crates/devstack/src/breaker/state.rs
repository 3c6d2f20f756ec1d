//! The shared state of the breaker's threads: the mode, and the connections that it may cut.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Mode;

/// Both ends of one connection.
pub(super) struct Link {
    pub(super) client: TcpStream,
    pub(super) upstream: TcpStream,
    /// Its generation.
    pub(super) generation: u64,
}

impl Link {
    pub(super) fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }
}

/// What a direction may do next with its bytes.
pub(super) enum Permit {
    /// Pass this number of them, then pause.
    Pass(usize, Duration),
    /// Pass this number of them, then cut every connection.
    PassAndCut(usize),
    /// Give up.
    Stop,
}

struct State {
    mode: Mode,
    /// Incremented by `Swallow`: connections of an earlier generation pass nothing.
    generation: u64,
    made: u64,
    listening: bool,
    over: bool,
    links: Vec<Weak<Link>>,
}

impl State {
    /// Whether a connection of this generation is open, but passes nothing now.
    fn is_silent_for(&self, generation: u64) -> bool {
        match self.mode {
            _ if self.over => false,
            Mode::Closed | Mode::Refused => false,
            Mode::BlackHole | Mode::Swallow => true,
            Mode::Pass
            | Mode::Late(_)
            | Mode::Distant(_)
            | Mode::Slow { .. }
            | Mode::CutAfter { .. }
            | Mode::CutAt { .. } => generation != self.generation,
        }
    }
}

pub(super) struct Shared {
    pub(super) upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(upstream: SocketAddr) -> Self {
        let state = State {
            mode: Mode::Pass,
            generation: 0,
            made: 0,
            listening: true,
            over: false,
            links: Vec::new(),
        };
        Self { upstream, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn set(&self, mode: Mode) {
        let mut state = self.lock();
        if Mode::Swallow == state.mode || Mode::Swallow == mode {
            state.generation += 1;
        }
        state.mode = mode;
        if matches!(mode, Mode::Closed | Mode::Refused) {
            cut_all(&mut state);
        }
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.over = true;
        cut_all(&mut state);
        self.changed.notify_all();
    }

    pub(super) fn mode(&self) -> Mode {
        self.lock().mode
    }

    /// Counts a new connection, and returns its generation.
    pub(super) fn count(&self) -> u64 {
        let mut state = self.lock();
        state.made += 1;
        state.generation
    }

    pub(super) fn made(&self) -> u64 {
        self.lock().made
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().links.iter().filter(|link| link.strong_count() > 0).count()
    }

    /// Waits until the listener is open or closed as the mode requires.
    pub(super) fn wait_for_listener(&self) {
        drop(self.wait_while(|state| state.listening == (state.mode == Mode::Refused) && !state.over));
    }

    pub(super) fn sleep_while_refused(&self) {
        self.lock().listening = false;
        self.changed.notify_all();
        drop(self.wait_while(|state| state.mode == Mode::Refused && !state.over));
    }

    pub(super) fn now_listening(&self) {
        self.lock().listening = true;
        self.changed.notify_all();
    }

    /// Waits while nothing passes. Returns whether a connection may still be made or ended.
    pub(super) fn wait_for_passage(&self, generation: u64) -> bool {
        let state = self.wait_while(|state| state.is_silent_for(generation));
        !state.over && !matches!(state.mode, Mode::Closed | Mode::Refused)
    }

    /// Registers a connection for cutting, unless connections are being cut just now.
    pub(super) fn add(&self, link: &Arc<Link>) -> bool {
        let mut state = self.lock();
        if state.over || matches!(state.mode, Mode::Closed | Mode::Refused) {
            return false;
        }
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(link));
        true
    }

    /// What may be done with `held` bytes; waits while nothing passes.
    pub(super) fn permit(&self, generation: u64, bytes: &[u8]) -> Permit {
        let mut state = self.wait_while(|state| state.is_silent_for(generation));
        if state.over {
            return Permit::Stop;
        }
        let held = bytes.len();
        match state.mode {
            Mode::Closed | Mode::Refused => Permit::Stop,
            Mode::CutAt { text } => {
                if bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes()) {
                    state.mode = Mode::Pass;
                    return Permit::PassAndCut(0);
                }
                Permit::Pass(held, Duration::ZERO)
            }
            Mode::Pass | Mode::Late(_) | Mode::Distant(_) | Mode::BlackHole | Mode::Swallow => {
                Permit::Pass(held, Duration::ZERO)
            }
            Mode::Slow { bytes_per_second } => slow(held, bytes_per_second.max(1)),
            Mode::CutAfter { bytes } => {
                let left = usize::try_from(bytes).unwrap_or(usize::MAX);
                if held >= left {
                    state.mode = Mode::Pass;
                    return Permit::PassAndCut(left);
                }
                state.mode = Mode::CutAfter { bytes: (left - held) as u64 };
                Permit::Pass(held, Duration::ZERO)
            }
        }
    }

    pub(super) fn cut_all(&self) {
        cut_all(&mut self.lock());
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.changed.wait_while(state, |state| condition(state)).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut_all(state: &mut State) {
    state.links.drain(..).filter_map(|link| link.upgrade()).for_each(|link| link.cut());
}

/// Fifty steps a second, so that a slow connection flows evenly.
fn slow(held: usize, bytes_per_second: u64) -> Permit {
    let step = usize::try_from(bytes_per_second / 50).unwrap_or(usize::MAX).clamp(1, held);
    Permit::Pass(step, Duration::from_secs_f64(step as f64 / bytes_per_second as f64))
}
