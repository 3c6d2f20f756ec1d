//! States with one error each, which the checker must report.

use super::*;

/// 120 orders, two bad messages and an empty one, all acknowledged, and one order that is not.
fn ledger() -> Ledger {
    let ledger = Ledger::new(5);
    for _ in 0..120 {
        let number = ledger.enter(Kind::Good);
        ledger.acknowledge(number, number as u64 + 1);
    }
    for kind in [Kind::Bad, Kind::Bad, Kind::Empty] {
        let number = ledger.enter(kind);
        ledger.acknowledge(number, number as u64 + 1);
    }
    ledger.enter(Kind::Good);
    ledger
}

/// The correct state.
fn right(ledger: &Ledger) -> Snapshot {
    let row = |number: usize| {
        let json = format!("{{\"order_uid\":\"{}\"}}", ledger.uid(number));
        (format!("{}-{}", 1_000 + number, number + 1), Ok(json))
    };
    let rows: Vec<Row> = (0..120).map(row).collect();
    let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
    let pages: Vec<Vec<String>> = ids.chunks(PAGE).map(<[String]>::to_vec).collect();
    Snapshot {
        answers: rows.iter().map(|(id, json)| (id.clone(), (200, json.clone().unwrap()))).collect(),
        found: rows.iter().map(|(id, _)| (id.clone(), format!("[\"{id}\"]"))).collect(),
        dead: (120..122).map(|n| (format!("dead.ORDERS.TESTING.{n}"), ledger.uid(n).into_bytes())).collect(),
        mem_len: rows.len(),
        last_page: pages.last().unwrap().clone(),
        past_last: 404,
        gone: None,
        pages,
        rows,
    }
}

/// The checker's output for the correct state with one change.
fn violations_after(change: impl FnOnce(&Ledger, &mut Snapshot)) -> String {
    let ledger = ledger();
    let mut snapshot = right(&ledger);
    change(&ledger, &mut snapshot);
    check(&ledger, &snapshot).join("; ")
}

/// Makes memory equal to the table, so that only the table is wrong.
fn memory_follows(snapshot: &mut Snapshot) {
    snapshot.rows.sort_by(|one, other| one.0.cmp(&other.0));
    let ids: Vec<String> = snapshot.rows.iter().map(|(id, _)| id.clone()).collect();
    snapshot.pages = ids.chunks(PAGE).map(<[String]>::to_vec).collect();
    snapshot.last_page = snapshot.pages.last().unwrap().clone();
    snapshot.mem_len = ids.len();
}

#[test]
fn nothing_is_wrong_where_all_is_right() {
    assert_eq!(violations_after(|_, _| ()), "");
}

#[test]
fn unacknowledged_message_may_be_stored_once() {
    let add = |ledger: &Ledger, snapshot: &mut Snapshot, id: &str| {
        snapshot.rows.push((id.into(), Ok(format!("{{\"order_uid\":\"{}\"}}", ledger.uid(123)))));
        memory_follows(snapshot);
    };
    assert_eq!(violations_after(|ledger, snapshot| add(ledger, snapshot, "2000-200")), "");
    let twice = violations_after(|ledger, snapshot| {
        add(ledger, snapshot, "2000-200");
        add(ledger, snapshot, "2000-201");
    });
    assert!(twice.starts_with("1 more than once in the table"), "{twice}");
}

#[test]
fn a_lost_order_is_seen() {
    let words = violations_after(|_, snapshot| {
        drop(snapshot.rows.remove(17));
        memory_follows(snapshot);
    });
    assert!(words.starts_with("1 acknowledged and not in the table, such as chaos-5-17."), "{words}");
    assert!(!words.contains(';'), "{words}");
}

#[test]
fn only_what_nats_no_longer_has_may_be_missing() {
    let without = |number: usize| {
        violations_after(|_, snapshot| {
            snapshot.gone = Some(std::collections::HashSet::from([17]));
            drop(snapshot.rows.remove(number));
            memory_follows(snapshot);
        })
    };
    assert_eq!(without(17), "");
    assert!(without(18).starts_with("1 acknowledged and not in the table, such as chaos-5-18."));
}

