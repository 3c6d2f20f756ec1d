//! Compares two models member by member: whether rows of the older can be read with the newer.

use std::fmt;

use crate::model::Model;
use crate::shape::{Kind, Struct};

/// A difference of a member, and its effect on documents written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the newer model has it: in older documents it is missing.
    Added {
        /// The member, `$.items[*].price`.
        path: String,
    },
    /// Only the older model has it: it is no longer shown.
    Removed {
        /// The member.
        path: String,
    },
    /// Integers have become floats: still readable.
    Widened {
        /// The member.
        path: String,
    },
    /// The kind differs: rows that hold it can't be read.
    Unreadable {
        /// The member.
        path: String,
        /// The older kind.
        was: &'static str,
        /// The newer kind.
        is: &'static str,
    },
    /// The models have no member in common.
    NothingInCommon,
}

impl Change {
    /// Whether older documents become unreadable.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::NothingInCommon)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { path } => write!(f, "{path}: new; missing in older documents"),
            Self::Removed { path } => write!(f, "{path}: removed; no longer shown"),
            Self::Widened { path } => write!(f, "{path}: was a whole number, and is a number; readable"),
            Self::Unreadable { path, was, is } => write!(f, "{path}: was {was}, and is {is}; NOT readable"),
            Self::NothingInCommon => f.write_str("$: the models have no member in common; NOT readable"),
        }
    }
}

impl Model {
    /// The changes since an older model, for documents written with it.
    pub fn changes_since(&self, older: &Self) -> Vec<Change> {
        self.changes_from(older.shape())
    }

    /// The same, for documents written with that shape.
    pub fn changes_from(&self, was: &Struct) -> Vec<Change> {
        let is = self.shape();
        let is_common = |name: &str| is.members.iter().any(|member| member.go_name == name);
        if !was.members.is_empty() && !was.members.iter().any(|member| is_common(member.go_name)) {
            return vec![Change::NothingInCommon];
        }
        let mut changes = Vec::new();
        structure("$", was, is, &mut changes);
        changes
    }
}

fn structure(path: &str, was: &Struct, is: &Struct, changes: &mut Vec<Change>) {
    let of = |name: &str| format!("{path}{}", crate::path::selector(name));
    for member in was.members {
        let path = of(member.json_name);
        // Rows contain the Go names of members.
        match is.members.iter().find(|other| other.go_name == member.go_name) {
            Some(other) => kind(&path, &member.kind, &other.kind, changes),
            None => changes.push(Change::Removed { path }),
        }
    }
    for member in is.members {
        if !was.members.iter().any(|other| other.go_name == member.go_name) {
            changes.push(Change::Added { path: of(member.json_name) });
        }
    }
}

fn kind(path: &str, was: &Kind, is: &Kind, changes: &mut Vec<Change>) {
    match (was, is) {
        (Kind::Struct(was), Kind::Struct(is)) => structure(path, was, is, changes),
        (Kind::Slice(was), Kind::Slice(is)) => kind(&format!("{path}[*]"), was, is, changes),
        (Kind::Int, Kind::Float) => changes.push(Change::Widened { path: path.to_owned() }),
        _ if name(was) == name(is) => {}
        _ => changes.push(Change::Unreadable { path: path.to_owned(), was: name(was), is: name(is) }),
    }
}

fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "a boolean",
        Kind::Int => "a whole number",
        Kind::Float => "a number",
        Kind::String => "a string",
        Kind::Struct(_) => "an object",
        Kind::Slice(_) => "an array",
    }
}
