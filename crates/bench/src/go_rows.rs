//! Rows as the Go service writes them: its descriptors, its order of fields, its keys.

use crate::order_types::{RawDeliveryData, RawItemsData, RawOrderData, RawPaymentData};
use crate::orders;

/// The descriptors of its rows; a test compares them with a row that Go wrote.
#[rustfmt::skip]
const DESCRIPTORS: &[&[u8]] = &[
    b"\xff\xe9\x7f\x03\x01\x01\x0cRawOrderData\x01\xff\x80\x00\x01\x0f\x01\x04SmId\x01\x04\x00\x01\
      \x08Shardkey\x01\x0c\x00\x01\x0fDeliveryService\x01\x0c\x00\x01\nCustomerId\x01\x0c\x00\x01\
      \x11InternalSignature\x01\x0c\x00\x01\x0bDateCreated\x01\x0c\x00\x01\x06Locale\x01\x0c\x00\
      \x01\x07Payment\x01\xff\x82\x00\x01\x05Entry\x01\x0c\x00\x01\x05Items\x01\xff\x86\x00\x01\
      \x08Delivery\x01\xff\x88\x00\x01\x08OofShard\x01\x0c\x00\x01\x0bTrackNumber\x01\x0c\x00\x01\
      \x08OrderUid\x01\x0c\x00\x01\x07LocalID\x01\x0c\x00\x00\x00",
    b"\xff\xb0\xff\x81\x03\x01\x01\x0eRawPaymentData\x01\xff\x82\x00\x01\x0b\x01\tCustomFee\x01\
      \x04\x00\x01\tPaymentDt\x01\x04\x00\x01\x08Provider\x01\x0c\x00\x01\x08Currency\x01\x0c\x00\
      \x01\x0bTransaction\x01\x0c\x00\x01\nGoodsTotal\x01\x04\x00\x01\x0cDeliveryCost\x01\x04\x00\
      \x01\x04Bank\x01\x0c\x00\x01\x06Amount\x01\x04\x00\x01\tRequestId\x01\x0c\x00\x01\x07LocalID\
      \x01\x0c\x00\x00\x00",
    b"\"\xff\x85\x02\x01\x01\x13[]main.RawItemsData\x01\xff\x86\x00\x01\xff\x84\x00\x00",
    b"\xff\x9b\xff\x83\x03\x01\x01\x0cRawItemsData\x01\xff\x84\x00\x01\x0c\x01\x05Price\x01\x04\
      \x00\x01\x06ChrtId\x01\x04\x00\x01\x06Status\x01\x04\x00\x01\x05Brand\x01\x0c\x00\x01\nTotal\
      Price\x01\x04\x00\x01\x04Size\x01\x0c\x00\x01\x04Sale\x01\x04\x00\x01\x04Name\x01\x0c\x00\
      \x01\x03Rid\x01\x0c\x00\x01\x0bTrackNumber\x01\x0c\x00\x01\x04NmId\x01\x04\x00\x01\x07LocalI\
      D\x01\x0c\x00\x00\x00",
    b"n\xff\x87\x03\x01\x01\x0fRawDeliveryData\x01\xff\x88\x00\x01\x08\x01\x07Address\x01\x0c\x00\
      \x01\x04City\x01\x0c\x00\x01\x03Zip\x01\x0c\x00\x01\x05Phone\x01\x0c\x00\x01\x04Name\x01\x0c\
      \x00\x01\x05Email\x01\x0c\x00\x01\x06Region\x01\x0c\x00\x01\x07LocalID\x01\x0c\x00\x00\x00",
];

/// The type id of the value in those descriptors.
const TYPE: i64 = 64;

/// The head and the tail of `COPY … (FORMAT binary)`.
pub(crate) const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(crate) const COPY_TAIL: &[u8] = b"\xff\xff";

/// Row `number` of the table, in COPY's binary format.
pub(crate) fn copy_row(number: u64) -> Vec<u8> {
    let (id, row) = row(number);
    let mut copy = 2_i16.to_be_bytes().to_vec();
    for field in [id.as_bytes(), &row] {
        copy.extend_from_slice(&(field.len() as u32).to_be_bytes());
        copy.extend_from_slice(field);
    }
    copy
}

/// The two values of row `number`.
pub(crate) fn row(number: u64) -> (String, Vec<u8>) {
    let id = orders::id(number);
    let row = gob(&orders::order(number), &id);
    (id, row)
}

