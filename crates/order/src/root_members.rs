//! Compares the members of rows with the model's, at the root of each, to notice rows of other documents.

use model::shape::Struct;

/// Rows that need to have a member of the model for it to count as common: one in this many. So documents of this model
/// among others, such as those that a process with the wrong model has written, do not hide the difference.
const ROWS_PER_COMMON: u64 = 100;

/// The members at the roots of rows that were read.
#[derive(Clone, Debug)]
pub struct RootMembers {
    shape: &'static Struct,
    rows: u64,
    /// Members that the model has, and those that it lacks, over all rows.
    known: u64,
    unknown: u64,
    /// In how many rows each of the model's members is; of a gob row, in its writer's type.
    rows_with: Vec<u64>,
}

impl RootMembers {
    /// Of no rows.
    pub fn new(shape: &'static Struct) -> Self {
        Self { shape, rows: 0, known: 0, unknown: 0, rows_with: vec![0; shape.members.len()] }
    }

    pub(crate) fn add_row(&mut self) {
        self.rows += 1;
    }

    /// Counts a member of `rows` rows: its index in the model, or `None` if the model lacks it.
    pub(crate) fn add(&mut self, member: Option<usize>, rows: u64) {
        match member.and_then(|index| self.rows_with.get_mut(index)) {
            Some(count) => {
                *count += rows;
                self.known += rows;
            }
            None => self.unknown += rows,
        }
    }

    pub(crate) fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Adds the rows of another reader.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.known += other.known;
        self.unknown += other.unknown;
        self.rows_with.iter_mut().zip(&other.rows_with).for_each(|(ours, theirs)| *ours += theirs);
    }

    /// If the rows have little in common with the model: the model's members that hardly any row has.
    pub fn missing_if_foreign(&self) -> Option<Vec<&'static str>> {
        let is_common = |count: u64| count > 0 && count.saturating_mul(ROWS_PER_COMMON) >= self.rows;
        let members = self.shape.members.iter().zip(&self.rows_with);
        let missing: Vec<_> =
            members.filter(|(_, count)| !is_common(**count)).map(|(member, _)| member.json_name).collect();
        let of_model = self.shape.members.len();
        let is_foreign = !self.shape.any
            && model::has_little_in_common(of_model, of_model - missing.len(), self.known, self.unknown);
        is_foreign.then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Model, Source};

    use super::*;
    use crate::{Layouts, Parser, RowFormat, RowReader};

    fn shape(sample: &str) -> &'static Struct {
        Model::new("a", &[Source { name: "a.json", json: sample }]).unwrap().shape()
    }

    /// What is missing in a table that has, for each of `documents`, that number of rows written with the model of `written_by`.
    fn missing(model: &str, written_by: &str, documents: &[(&str, usize)]) -> [Option<String>; 3] {
        [RowFormat::Gob, RowFormat::Json, RowFormat::Jsonb].map(|format| {
            let writer = shape(written_by);
            let mut parser = match format {
                RowFormat::Gob => Parser::new(writer),
                _ => Parser::new(shape(model)),
            };
            let layouts = Layouts::new(writer).unwrap();
            let mut reader = RowReader::new(Arc::new(Layouts::new(shape(model)).unwrap()));
            reader.set_format(format);
            for (document, count) in documents {
                let mut row = Vec::new();
                match format {
                    RowFormat::Gob => {
                        layouts.write_row(&parser.parse(document.as_bytes(), "1-1").unwrap(), &mut row);
                    }
                    _ => row = [format.prefix(), document.as_bytes()].concat(),
                }
                for _ in 0..*count {
                    drop(reader.read("1-1", &row));
                }
            }
            reader.root_members().missing_if_foreign().map(|missing| missing.join(" "))
        })
    }

    #[test]
    fn rows_of_documents_that_share_one_member_are_foreign() {
        let parcels = r#"{"id": "", "weight": 1, "to": {"city": ""}}"#;
        let invoices = r#"{"id": "i", "total": 1.5, "lines": [{"id": 7, "weight": 1}]}"#;
        let foreign = |missing: &str| [(); 3].map(|()| Some(missing.to_owned()));
        assert_eq!(missing(parcels, invoices, &[(invoices, 3)]), foreign("weight to"));
        assert_eq!(missing(invoices, parcels, &[(parcels, 1)]), foreign("total lines"));
        let small = r#"{"id": "", "total": 1.5}"#;
        assert_eq!(missing(r#"{"id": "", "weight": 1}"#, small, &[(small, 9)]), foreign("weight"));
        // Few members of many are common.
        let many = r#"{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}"#;
        let others = r#"{"a": 1, "b": 1, "u": 1, "v": 1, "w": 1, "x": 1}"#;
        assert_eq!(missing(many, others, &[(others, 1)]), foreign("c d e f"));
    }

    /// A process with the wrong model has written a few of its documents between those of the table.
    #[test]
    fn few_rows_of_the_model_do_not_hide_that_the_others_are_foreign() {
        let model = r#"{"id": "", "weight": 1, "to": ""}"#;
        let invoice = r#"{"id": "i", "total": 1, "lines": 1}"#;
        let both = r#"{"id": "i", "total": 1, "lines": 1, "weight": 1, "to": ""}"#;
        let [_, json, jsonb] = missing(model, both, &[(model, 1), (invoice, 999)]);
        assert_eq!((json.as_deref(), jsonb.as_deref()), (Some("weight to"), Some("weight to")));
        let [_, json, jsonb] = missing(model, both, &[(model, 10), (invoice, 990)]);
        assert_eq!((json, jsonb), (None, None));
    }

    #[test]
    fn rows_of_an_evolved_model_are_not_foreign() {
        let ten = r#"{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1, "i": 1, "j": 1}"#;
        let none = [None, None, None];
        for (model, rows) in [
            // Members were added, removed, or both.
            (ten, r#"{"a": 1}"#),
            (ten, r#"{"a": 1, "b": 1}"#),
            (r#"{"a": 1}"#, ten),
            (r#"{"a": 1, "b": 1}"#, ten),
            (ten, r#"{"a": 1, "b": 1, "x": 1, "y": 1}"#),
            // Rows older than many changes: four of ten members are left.
            (ten, r#"{"a": 1, "b": 1, "c": 1, "d": 1, "u": 1, "v": 1, "w": 1, "x": 1, "y": 1, "z": 1}"#),
            (ten, r#"{}"#),
        ] {
            assert_eq!(missing(model, rows, &[(rows, 5)]), none, "{rows}");
        }
        // Optional members that most rows lack, beside members that the model no longer has.
        let now = r#"{"id": "", "note": "", "gift": true, "promo": ""}"#;
        let sparse = r#"{"id": "p", "old": 1, "older": 1}"#;
        let [_, json, jsonb] =
            missing(now, sparse, &[(sparse, 97), (r#"{"id": "p", "note": "", "gift": true}"#, 3)]);
        assert_eq!((json, jsonb), (None, None));
    }

    #[test]
    fn documents_of_any_form_are_never_foreign() {
        let mut reader = RowReader::new(Arc::new(Layouts::new(Model::any().shape()).unwrap()));
        reader.set_format(RowFormat::Json);
        reader.read("1-1", br#"{"a": 1, "b": 2}"#).unwrap();
        assert!(reader.shares_member());
        assert_eq!(reader.root_members().missing_if_foreign(), None);
    }
}
