//! The page in a real Chromium, with the real service.

use serde_json::{Value, json};

use crate::support::{Service, Stack, eventually, in_three_tries, order, orders, sample};
use crate::webdriver::{Browser, a_moment};

/// The first rows of the live list.
const FIRST: &str = "#live-list tbody tr:first-child";

pub(crate) fn url(service: &Service) -> String {
    format!("http://{}/", service.addr)
}

pub(crate) async fn open(service: &Service) -> Browser {
    let browser = Browser::new().await;
    browser.go(&url(service)).await;
    browser
}

/// An order that views ask for and no table has.
const MISSING: &str = "/order/missing";

/// Nothing scrolls sideways, axe-core finds nothing, and the console is quiet.
pub(crate) async fn is_sound(browser: &Browser, view: &str) {
    is_laid_out(browser, view).await;
    is_accessible(browser, view).await;
    keep_document(browser, view).await;
}

/// Writes the document as it is now into the folder VIEWS, where `.ci/nightly html` checks it.
async fn keep_document(browser: &Browser, view: &str) {
    let Some(folder) = std::env::var_os("VIEWS") else { return };
    let document = browser.script("return document.documentElement.outerHTML").await;
    let text = format!("<!DOCTYPE html>\n{}", document.as_str().unwrap());
    std::fs::write(std::path::Path::new(&folder).join(format!("{view}.html")), text).unwrap();
}

/// Nothing scrolls sideways, and the console is quiet.
async fn is_laid_out(browser: &Browser, view: &str) {
    for width in [375, 768, 1280] {
        browser.resize(width, 800).await;
        let wide = "return document.documentElement.scrollWidth <= innerWidth ? '' : \
                    [...document.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > innerWidth) \
                    .map((e) => `${e.tagName}.${e.className}`).join(' ')";
        assert_eq!(browser.script(wide).await, "", "{view} scrolls sideways at {width} px");
    }
    let mut console = browser.console().await;
    // The browser itself logs that a view asks for an order that is missing, each time that it asks.
    console.retain(|line| !line.contains(MISSING) || !line.ends_with("404 (Not Found)"));
    assert_eq!(console, Vec::<String>::new(), "{view}");
}