/// The gob of an order with its key.
fn gob(order: &RawOrderData, id: &str) -> Vec<u8> {
    let mut message = Vec::new();
    put_int(&mut message, TYPE);
    put_order(&mut message, order, id);
    let mut row = DESCRIPTORS.concat();
    put_uint(&mut row, message.len() as u64);
    row.extend_from_slice(&message);
    row
}

fn put_order(out: &mut Vec<u8>, order: &RawOrderData, id: &str) {
    let mut value = Fields::new(out);
    value.int(order.sm_id).text(&order.shardkey).text(&order.delivery_service).text(&order.customer_id);
    value.text(&order.internal_signature).text(&order.date_created).text(&order.locale);
    value.some(|out| put_payment(out, &order.payment)).text(&order.entry);
    if order.items.is_empty() {
        value.none();
    } else {
        value.some(|out| {
            put_uint(out, order.items.len() as u64);
            order.items.iter().for_each(|item| put_item(out, item));
        });
    }
    value.some(|out| put_delivery(out, &order.delivery));
    value.text(&order.oof_shard).text(&order.track_number).text(&order.order_uid).text(id).end();
}

fn put_payment(out: &mut Vec<u8>, payment: &RawPaymentData) {
    let mut value = Fields::new(out);
    value.int(payment.custom_fee).int(payment.payment_dt).text(&payment.provider).text(&payment.currency);
    value.text(&payment.transaction).int(payment.goods_total).int(payment.delivery_cost).text(&payment.bank);
    value.int(payment.amount).text(&payment.request_id).end();
}

fn put_item(out: &mut Vec<u8>, item: &RawItemsData) {
    let mut value = Fields::new(out);
    value.int(item.price).int(item.chrt_id).int(item.status).text(&item.brand).int(item.total_price);
    value.text(&item.size).int(item.sale).text(&item.name).text(&item.rid).text(&item.track_number);
    value.int(item.nm_id).end();
}

fn put_delivery(out: &mut Vec<u8>, delivery: &RawDeliveryData) {
    let mut value = Fields::new(out);
    value.text(&delivery.address).text(&delivery.city).text(&delivery.zip).text(&delivery.phone);
    value.text(&delivery.name).text(&delivery.email).text(&delivery.region).end();
}

/// Writes the fields of a struct: zero fields are omitted, and each other field begins with the delta from the previous
/// one.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    step: u64,
}

impl<'o> Fields<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, step: 1 }
    }

    fn none(&mut self) -> &mut Self {
        self.step += 1;
        self
    }

    fn some(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        put_uint(self.out, self.step);
        self.step = 1;
        put(self.out);
        self
    }

    fn int(&mut self, value: i64) -> &mut Self {
        if value == 0 { self.none() } else { self.some(|out| put_int(out, value)) }
    }

    fn text(&mut self, value: &str) -> &mut Self {
        if value.is_empty() {
            return self.none();
        }
        self.some(|out| {
            put_uint(out, value.len() as u64);
            out.extend_from_slice(value.as_bytes());
        })
    }

    fn end(&mut self) {
        self.out.push(0);
    }
}

/// Below 128 the byte itself, else the negated number of its bytes, and the bytes.
fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        return out.push(value as u8);
    }
    let skipped = value.leading_zeros() as usize / 8;
    out.push((8 - skipped as u8).wrapping_neg());
    out.extend_from_slice(&value.to_be_bytes()[skipped..]);
}

/// The lowest bit is the sign.
fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use order::{Layouts, RowReader};

    use super::*;

    #[test]
    fn the_sample_is_the_row_that_go_wrote() {
        let corpus = include_str!("../../../crates/order/tests/corpus/rows.jsonl");
        let line: serde_json::Value = serde_json::from_str(corpus.lines().next().unwrap()).unwrap();
        assert_eq!(line["name"], "seed/sample");
        let written = BASE64_STANDARD.decode(line["row"].as_str().unwrap()).unwrap();
        let sample: RawOrderData = serde_json::from_str(&model::Model::order().unwrap().sample).unwrap();
        let ours = gob(&sample, "1700000000123456789");
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&written));
        assert_eq!(ours, written);
    }

    #[test]
    fn rows_are_read_as_the_orders_that_they_are() {
        let layouts = Arc::new(Layouts::new(model::Model::order().unwrap().shape()).unwrap());
        let mut reader = RowReader::new(layouts.clone());
        for number in 0..200 {
            let body = reader.read("1-1", &gob(&orders::order(number), &orders::id(number))).unwrap();
            let mut json = Vec::new();
            layouts.write_json(&body, &mut json).unwrap();
            assert_eq!(json, orders::json(number));
        }
    }
}
