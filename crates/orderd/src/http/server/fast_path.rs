//! The fast path of a connection: `GET /order/{id}`, `GET /order?member=value` and `GET /orders?member=value`, the bulk
//! of the traffic.
//!
//! Finding and rendering an order takes less than a microsecond; hyper, the router and its layers take several. So this
//! module answers the simplest form of these requests, with the same response as the routes. At the first other or
//! incomplete request, hyper takes over the connection, with all bytes read so far.

use std::io::Write as _;
use std::ops::Range;
use std::time::{Instant, SystemTime};

use axum::body::HttpBody;
use axum::response::Response;
use bytes::{Buf, BytesMut};
use cache::{Criterion, LIMIT, Lookup, Query};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::http::App;
use crate::http::middleware::{auth, host, no_store};
use crate::http::response_budget::LARGE_BYTES;
use crate::http::routes::{newest_order, order, query};
use crate::http::server::HEADERS;
use crate::http::server::connection_phase::CLOSE_NOTICE;
use crate::http::server::path_escapes::is_unreserved;

/// Initial capacity for requests and for a response; most need no more.
const READ_BUFFER_BYTES: usize = 4096;
const RESPONSE_BUFFER_BYTES: usize = 2048;

/// Longer pipelined responses are sent before the next is rendered, and their buffer is freed: many clients may request
/// many large orders without reading them.
const MAX_PIPELINED_BYTES: usize = 64 << 10;

/// Serves plain requests. Returns what was read of the first other request; `None` if the connection is finished and
/// must be closed.
pub(crate) async fn serve<S>(stream: &mut S, app: &App, stop: &CancellationToken) -> Option<BytesMut>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut read = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let mut responses = PipelinedResponses::new();
    let mut last = Instant::now();
    // Not reset for each request, which would cost more than serving the order.
    let mut limit = app.settings.http_idle_timeout;
    let mut idle = std::pin::pin!(tokio::time::sleep(limit));
    let (mut stopped, mut is_stopped) = (std::pin::pin!(stop.cancelled()), false);
    loop {
        tokio::select! {
            biased;
            count = stream.read_buf(&mut read) => {
                count.ok().filter(|&count| count > 0)?;
            }
            () = &mut stopped, if !is_stopped => {
                // The notice period begins now, however long the connection has been idle.
                (is_stopped, limit, last) = (true, limit.min(CLOSE_NOTICE), Instant::now());
                idle.as_mut().reset((last + limit).into());
                continue;
            }
            () = &mut idle => {
                if last.elapsed() >= limit {
                    return None;
                }
                idle.as_mut().reset((last + limit).into());
                continue;
            }
        }
        last = Instant::now();
        while let Some(request) = plain(&read, app) {
            let text = |range: Range<usize>| std::str::from_utf8(&read[range]).unwrap_or_default();
            // The last response says that it is.
            responses.ends = request.length == read.len() && app.health.is_draining();
            match request.asked {
                FastTarget::Order(id) => match responses.push(text(id.clone()), last, app) {
                    Lookup::Hit => {}
                    // Sends earlier responses first; later requests stay on the fast path.
                    Lookup::Evicted => {
                        responses.send(stream).await?;
                        if !responses.push_from_table(text(id), last, app).await {
                            break;
                        }
                    }
                    Lookup::Miss => break,
                },
                FastTarget::Newest(member, value) => {
                    let Ok(criterion) = app.members().criterion(member, text(value)) else { break };
                    if !responses.push_newest(&criterion, last, app) {
                        responses.send(stream).await?;
                        if !responses.push_newest_from_table(criterion, last, app).await {
                            break;
                        }
                    }
                }
                FastTarget::Search(member, value) => {
                    let Ok(criterion) = app.members().criterion(member, text(value)) else { break };
                    if !responses.push_found(criterion, last, app) {
                        break;
                    }
                }
            }
            read.advance(request.length);
            if responses.ends {
                responses.send(stream).await?;
                return None;
            }
            if responses.bytes.len() >= MAX_PIPELINED_BYTES {
                responses.send(stream).await?;
            }
        }
        responses.send(stream).await?;
        if !read.is_empty() {
            return Some(read);
        }
        read.reserve(READ_BUFFER_BYTES);
    }
}

