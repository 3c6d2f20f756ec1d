//! Orders for measurements: distinct, with 0 to 5 items, 0.8 to 2 kB of JSON, and Cyrillic names.
//!
//! An order depends only on its number, so that every tool can regenerate it.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use fastrand::Rng;

use crate::order_types::{RawDeliveryData, RawItemsData, RawOrderData, RawPaymentData};

/// Arbitrary, but constant.
const SEED: u64 = 0x5eed_0f0d_e25a_11fe;

/// Number of orders generated before they are sent on.
const CHUNK: u64 = 256;

const NAMES: [&str; 8] = [
    "Иванова Мария Сергеевна",
    "Пётр Ильич Щербаков",
    "Ольга Кузнецова",
    "Дмитрий Анатольевич Орлов",
    "Test Testov",
    "Айгуль Нурланова",
    "Анна-Мария Лебедева",
    "Сергей Ким",
];
const CITIES: [&str; 6] =
    ["Москва", "Санкт-Петербург", "Нижний Новгород", "Kiryat Mozkin", "Екатеринбург", "Тверь"];
const STREETS: [&str; 5] =
    ["улица Льва Толстого", "проспект Мира", "Ploshad Mira", "набережная Фонтанки", "Большая Садовая улица"];
const GOODS: [&str; 8] = [
    "Тушь для ресниц",
    "Mascaras",
    "Кроссовки беговые мужские",
    "Чехол для телефона",
    "Платье летнее",
    "Кофе в зёрнах",
    "Набор отвёрток",
    "Book",
];
const BRANDS: [&str; 5] = ["Vivienne Sabo", "Белый кит", "Nike", "Умка", "Заря"];
const BANKS: [&str; 4] = ["alpha", "сбер", "tinkoff", "втб"];

/// The JSON of order `number`, as the service renders it.
pub(crate) fn json(number: u64) -> Vec<u8> {
    // The model always serializes.
    serde_json::to_vec(&order(number)).unwrap_or_default()
}

/// The key that the Go service would use: decimal nanoseconds.
pub(crate) fn id(number: u64) -> String {
    (1_700_000_000_000_000_000 + number * 1_000_003).to_string()
}

