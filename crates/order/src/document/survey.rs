//! Compares the documents of rows with the model, member by member, over all rows: which members can't be read, which
//! the model lacks, and which no row has.

use std::collections::BTreeMap;

use model::selector;
use model::shape::{Kind, Struct};

use super::json_tokenizer::Scanner;
use super::row_check::{is_finite, is_whole};
use crate::member_name::{self, shortened};
use crate::row_format::RowFormat;

/// Maximum number of unknown members to remember. Names come from outside, and may be different in each row.
const MAX_MEMBERS: usize = 20_000;

/// What the documents of rows have that the model does not fit.
pub struct Survey {
    shape: &'static Struct,
    /// The number of rows so far.
    rows: u64,
    root: PathValues,
    budget: Budget,
}

/// A difference between the rows and the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The member, `$.items[*].price`.
    pub path: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a member differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It is of another type than in the model.
    Unreadable {
        /// What it is instead, with an article.
        found: &'static str,
        /// What it is in the model, with an article.
        expected: &'static str,
        /// In how many rows.
        rows: u64,
    },
    /// The model lacks it.
    Unknown {
        /// In how many rows it is.
        rows: u64,
    },
    /// The model has it, and no row.
    Missing,
}

/// In how many rows something is.
#[derive(Default)]
struct RowCount {
    rows: u64,
    /// The last of these.
    last: u64,
}

impl RowCount {
    fn add(&mut self, row: u64) {
        if self.last != row {
            (self.rows, self.last) = (self.rows + 1, row);
        }
    }
}

/// The values at one path.
#[derive(Default)]
struct PathValues {
    /// Values of other types than the model's, by their type.
    mismatches: BTreeMap<&'static str, RowCount>,
    /// Whether an object was there.
    has_object: bool,
    /// The members of these objects that the model has, by their index.
    members: BTreeMap<usize, PathValues>,
    /// And those that it lacks.
    unknown: BTreeMap<String, RowCount>,
    /// The elements of the arrays.
    elements: Option<Box<PathValues>>,
}

/// The number of unknown members that may still be remembered.
struct Budget {
    left: usize,
    is_exceeded: bool,
}

impl Budget {
    fn take(&mut self) -> bool {
        self.is_exceeded |= self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.is_exceeded
    }
}

impl Survey {
    /// A survey of rows of documents with this shape.
    pub fn new(shape: &'static Struct) -> Self {
        let budget = Budget { left: MAX_MEMBERS, is_exceeded: false };
        Self { shape, rows: 0, root: PathValues::default(), budget }
    }

    /// Adds a row in PostgreSQL's binary format. Returns whether a member can't be read. What is not a JSON object adds
    /// nothing.
    pub fn add(&mut self, format: RowFormat, row: &[u8]) -> bool {
        let text = row.strip_prefix(format.prefix()).and_then(|text| std::str::from_utf8(text).ok());
        let Some(text) = text else { return false };
        let mut scanner = Scanner::new(text);
        if scanner.peek() != Some(b'{') {
            return false;
        }
        self.rows += 1;
        let mut visit = Visit { row: self.rows, has_mismatch: false, budget: &mut self.budget };
        // Valid JSON: PostgreSQL has checked it. `RowReader` reports truncated rows.
        visit.object(&mut scanner, self.shape, &mut self.root).is_some() && visit.has_mismatch
    }

    /// The number of rows with a JSON object.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether there were more unknown members than can be remembered.
    pub fn is_cut(&self) -> bool {
        self.budget.is_exceeded
    }

    /// The differences, in the order of the model's members; those that it lacks come after its own.
    pub fn differences(&self) -> Vec<Difference> {
        let mut differences = Vec::new();
        self.structure("$", self.shape, &self.root, &mut differences);
        differences
    }