#[test]
fn a_doubled_order_is_seen() {
    let words = violations_after(|_, snapshot| {
        let json = snapshot.rows[3].1.clone();
        snapshot.rows.push(("3000-4".into(), json));
        memory_follows(snapshot);
    });
    assert!(words.starts_with("1 more than once in the table") && !words.contains(';'), "{words}");
}

#[test]
fn other_wrong_rows_are_seen() {
    type Change = fn(&Ledger, &mut Snapshot);
    let changes: [(Change, &str); 4] = [
        (|_, snapshot| snapshot.rows[3].0 = "3000-77".into(), "under another key"),
        (|_, snapshot| snapshot.rows[3].1 = Err("cut".into()), "can't be read"),
        (|ledger, snapshot| snapshot.rows.push(row_of(ledger, 121)), "to be refused and yet in the table"),
        (|_, snapshot| snapshot.rows.push(row_of(&Ledger::new(9), 1)), "never published"),
    ];
    for (change, wanted) in changes {
        let words = violations_after(|ledger, snapshot| {
            change(ledger, snapshot);
            memory_follows(snapshot);
        });
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
}

fn row_of(ledger: &Ledger, number: usize) -> Row {
    ("3000-1".into(), Ok(format!("{{\"order_uid\":\"{}\"}}", ledger.uid(number))))
}

#[test]
fn dead_letters_are_counted() {
    let lost = violations_after(|_, snapshot| drop(snapshot.dead.pop()));
    assert_eq!(lost, "1 refused, acknowledged and no dead letter, such as chaos-5-121.");
    let doubled = violations_after(|_, snapshot| snapshot.dead.push(snapshot.dead[0].clone()));
    assert_eq!(doubled, "1 more than once a dead letter, such as chaos-5-120.");
    let good = violations_after(|ledger, snapshot| {
        snapshot.dead.push(("dead.x".into(), ledger.uid(1).into_bytes()))
    });
    assert_eq!(good, "1 no bad one and yet a dead letter, such as chaos-5-1.");
    // The second part of a large dead letter does not count as a dead letter.
    assert_eq!(
        violations_after(|_, snapshot| snapshot.dead.push(("dead.ORDERS.TESTING.1.rest".into(), Vec::new()))),
        ""
    );
}

#[test]
fn pages_with_a_repeat_a_gap_or_a_wrong_order_are_seen() {
    type Change = fn(&mut Snapshot);
    let changes: [(Change, &str); 7] = [
        (|snapshot| snapshot.pages[0][1] = snapshot.pages[0][0].clone(), "not in order, or repeat"),
        (|snapshot| snapshot.pages[1].swap(3, 4), "not in order, or repeat"),
        (|snapshot| drop(snapshot.pages[0].pop()), "is not full"),
        (|snapshot| drop(snapshot.pages.remove(1)), "not those of the table"),
        (|snapshot| snapshot.mem_len += 1, "mem_len is 121"),
        (|snapshot| drop(snapshot.last_page.pop()), "is not the last page"),
        (|snapshot| snapshot.past_last = 200, "behind the last one is 200"),
    ];
    for (change, wanted) in changes {
        let words = violations_after(|_, snapshot| change(snapshot));
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
}

#[test]
fn wrong_answers_are_seen() {
    for answer in [(404, String::new()), (200, "{\"order_uid\":\"another\"}".into())] {
        let words = violations_after(|_, snapshot| {
            let id = snapshot.rows[5].0.clone();
            snapshot.answers.insert(id, answer);
        });
        assert!(words.contains("1 not answered as the table has it"), "{words}");
    }
}

#[test]
fn an_order_that_is_not_found_is_seen() {
    let words = violations_after(|_, snapshot| {
        snapshot.found.insert(snapshot.rows[5].0.clone(), "[]".into());
    });
    assert!(words.contains("1 not found by their numbers"), "{words}");
}
