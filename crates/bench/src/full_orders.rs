//! `/orders?full=true&limit=1000` by wrk, the server on one core, against nginx that sends as many bytes from a file.

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::nginx::Nginx;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::wrk::SERVER_CORE;
use crate::{REPETITIONS, http, repetition, wrk};

const PATH: &str = "/orders?full=true&limit=1000";

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let table = env.table(env.rows)?;
    let service = Service::start(env, &Setup { core: Some(SERVER_CORE), ..Setup::serving(&table) })?;
    service.wait_len(env.rows)?;
    let (status, answer) = http::get(service.addr, PATH)?;
    ensure!(status == 200, "{PATH} is answered with {status}");
    let nginx = Nginx::start_with_file(env, SERVER_CORE, &answer)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("lists of documents", number);
        ours.push(wrk::one(service.addr, PATH)?);
        limit.push(wrk::one(nginx.addr, "/")?);
    }
    service.stop()?;
    Ok(vec![Figure {
        bench: "documents",
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