    fn structure(&self, path: &str, shape: &Struct, values: &PathValues, differences: &mut Vec<Difference>) {
        // Of an object that is nowhere, only the object itself is missing.
        if !values.has_object {
            return;
        }
        for (index, member) in shape.members.iter().enumerate() {
            let path = format!("{path}{}", selector(member.json_name));
            match values.members.get(&index) {
                Some(found) => self.value(&path, &member.kind, found, differences),
                None => differences.push(Difference { path, kind: DifferenceKind::Missing }),
            }
        }
        differences.extend(values.unknown.iter().map(|(name, count)| Difference {
            path: format!("{path}{}", selector(name)),
            kind: DifferenceKind::Unknown { rows: count.rows },
        }));
    }

    fn value(&self, path: &str, kind: &Kind, values: &PathValues, differences: &mut Vec<Difference>) {
        differences.extend(values.mismatches.iter().map(|(found, count)| Difference {
            path: path.to_owned(),
            kind: DifferenceKind::Unreadable { found, expected: kind.name(), rows: count.rows },
        }));
        match kind {
            Kind::Struct(shape) => self.structure(path, shape, values, differences),
            Kind::Slice(element) => {
                if let Some(elements) = &values.elements {
                    self.value(&format!("{path}[*]"), element, elements, differences);
                }
            }
            _ => {}
        }
    }
}

/// One row. Its functions return `None` if the text is not valid JSON.
struct Visit<'b> {
    row: u64,
    has_mismatch: bool,
    budget: &'b mut Budget,
}

impl Visit<'_> {
    fn object(&mut self, scanner: &mut Scanner<'_>, shape: &Struct, values: &mut PathValues) -> Option<()> {
        scanner.eat(b'{')?;
        values.has_object = true;
        let (mut expected, mut is_first) = (0, true);
        while let Some(name) = scanner.name(&mut is_first)? {
            if let Some(index) = member_name::find(shape, expected, &name) {
                expected = index + 1;
                let member = values.members.entry(index).or_default();
                self.value(scanner, &shape.members[index].kind, member)?;
                continue;
            }
            if !shape.any {
                let name = shortened(&name);
                if values.unknown.contains_key(&name) || self.budget.take() {
                    values.unknown.entry(name).or_default().add(self.row);
                }
            }
            scanner.value()?;
        }
        Some(())
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, kind: &Kind, values: &mut PathValues) -> Option<()> {
        let found = match (kind, scanner.peek()?) {
            (Kind::Struct(shape), b'{') => return self.object(scanner, shape, values),
            (Kind::Slice(element), b'[') => return self.elements(scanner, element, values),
            (_, first) => type_of(first, scanner.value()?),
        };
        let fits = match (kind, found) {
            (_, NULL) => true,
            (Kind::Float, WHOLE) => true,
            _ => kind.name() == found,
        };
        if !fits {
            self.has_mismatch = true;
            values.mismatches.entry(found).or_default().add(self.row);
        }
        Some(())
    }

    fn elements(&mut self, scanner: &mut Scanner<'_>, kind: &Kind, values: &mut PathValues) -> Option<()> {
        let elements = values.elements.get_or_insert_default();
        scanner.eat(b'[')?;
        if scanner.peek()? == b']' {
            return scanner.eat(b']');
        }
        loop {
            self.value(scanner, kind, elements)?;
            match scanner.token()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }
}

const NULL: &str = "null";
const WHOLE: &str = "a whole number";

/// The type of a value, with an article, as the model would have it.
fn type_of(first: u8, value: &str) -> &'static str {
    match first {
        b'n' => NULL,
        b't' | b'f' => Kind::Bool.name(),
        b'"' => Kind::String.name(),
        b'{' => "an object",
        b'[' => "an array",
        _ if is_whole(value) => WHOLE,
        _ if is_finite(value) => Kind::Float.name(),
        _ => "a number beyond a double's range",
    }
}

#[cfg(test)]
mod tests {
    use model::{Model, Source};

    use super::*;

    fn survey(rows: &[&str]) -> Survey {
        let json =
            r#"{"a": "x", "n": 1, "f": 1.5, "to": {"city": "c"}, "items": [{"id": 1, "tags": [["t"]]}]}"#;
        let model = Model::new("a", &[Source { name: "a.json", json }]).unwrap();
        let mut survey = Survey::new(model.shape());
        for row in rows {
            survey.add(RowFormat::Json, row.as_bytes());
        }
        survey
    }

