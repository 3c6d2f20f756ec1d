//! Rows whose ids are none that the service makes: whatever is listed can be fetched, followed and erased.

use std::collections::BTreeSet;

use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::{Service, Stack, order};

fn at(id: &str) -> String {
    format!("/order/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

fn odd_ids() -> Vec<String> {
    let ids = [
        "",
        " ",
        ".",
        "..",
        "...",
        "/",
        "//",
        "a/b",
        "a/../b",
        "%",
        "%2F",
        "%zz",
        "?",
        "#",
        "a?b=c#d",
        "+",
        "&=;,",
        "<>",
        "*",
        "-",
        "--yes",
        "last",
        "\"\\'",
        "\u{1}",
        "\t",
        "\n",
        "\r\n",
        "\u{7f}",
        "é",
        "заказ",
        "👍",
        "\u{202e}a",
        "\u{feff}",
    ];
    ids.into_iter().map(str::to_owned).chain(["k".repeat(10_000), "ы".repeat(3000)]).collect()
}

/// The ids of all pages, each reached by the link of the one before.
async fn followed(service: &Service, first: &str) -> Vec<String> {
    let (mut ids, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(address) = next {
        let page = service.get(&address).await;
        assert_eq!(page.status, StatusCode::OK, "{address}: {}", page.body);
        ids.extend(page.json().as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn order_of_any_id_is_listed_fetched_and_erased() {
    let stack = Stack::new();
    let ids = odd_ids();
    let line = |(number, id): (usize, &String)| {
        format!("{{\"id\":{},\"order\":{}}}\n", serde_json::json!(id), order(&format!("odd-{number}")))
    };
    let lines: String = ids.iter().enumerate().map(line).collect();
    let imported = stack.run(&["import"], &lines).await;
    assert!(imported.status.success(), "{imported:?}");
    let service = stack.serve(&[("HTTP_ERASE_TOKEN", "eraser")]).await;
    service.wait_len(ids.len() as u64).await;
    let sorted: Vec<String> = BTreeSet::from_iter(ids.iter().cloned()).into_iter().collect();
    assert_eq!(followed(&service, "/orders?order=asc&limit=1").await, sorted);
    let newest_first: Vec<String> = sorted.iter().rev().cloned().collect();
    assert_eq!(followed(&service, "/orders?limit=1").await, newest_first);
    assert_eq!(service.get("/order_pages/1").await.json(), serde_json::json!(sorted));
    for (number, id) in ids.iter().enumerate() {
        let found = service.get(&at(id)).await;
        assert_eq!(found.status, StatusCode::OK, "{id:?}: {}", found.body);
        assert_eq!(found.json()["order_uid"], format!("odd-{number}"), "{id:?}");
        let by_value = service.get(&format!("/order?order_uid=odd-{number}")).await;
        let location = by_value.headers["content-location"].to_str().unwrap();
        assert_eq!(service.get(location).await.body, found.body, "{location}");
        assert_eq!(
            service.get(&format!("/dead_letters/{}", &at(id)["/order/".len()..])).await.status,
            404,
            "{id:?}"
        );
    }
    let exported = stack.run(&["export"], "").await.stdout;
    assert_eq!(exported.split(|byte| *byte == b'\n').count(), ids.len() + 1);
    let again = stack.run(&["import"], &String::from_utf8(exported).unwrap()).await;
    assert!(
        again.status.success() && String::from_utf8_lossy(&again.stderr).contains("0 of them new"),
        "{again:?}"
    );
    for (number, id) in ids.iter().enumerate() {
        if number % 2 == 0 && !id.trim().is_empty() {
            let encoded = &at(id)["/order/".len()..];
            assert_eq!(service.erase(encoded, "eraser").await, StatusCode::NO_CONTENT, "{id:?}");
            assert_eq!(service.erase(encoded, "eraser").await, StatusCode::NOT_FOUND, "{id:?}");
        } else {
            let erased = stack.run(&["erase", "--yes", "--", id], "").await;
            assert!(erased.status.success(), "{id:?}: {erased:?}");
        }
    }
    service.wait_len(0).await;
    assert_eq!(stack.rows(), 0);
    // Nothing brings them back.
    assert!(stack.run(&["import"], &lines).await.status.success());
    assert_eq!(stack.rows(), 0);
}
