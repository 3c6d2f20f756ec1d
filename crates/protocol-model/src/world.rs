//! A world to check: its orders, its budget of faults, and the mutations of its processes.

use crate::keys::Order;
use crate::mutation::Mutation;

/// The kind of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A row.
    Good,
    /// Its message is empty.
    Empty,
    /// No process can decode it.
    Malformed,
    /// PostgreSQL refuses its row before the cause is fixed, which is a part of the table.
    Refusable,
    /// A process with the old model refuses it; one with the new model accepts it.
    NewModelOnly,
    /// Both models accept it, in two forms.
    TwoForms,
}

/// How often each event may happen that does not happen by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Budget {
    /// A process is killed and restarted.
    pub crashes: u8,
    /// A process stops, and may continue later.
    pub stalls: u8,
    /// A connection to PostgreSQL breaks; the answer of a transaction is lost.
    pub lost_connections: u8,
    /// The lease of a healthy writer expires.
    pub early_expiries: u8,
    /// A process loses NATS, and may reach it again later.
    pub nats_cuts: u8,
    /// A consumer is deleted and recreated.
    pub remade_consumers: u8,
    /// The table goes back to an earlier state: crash with `synchronous_commit = off`, standby, restored copy.
    pub rollbacks: u8,
    /// `orders2` alone is restored from an older copy, while the service is stopped.
    pub row_restores: u8,
    /// The stream is restored from a copy, or deleted and recreated.
    pub stream_restores: u8,
    /// The retention purges the stream.
    pub purges: u8,
    /// An operator purges the oldest message, passed or not.
    pub trims: u8,
    /// A dead letter is replayed, corrected or as it was.
    pub replays: u8,
    /// Somebody publishes a message with another order's key.
    pub forgeries: u8,
    /// A dead letter is dropped.
    pub drops: u8,
    /// The dead-letter stream loses a dead letter.
    pub lost_dead_letters: u8,
    /// What makes PostgreSQL refuse rows is fixed.
    pub fixes: u8,
    /// An order is erased.
    pub erasures: u8,
}

impl Budget {
    /// No faults.
    pub const NOTHING: Self = Self {
        crashes: 0,
        stalls: 0,
        lost_connections: 0,
        early_expiries: 0,
        nats_cuts: 0,
        remade_consumers: 0,
        rollbacks: 0,
        row_restores: 0,
        stream_restores: 0,
        purges: 0,
        trims: 0,
        replays: 0,
        forgeries: 0,
        drops: 0,
        lost_dead_letters: 0,
        fixes: 0,
        erasures: 0,
    };
}

/// A small world.
#[derive(Clone, Debug)]
pub struct World {
    /// The orders, in the order in which they are published.
    pub(crate) orders: Vec<Kind>,
    pub(crate) budget: Budget,
    /// One or two.
    pub(crate) processes: usize,
    /// Which processes have the old model of the document.
    pub(crate) old_model: [bool; 2],
    /// Maximum number of messages in one transaction.
    pub(crate) batch: u8,
    /// The table may lose what was flushed: a standby that was behind, or a restore.
    pub(crate) loses_flushed: bool,
    /// Between its UPDATE and its COMMIT a transaction holds the row's lock.
    pub(crate) holds_lock: bool,
    /// A transaction that was sent to a former server may reach its successor, through a pooler.
    pub(crate) pooler: bool,
    /// Only table, stream and dead letters are modelled.
    pub(crate) without_views: bool,
    mutations: u128,
}

impl World {
    /// Two equal processes, no mistakes.
    pub fn new(orders: &[Kind], budget: Budget) -> Self {
        Self {
            orders: orders.to_vec(),
            budget,
            processes: 2,
            old_model: [false; 2],
            batch: 2,
            loses_flushed: false,
            holds_lock: false,
            pooler: false,
            without_views: false,
            mutations: 0,
        }
    }

    /// This world with a mutation.
    #[must_use]
    pub fn with(mut self, mutation: Mutation) -> Self {
        self.mutations |= 1 << mutation as u128;
        self
    }

    /// This world with one process.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.processes = 1;
        self
    }

    /// This world, in which process 1 or 2 has the old model of the document.
    #[must_use]
    pub fn with_old_model(mut self, process: usize) -> Self {
        self.old_model[process - 1] = true;
        self
    }

    /// This world with one message in each transaction.
    #[must_use]
    pub fn one_by_one(mut self) -> Self {
        self.batch = 1;
        self
    }

    /// This world, in which a rollback may lose flushed data.
    #[must_use]
    pub fn with_standby(mut self) -> Self {
        self.loses_flushed = true;
        self
    }

    /// This world, in which a transaction holds the row's lock for a while.
    #[must_use]
    pub fn with_lock(mut self) -> Self {
        self.holds_lock = true;
        self
    }

    /// This world with a pooler before PostgreSQL.
    #[must_use]
    pub fn with_pooler(mut self) -> Self {
        self.pooler = true;
        self
    }

    /// This world without the memory of the processes, which makes larger worlds possible.
    #[must_use]
    pub fn without_views(mut self) -> Self {
        self.without_views = true;
        self
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutations & (1 << mutation as u128) != 0
    }

    /// Some orders may become dead letters.
    pub(crate) fn has_dead_letters(&self) -> bool {
        self.orders.iter().any(|kind| !matches!(kind, Kind::Good | Kind::Empty | Kind::TwoForms))
    }

    pub(crate) fn kind(&self, order: Order) -> Kind {
        self.orders[usize::from(order)]
    }
}