/// By axe-core's rules, best practices too, in light and in dark, on a phone and on a desk. axe-core leaves the rule of
/// WCAG 2.2, `target-size`, out by default: what is touched has 24 pixels, or as much room.
pub(crate) async fn is_accessible(browser: &Browser, view: &str) {
    let axe = devstack::tools::find_axe().expect("axe-core: `cargo xtask test` installs it");
    let axe = std::fs::read_to_string(axe).unwrap();
    for (width, dark) in [(375, true), (375, false), (1280, true), (1280, false)] {
        browser.resize(width, 800).await;
        browser.dark(dark).await;
        browser.script(&format!("if (!window.axe) {{ {axe}\n }}")).await;
        // A new row is highlighted for a moment; infinite animations can't be finished.
        let finish =
            "document.getAnimations().forEach((one) => { try { one.finish() } catch { one.cancel() } })";
        browser.script(finish).await;
        let found = browser
            .script_async(
                "axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }) \
                 .then(({ violations }) => done(violations.map((rule) => \
                 `${rule.id}: ${rule.nodes.map((node) => `${node.html} (${node.failureSummary})`).join(' | ')}`)), \
                 (error) => done([String(error)]))",
            )
            .await;
        let scheme = if dark { "dark" } else { "light" };
        assert_eq!(found, json!([]), "{view}, {scheme}, {width} px wide");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_as_they_come_paged_opened_and_found() {
    let (stack, service) = Stack::started().await;
    let browser = open(&service).await;
    browser.reads("#live-list", "No orders yet").await;
    is_sound(&browser, "the empty page").await;

    stack.publish(&orders(3)).await;
    browser.reads(FIRST, "order-2").await;
    browser.reads(FIRST, "WBILMTESTTRACK").await;
    browser.reads("#fig-orders", "3").await;
    browser.reads("#charts-began", "The charts begin at ").await;
    browser.reads("#parts", "PostgreSQL").await;
    is_sound(&browser, "the list").await;
    // On a phone, rows are blocks; to a screen reader they are a table as before.
    browser.resize(375, 800).await;
    for (selector, role) in [("table", "table"), ("tbody tr", "row"), ("tbody td", "cell")] {
        assert_eq!(browser.role(&format!("#live-list {selector}")).await, role, "{selector}");
    }
    browser.resize(1280, 800).await;

    browser.click(&format!("{FIRST} a")).await;
    browser.reads("#view-order h1", "order-2").await;
    for shown in ["Test Testov", "1,817 USD", "Mascaras", "Ploshad Mira 15", "317 USD"] {
        browser.reads("#view-order", shown).await;
    }
    browser.click("#view-order .source summary").await;
    browser.reads("#view-order pre", "\"order_uid\": \"order-2\"").await;
    is_sound(&browser, "an order").await;

    // While there are results, the order before is not shown: it would look like one of them.
    let titled = "return document.title";
    assert_eq!(browser.script(titled).await, "Order order-2 · orderd");
    browser.keys("#search", "order-1").await;
    browser.reads("#results", "1 order by Order number").await;
    assert_eq!(
        (browser.text("#view-order").await, browser.script(titled).await),
        (String::new(), "orderd".into())
    );
    browser.keys("#search", "\u{e00c}").await;
    browser.reads("#view-order h1", "order-2").await;
    assert_eq!(browser.script(titled).await, "Order order-2 · orderd");
    // It is still there after a change of the language meanwhile.
    for (language, found, shown) in [("ru", "по полю", "Заказ order-2"), ("en", "by Order", "Order order-2")]
    {
        browser.keys("#search", "order-1").await;
        browser.reads("#results", "order-1").await;
        browser.click("#language").await;
        browser.reads("#results", found).await;
        assert_eq!(browser.script(titled).await, "orderd", "{language}");
        browser.keys("#search", "\u{e00c}").await;
        browser.reads("#view-order h1", shown).await;
        browser.holds(&format!("document.title === '{shown} · orderd'")).await;
        browser.holds("location.hash.startsWith('#/order/')").await;
    }
    browser.keys("#search", "order-1").await;
    browser.reads("#results", "1 order by Order number").await;
    let id = service.ids().await[1].clone();
    browser.reads("#results tbody tr", &id).await;
    browser.reads("#results tbody a", "order-1").await;
    browser.keys("#search", "2").await;
    browser.reads("#results", "No order has exactly this value").await;
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", "WBILMTESTTRACK").await;
    browser.reads("#results", "3 orders by Track number").await;
    is_sound(&browser, "what was found").await;
    browser.click("nav [data-view=dead]").await;
    browser.holds("document.getElementById('results').hidden").await;
    browser.keys("#search", "WBILMTESTTRACK").await;
    browser.reads("#results", "3 orders by Track number").await;
    // Rows have only the key until their members have come.
    browser.reads("#results tbody tr:last-child a", "order-0").await;
    browser.click("#results tbody tr:last-child a").await;
    browser.reads("#view-order h1", "order-0").await;

    browser.go(&format!("{}#/order/nobody", url(&service))).await;
    browser.reads("#view-order", "There is no order nobody").await;
    browser.holds("document.querySelectorAll('#view-order h1').length === 1").await;
    // The browser itself logs the 404.
    browser.console().await;
    is_sound(&browser, "an order that is not there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_view_turns_pages() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(101)).await;
    service.wait_len(101).await;
    let browser = open(&service).await;
    // The newest are listed at once, with members that the page does not send.
    browser.reads(FIRST, "order-100").await;
    browser.click("nav [data-view=page]").await;
    browser.reads("#page-title", "Page 3").await;
    browser.reads("#page-count", "101 orders on 3 pages").await;
    browser.click("#language").await;
    browser.reads("#page-count", "101 заказ на 3 страницах").await;
    browser.click("#language").await;
    browser.reads("#page-count", "101 orders on 3 pages").await;
    browser.holds("document.querySelectorAll('#page-list tbody tr').length === 1").await;
    browser.click("#page-prev").await;
    browser.reads("#page-title", "Page 2").await;
    browser.holds("document.querySelectorAll('#page-list tbody tr').length === 50").await;
    browser.reads("#page-list tbody tr:first-child", "order-50").await;
    browser.click("#page-first").await;
    browser.reads("#page-list tbody tr:first-child", "order-0").await;
    is_sound(&browser, "the first page").await;
    browser.resize(1280, 800).await;
    browser.click("#page-last").await;
    browser.reads("#page-title", "Page 3").await;
    is_sound(&browser, "the last page").await;
    browser.resize(1280, 800).await;
    browser.click("#page-prev").await;
    browser.reads("#page-title", "Page 2").await;
    is_sound(&browser, "a page in the middle").await;
    browser.resize(1280, 800).await;
    browser.script("document.getElementById('page-number').select()").await;
    browser.keys("#page-number", "9\u{e007}").await;
    browser.reads("#page-list", "There is no page").await;
    browser.console().await;
    is_sound(&browser, "a page that is not there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_api_can_be_read_by_all() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    let browser = Browser::new().await;
    browser.go(&format!("{}docs", url(&service))).await;
    browser.reads("main", "/order/{id}").await;
    // No Markdown is left, but in the schema's own text.
    let prose = "const docs = document.getElementById('docs').cloneNode(true); \
                 docs.querySelectorAll('pre').forEach((text) => text.remove()); return docs.textContent.match(/.{0,40}`.{0,40}/)";
    assert_eq!(browser.script(prose).await, Value::Null);
    browser
        .holds("[...document.querySelectorAll('#docs p code')].some((name) => name.textContent === 'HEAD')")
        .await;
    is_sound(&browser, "the description of the API").await;
    // Our own words are in the page's language, and what is open stays so.
    browser.resize(1280, 800).await;
    browser.click("#docs summary").await;
    for (language, words) in [
        ("en", ["Search", "Example", "required", "needs a token", "Schema: order"]),
        ("ru", ["Поиск", "Пример", "обязательный", "нужен токен", "Схема: order"]),
    ] {
        if language == "ru" {
            browser.click("#language").await;
        }
        for word in words {
            browser.reads("body", word).await;
        }
        browser.holds("document.querySelector('#docs details').open").await;
        let languages = "const own = document.querySelector('#docs [data-t]'); \
                         return [document.documentElement.lang, document.getElementById('docs').lang, own.lang]";
        assert_eq!(browser.script(languages).await, json!([language, "en", language]));
    }
    assert_eq!(
        browser.script("return document.body.innerText.match(/Example|required,|Schema:/)").await,
        Value::Null
    );
    is_sound(&browser, "the description of the API in Russian").await;
    // The page of orders has the same language.
    browser.resize(1280, 800).await;
    browser.click("nav a:nth-child(3)").await;
    browser.reads("#view-find h1", "Поиск").await;
    browser.click("nav a:last-child").await;
    browser.reads("#docs", "Пример").await;
}

/// Numbers of the sample keep all their digits.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_the_sample_are_exact_in_the_description_of_the_api() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&file, ODD_PARCEL).unwrap();
    let service = stack.serve(&[("MODEL", file.to_str().unwrap())]).await;
    let browser = Browser::new().await;
    browser.go(&format!("{}docs", url(&service))).await;
    browser.reads("main", "/order/{id}").await;
    let texts = "return [...document.querySelectorAll('#docs pre')].map((text) => text.textContent) \
        .filter((text) => text.includes('90071992547409')).map((text) => text.match(/90071992547409\\d\\d/g))";
    let texts: Vec<Vec<String>> = serde_json::from_value(browser.script(texts).await).unwrap();
    assert!(texts.len() > 1, "in examples and in the schema: {texts:?}");
    assert!(texts.concat().iter().all(|number| number == "9007199254740993"), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_list_pauses_when_asked_and_while_scrolled_down() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(60)).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "order-59").await;
    browser.click("#pause").await;
    stack.publish(&[order("while-paused")]).await;
    browser.reads("#fresh", "1 new order").await;
    browser.reads(FIRST, "order-59").await;
    browser.click("#pause").await;
    browser.reads(FIRST, "while-paused").await;

    browser.script("scrollTo(0, 1000)").await;
    a_moment().await;
    stack.publish(&[order("while-reading")]).await;
    browser.reads("#fresh", "1 new order").await;
    browser.reads(FIRST, "while-paused").await;
    browser.click("#fresh").await;
    browser.reads(FIRST, "while-reading").await;
    assert_eq!(browser.script("return scrollY").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_had_before_it_is_told_of_is_not_new() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    service.wait_len(2).await;
    let ids = service.ids().await;
    let browser = open(&service).await;
    // The page's own list exists, and does not take buttons from this one.
    browser.reads(FIRST, "order-1").await;
    let told = browser
        .script_async(&format!(
            "import('./live_list.js').then(async ({{ Live }}) => {{ \
             const live = new Live([]); const loading = live.clear(); live.add({{ id: {:?} }}); await loading; \
             document.getElementById('pause').click(); live.add({{ id: {:?} }}); live.add({{ id: 'another' }}); \
             requestAnimationFrame(() => requestAnimationFrame(() => \
             done(document.getElementById('fresh').textContent))); }});",
            ids[0], ids[1]
        ))
        .await;
    assert_eq!(told, "↑ 1 new order");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_russian_and_remembers_it() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(2)).await;
    service.wait_len(2).await;
    let browser = open(&service).await;
    browser.reads("h1:not([hidden])[data-t=liveTitle]", "Orders as they arrive").await;
    browser.click("#language").await;
    browser.reads("[data-t=liveTitle]", "Заказы по мере прихода").await;
    browser.reads("#live-list thead", "Номер заказа").await;
    assert_eq!(browser.script("return document.documentElement.lang").await, "ru");
    browser.go(&format!("{}#/page/1", url(&service))).await;
    browser.reads("#page-count", "2 заказа на 1 странице").await;
    is_sound(&browser, "a page in Russian").await;
    browser.click("#language").await;
    browser.reads("#page-count", "2 orders on 1 page").await;
    let end =
        browser.script("return document.getElementById('page-count').textContent.endsWith('page')").await;
    assert_eq!(end, true);
}

/// The texts about a fill, which is too quick for a test to wait for each number.
#[tokio::test(flavor = "multi_thread")]
async fn nouns_agree_with_their_numbers() {
    let (_stack, service) = Stack::started().await;
    let browser = open(&service).await;
    browser.reads("#live-list", "No orders yet").await;
    let asked = |question: &str, nouns: [&str; 4]| nouns.map(|noun| question.replace("{}", noun)).join(", ");
    let say = "const all = ['rows', 'ofRows', 'onPages', 'found', 'deadBytes', 'deadReplayAll', 'deadDropAll', 'deadDropAllAsk']; \
               import('./i18n.js').then(({ t }) => \
               done(all.map((key) => [1, 2, 5, 21].map((count) => t(key, { count }).replace(/\\? .*/, '?')).join(', '))))";
    let english = [
        "1 row, 2 rows, 5 rows, 21 rows",
        "1 row, 2 rows, 5 rows, 21 rows",
        "on 1 page, on 2 pages, on 5 pages, on 21 pages",
        "1 order, 2 orders, 5 orders, 21 orders",
        "1 byte, 2 bytes, 5 bytes, 21 bytes",
        "Replay 1 shown, Replay all 2 shown, Replay all 5 shown, Replay all 21 shown",
        "Drop 1 shown, Drop all 2 shown, Drop all 5 shown, Drop all 21 shown",
        &asked(
            "Drop {} permanently?",
            ["1 dead letter", "2 dead letters", "5 dead letters", "21 dead letters"],
        ),
    ];
    assert_eq!(browser.script_async(say).await, json!(english));
    browser.click("#language").await;
    let russian = [
        "1 строка, 2 строки, 5 строк, 21 строка",
        "1 строки, 2 строк, 5 строк, 21 строки",
        "на 1 странице, на 2 страницах, на 5 страницах, на 21 странице",
        "1 заказ, 2 заказа, 5 заказов, 21 заказ",
        "1 байт, 2 байта, 5 байт, 21 байт",
        "Отправить снова 1 показанное, Отправить снова 2 показанных, Отправить снова 5 показанных, \
         Отправить снова 21 показанное",
        "Удалить 1 показанное, Удалить 2 показанных, Удалить 5 показанных, Удалить 21 показанное",
        &asked(
            "Удалить {} навсегда?",
            [
                "1 отклонённое сообщение",
                "2 отклонённых сообщения",
                "5 отклонённых сообщений",
                "21 отклонённое сообщение",
            ],
        ),
    ];
    assert_eq!(browser.script_async(say).await, json!(russian));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_text() {
    let (stack, service) = Stack::started().await;
    let markup = r#"<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"#;
    let long = "я".repeat(10_000);
    let values =
        [markup, "\u{202e}txet tfel-ot-thgir\u{202c} שלום عليكم", &long, "🧾👩‍👩‍👧‍👦", "[ ] { } \" \\ \u{2028}"];
    let browser = open(&service).await;
    for value in values {
        let text = sample().replace("\"test@gmail.com\"", &json!(value).to_string());
        let mut hostile: Value = serde_json::from_str(&text).unwrap();
        for member in ["order_uid", "track_number"] {
            hostile[member] = value.into();
        }
        hostile["items"][0]["name"] = value.into();
        // More digits than a number of JavaScript's has.
        let text = hostile.to_string().replace("9934930", "9007199254740993");
        stack.publish(&[&text]).await;
        let shown: String = value.chars().take(5).collect();
        browser.reads(FIRST, &shown).await;
        is_laid_out(&browser, "a list of hostile values").await;
        let id = service.ids().await.pop().unwrap();
        browser.go(&format!("{}#/order/{id}", url(&service))).await;
        browser.reads("#view-order .heading .id", &id).await;
        browser
            .script("document.querySelectorAll('#view-order details').forEach((d) => (d.open = true))")
            .await;
        browser.reads("#view-order pre", "9007199254740993").await;
        browser.reads("#view-order .items", "9007199254740993").await;
        let raw = service.get(&format!("/order/{id}")).await.body;
        let same = format!(
            "JSON.stringify(JSON.parse(document.querySelector('#view-order pre').textContent)) === JSON.stringify(JSON.parse({}))",
            json!(raw)
        );
        browser.holds(&same).await;
        is_laid_out(&browser, "a hostile order").await;
        browser.go(&format!("{}#/", url(&service))).await;
    }
    browser.holds("document.title === 'orderd'").await;
    assert_eq!(browser.script("return document.images.length").await, 1, "its own mark alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_kind_is_a_tree() {
    let (_stack, service) = Stack::started().await;
    let browser = open(&service).await;
    let document = json!({ "ship": { "crew": [{ "name": "<b>Ada</b>" }], "empty": [] }, "sails": 3, "Sails": 4, "to_port": true });
    let tree = browser
        .script_async(&format!(
            "import('./json_tree.js').then(({{ tree }}) => {{ document.getElementById('main').append(tree({document})); \
             done(document.querySelector('.tree').innerText); }});"
        ))
        .await;
    for shown in ["ship", "crew (1)", "Name <b>Ada</b>", "empty none", "sails 3", "Sails 4", "to_port true"] {
        assert!(tree.as_str().unwrap().contains(shown), "{shown}: {tree}");
    }
    is_sound(&browser, "a tree").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_beyond_those_of_javascript_are_shown_as_they_are() {
    const NUMBERS: [&str; 3] = ["1e400", "-0.1234567890123456789012", "12345678901234567890"];
    let stack = Stack::new();
    let service = stack.serve(&[("MODEL", "any"), ("SEARCH", "name,huge,list")]).await;
    let [huge, fraction, whole] = NUMBERS;
    let browser = open(&service).await;
    browser.reads("#live-list", "No documents").await;
    stack
        .publish(&[format!(r#"{{"name":"n","huge":{huge},"list":[{fraction},{whole}],"plain":-1.250e-7}}"#)])
        .await;
    for number in NUMBERS {
        browser.reads(FIRST, number).await;
    }
    browser.click(&format!("{FIRST} a")).await;
    for number in NUMBERS.into_iter().chain(["-1.25e-7"]) {
        browser.reads("#view-order .tree", number).await;
    }
    is_laid_out(&browser, "odd numbers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_list_continues_after_the_service_was_away() {
    let (stack, mut service) = Stack::started().await;
    let addr = service.addr.to_string();
    stack.publish(&[order("before")]).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "before").await;
    assert_eq!(service.stop(), Some(0));
    browser.reads("#banners", "Disconnected from the service").await;
    stack.publish(&[order("meanwhile")]).await;
    let service = stack.serve(&[("HTTP_ADDR", &addr)]).await;
    browser.reads(FIRST, "meanwhile").await;
    browser.holds("document.getElementById('banners').children.length === 0").await;
    stack.publish(&[order("after")]).await;
    browser.reads(FIRST, "after").await;
    assert_eq!(service.mem_len().await, 3);
    let rows = browser.script("return document.querySelectorAll('#live-list tbody tr').length").await;
    assert_eq!(rows, 3, "each once");
}

/// After a restart the page rebuilds the list, but not while a reader has paused it.
#[tokio::test(flavor = "multi_thread")]
async fn while_paused_it_stays_as_it_is_even_over_a_restart() {
    let (stack, mut service) = Stack::started().await;
    let addr = service.addr.to_string();
    stack.publish(&[order("before")]).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "before").await;
    browser.click("#pause").await;
    assert_eq!(service.stop(), Some(0));
    browser.reads("#banners", "Disconnected from the service").await;
    stack.publish(&[order("meanwhile")]).await;
    let service = stack.serve(&[("HTTP_ADDR", &addr)]).await;
    service.wait_len(2).await;
    browser.holds("document.getElementById('banners').children.length === 0").await;
    stack.publish(&[order("after")]).await;
    browser.reads("#fresh", "new order").await;
    browser.reads("#fig-orders", "3").await;
    browser.reads(FIRST, "before").await;
    browser.click("#fresh").await;
    browser.reads(FIRST, "after").await;
    let uids = "return [...document.querySelectorAll('#live-list td.main')].map((cell) => cell.innerText)";
    for (row, uid) in [(2, "meanwhile"), (3, "before")] {
        browser.reads(&format!("#live-list tbody tr:nth-child({row})"), uid).await;
    }
    assert_eq!(browser.script(uids).await, json!(["after", "meanwhile", "before"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_which_server_is_away() {
    let (mut stack, service) = Stack::started().await;
    let browser = open(&service).await;
    browser.reads("#parts .up", "NATS").await;
    stack.postgres.stop();
    browser.reads("#banners", "PostgreSQL has been unreachable since").await;
    browser.reads("#parts .away", "PostgreSQL down").await;
    browser.reads("#banners", "Reason").await;
    is_sound(&browser, "the page without PostgreSQL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_signs_in_with_a_token_and_out_again() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "open-sesame")]).await;
    let browser = open(&service).await;
    browser.reads("#view-signin", "Orders are personal data").await;
    browser.keys("#token", "wrong\u{e007}").await;
    browser.reads("#signin-error", "Invalid token.").await;
    // The browser itself logs the 401s.
    browser.console().await;
    is_sound(&browser, "the view to sign in").await;
    browser.resize(1280, 800).await;
    browser.script("document.getElementById('token').value = ''").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    stack.publish(&[order("mine")]).await;
    browser.reads(FIRST, "mine").await;
    let kept = browser.script("return document.cookie + JSON.stringify(localStorage) + location.href").await;
    assert!(!kept.as_str().unwrap().contains("sesame"), "{kept}");
    is_sound(&browser, "the page when signed in").await;
    browser.go(&url(&service)).await;
    browser.reads(FIRST, "mine").await;
    browser.resize(1280, 800).await;
    browser.click("#pause").await;
    browser.click("#sign-out").await;
    browser.reads("#view-signin", "Sign in").await;
    assert_eq!(browser.text("#live-list").await, "");
    let figure = "return document.getElementById('fig-orders').textContent";
    assert_eq!(browser.script(figure).await, "–", "how many there are is not for everyone");
    // The list is shown again, although it was paused.
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(FIRST, "mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("mine")]).await;
    service.wait_len(1).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "mine").await;
    let lose = "const real = fetch; window.left = ['mem_len', 'order/']; window.fetch = (path, ...others) => { \
                const lost = left.findIndex((start) => path.startsWith(start)); \
                return lost < 0 ? real(path, ...others) : (left.splice(lost, 1), Promise.reject(new TypeError())); }";
    browser.script(lose).await;
    // The page has rebuilt the list.
    browser.click("#language").await;
    browser.holds("left.length === 0").await;
    browser.reads(FIRST, "mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_signs_nobody_out() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "open-sesame")]).await;
    stack.publish(&[order("mine")]).await;
    let browser = open(&service).await;
    browser.reads("#view-signin", "Sign in").await;
    // Delays only the request of this test, never the page's own.
    let ask = "const real = fetch; window.fetch = async (path, ...others) => { \
               if (path !== 'mem_len') return real(path, ...others); \
               window.fetch = real; const answer = await real('mem_len'); await new Promise((resolve) => (window.release = resolve)); \
               return answer; }; \
               window.late = import('./api.js').then((api) => api.memLen().catch((error) => error.status));";
    browser.script(ask).await;
    browser.holds("'release' in window").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(FIRST, "mine").await;
    assert_eq!(browser.script_async("release(); late.then(done)").await, 401);
    browser.reads(FIRST, "mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_is_told_when_the_sign_out_did_not_reach_the_service() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "open-sesame")]).await;
    let browser = open(&service).await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#live-list", "No orders yet").await;
    browser.script("window.fetch = () => Promise.reject(new TypeError())").await;
    browser.click("#sign-out").await;
    browser.reads("#signin-error", "still signed in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_a_second_freeze_nothing() {
    let (stack, service) = Stack::started().await;
    let browser = open(&service).await;
    browser.reads("#live-list", "No orders yet").await;
    let publishing = stack.run(&["publish", "--count", "100000", "--rate", "10000"], "");
    let watching = async {
        browser.reads("#sampled", "Too many to read").await;
        // Frames drawn in three seconds. A loaded machine draws fewer; a frozen page draws none.
        in_three_tries(async || {
            let frames = browser
                .script_async(
                    "let frames = 0; const end = performance.now() + 3000; const frame = (now) => { frames += 1; \
                     now < end ? requestAnimationFrame(frame) : done(frames); }; requestAnimationFrame(frame);",
                )
                .await;
            (frames.as_u64().unwrap() >= 6).then_some(()).ok_or(format!("{frames} frames"))
        })
        .await;
        assert_eq!(browser.script("return document.getElementById('sampled').hidden").await, false);
    };
    let (published, ()) = tokio::join!(publishing, watching);
    assert!(published.status.success(), "{published:?}");
    let rows = browser.script("return document.querySelectorAll('#live-list tbody tr').length").await;
    assert!(rows.as_u64().unwrap() <= 200, "{rows} rows");
    eventually("all are counted", async || (browser.text("#fig-orders").await == "100,000").then_some(()))
        .await;
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_with_the_keyboard_alone() {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "one").await;
    browser.keys("body", TAB).await;
    assert_eq!(browser.script("return document.activeElement.id").await, "skip");
    browser.keys("#skip", ENTER).await;
    assert_eq!(browser.script("return document.activeElement.id").await, "main");
    browser.keys("body", "/").await;
    assert_eq!(browser.script("return document.activeElement.id").await, "search");
    browser.keys("#search", "one").await;
    browser.reads("#results", "1 order").await;
    browser.keys("#search", ENTER).await;
    browser.reads("#view-order h1", "one").await;
    let unnamed = "[...document.querySelectorAll('button:not([hidden]), a[href], input:not([hidden])')].filter((e) => \
                   !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length === 0";
    browser.holds(unnamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_has_an_address_and_enter_opens_its_only_hit_and_goes_to_several() {
    const ENTER: &str = "\u{e007}";
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    let browser = open(&service).await;
    browser.reads(FIRST, "order-2").await;
    browser.go(&format!("{}#/search/WBILMTESTTRACK", url(&service))).await;
    browser.reads("#results", "3 orders by Track number").await;
    browser.keys("#search", ENTER).await;
    let first = "document.activeElement === document.querySelector('#results td a')";
    browser.holds(first).await;
    browser.holds("location.hash === '#/search/WBILMTESTTRACK'").await;
    // Quicker than the search: all the same, no hit is opened unseen.
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", &format!("nothing{ENTER}")).await;
    browser.reads("#results", "No order has exactly this value").await;
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", &format!("WBILMTESTTRACK{ENTER}")).await;
    browser.holds(first).await;
    is_sound(&browser, "the first of several hits").await;
    browser.resize(1280, 800).await;
    browser.keys("#results td a", ENTER).await;
    browser.reads("#view-order h1", "order-2").await;
    browser.script("history.back()").await;
    browser.reads("#results", "3 orders by Track number").await;
    // Quicker than the search.
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", &format!("order-1{ENTER}")).await;
    browser.reads("#view-order h1", "order-1").await;
    browser.holds("location.hash.startsWith('#/order/')").await;
    is_sound(&browser, "what Enter opened").await;
}

/// Whether each chart says that its value is unknown, and its line ends before the present.
const GAPS: &str = "[...document.querySelectorAll('.chart svg')].every((chart) => \
    /: (now|сейчас) –,/.test(chart.getAttribute('aria-label')) && \
    [...chart.querySelector('.line').getAttribute('d').matchAll(/([\\d.]+),/g)].every(([, x]) => Number(x) < 600))";

/// Whether the rate is known, also in its chart.
const KNOWN: &str = "/: now \\d/.test(document.querySelector('#chart-rate svg').getAttribute('aria-label')) && \
    document.getElementById('fig-rate').textContent.endsWith('/s')";

#[tokio::test(flavor = "multi_thread")]
async fn unknown_figures_are_shown_as_a_dash_while_a_server_is_away() {
    let (mut stack, mut service) = Stack::started().await;
    let addr = service.addr.to_string();
    stack.publish(&["{".to_owned(), order("one")]).await;
    let browser = open(&service).await;
    browser.reads("#fig-dead", "1").await;
    browser.reads("#fig-lag", "0").await;
    browser.holds("/, \\S+$/.test(document.querySelector('.orders th').textContent)").await;
    browser.holds(KNOWN).await;
    service.kill();
    let figures = ["#fig-orders", "#fig-rate", "#fig-commit", "#fig-lag", "#fig-dead"];
    for figure in figures {
        browser.reads(figure, "–").await;
    }
    browser.holds(GAPS).await;
    // Another language knows no more.
    browser.click("#language").await;
    for figure in figures {
        assert_eq!(browser.text(figure).await, "–", "{figure}");
    }
    browser.holds(GAPS).await;
    browser.click("#language").await;

    let service = stack.serve(&[("HTTP_ADDR", &addr)]).await;
    browser.reads("#fig-dead", "1").await;
    browser.holds(KNOWN).await;
    stack.nats.stop();
    for figure in ["#fig-rate", "#fig-commit", "#fig-lag", "#fig-dead"] {
        browser.reads(figure, "–").await;
    }
    browser.holds(GAPS).await;
    browser.reads("#fig-orders", "1").await;
    assert_eq!(service.mem_len().await, 1);
}

/// NATS answers, and the service does not read from it.
#[tokio::test(flavor = "multi_thread")]
async fn rate_is_unknown_while_the_intake_alone_is_down() {
    let stack = Stack::new();
    // It is in the way of dead letters.
    let config = async_nats::jetstream::stream::Config {
        name: "OTHER".into(),
        subjects: vec!["dead.ORDERS.x.y".into()],
        ..Default::default()
    };
    stack.jetstream().await.create_stream(config).await.unwrap();
    let service = stack.start(&[]).await;
    let browser = open(&service).await;
    browser.reads("#fig-orders", "0").await;
    browser.reads("#parts .away", "Intake").await;
    browser.reads("#parts .up", "NATS").await;
    for figure in ["#fig-rate", "#fig-lag"] {
        browser.reads(figure, "–").await;
    }
    browser.holds(GAPS).await;
}

/// A hidden page closes its connection. Until it has a new one it knows nothing, but nothing has failed.
#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_page_that_was_hidden_are_unknown_until_it_is_connected() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    let browser = open(&service).await;
    browser.reads("#fig-orders", "1").await;
    browser.holds(KNOWN).await;
    // It waits a while before it closes the connection.
    let hide = "const real = setTimeout; window.setTimeout = (call, ms) => real(call, ms === 20000 ? 0 : ms); \
        const hide = (is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true }); \
        document.dispatchEvent(new Event('visibilitychange')); }; window.hide = hide; hide(true)";
    browser.script(hide).await;
    browser.reads("#fig-orders", "–").await;
    browser.holds(GAPS).await;
    assert_eq!(browser.text("#banners").await, "");
    browser.script("hide(false)").await;
    browser.reads("#fig-orders", "1").await;
    browser.holds(KNOWN).await;
}

/// What the user sees of the tiles and charts: nothing is hidden, covered or cut off.
#[tokio::test(flavor = "multi_thread")]
async fn every_figure_and_chart_can_be_seen_in_any_width_and_language() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[order("one")]).await;
    let browser = open(&service).await;
    browser.reads("#fig-orders", "1").await;
    let unseen = "const tiles = [...document.querySelectorAll('.figures div')]; \
        document.getElementById('fig-orders').textContent = '123,456,789'; \
        document.getElementById('fig-rate').textContent = '100,000.5/s'; \
        const isSeen = (part, { left, right, top, bottom }) => { \
        const range = document.createRange(); range.selectNodeContents(part); \
        const text = part.matches('.chart') ? part.getBoundingClientRect() : range.getBoundingClientRect(); \
        const found = document.elementFromPoint((text.left + text.right) / 2, (text.top + text.bottom) / 2); \
        return part.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && text.width > 4 && text.height > 8 && \
        text.left >= left && text.right <= right && text.top >= top && text.bottom <= bottom && part.contains(found); }; \
        const whole = document.querySelector('.figures').getBoundingClientRect(); \
        const parts = [...tiles, ...document.querySelectorAll('.charts figure')].flatMap((tile) => { \
        const box = tile.getBoundingClientRect(); const isWithin = tile.matches('figure') || box.right <= whole.right; \
        return [...tile.children].map((part) => [part.outerHTML, isWithin && isSeen(part, box)]); }); \
        return [parts.length, parts.filter(([, isSeen]) => !isSeen).map(([part]) => part)]";
    for width in [320, 375, 768, 1280] {
        browser.resize(width, 1200).await;
        for _ in 0..2 {
            assert_eq!(browser.script(unseen).await, json!([14, []]), "{width} px wide");
            browser.click("#language").await;
        }
    }
}

/// The random times after which the page has tried again, as far as the time until a retry is around one or two seconds.
const WAITS: &str = "const real = setTimeout; window.waits = new Set(); window.setTimeout = (call, ms) => { \
    if (ms >= 500 && ms < 3000) waits.add(ms); return real(call, ms); }";

/// After a restart, not all pages ask in the same moment, nor does any always wait for the same time.
#[tokio::test(flavor = "multi_thread")]
async fn retries_are_spread_over_time() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&[order("mine")]).await;
    let browser = Browser::new().await;
    browser.block(&["*openapi.json"]).await;
    browser.go(&url(&service)).await;
    browser.reads("#banners", "Disconnected from the service").await;
    browser.script(WAITS).await;
    browser.holds("waits.size > 2").await;
    // Each of these alone is lost: the newest pages, the documents of rows, and a download.
    browser.block(&["*/mem_len"]).await;
    browser.reads("#view-live", "Orders as they arrive").await;
    browser.script(WAITS).await;
    browser.holds("waits.size > 2").await;
    browser.block(&["*/order/*"]).await;
    browser.reads(FIRST, "…").await;
    browser.script(WAITS).await;
    browser.holds("waits.size > 2").await;
    browser.block(&["*full=true*"]).await;
    browser.reads(FIRST, "mine").await;
    browser.click("nav [data-view=find]").await;
    browser.reads("#find-list", "mine").await;
    browser.script("delete window.showSaveFilePicker; delete Window.prototype.showSaveFilePicker").await;
    browser.script(WAITS).await;
    browser.click("#find-csv").await;
    browser.holds("waits.size > 2").await;
    browser.block(&[]).await;
    browser.click("nav [data-view=live]").await;
    browser.reads(FIRST, "mine").await;
    service.kill();
    browser.reads("#banners", "Disconnected from the service").await;
    browser.script(WAITS).await;
    browser.holds("waits.size > 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_over_a_slow_connection() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(60)).await;
    service.wait_len(60).await;
    let browser = Browser::new().await;
    browser.slow().await;
    browser.go(&url(&service)).await;
    browser.reads(FIRST, "order-59").await;
    stack.publish(&[order("late")]).await;
    browser.reads(FIRST, "late").await;
    browser.keys("#search", "order-7").await;
    browser.reads("#results", "1 order").await;
    browser.holds("document.getElementById('loading').hidden").await;
    is_sound(&browser, "the page on a slow connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_yet_is_not_called_empty() {
    let (stack, mut service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    eventually("all are in the table", async || (stack.rows() == 3).then_some(())).await;
    let addr = service.addr.to_string();
    assert_eq!(service.stop(), Some(0));
    stack.postgres.pause();
    let service = stack.start(&[("HTTP_ADDR", &addr)]).await;
    let browser = open(&service).await;
    browser.reads("#live-list", "Nothing in memory yet").await;
    stack.postgres.resume();
    browser.reads(FIRST, "order-2").await;
    is_sound(&browser, "the page after the fill").await;
}

/// If documents are not orders, no text in either language calls them orders.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_parcels_speaks_of_no_orders() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&file, r#"{"id": "p-1", "name": "n", "items": [{"price": 1}]}"#).unwrap();
    let service = stack.serve(&[("MODEL", file.to_str().unwrap()), ("SEARCH", "id")]).await;
    let browser = open(&service).await;
    browser.reads("#live-list", "No documents (parcel) yet").await;
    speaks_of_no_orders(&browser).await;
    is_sound(&browser, "the empty page of parcels").await;
    browser.resize(1280, 800).await;
    stack.publish(&[r#"{"id":"p-1","name":"n","items":[{"price":1},{"price":2}]}"#, "{"]).await;
    browser.reads(FIRST, "p-1").await;
    speaks_of_no_orders(&browser).await;
    is_sound(&browser, "the list of parcels").await;
    browser.resize(1280, 800).await;
    // The list is rebuilt in the other language, so its old links can't be clicked.
    let id = service.ids().await[0].clone();
    browser.go(&format!("{}#/order/{id}", url(&service))).await;
    browser.reads("#view-order h1", "Parcel p-1").await;
    browser.reads("#view-order .heading", &format!("Key {id}")).await;
    speaks_of_no_orders(&browser).await;
    is_sound(&browser, "a parcel").await;
    browser.resize(1280, 800).await;
    for (view, at, shown) in [
        ("#view-page", "page/1", "1 document on 1 page"),
        ("#view-dead", "dead", "Not JSON"),
        ("#view-order", &MISSING[1..], "no parcel"),
    ] {
        browser.go(&format!("{}#/{at}", url(&service))).await;
        browser.reads(view, shown).await;
        speaks_of_no_orders(&browser).await;
        is_sound(&browser, &format!("{at} of parcels").replace('/', " ")).await;
        browser.resize(1280, 800).await;
    }
    browser.go(&format!("{}docs", url(&service))).await;
    for words in ["Schema: parcel", "Схема: parcel"] {
        browser.reads("#docs", words).await;
        // Names between the words are those of the API.
        let orders = "const docs = document.body.cloneNode(true); docs.querySelectorAll('code, pre').forEach((name) => name.remove()); \
                      return docs.textContent.replaceAll('orderd', '').match(/.*(order|заказ).*/i)?.[0] ?? ''";
        assert_eq!(browser.script(orders).await, "");
        browser.click("#language").await;
    }
}

async fn speaks_of_no_orders(browser: &Browser) {
    for _ in 0..2 {
        let words = "const shown = [...document.querySelectorAll('[placeholder], [aria-label]')] \
                     .map((e) => `${e.placeholder ?? ''} ${e.ariaLabel ?? ''}`).join('\\n'); \
                     return `${document.title}\\n${document.body.innerText}\\n${shown}` \
                     .replaceAll('orderd', '').match(/.*(order|заказ).*/i)?.[0] ?? ''";
        assert_eq!(browser.script(words).await, "");
        browser.click("#language").await;
    }
}

/// A document may have members with the names that the page has for its own.
const ODD_PARCEL: &str = r#"{"id":"p-1","key":"k-1","type":"box","to":{"city":"Riga","tags":["a","b"]},"fragile":false,"sealed":true,"weight":9007199254740993,"note":"text"}"#;

/// The cells of the first row, each with its label.
const LABELLED: &str = "[...document.querySelectorAll('VIEW tbody tr:first-child td')].map((cell) => \
    [JSON.parse(getComputedStyle(cell, '::before').content), cell.innerText]).sort((one, other) => (one[0] < other[0] ? -1 : 1))";

/// On a phone, the table shows no column heads. A row from an event looks like one from the order itself.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_each_value_has_the_label_of_its_member() {
    let files = devstack::TempDir::new().unwrap();
    let file = files.path().join("parcel.json");
    std::fs::write(&file, ODD_PARCEL).unwrap();
    let search = "id,key,type,to.city,to.tags,fragile,weight,note";
    let typed = [("MODEL", file.to_str().unwrap()), ("PG_FORMAT", "json"), ("SEARCH", search)];
    let any = [("MODEL", "any"), ("PG_FORMAT", "json"), ("SEARCH", search)];
    let long = "long ".repeat(100);
    let short = format!("{}…", &long[..160]);
    let document = |note: &str| {
        ODD_PARCEL.replace("\"text\"", note).replace("p-1", if note == "null" { "" } else { "p-1" })
    };
    for settings in [typed, any] {
        let stack = Stack::new();
        let service = stack.serve(&settings).await;
        let browser = open(&service).await;
        browser.resize(375, 800).await;
        browser.reads("#live-list", "No documents").await;
        for (note, shown, id) in [("null", "–", "(empty)"), (&*json!(long).to_string(), &short, "p-1")] {
            stack.publish(&[document(note)]).await;
            browser.reads(FIRST, shown).await;
            let key = service.ids().await.pop().unwrap();
            browser.reads(FIRST, &key).await;
            let right = |labels: [&str; 10], time: &str| {
                let values =
                    [time, id, "k-1", "box", "Riga", "a, b", "false", "9007199254740993", shown, &*key];
                let mut cells: Vec<_> = labels.into_iter().zip(values).collect();
                cells.sort_unstable();
                json!(cells)
            };
            let members = ["id", "key", "type", "to · city", "to · tags", "fragile", "weight", "note"];
            let labels = |time: &'static str, key: &'static str| {
                let mut labels = vec![time];
                labels.extend(members);
                labels.push(key);
                <[&str; 10]>::try_from(labels).unwrap()
            };
            let listed = async |view: &str, names: [&'static str; 2]| {
                let cells = LABELLED.replace("VIEW", view);
                let time = "document.querySelector('VIEW tbody time').innerText".replace("VIEW", view);
                let zone = "document.querySelector('VIEW thead th').textContent".replace("VIEW", view);
                let found = browser.script(&format!("return [{cells}, {time}, {zone}]")).await;
                let text = found.to_string().replace(found[2].as_str().unwrap(), names[0]);
                let found: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(found[0], right(labels(names[0], names[1]), found[1].as_str().unwrap()), "{view}");
            };
            listed("#live-list", ["Arrived", "Key (orderd)"]).await;
            is_laid_out(&browser, "the list of odd parcels").await;
            browser.resize(375, 800).await;
            browser.go(&format!("{}#/find?$.key=k-1", url(&service))).await;
            browser.reads("#find-list tbody tr:first-child", shown).await;
            listed("#find-list", ["Arrived", "Key (orderd)"]).await;
            browser.click("#language").await;
            browser.reads("#find-list tbody tr:first-child", shown).await;
            browser.reads("#find-list tbody tr:first-child", &key).await;
            browser.click("#language").await;
            browser.go(&format!("{}#/", url(&service))).await;
            browser.reads(FIRST, shown).await;
        }
        is_accessible(&browser, "the list of odd parcels").await;
        browser.resize(375, 800).await;
        browser.keys("#search", "k-1").await;
        browser.reads("#results", "2 documents by key").await;
        let found = LABELLED.replace("VIEW", "#results");
        browser
            .holds(&format!("{found}.some(([label, value]) => label === 'to · city' && value === 'Riga')"))
            .await;
        browser.click("#language").await;
        browser.holds(&format!("{found}.some(([label]) => label === 'Ключ')")).await;
        browser.click("#language").await;
        browser.reads("#results", "2 documents by key").await;
        is_sound(&browser, "hits among odd parcels").await;
    }
}
