//! Rows of the table, which others may have written: each is read or refused, and one that is read can be rendered,
//! found by its members, and parsed again from its rendering.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::Model;
use model::shape::Struct;
use order::{Layouts, Parser, RowReader};

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept::new());
}

/// Kept from row to row, as the service keeps it, so that what one row leaves behind meets the next.
struct Kept {
    shape: &'static Struct,
    layouts: Arc<Layouts>,
    reader: RowReader,
    members: Vec<usize>,
}

impl Kept {
    fn new() -> Self {
        let shape = Model::order().expect("the order is a model").shape();
        let layouts = Arc::new(Layouts::new(shape).expect("the model has a layout"));
        let members: Vec<usize> = (0..shape.members.len()).collect();
        Self { shape, reader: RowReader::noting(layouts.clone(), &members), layouts, members }
    }

    fn look_at(&mut self, row: &[u8]) {
        let Ok(body) = self.reader.read("1-1", row) else { return };
        let mut shown = Vec::new();
        self.layouts.write_json(&body, &mut shown).expect("what is read can be shown");
        for &member in &self.members {
            let (mut looked_for, mut noted) = (Vec::new(), Vec::new());
            self.layouts.write_member(&body, member, &mut looked_for).expect("what is read has members");
            self.reader.write_noted(&body, member, &mut noted).expect("what is read has members");
            assert_eq!(looked_for, noted, "a member stands where it was noted");
        }
        let order = Parser::new(self.shape).parse(&shown, "1-1");
        let order = order.expect("a rendered document can be parsed");
        let mut again = Vec::new();
        let body = order.body();
        self.layouts.write_json(body, &mut again).expect("what is kept can be shown");
        assert_eq!(shown, again, "a document parsed from its rendering renders the same");
    }
}

fuzz_target!(|row: &[u8]| KEPT.with_borrow_mut(|kept| kept.look_at(row)));
