//! A test pooler that gives each transaction another connection to PostgreSQL, as PgBouncer does in transaction mode:
//! with prepared statements, as from 1.22.1 on with `max_prepared_statements`, or without, as before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A running pooler.
pub(crate) struct Pooler {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    /// Whether it knows the prepared statements of its clients.
    knows_statements: bool,
    size: Semaphore,
    idle: Mutex<Vec<Server>>,
    clients: AtomicUsize,
    moves: AtomicUsize,
}

/// Reads whole messages: their kind, and the bytes with the kind and the length before them.
struct Reader {
    half: OwnedReadHalf,
    bytes: Vec<u8>,
}

struct Server {
    pid: u32,
    reader: Reader,
    writer: OwnedWriteHalf,
    greeting: Vec<u8>,
    /// Names of statements that are prepared there.
    prepared: HashSet<Vec<u8>>,
    /// For each `Parse` under way, whether the client sent it.
    parses: VecDeque<bool>,
}

impl Reader {
    /// May be dropped at any time. `None`: the other side is gone.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(length) = self.bytes.get(1..5) {
                let length = 1 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.bytes.len() >= length {
                    let rest = self.bytes.split_off(length);
                    let message = std::mem::replace(&mut self.bytes, rest);
                    return Some((message[0], message));
                }
            }
            if self.half.read_buf(&mut self.bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Server {
    async fn connect(upstream: u16, startup: &[u8]) -> Option<Self> {
        let (half, mut writer) = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?.into_split();
        writer.write_all(startup).await.ok()?;
        let mut reader = Reader { half, bytes: Vec::new() };
        let (mut greeting, mut pid) = (Vec::new(), 0);
        loop {
            let (kind, message) = reader.next().await?;
            if kind == b'K' {
                pid = u32::from_be_bytes(message[5..9].try_into().unwrap());
            }
            greeting.extend(&message);
            if kind == b'Z' {
                let (prepared, parses) = (HashSet::new(), VecDeque::new());
                return Some(Self { pid, reader, writer, greeting, prepared, parses });
            }
        }
    }
}

impl Pooler {
    pub(crate) async fn start(upstream: u16, size: usize, knows_statements: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            knows_statements,
            size: Semaphore::new(size),
            idle: Mutex::default(),
            clients: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { port, shared }
    }

    /// How often a client's transaction used another connection than its previous transaction.
    pub(crate) fn moves(&self) -> usize {
        self.shared.moves.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let startup = loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).await.ok()?;
            let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
            stream.read_exact(&mut body).await.ok()?;
            match u32::from_be_bytes(body[..4].try_into().unwrap()) {
                80_877_103 => stream.write_all(b"N").await.ok()?,
                80_877_102 => return None,
                _ => break [&length[..], &body].concat(),
            }
        };
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let (half, writer) = stream.into_split();
        let reader = Reader { half, bytes: Vec::new() };
        let mut client =
            Client { shared: self, number, reader, writer, startup, statements: HashMap::new(), last: None };
        let permit = self.size.acquire().await.ok()?;
        let server = client.server().await?;
        client.writer.write_all(&server.greeting).await.ok()?;
        self.idle.lock().unwrap().push(server);
        drop(permit);
        loop {
            let (kind, first) = client.reader.next().await?;
            if kind == b'X' {
                return None;
            }
            let _permit = self.size.acquire().await.ok()?;
            let mut server = client.server().await?;
            if client.last.replace(server.pid).is_some_and(|last| last != server.pid) {
                self.moves.fetch_add(1, Ordering::Relaxed);
            }
            client.transaction(&mut server, kind, first).await?;
            self.idle.lock().unwrap().push(server);
        }
    }
}

struct Client<'s> {
    shared: &'s Shared,
    number: usize,
    reader: Reader,
    writer: OwnedWriteHalf,
    startup: Vec<u8>,
    /// Prepared statements, by the server's names.
    statements: HashMap<Vec<u8>, Vec<u8>>,
    last: Option<u32>,
}

impl Client<'_> {
    /// The connection used last, as in PgBouncer.
    async fn server(&self) -> Option<Server> {
        let idle = self.shared.idle.lock().unwrap().pop();
        match idle {
            Some(server) => Some(server),
            None => Server::connect(self.shared.upstream, &self.startup).await,
        }
    }

    async fn transaction(&mut self, server: &mut Server, kind: u8, first: Vec<u8>) -> Option<()> {
        let mut answers = 0_usize;
        self.pass(server, kind, first, &mut answers).await?;
        loop {
            tokio::select! {
                message = self.reader.next() => {
                    let (kind, message) = message?;
                    self.pass(server, kind, message, &mut answers).await?;
                }
                message = server.reader.next() => {
                    let (kind, message) = message?;
                    let is_own = kind != b'1' || server.parses.pop_front().unwrap_or(true);
                    // The `Sync` behind a COPY's beginning has no answer: the server skips it.
                    if kind == b'G' && answers > 0 { answers -= 1; }
                    if is_own { self.writer.write_all(&message).await.ok()?; }
                    if kind == b'Z' {
                        answers = answers.saturating_sub(1);
                        if answers == 0 && message[5] == b'I' {
                            server.parses.clear();
                            return Some(());
                        }
                    }
                }
            }
        }
    }

    async fn pass(
        &mut self,
        server: &mut Server,
        kind: u8,
        message: Vec<u8>,
        answers: &mut usize,
    ) -> Option<()> {
        *answers += usize::from(kind == b'S' || kind == b'Q');
        let message = if self.shared.knows_statements {
            self.named(server, kind, message).await?
        } else {
            if kind == b'P' {
                server.parses.push_back(true);
            }
            message
        };
        server.writer.write_all(&message).await.ok()
    }

    /// Replaces the statement's name by the server's, and prepares it there if necessary.
    async fn named(&mut self, server: &mut Server, kind: u8, message: Vec<u8>) -> Option<Vec<u8>> {
        let body = &message[5..];
        let end = |from: usize| from + body[from..].iter().position(|byte| *byte == 0).unwrap_or(0);
        let start = match kind {
            b'P' => 0,
            b'B' => end(0) + 1,
            b'D' | b'C' if body[0] == b'S' => 1,
            _ => return Some(message),
        };
        let (before, name, after) = (&body[..start], &body[start..end(start)], &body[end(start)..]);
        if kind == b'P' {
            server.parses.push_back(true);
        }
        if name.is_empty() {
            return Some(message);
        }
        let known = [format!("pooler{}_", self.number).as_bytes(), name].concat();
        let length = (4 + before.len() + known.len() + after.len()) as u32;
        let renamed = [&[kind][..], &length.to_be_bytes(), before, &known, after].concat();
        match kind {
            b'P' => {
                server.prepared.insert(known.clone());
                self.statements.insert(known, renamed.clone());
            }
            b'C' => drop((server.prepared.remove(&known), self.statements.remove(&known))),
            _ if server.prepared.insert(known.clone()) => {
                server.parses.push_back(false);
                server.writer.write_all(self.statements.get(&known)?).await.ok()?;
            }
            _ => {}
        }
        Some(renamed)
    }
}