/// A request that is answered on the fast path.
struct FastRequest {
    asked: FastTarget,
    length: usize,
}

/// The target, as ranges of the bytes read.
enum FastTarget {
    /// The order of an id.
    Order(Range<usize>),
    /// The newest order with a value in a member.
    Newest(usize, Range<usize>),
    /// The orders with a value of a searched member.
    Search(usize, Range<usize>),
}

/// Parses a complete and authorized request without anything that would change the response.
fn plain(read: &[u8], app: &App) -> Option<FastRequest> {
    let asked = asked(read, app)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = request.parse(read) else { return None };
    // CORS headers are set on each response by a layer of the routes.
    let is_shared = !app.settings.cors_origins.is_empty();
    let is_plain =
        request.version == Some(1) && !is_shared && request.headers.iter().all(keeps_plain_response);
    let is_traced = app
        .traces
        .as_ref()
        .is_some_and(|traces| traces.may_record(request.headers.iter().map(|header| header.name)));
    let bearer = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("authorization"));
    let bearer = bearer.map(|header| header.value);
    (is_plain && !is_traced && is_for_us(request.headers, app) && auth::admits_bearer(app, bearer))
        .then_some(FastRequest { asked, length })
}

/// Whether there is exactly one valid `Host`, which is served.
fn is_for_us(headers: &[httparse::Header<'_>], app: &App) -> bool {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host::is_valid(host.value) && host::is_served(app, host.value),
        _ => false,
    }
}

/// Parses a target without escapes.
fn asked(read: &[u8], app: &App) -> Option<FastTarget> {
    let (name, value, parameters) = match read.strip_prefix(b"GET /order")? {
        [b'/', id @ ..] => (None, id, &[][..]),
        [b'?', query @ ..] => named(query, &[])?,
        [b's', b'?', query @ ..] => named(query, &query::PARAMETERS)?,
        _ => return None,
    };
    let length = value.iter().position(|byte| !is_unreserved(*byte)).filter(|&length| length > 0)?;
    if value[length] != b' ' {
        return None;
    }
    let start = read.len() - value.len();
    let range = start..start + length;
    let Some(name) = name else { return Some(FastTarget::Order(range)) };
    let member = app.settings.search.iter().position(|member| member.as_bytes() == name)?;
    let is_member = !parameters.iter().any(|parameter| parameter.as_bytes() == name);
    is_member.then_some(if parameters.is_empty() {
        FastTarget::Newest(member, range)
    } else {
        FastTarget::Search(member, range)
    })
}

/// The name of the first parameter of a query, what follows it, and the names that are not members.
type QueryName<'r> = (Option<&'r [u8]>, &'r [u8], &'static [&'static str]);

fn named<'r>(query: &'r [u8], parameters: &'static [&'static str]) -> Option<QueryName<'r>> {
    let equals = query.iter().position(|byte| !is_unreserved(*byte)).filter(|&at| query[at] == b'=')?;
    Some((Some(&query[..equals]), &query[equals + 1..], parameters))
}

/// Whether a header does not affect the response. The routes handle requests with a body, an upgrade,
/// `Connection: close` or an `Origin`.
fn keeps_plain_response(header: &httparse::Header<'_>) -> bool {
    const SPECIAL: [&str; 5] = ["content-length", "transfer-encoding", "upgrade", "expect", "origin"];
    if header.name.eq_ignore_ascii_case("connection") {
        return header.value.eq_ignore_ascii_case(b"keep-alive");
    }
    !SPECIAL.iter().any(|special| header.name.eq_ignore_ascii_case(special))
}

/// The beginning of a response.
const HEAD_OF_JSON: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n";

