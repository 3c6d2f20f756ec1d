//! Compares queries page by page with a sorted and filtered list, while orders come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use model::Model;
use order::{Body, Key, Layouts, Parser};
use proptest::prelude::*;
use serde_json::json;

use crate::body_shards::Slot;
use crate::cache::{Cache, Lookup, WantedInserts};
use crate::entry::Entry;
use crate::query::{Matches, Query};
use crate::stored_row::{RowSource, StoredRow, Unavailable};
use crate::value_hashes::ValueHashes;

const SEARCHED: [&str; 2] = ["track_number", "delivery_service"];

/// Nothing is evicted, so the table is never queried.
struct NoTable;

impl RowSource for NoTable {
    const MAX_ROWS: usize = 1;

    async fn rows(&self, ids: &[&str]) -> Result<Vec<StoredRow>, Unavailable> {
        if ids.is_empty() { Ok(Vec::new()) } else { Err(Unavailable) }
    }
}

/// A cache, and its expected contents: each key with its values.
struct CacheAndModel {
    cache: Arc<Cache>,
    parser: Parser,
    model: BTreeMap<String, [String; 2]>,
}

impl CacheAndModel {
    fn new() -> Self {
        let shape = Model::order().unwrap().shape();
        let search = order::searchable(shape, &SEARCHED.map(str::to_owned)).unwrap();
        let cache = Cache::new(Arc::new(Layouts::new(shape).unwrap()), search, None);
        Self { cache, parser: Parser::new(shape), model: BTreeMap::new() }
    }

    fn add(&mut self, key: &str, values: [u8; 2]) {
        let values = values.map(|value| value.to_string());
        let document =
            json!({ "order_uid": "uid", "track_number": values[0], "delivery_service": values[1] });
        let order = self.parser.parse(document.to_string().as_bytes(), key).unwrap();
        let entry = self.cache.entry_builder().entry_of(&order).unwrap();
        self.cache.insert(0, vec![entry], None, WantedInserts::default());
        self.model.entry(key.to_owned()).or_insert(values);
    }

    fn remove(&mut self, key: &str) {
        self.cache.remove(0, key);
        self.model.remove(key);
    }

    /// All ids that match a query, without its limit.
    fn expected(&self, query: &Query) -> Vec<String> {
        let is_one = |(key, values): &(&String, &[String; 2])| {
            **key >= query.low
                && query.high.as_ref().is_none_or(|high| *key < high)
                && (!query.timed || Key::has_time(key))
                && query.criteria.iter().all(|(path_index, value)| values[*path_index] == *value)
        };
        let mut ids: Vec<_> = self.model.iter().filter(is_one).map(|(key, _)| key.clone()).collect();
        if !query.ascending {
            ids.reverse();
        }
        ids
    }

    /// Where memory has an order.
    fn slot_of(&self, key: &str) -> Option<Slot> {
        self.cache.bodies.find(self.cache.hash(key.as_bytes()), key.as_bytes()).map(Slot)
    }

    /// A query's first page. Completes without waiting, because no body is evicted.
    fn page(&self, query: &Query) -> Matches {
        let found = self.cache.search(query, &NoTable);
        // It yields between batches.
        let mut found = std::pin::pin!(found);
        loop {
            if let Some(found) = found.as_mut().now_or_never() {
                return found.unwrap();
            }
        }
    }
}

/// Times, odd ids, and keys that differ only after the time.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0_u64..30, 1_u64..4).prop_map(|(time, sequence)| format!("{}-{sequence}", 1_700_000_000_000_000_000 + time)),
        2 => (0_u64..30).prop_map(|time| (1_700_000_000_000_000_000 + time).to_string()),
        1 => "[a-c]{1,2}|1[0-9]{0,3}|",
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let time =
        || proptest::option::of((-2_i64..32).prop_map(|time| i128::from(1_700_000_000_000_000_000 + time)));
    let criteria =
        proptest::collection::vec((0_usize..2, (0_u8..3).prop_map(|value| value.to_string())), 0..3);
    (criteria, time(), time(), any::<bool>(), 1_usize..12).prop_map(
        |(criteria, from, to, ascending, limit)| Query {
            criteria,
            low: from.map(Key::first_of_time).unwrap_or_default(),
            high: to.map(Key::first_of_time),
            timed: from.is_some() || to.is_some(),
            ascending,
            limit,
        },
    )
}

/// What happens to orders.
#[derive(Clone, Debug)]
enum Step {
    Add(String, [u8; 2]),
    Remove(String),
}

fn step() -> impl Strategy<Value = Step> {
    let values = || [0_u8..3, 0_u8..3];
    prop_oneof![
        4 => (key(), values()).prop_map(|(key, values)| Step::Add(key, values)),
        1 => key().prop_map(Step::Remove),
    ]
}

fn take(both: &mut CacheAndModel, step: &Step) {
    match step {
        Step::Add(key, values) => both.add(key, *values),
        Step::Remove(key) => both.remove(key),
    }
}

