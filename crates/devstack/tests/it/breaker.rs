//! Each mode of the breaker, in front of an echo server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use devstack::breaker::{Breaker, Mode};
use devstack::wait_for;

const LIMIT: Duration = Duration::from_secs(10);

fn echo() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(addr)
}

fn connect(breaker: &Breaker) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(breaker.addr())?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn ask(mut stream: &TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(word)?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn is_cut(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) if error.kind() == ErrorKind::Interrupted => is_cut(stream),
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Whether neither a byte nor an end arrives for a while. A signal interrupts a read with a timeout, which shows
/// nothing.
fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = loop {
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result.err(),
        }
    };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    error.is_some_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn pass_passes_bytes_and_the_end_of_either_side() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let stream = connect(&breaker).unwrap();
    assert_eq!(ask(&stream, b"hello").unwrap(), b"hello");
    assert_eq!(breaker.connections(), 1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_cut(&stream));
    assert!(wait_for(LIMIT, || breaker.connections() == 0));
}

#[test]
fn closed_cuts_and_accepts_only_to_close() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let stream = connect(&breaker).unwrap();
    ask(&stream, b"hello").unwrap();
    breaker.set(Mode::Closed);
    assert!(is_cut(&stream));
    assert!(is_cut(&connect(&breaker).unwrap()));
    breaker.set(Mode::Pass);
    assert_eq!(ask(&connect(&breaker).unwrap(), b"again").unwrap(), b"again");
}

#[test]
fn refused_has_no_listener_and_gets_its_port_back() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let stream = connect(&breaker).unwrap();
    ask(&stream, b"hello").unwrap();
    for _ in 0..20 {
        breaker.set(Mode::Refused);
        assert_eq!(connect(&breaker).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        breaker.set(Mode::Pass);
        assert_eq!(ask(&connect(&breaker).unwrap(), b"again").unwrap(), b"again");
    }
    assert!(is_cut(&stream));
}

#[test]
fn black_hole_holds_bytes_until_it_ends() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let old = connect(&breaker).unwrap();
    ask(&old, b"hello").unwrap();
    breaker.set(Mode::BlackHole);
    let new = connect(&breaker).unwrap();
    for mut stream in [&old, &new] {
        stream.write_all(b"lost?").unwrap();
        assert!(is_silent(stream));
    }
    breaker.set(Mode::Pass);
    for mut stream in [&old, &new] {
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"lost?");
    }
}

#[test]
fn what_was_swallowed_stays_away_and_new_connections_pass() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let old = connect(&breaker).unwrap();
    ask(&old, b"hello").unwrap();
    breaker.set(Mode::Swallow);
    let new = connect(&breaker).unwrap();
    for mut stream in [&old, &new] {
        stream.write_all(b"lost").unwrap();
    }
    // These two, and the one with which the breaker wakes itself.
    assert!(devstack::wait_for(LIMIT, || breaker.made() == 3));
    breaker.set(Mode::Pass);
    ask(&connect(&breaker).unwrap(), b"hello").unwrap();
    for stream in [&old, &new] {
        assert!(is_silent(stream));
    }
}

#[test]
fn slow_takes_the_time_that_its_rate_says() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let stream = connect(&breaker).unwrap();
    breaker.set(Mode::Slow { bytes_per_second: 10_000 });
    let start = Instant::now();
    ask(&stream, &[7; 4_000]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
}

#[test]
fn cut_at_loses_the_text_cuts_and_then_passes() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let (mut stream, other) = (connect(&breaker).unwrap(), connect(&breaker).unwrap());
    breaker.set(Mode::CutAt { text: "lost" });
    ask(&stream, b"hello").unwrap();
    ask(&other, b"hello").unwrap();
    stream.write_all(b"it is lost here").unwrap();
    assert!(is_cut(&stream) && is_cut(&other));
    assert_eq!(breaker.mode(), Mode::Pass);
    assert_eq!(ask(&connect(&breaker).unwrap(), b"lost").unwrap(), b"lost");
}

#[test]
fn cut_after_cuts_in_the_middle_and_then_passes() {
    let breaker = Breaker::start(echo().unwrap()).unwrap();
    let mut stream = connect(&breaker).unwrap();
    ask(&stream, b"hello").unwrap();
    // Ten bytes to the server, five of them back.
    breaker.set(Mode::CutAfter { bytes: 15 });
    stream.write_all(b"0123456789").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"01234");
    assert_eq!(breaker.mode(), Mode::Pass);
    assert_eq!(ask(&connect(&breaker).unwrap(), b"again").unwrap(), b"again");
}
