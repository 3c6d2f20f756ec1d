//! Compares the ledger with table, dead letters, memory and pages. No I/O, so that unit tests can pass wrong states.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ledger::{Entry, Kind, Ledger};
use crate::observer::{DeadLetter, Row};

/// Ids on a page.
const PAGE: usize = 50;

/// Maximum number of examples per kind of violation.
const NAMED: usize = 3;

/// The final state of a round.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The table.
    pub rows: Vec<Row>,
    /// The stream of dead letters.
    pub dead: Vec<DeadLetter>,
    /// `mem_len`.
    pub mem_len: usize,
    /// The pages, from the first one.
    pub pages: Vec<Vec<String>>,
    /// The ids of `/order_pages/last`.
    pub last_page: Vec<String>,
    /// The status of the page after the last one.
    pub past_last: u16,
    /// Responses of `/order/{id}`.
    pub answers: HashMap<String, (u16, String)>,
    /// Results of `/orders` for an order's number.
    pub found: HashMap<String, String>,
    /// The numbers of acknowledged messages that NATS has lost; `None` if it may lose none.
    pub gone: Option<HashSet<usize>>,
}

impl Snapshot {
    fn is_gone(&self, number: usize) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.contains(&number))
    }
}

/// Acknowledged orders that the table lacks: their numbers and stream sequences.
pub(crate) fn missing(ledger: &Ledger, rows: &[Row]) -> Vec<(usize, u64)> {
    let uids = rows.iter().filter_map(|(_, json)| uid_in(json.as_ref().ok()?));
    let found: HashSet<usize> = uids.filter_map(|uid| ledger.number_in(uid.as_bytes())).collect();
    let entries = ledger.entries();
    let good = entries
        .iter()
        .enumerate()
        .filter(|(number, entry)| entry.kind == Kind::Good && !found.contains(number));
    good.filter_map(|(number, entry)| Some((number, entry.acknowledged?))).collect()
}

/// The `order_uid` of an order's JSON.
pub fn uid_in(json: &str) -> Option<String> {
    let order: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(order["order_uid"].as_str()?.to_owned())
}

/// All violations.
pub fn check(ledger: &Ledger, snapshot: &Snapshot) -> Vec<String> {
    let entries = ledger.entries();
    let mut violations = Vec::new();
    violations.extend(check_table(ledger, &entries, snapshot));
    violations.extend(check_dead_letters(ledger, &entries, snapshot));
    violations.extend(check_served(snapshot));
    violations
}

/// All violations in the responses of one service.
pub fn check_served(snapshot: &Snapshot) -> Vec<String> {
    let mut violations = check_pages(snapshot);
    violations.extend(check_answers(snapshot));
    let missing = snapshot.found.iter().filter(|(id, found)| !found.contains(&format!("\"{id}\"")));
    let missing: Vec<_> = missing.map(|(id, _)| id.clone()).collect();
    violations.extend(sentence("not found by their numbers", &missing));
    violations
}

fn check_table(ledger: &Ledger, entries: &[Entry], snapshot: &Snapshot) -> Vec<String> {
    let mut found: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    let (mut unreadable, mut unknown) = (Vec::new(), Vec::new());
    for (id, json) in &snapshot.rows {
        match json.as_ref().ok().and_then(|json| uid_in(json)) {
            None => unreadable.push(id.clone()),
            Some(uid) => match ledger.number_in(uid.as_bytes()).filter(|&number| number < entries.len()) {
                Some(number) => found.entry(number).or_default().push(id),
                None => unknown.push(id.clone()),
            },
        }
    }
    let (mut lost, mut doubled, mut bad, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        let ids = found.get(&number).map_or(&[][..], Vec::as_slice);
        let name = || format!("{} {ids:?}", ledger.uid(number));
        match (entry.kind, entry.acknowledged, ids) {
            (Kind::Good, Some(_), []) if snapshot.is_gone(number) => {}
            (Kind::Good, Some(_), []) => lost.push(name()),
            (Kind::Good, Some(sequence), [id]) if !id.ends_with(&format!("-{sequence}")) => {
                elsewhere.push(name());
            }
            (Kind::Good, _, [_, _, ..]) => doubled.push(name()),
            (Kind::Bad | Kind::Empty | Kind::Forged, _, [_, ..]) => bad.push(name()),
            _ => {}
        }
    }
    let all = [
        ("acknowledged and not in the table", lost),
        ("more than once in the table", doubled),
        ("to be refused and yet in the table", bad),
        ("under another key than that of its stream position", elsewhere),
        ("in the table and never published", unknown),
        ("in the table and can't be read", unreadable),
    ];
    all.into_iter().filter_map(|(what, found)| sentence(what, &found)).collect()
}