proptest! {
    /// From any cursor on, each page equals the sorted list; so does a page that memory returns at once.
    #[test]
    fn pages_are_those_of_a_sorted_list(
        steps in proptest::collection::vec(step(), 0..120),
        query in query(),
        cursor in proptest::option::of(key()),
    ) {
        let mut both = CacheAndModel::new();
        steps.iter().for_each(|step| take(&mut both, step));
        let mut asked = query.clone();
        if let Some(cursor) = &cursor {
            asked.go_on_after(cursor);
        }
        let behind = |id: &String| match &cursor {
            None => true,
            Some(cursor) if query.ascending => id > cursor,
            Some(cursor) => id < cursor,
        };
        let expected: Vec<_> = both.expected(&query).into_iter().filter(behind).collect();
        let page = both.page(&asked);
        prop_assert_eq!(page.has_more, expected.len() > query.limit);
        prop_assert_eq!(&page.ids, &expected[..expected.len().min(query.limit)]);
        prop_assert_eq!(both.cache.search_at_once(&asked), Some(page));
    }

    /// While orders come and go, pages have no duplicates, include every order that stays, and are sorted.
    #[test]
    fn cursors_hold_while_orders_come_and_go(
        before in proptest::collection::vec(step(), 0..120),
        meanwhile in proptest::collection::vec(proptest::collection::vec(step(), 0..4), 0..40),
        query in query(),
    ) {
        let mut both = CacheAndModel::new();
        before.iter().for_each(|step| take(&mut both, step));
        let mut throughout = both.expected(&query);
        let (mut all, mut asked, mut meanwhile) = (Vec::new(), query.clone(), meanwhile.into_iter());
        loop {
            let page = both.page(&asked);
            all.extend(page.ids.iter().cloned());
            let Some(last) = page.ids.last().filter(|_| page.has_more) else { break };
            asked.go_on_after(last);
            for step in meanwhile.next().unwrap_or_default() {
                take(&mut both, &step);
                let there = both.expected(&query);
                throughout.retain(|id| there.contains(id));
            }
        }
        prop_assert!(all.is_sorted_by(|one, other| if query.ascending { one < other } else { one > other }), "{all:?}");
        prop_assert!(throughout.iter().all(|id| all.contains(id)), "{throughout:?} in {all:?}");
    }
}

/// More orders than are examined under one lock, of which only the last matches.
#[test]
fn a_search_among_many_goes_on_until_it_has_seen_all() {
    let mut both = CacheAndModel::new();
    for n in 0..3000 {
        both.add(&format!("{}-1", 1_700_000_000_000_000_000_u64 + n), [0, u8::from(n == 0)]);
    }
    let criteria = vec![(0, "0".to_owned()), (1, "1".to_owned())];
    let query = Query { low: "1".into(), ..Query::newest(vec![criteria[0].clone()], 3000) };
    assert_eq!(both.cache.search_at_once(&query), None);
    assert_eq!(both.page(&query).ids.len(), 3000);
    let rare = Query::newest(criteria, 1);
    let page = both.page(&rare);
    assert_eq!((page.ids, page.has_more), (vec!["1700000000000000000-1".to_owned()], false));
}

/// Between a query and the reading of its result, an order is removed and another reuses its slot.
#[test]
fn what_was_found_is_read_where_it_was_and_never_as_another() {
    let mut both = CacheAndModel::new();
    both.add("1-1", [0, 0]);
    let found = both.page(&Query::newest(Vec::new(), 1));
    let slot = found.slots[0];
    let read = |both: &CacheAndModel, key: &str| {
        let mut json = Vec::new();
        let lookup = both.cache.write_json_at(slot, key, &mut json).unwrap();
        let mut expected = Vec::new();
        assert_eq!(both.cache.write_json(key, &mut expected).unwrap(), lookup);
        assert_eq!(json, expected);
        lookup
    };
    assert_eq!(read(&both, "1-1"), Lookup::Hit);
    both.cache.remove(0, "1-1");
    assert_eq!(read(&both, "1-1"), Lookup::Miss);
    for number in 0..2000 {
        both.add(&format!("2-{number}"), [0, 1]);
    }
    assert!((0..2000).any(|number| both.slot_of(&format!("2-{number}")) == Some(slot)), "no order is there");
    assert_eq!(read(&both, "1-1"), Lookup::Miss);
    assert_eq!(read(&both, "2-7"), Lookup::Hit);
    both.cache.begin_generation(1);
    assert_eq!(read(&both, "1-1"), Lookup::Miss);
}

/// Before the fill is complete, only orders newer than the table are returned.
#[test]
fn without_the_table_only_what_came_since_is_known() {
    let both = CacheAndModel::new();
    let page = |ids: &[&str], has_more| {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        Matches { ids, slots: Vec::new(), has_more }
    };
    let newest = Query::newest(Vec::new(), 2);
    assert_eq!(both.cache.without_table(&newest, page(&["5", "4"], false)), None);
    both.cache.index.write().note_arrived(Some(&Entry {
        body: Body::evicted("5", &[]),
        hashes: ValueHashes::default(),
        arrived: true,
    }));
    both.cache.index.write().note_arrived(Some(&Entry {
        body: Body::evicted("4", &[]),
        hashes: ValueHashes::default(),
        arrived: true,
    }));
    let known = |query: &Query, found| both.cache.without_table(query, found);
    assert_eq!(known(&newest, page(&["5", "4"], false)), Some(page(&["5", "4"], true)));
    assert_eq!(known(&newest, page(&["5", "3"], false)), None);
    assert_eq!(known(&newest, page(&["5"], false)), None);
    let since = |ascending| Query { low: "4".into(), ascending, ..newest.clone() };
    for ascending in [true, false] {
        assert_eq!(known(&since(ascending), page(&["5"], false)), Some(page(&["5"], false)));
    }
    let ascending = Query { ascending: true, ..newest };
    assert_eq!(known(&ascending, page(&["4", "5"], false)), None);
}
