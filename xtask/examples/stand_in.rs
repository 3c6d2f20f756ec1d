//! A fake service for the tests of `up`: it answers `/readyz`, and ends on SIGTERM or a request for `/end`, or does
//! what `STAND_IN` says.
#![allow(clippy::print_stdout, reason = "it says what it does")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("serve") {
        println!("stand-in with PG_PORT={}", variable("PG_PORT"));
        std::process::exit(7);
    }
    let behaviour = variable("STAND_IN");
    if behaviour == "refuse" {
        std::process::exit(3);
    }
    println!("stand-in with DATABASE_URL={}", variable("DATABASE_URL"));
    println!("stand-in with MODEL={}", variable("MODEL"));
    let mut signals = Signals::new([SIGTERM])?;
    let listener = TcpListener::bind(variable("HTTP_ADDR"))?;
    let answers = behaviour.clone();
    thread::spawn(move || serve(&listener, &answers));
    for _ in signals.forever() {
        println!("stand-in drains");
        if behaviour != "stay" {
            std::process::exit(0);
        }
    }
    Ok(())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn serve(listener: &TcpListener, behaviour: &str) {
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        if request.starts_with(b"GET /end ") {
            std::process::exit(4);
        }
        let body = match behaviour {
            "misfit" => r#"{"ready":false,"fill":{"up":false,"reason":"5 of 5 rows","model_fits":false}}"#,
            "wait" => r#"{"ready":false,"nats":{"up":false,"reason":"no such host"},"fill":{"up":true}}"#,
            _ => r#"{"ready":true}"#,
        };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}