/// The responses to pipelined requests.
struct PipelinedResponses {
    bytes: Vec<u8>,
    json: Vec<u8>,
    /// Whether the next response is the connection's last.
    ends: bool,
    /// The second for which `date` was rendered, and the rest of a response's head.
    second: u64,
    date: String,
    head: String,
}

impl PipelinedResponses {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(RESPONSE_BUFFER_BYTES),
            json: Vec::with_capacity(RESPONSE_BUFFER_BYTES),
            ends: false,
            second: 0,
            date: String::new(),
            head: String::new(),
        }
    }

    /// Adds an order, if memory has it and it is not large.
    fn push(&mut self, id: &str, begun: Instant, app: &App) -> Lookup {
        self.json.clear();
        // An order that can't be rendered counts as a miss; the look-up in the table reports the error.
        let known = app.cache.write_json(id, &mut self.json).unwrap_or(Lookup::Miss);
        if self.json.len() > LARGE_BYTES {
            self.json.clear();
            self.json.shrink_to(MAX_PIPELINED_BYTES);
            return Lookup::Miss;
        }
        if known == Lookup::Hit {
            self.open();
            self.close();
            app.orders_served.count(begun);
        }
        known
    }

    /// Adds the newest order with a value. `false` if the table is needed or may have a newer one, or the order is
    /// large.
    fn push_newest(&mut self, criterion: &Criterion, begun: Instant, app: &App) -> bool {
        self.json.clear();
        let was_whole = app.has_whole_table();
        let Some(id) = app.cache.write_newest_at_once(criterion, &mut self.json) else { return false };
        if self.json.len() > LARGE_BYTES || !was_whole || !app.has_whole_table() {
            self.json.clear();
            self.json.shrink_to(MAX_PIPELINED_BYTES);
            return false;
        }
        self.open();
        self.bytes.extend_from_slice(b"content-location: ");
        newest_order::location(&id).for_each(|part| self.bytes.extend_from_slice(part.as_bytes()));
        self.bytes.extend_from_slice(b"\r\n");
        self.close();
        app.newest_served.count(begun);
        true
    }

    /// Adds the ids of the orders with a value. `false` if the table is needed or may have more.
    fn push_found(&mut self, criterion: Criterion, begun: Instant, app: &App) -> bool {
        let query = Query::newest(vec![criterion], LIMIT);
        let was_whole = app.has_whole_table();
        let Some(found) = app.cache.search_at_once(&query) else { return false };
        // Further orders need a link to the next page.
        if found.has_more || !was_whole || !app.has_whole_table() {
            return false;
        }
        self.json.clear();
        let is_told = serde_json::to_writer(&mut self.json, &found.ids).is_ok();
        if !is_told || self.json.len() > LARGE_BYTES {
            return false;
        }
        self.open();
        self.close();
        app.searches_served.count(begun);
        true
    }

    /// Begins a response; further header lines may follow.
    fn open(&mut self) {
        self.bytes.extend_from_slice(HEAD_OF_JSON.as_bytes());
    }

    /// Ends the head, and adds the JSON.
    fn close(&mut self) {
        self.refresh_date();
        self.bytes.extend_from_slice(self.head.as_bytes());
        // Into memory, which doesn't fail.
        drop(write!(self.bytes, "{}\r\n{}\r\n", self.json.len(), connection(self.ends)));
        self.bytes.extend_from_slice(&self.json);
    }

    /// Adds the response of the routes for an evicted order. `false` if it is large.
    async fn push_from_table(&mut self, id: &str, begun: Instant, app: &App) -> bool {
        self.push_response(order::from_table(app, id).await, crate::http::router::ORDER, begun, app).await
    }

    /// Adds the response of the routes for the newest order with a value. `false` if it is large.
    async fn push_newest_from_table(&mut self, criterion: Criterion, begun: Instant, app: &App) -> bool {
        self.push_response(
            newest_order::respond(app, vec![criterion]).await,
            crate::http::router::NEWEST,
            begun,
            app,
        )
        .await
    }

    async fn push_response(
        &mut self,
        response: Response,
        route: &'static str,
        begun: Instant,
        app: &App,
    ) -> bool {
        let (mut head, body) = response.into_parts();
        no_store::mark(&mut head.headers);
        if body.size_hint().lower() > LARGE_BYTES as u64 {
            return false;
        }
        // The body is in memory, so this does not wait.
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        self.refresh_date();
        self.bytes.extend_from_slice(format!("HTTP/1.1 {}\r\n", head.status).as_bytes());
        for (name, value) in &head.headers {
            let parts: [&[u8]; 4] = [name.as_ref(), b": ", value.as_bytes(), b"\r\n"];
            self.bytes.extend_from_slice(&parts.concat());
        }
        let (date, connection) = (&self.date, connection(self.ends));
        let rest = format!("content-length: {}\r\ndate: {date}\r\n{connection}\r\n", body.len());
        self.bytes.extend_from_slice(rest.as_bytes());
        self.bytes.extend_from_slice(&body);
        crate::http::count(&app.metrics, route, head.status, begun);
        true
    }

    /// Sends the buffered responses; `None` if the client is gone.
    async fn send<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Option<()> {
        if !self.bytes.is_empty() {
            stream.write_all(&self.bytes).await.ok()?;
            // TLS may buffer bytes that the socket did not accept.
            stream.flush().await.ok()?;
            self.bytes.clear();
            self.bytes.shrink_to(MAX_PIPELINED_BYTES);
            self.json.shrink_to(MAX_PIPELINED_BYTES);
        }
        Some(())
    }

    fn refresh_date(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            (self.second, self.date) = (second, httpdate::fmt_http_date(now));
            self.head = format!("cache-control: no-store\r\ndate: {}\r\ncontent-length: ", self.date);
        }
    }
}

