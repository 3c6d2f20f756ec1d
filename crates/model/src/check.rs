//! Compares two models member by member: whether rows of the older can be read with the newer, and which documents only
//! one of them accepts.

use std::fmt;

use crate::model::Model;
use crate::path::selector;
use crate::shape::{Kind, Member, Struct};

/// A difference of a member, and its effect on documents written before, or on those to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the newer model has it: in older documents it is missing.
    Added {
        /// The member, `$.items[*].price`.
        path: String,
    },
    /// Only the older model has it.
    Removed {
        /// The member.
        path: String,
    },
    /// Only gob rows have it; they have names of Go fields, not of members.
    RemovedField {
        /// The object.
        path: String,
        /// The name of the Go field.
        go_name: String,
    },
    /// Another name in JSON for the same Go field.
    Renamed {
        /// The member of the older model.
        path: String,
        /// The member of the newer model.
        to: String,
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
    /// A rule of the schema differs: only documents that are still to come are affected.
    Rule {
        /// The member or the object.
        path: String,
        /// What the newer model says.
        rule: &'static str,
    },
    /// The models have no member in common.
    NothingInCommon,
    /// They have few: probably they are models of different documents.
    LittleInCommon {
        /// The names of those in common, of the newer model.
        common: Vec<String>,
    },
}

/// Whether rows have so little in common with a model that they probably are other documents. `common` of the model's
/// members, which are `of_model`, occur in the rows. Over all rows, `known` members are in the model, and `unknown` are
/// not.
///
/// True if only one member is common, such as `id`, and at least half of what the rows have is not in the model; or if
/// both the model and the rows share at most a third of their members. One side alone says nothing: a model that has
/// grown has many members that older rows lack, and a model that has shrunk lacks many that older rows have. Models
/// that have replaced more than two thirds of both are compared as if they were of different documents.
pub fn has_little_in_common(of_model: usize, common: usize, known: u64, unknown: u64) -> bool {
    match common {
        0 | 1 => of_model > 1 && unknown > 0 && unknown >= known,
        _ => common * 3 <= of_model && unknown >= known.saturating_mul(2),
    }
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
            Self::Removed { path } => {
                write!(f, "{path}: removed; gob rows no longer show it, jsonb and json rows do")
            }
            Self::RemovedField { path, go_name } => {
                write!(f, "{path}: the Go field {go_name} is not in the model; no longer shown")
            }
            Self::Renamed { path, to } => {
                write!(f, "{path}: now {to}; gob rows show its value there, jsonb and json rows do not")
            }
            Self::Widened { path } => write!(f, "{path}: was a whole number, and is a number; readable"),
            Self::Unreadable { path, was, is } => write!(f, "{path}: was {was}, and is {is}; NOT readable"),
            Self::Rule { path, rule } => write!(f, "{path}: {rule}"),
            Self::NothingInCommon => f.write_str("$: the models have no member in common; NOT readable"),
            Self::LittleInCommon { common } => {
                let common = common.join(", ");
                write!(
                    f,
                    "$: the models have only {common} in common; are these models of the same documents?"
                )
            }
        }
    }
}

impl Model {
    /// The changes since an older model, for documents written with it and documents to come. Empty if the models are
    /// the same but for the order of their members.
    pub fn changes_since(&self, older: &Self) -> Vec<Change> {
        Comparison { is_from_rows: false, changes: Vec::new() }.of(older.shape(), self.shape())
    }

    /// The changes since the types of gob rows, for these rows. The types have Go names only, and no rules.
    pub fn changes_since_rows(&self, was: &Struct) -> Vec<Change> {
        Comparison { is_from_rows: true, changes: Vec::new() }.of(was, self.shape())
    }
}

struct Comparison {
    /// The older shape is that of gob rows.
    is_from_rows: bool,
    changes: Vec<Change>,
}

impl Comparison {
    fn of(mut self, was: &Struct, is: &Struct) -> Vec<Change> {
        let is_common = |name: &str| is.members.iter().any(|member| member.go_name == name);
        if !was.members.is_empty() && !was.members.iter().any(|member| is_common(member.go_name)) {
            return vec![Change::NothingInCommon];
        }
        self.structure("$", was, is);
        // Rows are judged together, whatever types wrote them.
        if !self.is_from_rows {
            let has = |name: &str| was.members.iter().any(|member| member.go_name == name);
            let common: Vec<_> = is.members.iter().filter(|member| has(member.go_name)).collect();
            let (known, unknown) = (common.len() as u64, (was.members.len() - common.len()) as u64);
            if has_little_in_common(is.members.len(), common.len(), known, unknown) {
                let common = common.iter().map(|member| member.json_name.to_owned()).collect();
                self.changes.push(Change::LittleInCommon { common });
            }
        }
        self.changes
    }