/// Order `number`.
pub(crate) fn order(number: u64) -> RawOrderData {
    let mut rng = Rng::with_seed(SEED ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let uid = format!("{:016x}{number:08x}test", rng.u64(..));
    let track = format!("WBIL{number:010}TRACK");
    let items: Vec<_> = (0..rng.usize(0..=5)).map(|_| item(&mut rng, &track)).collect();
    RawOrderData {
        entry: "WBIL".into(),
        delivery: delivery(&mut rng),
        payment: payment(&mut rng, &uid, &items),
        locale: choose(&mut rng, &["ru", "en", "kk"]),
        internal_signature: signature(&mut rng, items.len()),
        items,
        customer_id: format!("customer-{}", rng.u32(..10_000_000)),
        delivery_service: choose(&mut rng, &["meest", "сдэк", "boxberry"]),
        shardkey: rng.u8(..10).to_string(),
        sm_id: rng.i64(0..1000),
        date_created: date(&mut rng),
        oof_shard: rng.u8(..4).to_string(),
        order_uid: uid,
        track_number: track,
        local_id: String::new(),
    }
}

fn delivery(rng: &mut Rng) -> RawDeliveryData {
    let (house, flat) = (rng.u16(1..200), rng.u16(1..400));
    RawDeliveryData {
        name: choose(rng, &NAMES),
        phone: format!("+79{:09}", rng.u32(..1_000_000_000)),
        zip: format!("{:06}", rng.u32(100_000..700_000)),
        city: choose(rng, &CITIES),
        address: format!("{}, дом {house}, квартира {flat}", choose(rng, &STREETS)),
        region: choose(rng, &["Московская область", "Kraiot", "Тверская область"]),
        email: format!("buyer{}@example.com", rng.u32(..100_000_000)),
        ..RawDeliveryData::default()
    }
}

fn payment(rng: &mut Rng, uid: &str, items: &[RawItemsData]) -> RawPaymentData {
    let goods_total: i64 = items.iter().map(|item| item.total_price).sum();
    let delivery_cost = rng.i64(0..2000);
    RawPaymentData {
        transaction: uid.into(),
        currency: choose(rng, &["RUB", "USD", "KZT"]),
        provider: "wbpay".into(),
        amount: goods_total + delivery_cost,
        payment_dt: 1_637_907_727 + rng.i64(0..60_000_000),
        bank: choose(rng, &BANKS),
        delivery_cost,
        goods_total,
        ..RawPaymentData::default()
    }
}

fn item(rng: &mut Rng, track: &str) -> RawItemsData {
    let (price, sale) = (rng.i64(100..20_000), rng.i64(0..70));
    RawItemsData {
        chrt_id: rng.i64(1_000_000..99_999_999),
        track_number: track.into(),
        price,
        rid: format!("{:016x}btest", rng.u64(..)),
        name: choose(rng, &GOODS),
        sale,
        size: choose(rng, &["0", "S", "42", "XL"]),
        total_price: price * (100 - sale) / 100,
        nm_id: rng.i64(1_000_000..9_999_999),
        brand: choose(rng, &BRANDS),
        status: 202,
        ..RawItemsData::default()
    }
}

/// Longer for few items, so that no order is smaller than real ones.
fn signature(rng: &mut Rng, items: usize) -> String {
    let words = [8, 4, 2, 0, 0, 0][items.min(5)];
    (0..words).map(|_| format!("{:016x}", rng.u64(..))).collect()
}

fn date(rng: &mut Rng) -> String {
    let (month, day) = (rng.u8(1..=12), rng.u8(1..=28));
    format!("2021-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rng.u8(..24), rng.u8(..60), rng.u8(..60))
}

fn choose(rng: &mut Rng, words: &[&str]) -> String {
    words[rng.usize(..words.len())].to_owned()
}

/// Calls `make` for each number on two threads, and sends the results in chunks, in any order.
pub(crate) fn chunks(numbers: Range<u64>, make: fn(u64) -> Vec<u8>) -> Receiver<Vec<Vec<u8>>> {
    let (sender, chunks) = sync_channel(64);
    for thread in 0..2 {
        let (sender, numbers) = (sender.clone(), numbers.clone());
        std::thread::spawn(move || {
            let starts = numbers.clone().step_by(CHUNK as usize).skip(thread).step_by(2);
            for start in starts {
                let chunk = (start..numbers.end.min(start + CHUNK)).map(make).collect();
                if sender.send(chunk).is_err() {
                    return;
                }
            }
        });
    }
    chunks
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn orders_are_of_the_size_of_real_ones() {
        let orders: Vec<_> = (0..3000).map(json).collect();
        let (least, most) = (orders.iter().map(Vec::len).min(), orders.iter().map(Vec::len).max());
        assert!(least >= Some(800) && most <= Some(2048), "{least:?} to {most:?}");
        assert!((0..=5).all(|count| (0..100).any(|number| order(number).items.len() == count)));
    }

    #[test]
    fn orders_are_distinct_and_the_same_again() {
        let uids: HashSet<_> = (0..3000).map(|number| order(number).order_uid).collect();
        assert_eq!(uids.len(), 3000);
        assert_eq!(json(17), json(17));
    }

    #[test]
    fn orders_are_answered_as_they_are_sent() {
        let layouts =
            std::sync::Arc::new(order::Layouts::new(model::Model::order().unwrap().shape()).unwrap());
        let mut parser = order::Parser::new(model::Model::order().unwrap().shape());
        for number in 0..200 {
            let sent = json(number);
            let order = parser.parse(&sent, "1-1").unwrap();
            let mut answered = Vec::new();
            layouts.write_json(order.body(), &mut answered).unwrap();
            assert_eq!(String::from_utf8(answered), String::from_utf8(sent));
        }
    }

    #[test]
    fn chunks_hold_every_number_once() {
        let number = |number: u64| number.to_be_bytes().to_vec();
        let all: HashSet<_> = chunks(0..1000, number).into_iter().flatten().collect();
        assert_eq!(all, (0..1000).map(number).collect());
    }
}
