//! `/orders?full=true&limit=1000` by wrk, the server on one core, against nginx that sends as many bytes from a file.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::nginx::Nginx;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, orders, repetition, wrk};

const PATH: &str = "/orders?full=true&limit=1000";
const LIMIT: u64 = 1000;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let table = env.table(env.rows)?;
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(&table) })?;
    service.wait_len(env.rows)?;
    let answer = newest(env.rows);
    ensure!(received(service.addr)?.ends_with(&answer), "{PATH} is not answered with the newest orders");
    let nginx = Nginx::start_with_file(env, SERVER_CORE, &answer)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("lists of documents", number);
        ours.push(wrk::rate_of_path(service.addr, PATH)?);
        limit.push(wrk::rate_of_path(nginx.addr, "/")?);
    }
    service.stop()?;
    Ok(vec![Figure {
        bench: "full-orders",
        what: PATH.to_owned(),
        unit: "req/s",
        ours,
        limit: Some(("nginx from a file".to_owned(), limit)),
        goal: Goal::OfLimit(0.7),
        note: format!(
            "{} orders in memory, {} bytes an answer, the server on one core",
            env.rows,
            answer.len()
        ),
    }])
}

/// The expected response if orders 0 to `count` are in memory.
fn newest(count: u64) -> Vec<u8> {
    let mut answer = b"[".to_vec();
    for number in (count.saturating_sub(LIMIT)..count).rev() {
        let comma = if answer.len() > 1 { "," } else { "" };
        answer.extend(format!(r#"{comma}{{"id":"{}","order":"#, orders::id(number)).into_bytes());
        answer.extend(orders::json(number));
        answer.push(b'}');
    }
    answer.push(b']');
    answer
}

/// The response with its head. Uses HTTP/1.0, so that the body is not chunked.
fn received(addr: SocketAddr) -> Result<Vec<u8>> {
    let (mut stream, mut answer) = (TcpStream::connect(addr)?, Vec::new());
    write!(stream, "GET {PATH} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