fn check_dead_letters(ledger: &Ledger, entries: &[Entry], snapshot: &Snapshot) -> Vec<String> {
    let mut found: HashMap<usize, usize> = HashMap::new();
    let mut strangers = Vec::new();
    for (subject, payload) in snapshot.dead.iter().filter(|(subject, _)| !subject.ends_with(".rest")) {
        match ledger.number_in(payload).filter(|&number| number < entries.len()) {
            Some(number) => *found.entry(number).or_default() += 1,
            None => strangers.push(subject.clone()),
        }
    }
    let (mut lost, mut doubled, mut good) = (Vec::new(), Vec::new(), Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        let times = found.get(&number).copied().unwrap_or(0);
        match (entry.kind, entry.acknowledged, times) {
            // The stream of dead letters may lose acknowledged messages too.
            (Kind::Bad, Some(_), 0) if snapshot.gone.is_some() => {}
            (Kind::Bad, Some(_), 0) => lost.push(ledger.uid(number)),
            (Kind::Good | Kind::Empty | Kind::Forged, _, 1..) => good.push(ledger.uid(number)),
            (_, _, 2..) => doubled.push(ledger.uid(number)),
            _ => {}
        }
    }
    let all = [
        ("refused, acknowledged and no dead letter", lost),
        ("more than once a dead letter", doubled),
        ("no bad one and yet a dead letter", good),
        ("a dead letter that was never published", strangers),
    ];
    all.into_iter().filter_map(|(what, found)| sentence(what, &found)).collect()
}

fn check_pages(snapshot: &Snapshot) -> Vec<String> {
    let mut violations = Vec::new();
    let mut table: Vec<&str> = snapshot.rows.iter().map(|(id, _)| id.as_str()).collect();
    table.sort_unstable();
    let paged: Vec<&str> = snapshot.pages.iter().flatten().map(String::as_str).collect();
    if snapshot.mem_len != table.len() {
        violations.push(format!("mem_len is {}, the table has {} rows", snapshot.mem_len, table.len()));
    }
    if !paged.is_sorted_by(|one, next| one < next) {
        violations.push("the pages are not in order, or repeat an id".into());
    }
    if paged != table {
        violations.push(format!("the pages have {} ids, and not those of the table", paged.len()));
    }
    let full = |page: &Vec<String>| page.len() == PAGE;
    if snapshot.pages.iter().rev().skip(1).any(|page| !full(page)) {
        violations.push("a page before the last one is not full".into());
    }
    if snapshot.pages.last().is_some_and(|last| *last != snapshot.last_page) {
        violations.push("/order_pages/last is not the last page".into());
    }
    if snapshot.past_last != 404 {
        violations.push(format!("the page behind the last one is {}", snapshot.past_last));
    }
    violations
}

fn check_answers(snapshot: &Snapshot) -> Vec<String> {
    let wrong = snapshot.rows.iter().filter_map(|(id, json)| {
        let (status, body) = snapshot.answers.get(id)?;
        let same = *status == 200 && json.as_ref().is_ok_and(|json| json == body);
        (!same).then(|| format!("{id} ({status})"))
    });
    sentence("not answered as the table has it", &wrong.collect::<Vec<_>>()).into_iter().collect()
}

fn sentence(what: &str, found: &[String]) -> Option<String> {
    let named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    (!found.is_empty()).then(|| format!("{} {what}, such as {named}", found.len()))
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
