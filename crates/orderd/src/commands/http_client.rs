//! Sends requests to a running service over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Http;
use crate::tls;

/// Time limit for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The status and body of `GET path`.
///
/// # Errors
/// Why there is no response, or that the service requires another token.
pub(crate) async fn get(settings: &Http, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let addr = reachable(settings.addr);
    let scheme = if settings.certificate.is_some() { "https" } else { "http" };
    let (status, body) = answer(settings, addr, scheme, path).await?;
    let refused = match status {
        StatusCode::UNAUTHORIZED if settings.tokens.current().is_empty() => "requires a token",
        StatusCode::UNAUTHORIZED => "does not know the token in HTTP_TOKEN",
        StatusCode::FORBIDDEN => "does not let the token in HTTP_TOKEN read",
        _ => return Ok((status, body)),
    };
    anyhow::bail!(
        "orderd at {scheme}://{addr} {refused} ({} for {path}): set HTTP_TOKEN, or HTTP_TOKEN_FILE, to the one of orderd serve",
        status.as_u16()
    )
}

async fn answer(
    settings: &Http,
    addr: SocketAddr,
    scheme: &str,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let response = tokio::time::timeout(RESPONSE_TIMEOUT, exchange(settings, addr, path)).await;
    response
        .map_err(|_| anyhow::anyhow!("no answer within {} s", RESPONSE_TIMEOUT.as_secs()))
        .and_then(|response| response)
        .with_context(|| {
            format!(
                "can't ask orderd at {scheme}://{addr}{path}: does it run there? HTTP_ADDR is where it listens, and \
                 HTTP_TLS_CERT is set where it speaks TLS"
            )
        })
}

async fn exchange(settings: &Http, addr: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(addr).await?;
    match &settings.certificate {
        None => ask(stream, settings, addr, path).await,
        Some(certificate) => {
            let config = tls::only(certificate).map_err(anyhow::Error::msg)?;
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(addr.ip().into(), stream).await;
            ask(stream.context("the TLS handshake failed")?, settings, addr, path).await
        }
    }
}

async fn ask<S>(
    stream: S,
    settings: &Http,
    addr: SocketAddr,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The task ends with the sender; an error shows in the response.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::get(path).header(header::HOST, addr.to_string());
    if let Some(token) = settings.tokens.current().first() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.text()));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    Ok((response.status(), response.into_body().collect().await?.to_bytes()))
}

/// A service that listens on all addresses is requested on loopback.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addr
}
