//! A minimal HTTP client: one persistent connection, one request after another.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A persistent connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// Status and body.
pub(crate) type Response = (u16, Vec<u8>);

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, REQUEST_TIMEOUT)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(8192) })
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        self.received.clear();
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((status, start, end)) = parse(&self.received)? {
                return Ok((status, self.received[start..end].to_vec()));
            }
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..read]);
        }
    }
}

/// One request on a separate connection.
pub(crate) fn get(addr: SocketAddr, path: &str) -> io::Result<Response> {
    Connection::open(addr)?.get(path)
}

/// Status, and start and end of the body, once it is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head]).map_err(|_| io::ErrorKind::InvalidData)?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let (Some(status), Some(length)) = (status, length) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (start, end) = (head + 4, head + 4 + length);
    Ok((bytes.len() >= end).then_some((status, start, end)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_are_whole_or_awaited() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse(answer).unwrap(), Some((404, answer.len() - 2, answer.len())));
        assert_eq!(parse(&answer[..answer.len() - 1]).unwrap(), None);
        assert_eq!(parse(b"HTTP/1.1 2").unwrap(), None);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