/// The `Connection` header of a response.
fn connection(ends: bool) -> &'static str {
    if ends { "connection: close\r\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufStream;

    use super::*;
    use crate::fuzzing::{self, KEY};

    /// Like TLS, which may buffer bytes that the socket did not accept.
    #[tokio::test]
    async fn what_a_connection_keeps_back_is_sent() {
        let (app, stop) = (fuzzing::app().await.unwrap(), CancellationToken::new());
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut server = BufStream::with_capacity(1 << 16, 1 << 16, server);
        let request = format!("GET /order/{KEY} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        client.write_all(request.repeat(2).as_bytes()).await.unwrap();
        let mut received = [0; 1 << 14];
        tokio::select! {
            left = serve(&mut server, &app, &stop) => panic!("it went on to hyper: {left:?}"),
            read = client.read(&mut received) => {
                let text = String::from_utf8_lossy(&received[..read.unwrap()]);
                assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
            }
            () = tokio::time::sleep(std::time::Duration::from_secs(15)) => panic!("nothing is sent"),
        }
    }

    /// Any prefix of a request may be all that has arrived.
    #[tokio::test]
    async fn what_a_target_asks_for_lies_within_it() {
        let app = fuzzing::app().await.unwrap();
        let parts = ["/", "s", "?", "=", " ", "1-1", "order_uid"];
        for number in 0..parts.len().pow(6) {
            let words: String =
                (0..6).map(|range| parts[number / parts.len().pow(range) % parts.len()]).collect();
            let read = format!("GET /order{words}");
            for end in (0..=6).filter_map(|cut| read.len().checked_sub(cut)) {
                if let Some(
                    FastTarget::Order(range) | FastTarget::Newest(_, range) | FastTarget::Search(_, range),
                ) = asked(&read.as_bytes()[..end], &app)
                {
                    assert!(!range.is_empty() && range.end < end, "{read}");
                    assert!(read[range.end..].starts_with(' '), "{read}");
                }
            }
        }
    }
}
