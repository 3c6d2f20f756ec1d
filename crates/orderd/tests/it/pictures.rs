//! Takes the pictures of the documents from the real page.

use base64::Engine;
use serde_json::Value;

use crate::browser::{open, url};
use crate::support::{Stack, orders, sample};
use crate::webdriver::{Browser, a_moment};

/// Regenerates the documents' pictures: `cargo xtask test -p orderd pictures -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/images"]
async fn pictures() {
    let (stack, service) = Stack::started().await;
    let browser = open(&service).await;
    browser.resize(1280, 800).await;
    let published = stack.run(&["publish", "--count", "1500", "--rate", "40"], "").await;
    assert!(published.status.success());
    let publishing = stack.run(&["publish", "--count", "900", "--rate", "60"], "");
    let taking = async {
        a_moment().await;
        take(&browser, "page").await;
        browser.dark(true).await;
        a_moment().await;
        take(&browser, "dark").await;
        browser.resize(390, 844).await;
        a_moment().await;
        take(&browser, "phone").await;
        browser.dark(false).await;
        browser.resize(1280, 900).await;
        let id = service.ids().await.pop().unwrap();
        browser.go(&format!("{}#/order/{id}", url(&service))).await;
        browser.reads("#view-order", "Test Testov").await;
        take(&browser, "order").await;
        stack.publish(&["{", r#"{"order_uid":"a","items":[{"price":"x"}]}"#, r#"{"order_uid": 7}"#]).await;
        browser.go(&format!("{}#/dead", url(&service))).await;
        browser.reads("#dead-list .letter:first-child", "$.order_uid").await;
        browser.resize(1280, 460).await;
        browser.click("#dead-list .letter:first-child summary").await;
        browser.reads("#dead-list pre", "7").await;
        take(&browser, "dead").await;
    };
    tokio::join!(publishing, taking);
}

async fn take(browser: &Browser, name: &str) {
    keep(browser, "docs/images", name).await;
}

async fn keep(browser: &Browser, folder: &str, name: &str) {
    let picture = base64::engine::general_purpose::STANDARD.decode(browser.picture().await).unwrap();
    let folder = devstack::tools::workspace().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}

/// One view from a phone to a wide screen, light and dark.
async fn views(browser: &Browser, name: &str) {
    for (width, height) in [(375, 812), (768, 1024), (1280, 900)] {
        browser.resize(width, height).await;
        for (dark, word) in [(false, "light"), (true, "dark")] {
            browser.dark(dark).await;
            a_moment().await;
            keep(browser, "target/views", &format!("{name}-{width}-{word}")).await;
        }
    }
    browser.resize(1280, 900).await;
}

/// All views, for a change of one of them: `cargo xtask test -p orderd every_view -- --ignored`, then `target/views`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes pictures that are to be looked at"]
async fn every_view() {
    let (mut stack, mut service) = Stack::started().await;
    let addr = service.addr.to_string();
    let browser = open(&service).await;
    let go = async |hash: &str| browser.go(&format!("http://{addr}/{hash}")).await;
    browser.reads("#live-list", "No orders yet").await;
    views(&browser, "empty").await;
    go("#/page/last").await;
    views(&browser, "empty-page").await;
    go("#/dead").await;
    browser.reads("#dead-list", "No dead letters").await;
    views(&browser, "dead-none").await;
    go("#/").await;
    stack.publish(&orders(1)).await;
    browser.reads("#live-list", "order-0").await;
    views(&browser, "one").await;
    stack.publish(&orders(50)).await;
    service.wait_len(51).await;
    views(&browser, "fifty").await;
    go("#/page/1").await;
    browser.reads("#page-list", "order-0").await;
    views(&browser, "page").await;
    browser.keys("#search", "WBILMTESTTRACK").await;
    browser.reads("#results", "newest").await;
    views(&browser, "found").await;
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", "nobody").await;
    browser.reads("#results", "No order").await;
    views(&browser, "nothing-found").await;
    browser.keys("#search", "\u{e00c}").await;
    go("#/find?$.track_number=WBILMTESTTRACK&order=asc").await;
    browser.reads("#find-list", "order-0").await;
    views(&browser, "search").await;
    stack.publish(&hostile()).await;
    service.wait_len(57).await;
    go("#/").await;
    a_moment().await;
    views(&browser, "hostile").await;
    for (number, id) in service.ids().await.iter().rev().take(6).enumerate() {
        go(&format!("#/order/{id}")).await;
        browser.holds("document.querySelector('#view-order .source') !== null").await;
        views(&browser, &format!("hostile-order-{number}")).await;
    }
    let id = service.ids().await[0].clone();
    go(&format!("#/order/{id}")).await;
    browser.reads("#view-order", "Test Testov").await;
    views(&browser, "order").await;
    go("#/order/nobody").await;
    browser.reads("#view-order", "There is no order").await;
    views(&browser, "no-order").await;
    stack.publish(&["{", r#"{"track_number":"A"}"#, r#"{"order_uid":"a","items":[{"price":"x"}]}"#]).await;
    go("#/dead").await;
    browser.reads("#dead-list", "wrong type").await;
    views(&browser, "dead").await;
    browser.click("#language").await;
    views(&browser, "dead-russian").await;
    go("#/").await;
    views(&browser, "live-russian").await;
    browser.click("#language").await;
    browser.go(&format!("http://{addr}/docs")).await;
    a_moment().await;
    views(&browser, "docs").await;
    go("#/").await;
    let publishing = stack.run(&["publish", "--count", "100000", "--rate", "4000"], "");
    let watching = async {
        browser.reads("#sampled", "Too many to read").await;
        views(&browser, "streaming").await;
    };
    tokio::join!(publishing, watching).0.status.success().then_some(()).unwrap();
    service.wait_len(100_057).await;
    go("#/page/last").await;
    a_moment().await;
    views(&browser, "page-of-many").await;
    go("#/").await;
    stack.postgres.stop();
    browser.reads("#banners", "PostgreSQL has been unreachable").await;
    views(&browser, "without-postgres").await;
    service.kill();
    browser.reads("#banners", "Disconnected from the service").await;
    views(&browser, "disconnected").await;
    let _service = stack.start(&[("HTTP_ADDR", &addr), ("HTTP_TOKEN", "t")]).await;
    browser.go("about:blank").await;
    go("").await;
    browser.reads("#view-signin", "Sign in").await;
    views(&browser, "signin").await;
    browser.keys("#token", "t\u{e007}").await;
    browser.reads("#banners", "can't be read").await;
    views(&browser, "signed-in-without-postgres").await;
}

/// The same for documents of any form, and for a model of a file.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes pictures that are to be looked at"]
async fn every_view_of_other_documents() {
    let files = devstack::TempDir::new().unwrap();
    let file = files.path().join("parcel.json");
    let parcel = |number: usize| {
        let items = r#"[{"name":"Book","price":12.5},{"name":"Pen","price":1}]"#;
        format!(
            r#"{{"id":"p-{number}","sealed":true,"weight":1.5,"to":{{"city":"Rīga","street":"Brīvības iela 1"}},"note":"","items":{items}}}"#
        )
    };
    std::fs::write(&file, parcel(0)).unwrap();
    let model = file.to_str().unwrap();
    for (name, settings) in [
        ("any", &[("MODEL", "any"), ("HTTP_REPLAY_TOKEN", "t")][..]),
        (
            "parcels",
            &[("MODEL", model), ("SEARCH", "id,note,sealed,to.city,weight"), ("HTTP_REPLAY_TOKEN", "t")],
        ),
    ] {
        let stack = Stack::new();
        let service = stack.serve(settings).await;
        let browser = open(&service).await;
        let go = async |hash: &str| browser.go(&format!("{}{hash}", url(&service))).await;
        browser.reads("#live-list", "No documents").await;
        views(&browser, &format!("{name}-empty")).await;
        stack.publish(&(1..=30).map(parcel).collect::<Vec<_>>()).await;
        service.wait_len(30).await;
        a_moment().await;
        views(&browser, name).await;
        go("#/page/last").await;
        a_moment().await;
        views(&browser, &format!("{name}-page")).await;
        let id = service.ids().await[0].clone();
        go(&format!("#/order/{id}")).await;
        browser.reads("#view-order", "Pen").await;
        views(&browser, &format!("{name}-document")).await;
        browser.keys("#search", &id).await;
        browser.reads("#results", &id).await;
        a_moment().await;
        views(&browser, &format!("{name}-found")).await;
        go("#/find?$.note=&$.sealed=true").await;
        a_moment().await;
        views(&browser, &format!("{name}-search")).await;
        stack.publish(&["{", "7"]).await;
        go("#/dead").await;
        browser.reads("#dead-list", "Not JSON").await;
        browser.click("#dead-drop-all").await;
        views(&browser, &format!("{name}-question")).await;
        browser.click("dialog .primary").await;
        browser.reads("#view-signin", "Sign in").await;
        views(&browser, &format!("{name}-signin")).await;
        browser.click("#language").await;
        views(&browser, &format!("{name}-signin-russian")).await;
        go("#/").await;
        a_moment().await;
        views(&browser, &format!("{name}-russian")).await;
        go("#/find").await;
        a_moment().await;
        views(&browser, &format!("{name}-search-russian")).await;
    }
}

/// Orders full of texts that break pages.
fn hostile() -> Vec<String> {
    let long = "ж".repeat(10_000);
    let values = [
        "<img src=x onerror=alert(1)><script>alert(1)</script>",
        "\u{202e}gnp.exe\u{202c} שלום עליכם مرحبا بالعالم",
        &long,
        "🧾👩‍👩‍👧‍👦🏴‍☠️ é̴̢͓̙̖̳͓̂͊",
        "\u{0}\t\n\r\u{2028}\u{feff}",
        &"w".repeat(300),
    ];
    values.iter().map(|value| all_text(serde_json::from_str(&sample()).unwrap(), value).to_string()).collect()
}

fn all_text(document: Value, text: &str) -> Value {
    match document {
        Value::String(_) => text.into(),
        Value::Array(elements) => elements.into_iter().map(|element| all_text(element, text)).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, all_text(member, text)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}
