//! A real Chromium, driven over WebDriver: the few requests that the page tests need.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use devstack::{Launch, Process, TempDir};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::eventually;

/// How WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser window; it ends with this.
pub(crate) struct Browser {
    addr: SocketAddr,
    session: String,
    /// The browser's own process; the driver is another.
    pid: u64,
    driver: Process,
    _temp_dir: TempDir,
}

impl Browser {
    /// A new browser with an empty profile.
    pub(crate) async fn new() -> Self {
        let program =
            devstack::tools::find_chromedriver().expect("chromedriver: `cargo xtask test` installs it");
        let temp_dir = TempDir::new().unwrap();
        let mut launch = Launch::new("chromedriver", program, temp_dir.path());
        launch.args = vec!["--port=0".into()];
        // The folder of the profile, which is removed with the rest.
        launch.envs = vec![("TMPDIR".into(), temp_dir.path().into())];
        launch.log = Some(temp_dir.path().join("chromedriver.log"));
        let driver = Process::spawn(launch).unwrap();
        let port = eventually("chromedriver listens", async || port(&driver.log())).await;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Self { addr, session: String::new(), pid: 0, driver, _temp_dir: temp_dir };
        let asked = json!({ "capabilities": { "alwaysMatch": wanted() } });
        // The driver has its own time limits for a browser to start, which a busy machine exceeds.
        let mut made = Err(Value::Null);
        for _ in 0..3 {
            if made.is_err() {
                made = browser.try_ask(Method::POST, "/session", asked.clone()).await;
            }
        }
        let made = made.unwrap_or_else(|error| panic!("no browser comes up: {error}"));
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        browser.pid = made["capabilities"]["goog:processID"].as_u64().unwrap();
        browser
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_ask(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let body = if method == Method::POST { body.to_string() } else { String::new() };
        let request = Request::builder().method(method).uri(path).header("host", self.addr.to_string());
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        let value = answer["value"].take();
        if value["error"].is_null() { Ok(value) } else { Err(value) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, &format!("/session/{}{path}", self.session), body).await
    }

    /// As [`Browser::post`], for a drop, which has to wait; `None` where there is no answer.
    fn ask_now(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let path = format!("/session/{}{path}", self.session);
        let ask =
            async { tokio::time::timeout(Duration::from_secs(10), self.ask(method, &path, body)).await };
        std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            scope.spawn(move || runtime.block_on(ask)).join().ok()?.ok()
        })
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The result of a script in the page.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// As [`Browser::script`], for a script that calls `done`.
    pub(crate) async fn script_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks like a user: the element must exist, be in view, and not be covered.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types on the keyboard, into one element.
    pub(crate) async fn keys(&self, selector: &str, keys: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": keys })).await;
    }

    /// The visible text; empty if hidden or missing.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = "const element = document.querySelector(arguments[0]); \
                      return element?.checkVisibility() ? element.innerText : ''";
        self.post("/execute/sync", json!({ "script": script, "args": [selector] }))
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until the element shows that text.
    pub(crate) async fn reads(&self, selector: &str, text: &str) {
        eventually(&format!("{selector} reads {text:?}"), async || {
            self.text(selector).await.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the script gives `true`.
    pub(crate) async fn holds(&self, script: &str) {
        eventually(script, async || (self.script(&format!("return {script}")).await == true).then_some(()))
            .await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        // The window of a headless browser can't be as narrow as a phone; its viewport can.
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Simulates a slow phone connection.
    pub(crate) async fn slow(&self) {
        self.devtools("Network.enable", json!({})).await;
        let rate = 25_000;
        let conditions =
            json!({ "offline": false, "latency": 400, "downloadThroughput": rate, "uploadThroughput": rate });
        self.devtools("Network.emulateNetworkConditions", conditions).await;
    }

    /// Lets requests for these URLs fail, and no others.
    pub(crate) async fn block(&self, urls: &[&str]) {
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.setBlockedURLs", json!({ "urls": urls })).await;
    }

    /// Sets the folder for downloads.
    pub(crate) async fn downloads_to(&self, folder: &Path) {
        let behavior = json!({ "behavior": "allow", "downloadPath": folder });
        self.devtools("Browser.setDownloadBehavior", behavior).await;
    }

    pub(crate) async fn dark(&self, is: bool) {
        let value = if is { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, command: &str, params: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await;
    }

    /// The role that assistive technology is given of an element.
    pub(crate) async fn role(&self, selector: &str) -> String {
        let path = format!("/session/{}/element/{}/computedrole", self.session, self.element(selector).await);
        self.ask(Method::GET, &path, Value::Null).await.as_str().unwrap().to_owned()
    }

    /// A screenshot, as PNG in base64.
    pub(crate) async fn picture(&self) -> String {
        let path = format!("/session/{}/screenshot", self.session);
        self.ask(Method::GET, &path, Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Console messages since the last call, without advice.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let told = entries.as_array().unwrap().iter().filter(|entry| entry["level"] != "DEBUG");
        told.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = json!({ "script": "return [location.href, document.body.innerText]", "args": [] });
            eprintln!("the page shows {:?}", self.ask_now(Method::POST, "/execute/sync", shown));
        }
        // The driver leaves its browser behind when it ends, unless the session ends first.
        self.ask_now(Method::DELETE, "", Value::Null);
        self.driver.end(devstack::Signal::TERM);
    }
}

fn wanted() -> Value {
    let args = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
        "--hide-scrollbars",
        // It ends when the driver is gone, however that ended.
        "--remote-debugging-pipe",
    ];
    json!({
        "goog:chromeOptions": { "args": args, "prefs": { "intl.accept_languages": "en" } },
        "goog:loggingPrefs": { "browser": "ALL" },
    })
}

/// The port in its log, once it listens.
fn port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains("started successfully on port"))?;
    line.rsplit(' ').next()?.trim_end_matches('.').parse().ok()
}

/// Gives the page time to react.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_browser_outlives_its_driver() {
    let browser = Browser::new().await;
    let closed = format!("/proc/{}", browser.pid);
    assert!(Path::new(&closed).exists());
    drop(browser);
    gone(&closed).await;
    let mut browser = Browser::new().await;
    let left = format!("/proc/{}", browser.pid);
    browser.driver.end(devstack::Signal::KILL);
    gone(&left).await;
}

async fn gone(process: &str) {
    eventually("the browser is gone", async || (!Path::new(process).exists()).then_some(())).await;
}