    fn structure(&mut self, path: &str, was: &Struct, is: &Struct) {
        let of = |member: &Member| format!("{path}{}", selector(member.json_name));
        if !self.is_from_rows && was.closed != is.closed {
            self.rule(
                path,
                if is.closed {
                    "unknown members are refused now"
                } else {
                    "unknown members are accepted now"
                },
            );
        }
        for (index, member) in was.members.iter().enumerate() {
            // Rows contain the Go names of members.
            let same = is.members.iter().position(|other| other.go_name == member.go_name);
            let Some((at, other)) = same.map(|at| (at, &is.members[at])) else {
                // Rows come from outside; names that are no identifiers are quoted.
                let go_name = selector(member.go_name).trim_start_matches('.').to_owned();
                self.changes.push(match self.is_from_rows {
                    true => Change::RemovedField { path: path.to_owned(), go_name },
                    false => Change::Removed { path: of(member) },
                });
                continue;
            };
            if !self.is_from_rows {
                // Names of documents match ignoring case.
                if member.json_name.to_lowercase() != other.json_name.to_lowercase() {
                    self.changes.push(Change::Renamed { path: of(member), to: of(other) });
                }
                self.rules(
                    &of(other),
                    (member, was.required.contains(&index)),
                    (other, is.required.contains(&at)),
                );
            }
            self.kind(&of(other), &member.kind, &other.kind);
        }
        for (index, member) in is.members.iter().enumerate() {
            if !was.members.iter().any(|other| other.go_name == member.go_name) {
                self.changes.push(Change::Added { path: of(member) });
                if !self.is_from_rows && is.required.contains(&index) {
                    self.rule(&of(member), NOW_REQUIRED);
                }
            }
        }
    }

    /// Compares the rules of a member; the flags say whether it is required.
    fn rules(
        &mut self,
        path: &str,
        (was, was_required): (&Member, bool),
        (is, is_required): (&Member, bool),
    ) {
        match (was_required, is_required) {
            (false, true) => self.rule(path, NOW_REQUIRED),
            (true, false) => self.rule(path, "no longer required"),
            _ => {}
        }
        self.nulls(path, was.nullable, is.nullable, is_required);
        let is_refused = element(&is.kind).is_some_and(|element| !element.required.is_empty());
        self.nulls(&format!("{path}[*]"), was.nullable_elements, is.nullable_elements, is_refused);
    }

    /// `is_refused`: whether the newer model refuses a `null` that its type lacks.
    fn nulls(&mut self, path: &str, was: bool, is: bool, is_refused: bool) {
        match (was, is) {
            (true, false) if is_refused => self.rule(path, "null is refused now"),
            (true, false) => self.rule(path, "its type no longer has null, which is still accepted"),
            (false, true) => self.rule(path, "its type has null now"),
            _ => {}
        }
    }

    fn rule(&mut self, path: &str, rule: &'static str) {
        self.changes.push(Change::Rule { path: path.to_owned(), rule });
    }

    fn kind(&mut self, path: &str, was: &Kind, is: &Kind) {
        match (was, is) {
            (Kind::Struct(was), Kind::Struct(is)) => self.structure(path, was, is),
            (Kind::Slice(was), Kind::Slice(is)) => self.kind(&format!("{path}[*]"), was, is),
            (Kind::Int, Kind::Float) => self.changes.push(Change::Widened { path: path.to_owned() }),
            _ if was.name() == is.name() => {}
            _ => {
                let (was, is) = (was.name(), is.name());
                self.changes.push(Change::Unreadable { path: path.to_owned(), was, is });
            }
        }
    }
}

const NOW_REQUIRED: &str = "required now; documents without it are refused";

/// The object that arrays of this kind consist of.
fn element(kind: &Kind) -> Option<&'static Struct> {
    match kind {
        Kind::Slice(Kind::Struct(shape)) => Some(shape),
        Kind::Slice(nested) => element(nested),
        _ => None,
    }
}
