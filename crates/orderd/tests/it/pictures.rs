//! The pictures of the documents, of the real thing.

use base64::Engine;

use crate::browser::{open, url};
use crate::support::Stack;
use crate::webdriver::{Browser, a_moment};

/// Makes the pictures of the documents anew: `cargo xtask test -p orderd pictures -- --ignored`.
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
    };
    tokio::join!(publishing, taking);
}

async fn take(browser: &Browser, name: &str) {
    let picture = base64::engine::general_purpose::STANDARD.decode(browser.picture().await).unwrap();
    let folder = devstack::tools::workspace().join("docs/images");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}
