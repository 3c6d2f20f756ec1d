//! Payloads of messages, from anyone: each is an order or refused, and an order is the same as a row and in
//! memory. What the quick reader takes, the thorough one takes for the same.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::Model;
use order::{Layouts, Parser, RowReader};

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept::new());
}

/// Kept from payload to payload, as the service keeps it.
struct Kept {
    parser: Parser,
    layouts: Arc<Layouts>,
    reader: RowReader,
}

impl Kept {
    fn new() -> Self {
        let shape = Model::order().expect("the order is a model").shape();
        let layouts = Arc::new(Layouts::new(shape).expect("the model has a layout"));
        let parser = Parser::checking(shape, &["order_uid".to_owned()], false).expect("it has an order_uid");
        Self { parser, reader: RowReader::new(layouts.clone()), layouts }
    }

    fn look_at(&mut self, payload: &[u8]) {
        if let Ok(text) = std::str::from_utf8(payload) {
            assert!(self.parser.is_the_same_to_both(text, "1700000000123456789-42"));
        }
        let order = match self.parser.parse(payload, "1700000000123456789-42") {
            Ok(order) => order,
            Err(refusal) => {
                assert!(refusal.offset.is_none_or(|offset| offset <= payload.len()), "{refusal:?}");
                return;
            }
        };
        serde_json::from_slice::<serde::de::IgnoredAny>(payload).expect("accepted payloads are JSON");
        let mut row = Vec::new();
        self.layouts.write_row(&order, &mut row);
        let read = self.reader.read("1700000000123456789-42", &row).expect("what is written can be read");
        assert_eq!(self.json(order.body()), self.json(&read), "before and after a restart");
    }

    fn json(&self, body: &order::Body) -> Vec<u8> {
        let mut shown = Vec::new();
        self.layouts.write_json(body, &mut shown).expect("what is kept can be shown");
        shown
    }
}

fuzz_target!(|payload: &[u8]| KEPT.with_borrow_mut(|kept| kept.look_at(payload)));