    fn said(rows: &[&str]) -> Vec<String> {
        let differences = survey(rows).differences();
        let said = differences.iter().map(|Difference { path, kind }| match kind {
            DifferenceKind::Unreadable { found, expected, rows } => {
                format!("{path} {rows} {found} not {expected}")
            }
            DifferenceKind::Unknown { rows } => format!("{path} {rows} unknown"),
            DifferenceKind::Missing => format!("{path} missing"),
        });
        said.collect()
    }

    #[test]
    fn each_member_that_differs_is_counted_by_rows() {
        let full = r#"{"A": null, "n": 1, "f": 1, "to": null, "items": [null, {"id": 1, "tags": []}]}"#;
        assert_eq!(said(&[full]), Vec::<String>::new());
        assert_eq!(said(&[]), Vec::<String>::new());
        assert_eq!(said(&["[1]", "null", "", "\u{fffd}"]), Vec::<String>::new());
        assert_eq!(
            said(&["{}"]),
            ["$.a missing", "$.n missing", "$.f missing", "$.to missing", "$.items missing"]
        );
        assert_eq!(
            said(&[
                r#"{"a": 1, "n": "1", "f": true, "to": {"city": [], "x": {"y": 1}}, "items": [1, 2, {"tags": [[7], 7]}]}"#,
                r#"{"a": {}, "n": 1.0, "f": 1e999, "to": [], "items": {}, "foo-bar": 1}"#,
                r#"{"a": 2, "n": 99999999999999999999, "f": -1, "to": {"x": 1, "x": 2}, "items": []}"#,
            ]),
            [
                "$.a 2 a whole number not a string",
                "$.a 1 an object not a string",
                "$.n 2 a number not a whole number",
                "$.n 1 a string not a whole number",
                "$.f 1 a boolean not a number",
                "$.f 1 a number beyond a double's range not a number",
                "$.to 1 an array not an object",
                "$.to.city 1 an array not a string",
                "$.to.x 2 unknown",
                "$.items 1 an object not an array",
                "$.items[*] 1 a whole number not an object",
                "$.items[*].id missing",
                "$.items[*].tags[*] 1 a whole number not an array",
                "$.items[*].tags[*][*] 1 a whole number not a string",
                "$[\"foo-bar\"] 1 unknown",
            ]
        );
    }

    /// The reader of rows is the judge; the survey only names the members.
    #[test]
    fn a_member_is_wrong_where_the_row_can_t_be_read() {
        for (row, is_wrong) in [
            (r#"{"a": "x", "n": 9223372036854775807, "f": 1e308, "z": 1e999}"#, false),
            (r#"{"n": 9223372036854775808}"#, true),
            (r#"{"n": -0}"#, false),
            (r#"{"n": 1e3}"#, true),
            (r#"{"f": 1e309}"#, true),
            (r#"{"items": [[]]}"#, true),
            (r#"{"to": {"CITY": 7}}"#, true),
            (r#"{"a": 1, "a": "x"}"#, true),
        ] {
            let shape = survey(&[]).shape;
            assert_eq!(super::super::row_check::check(row, shape, |_| {}).is_err(), is_wrong, "{row}");
            assert_eq!(Survey::new(shape).add(RowFormat::Json, row.as_bytes()), is_wrong, "{row}");
        }
    }

    #[test]
    fn members_beyond_the_limit_are_not_remembered() {
        let names = (0..=MAX_MEMBERS).map(|number| format!("\"x{number}\": 1")).collect::<Vec<_>>();
        let found = survey(&[&format!("{{{}}}", names.join(", ")), r#"{"a": 1}"#]);
        assert!(found.is_cut());
        let differences = found.differences();
        // Those of the model are reported all the same: one is of another type, and four are missing.
        assert_eq!((found.rows(), differences.len()), (2, MAX_MEMBERS + 5));
        assert!(
            matches!(differences[0].kind, DifferenceKind::Unreadable { rows: 1, .. }),
            "{:?}",
            differences[0]
        );
    }
}
