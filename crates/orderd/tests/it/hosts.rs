//! Host names under which an open service on loopback is served.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Service, Stack};

/// The status of the answer to a request with this `Host`.
async fn asked(service: &Service, host: &str, path: &str) -> StatusCode {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer secret\r\n\r\n");
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut start).await.unwrap();
    StatusCode::from_bytes(&start["HTTP/1.1 ".len()..]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_service_is_served_under_the_names_in_http_hosts() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_HOSTS", "orders.example, Other.example.")]).await;
    for host in [
        "orders.example",
        "ORDERS.example.:8090",
        "other.example",
        "Other.example.",
        "localhost",
        "127.0.0.1:1",
        "[::1]",
    ] {
        assert_eq!(asked(&service, host, "/mem_len").await, StatusCode::OK, "{host}");
        assert_eq!(asked(&service, host, "/order/missing").await, StatusCode::NOT_FOUND, "{host}");
    }
    for host in ["evil.example", "x.orders.example", "orders.example.evil.example", "none"] {
        for path in ["/", "/mem_len", "/order/missing", "/orders?order_uid=x", "/events", "/dead_letters"] {
            assert_eq!(asked(&service, host, path).await, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
        assert_eq!(asked(&service, host, "/healthz").await, StatusCode::OK, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_token_is_served_under_any_name() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "secret")]).await;
    assert_eq!(asked(&service, "any.example", "/mem_len").await, StatusCode::OK);
}
