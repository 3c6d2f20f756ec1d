//! Collects all problems of samples or of a schema, so that a user sees them at once.

use std::collections::HashSet;

use crate::path::Path;
use crate::{Error, SampleLocation};

/// Maximum number of problems that are named.
const MAX_NAMED: usize = 20;

/// The problems so far. What has one is left out, and reading goes on.
#[derive(Default)]
pub(crate) struct Problems {
    found: Vec<Error>,
    keys: HashSet<String>,
    is_cut: bool,
}

impl Problems {
    /// Adds a problem at this location; of the elements of an array, only the first with the same problem.
    pub(crate) fn add(&mut self, sample: &str, path: &Path, problem: impl FnOnce(SampleLocation) -> Error) {
        if self.is_cut {
            return;
        }
        let error = problem(SampleLocation::new(sample, path));
        let what = match &error {
            Error::Mixed { found, .. } => (*found).to_owned(),
            Error::Schema { problem, .. } => problem.clone(),
            other => format!("{:?}", std::mem::discriminant(other)),
        };
        if !self.keys.insert(format!("{sample}\n{}\n{what}", path.general())) {
            return;
        }
        if self.found.len() == MAX_NAMED {
            self.is_cut = true;
        } else {
            self.found.push(error);
        }
    }

    /// The value, if there is one and no problem.
    pub(crate) fn refuse_or<T>(mut self, value: Option<T>) -> Result<T, Error> {
        match (value, self.found.len()) {
            (Some(value), 0) => Ok(value),
            (None, 0) => Err(Error::NoSample),
            (_, 1) => Err(self.found.remove(0)),
            _ => Err(Error::Several { problems: self.found, is_cut: self.is_cut }),
        }
    }
}
