//! Pages of ids, and the status of every request in the contract.

use hyper::{Method, Request, StatusCode};

use crate::support::{Stack, order, orders};

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_fifty() {
    let (stack, service) = Stack::started().await;
    let mut sent = 0;
    for count in [1, 49, 50, 51, 100] {
        stack.publish(&orders(count - sent)).await;
        sent = count;
        service.wait_len(count as u64).await;
        let last = service.get("/order_pages/last").await;
        let full_pages = (count - 1) / 50;
        assert_eq!(last.json().as_array().unwrap().len(), count - full_pages * 50, "{count} orders");
        assert_eq!(
            service.get(&format!("/order_pages/{}", full_pages + 1)).await.body,
            last.body,
            "{count} orders"
        );
        let past = service.get(&format!("/order_pages/{}", full_pages + 2)).await;
        assert_eq!(past.status, StatusCode::NOT_FOUND, "{count} orders");
        let ids = service.ids().await;
        assert_eq!(ids.len(), count);
        assert!(ids.is_sorted());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_its_status() {
    let (stack, service) = Stack::started().await;
    assert_eq!(service.get("/mem_len").await.body, r#"{"mem_len": 0}"#);
    for (path, status) in [
        ("/order_pages/last", 404),
        ("/order_pages/1", 404),
        ("/order_pages/-1", 404),
        ("/order_pages/x", 404),
        ("/order_pages/99999999999999999999999", 404),
        ("/order/unknown", 404),
        ("/order/%00", 404),
        ("/order/%ff", 404),
        ("/order_pages/%ff", 404),
        ("/dead_letters/%ff", 404),
        ("/nowhere", 404),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/readyz?for=reads", 200),
        ("/metrics", 200),
    ] {
        assert_eq!(service.get(path).await.status.as_u16(), status, "{path}");
    }
    assert_eq!(service.get("/order/unknown").await.body.trim_end(), "404 resource not found");
    stack.publish(&[order("one")]).await;
    service.wait_len(1).await;
    assert_eq!(service.get("/order_pages/0").await.status, StatusCode::BAD_REQUEST);
    let id = &service.ids().await[0];
    for path in ["/mem_len", "/order_pages/last", "/order_pages/1", &format!("/order/{id}")] {
        let refused = service.send(Request::builder().method(Method::POST).uri(path)).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(refused.headers["allow"].to_str().unwrap().contains("GET"), "{path}");
        let head = service.send(Request::head(path)).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
    }
}
