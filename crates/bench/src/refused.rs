//! A backlog in which one of twenty messages becomes a dead letter, compared with a backlog without such messages.

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::{REPETITIONS, orders, repetition};

/// One message in this number is refused.
const ONE_IN: u64 = 20;

const STREAM: &str = "REFUSED";
const SUBJECT: &str = "bench.refused";

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    // Rounded so that the number of refused messages is exact.
    let count = env.orders / ONE_IN * ONE_IN;
    env.make_stream(STREAM, SUBJECT)?;
    env.publish_each(SUBJECT, count, payload)?;
    env.make_stream("ACCEPTED", "bench.accepted")?;
    env.publish("bench.accepted", count)?;
    let (mut ours, mut without) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("refused", number);
        ours.push(take_in(env, STREAM, SUBJECT, count, count / ONE_IN)?);
        without.push(take_in(env, "ACCEPTED", "bench.accepted", count, 0)?);
    }
    Ok(vec![Figure {
        bench: "refused",
        what: format!("backlog of {count}, one in {ONE_IN} refused"),
        unit: "messages/s",
        ours,
        limit: Some(("none refused".to_owned(), without)),
        goal: Goal::OfLimit(0.7),
        note: "committed, or stored as a dead letter, from process start".to_owned(),
    }])
}

/// The payload: half of an order's JSON if it is to be refused.
fn payload(number: u64) -> Vec<u8> {
    let mut json = orders::json(number);
    if number % ONE_IN == ONE_IN - 1 {
        json.truncate(json.len() / 2);
    }
    json
}

/// Messages a second.
fn take_in(env: &mut Environment, stream: &str, subject: &str, count: u64, refused: u64) -> Result<f64> {
    let table = env.empty_table()?;
    env.settle(None)?;
    let (stream, subject) = (stream.to_owned(), subject.to_owned());
    let setup = Setup { table: table.clone(), subject, stream: stream.clone(), core: None, bound: None };
    let service = Service::start(env, &setup)?;
    let seconds = service.wait_position(count)?.as_secs_f64();
    let dead_letters = service.metric("myapp_orders_errors")?;
    service.stop()?;
    ensure!(dead_letters == refused as f64, "{dead_letters} dead letters, not {refused}");
    ensure!(env.rows_in(&table)? == count - refused, "not all orders are in the table");
    // The next repetition stores the dead letters again.
    env.remove_stream(&format!("{stream}_DEAD"))?;
    env.settle(Some(&table))?;
    Ok(count as f64 / seconds)
}
