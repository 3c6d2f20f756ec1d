//! The page's search: several values and times, pages with a cursor, downloads.

use serde_json::{Value, json};

use crate::browser::{is_sound, open, url};
use crate::support::{Service, Stack, eventually, order, sample};
use crate::webdriver::Browser;

const ROWS: &str = "[...document.querySelectorAll('#find-list tbody tr')]";

/// An order with these values.
fn with(uid: &str, track: &str) -> String {
    let mut order: Value = serde_json::from_str(&sample()).unwrap();
    order["order_uid"] = uid.into();
    order["track_number"] = track.into();
    order.to_string()
}

/// The ids that are listed.
async fn listed(browser: &Browser) -> Vec<String> {
    let ids = browser.script(&format!("return {ROWS}.map((row) => row.dataset.id)")).await;
    serde_json::from_value(ids).unwrap()
}

async fn lists(browser: &Browser, right: &[String]) {
    eventually(&format!("{right:?} are listed"), async || (listed(browser).await == right).then_some(()))
        .await;
}

/// Opens a search by its URL, like a user who received the link.
async fn sent(browser: &Browser, service: &Service, query: &str) {
    browser.go("about:blank").await;
    browser.go(&format!("{}#/find{query}", url(service))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_values_and_times_find_orders_and_the_address_holds_the_search() {
    let (stack, service) = Stack::started().await;
    stack.publish(&[with("a", "t1"), with("b", "t1"), with("a", "t2"), with("a", "t1")]).await;
    service.wait_len(4).await;
    let ids = service.ids().await;
    let browser = open(&service).await;
    browser.click("nav [data-view=find]").await;
    lists(&browser, &ids.iter().rev().cloned().collect::<Vec<_>>()).await;
    browser.keys("#find-rows input", "a").await;
    browser.click("#find-add").await;
    let second = "#find-rows .find-row:nth-child(2)";
    browser.keys(&format!("{second} select"), "Track").await;
    browser.keys(&format!("{second} input"), "t1\u{e007}").await;
    lists(&browser, &[ids[3].clone(), ids[0].clone()]).await;
    is_sound(&browser, "what was found by two values").await;
    browser.resize(1280, 900).await;
    browser.keys("#find-sort", "Oldest").await;
    browser.click("#find-form .primary").await;
    lists(&browser, &[ids[0].clone(), ids[3].clone()]).await;

    // The same in another window, and the form shows the search.
    let shared = browser.script("return location.href").await;
    browser.go("about:blank").await;
    browser.go(shared.as_str().unwrap()).await;
    lists(&browser, &[ids[0].clone(), ids[3].clone()]).await;
    let form = "return [...document.querySelectorAll('#find-form input[type=search], #find-form select')].map((e) => e.value)";
    let filled = json!(["order_uid", "a", "track_number", "t1", "asc"]);
    assert_eq!(browser.script(form).await, filled);

    // One member fewer, and a value that no order has.
    browser.click("#find-rows .find-row:nth-child(1) button").await;
    browser.click("#find-form .primary").await;
    lists(&browser, &[ids[0].clone(), ids[1].clone(), ids[3].clone()]).await;
    browser.script("document.querySelector('#find-rows input').select()").await;
    browser.keys("#find-rows input", "nothing\u{e007}").await;
    browser.reads("#find-list", "Nothing matches").await;
    is_sound(&browser, "a search that finds nothing").await;

    // Times: the first is within, the last is not.
    let at = |id: &str| id.split('-').next().unwrap().to_owned();
    sent(&browser, &service, &format!("?from={}&to={}", at(&ids[1]), at(&ids[3]))).await;
    lists(&browser, &[ids[2].clone(), ids[1].clone()]).await;
    browser.script("document.getElementById('find-from').value = '2001-02-03T04:05:06'; document.getElementById('find-to').value = '2002-02-03T04:05'").await;
    browser.click("#find-form .primary").await;
    browser.reads("#find-list", "Nothing matches").await;
    let kept = "return [location.hash.includes('from=2001'), document.getElementById('find-from').value]";
    assert_eq!(browser.script(kept).await, json!([true, "2001-02-03T04:05:06"]));
    sent(&browser, &service, "?nobody=1").await;
    browser.reads("#find-list", "there is no parameter").await;
}

/// To the end and back, while others arrive: each initial order once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn pages_neither_jump_nor_repeat_while_orders_arrive() {
    const PAGES: usize = 12;
    let (stack, service) = Stack::started().await;
    let sent = stack.run(&["publish", "--count", &(PAGES * 50).to_string()], "").await;
    assert!(sent.status.success());
    service.wait_len((PAGES * 50) as u64).await;
    let mut right = service.ids().await;
    right.reverse();
    let browser = open(&service).await;
    browser.click("nav [data-view=find]").await;
    browser.holds(&format!("{ROWS}.length === 50")).await;
    let arriving = stack.run(&["publish", "--count", "100000", "--rate", "200"], "");
    let turning = async {
        let some = (PAGES * 50 + 100) as u64;
        eventually("orders arrive", async || (service.mem_len().await >= some).then_some(())).await;
        for page in 1..PAGES {
            browser.click("#find-next").await;
            lists(&browser, &right[page * 50..][..50]).await;
        }
        assert_eq!(browser.text("#find-next[href]").await, "", "the last page");
        is_sound(&browser, "the last page of a search").await;
        browser.resize(1280, 900).await;
        for page in (0..PAGES - 1).rev() {
            browser.click("#find-prev").await;
            lists(&browser, &right[page * 50..][..50]).await;
        }
        // New orders are on the previous page.
        browser.click("#find-prev").await;
        browser.holds(&format!("{ROWS}.length === 50 && {ROWS}[0].dataset.id > '{}'", right[0])).await;
        browser.click("#find-first").await;
        browser.holds("location.hash === '#/find'").await;
    };
    tokio::select! {
        () = turning => {}
        sent = arriving => panic!("orders no longer arrive: {sent:?}"),
    }
}

/// The browser's file, as the page writes it.
const FILE: &str = "window.pieces = []; window.ended = ''; window.showSaveFilePicker = async ({ suggestedName }) => { \
    window.suggested = suggestedName; return { createWritable: async () => ({ \
    write: async (text) => void pieces.push(text), close: async () => { ended = 'closed'; }, \
    abort: async () => { ended = 'aborted'; } }) }; }";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_written_to_a_file_piece_by_piece_once_each() {
    let (stack, service) = Stack::started().await;
    let sent = stack.run(&["publish", "--count", "2500"], "").await;
    assert!(sent.status.success());
    stack.publish(&[with("the last", "other")]).await;
    service.wait_len(2501).await;
    let browser = open(&service).await;
    browser.go(&format!("{}#/find?order=asc&$.track_number=WBILMTESTTRACK", url(&service))).await;
    browser.holds(&format!("{ROWS}.length === 50")).await;
    browser.script(FILE).await;
    // Documents come after others have arrived, and the second response ends in the middle of an order.
    let broken = "window.asked = 0; const real = fetch; const arrived = new Promise((resolve) => (window.arrived = resolve)); \
        window.fetch = async (path, ...others) => { \
        if (!path.includes('full=true')) return real(path, ...others); \
        await arrived; const answer = await real(path, ...others); \
        if (++asked !== 2) return answer; \
        const text = await answer.text(); \
        const body = new ReadableStream({ start(controller) { controller.enqueue(new TextEncoder().encode(text.slice(0, text.length / 2))); }, \
        pull(controller) { controller.error(new TypeError('broken')); } }); \
        return new Response(body, { headers: answer.headers }); }";
    browser.script(broken).await;
    let newest = "performance.getEntriesByType('resource').some(({ name, responseEnd }) => name.includes('limit=1') && responseEnd > 0)";
    browser.click("#find-jsonl").await;
    browser.holds(newest).await;
    let sent = stack.run(&["publish", "--count", "1500"], "").await;
    assert!(sent.status.success());
    service.wait_len(4001).await;
    browser.script("arrived()").await;
    browser.reads("#find-said", "Downloaded: 2,500.").await;
    browser.holds("ended === 'closed'").await;
    let pieces: Vec<String> = serde_json::from_value(browser.script("return pieces").await).unwrap();
    assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() < 1 << 19), "{}", pieces.len());
    let text = pieces.concat();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids == service.ids().await[..2500], "each of the beginning once, and none that came later");
    let first = service.get(&format!("/order/{}", ids[0])).await.body;
    assert_eq!(text.lines().next().unwrap(), format!("{{\"id\":\"{}\",\"order\":{first}}}", ids[0]));
    let named = browser.script("return [suggested.startsWith('order-'), suggested.endsWith('.jsonl')]").await;
    assert_eq!(named, json!([true, true]));

    // Another search says nothing of it.
    browser.go(&format!("{}#/find", url(&service))).await;
    browser.holds("document.getElementById('find-said').textContent === ''").await;
    // After a failure, no file remains that looks complete.
    browser.script("window.fetch = () => Promise.reject(new TypeError())").await;
    browser.click("#find-jsonl").await;
    browser.reads("#find-said", "the file is not written").await;
    browser.holds("ended === 'aborted'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_files_saves_csv_that_spreadsheets_read() {
    let (stack, service) = Stack::started().await;
    let mut odd: Value = serde_json::from_str(&order("odd")).unwrap();
    odd["entry"] = "a \"quoted\", text\nof two lines".into();
    odd["locale"] = "=1+1".into();
    odd["sm_id"] = json!(9_007_199_254_740_993_i64);
    odd["items"] = json!([]);
    stack.publish(&[odd.to_string(), order("plain")]).await;
    service.wait_len(2).await;
    let browser = open(&service).await;
    browser.downloads_to(stack.temp_dir.path()).await;
    browser.click("nav [data-view=find]").await;
    browser.holds(&format!("{ROWS}.length === 2")).await;
    browser.script("delete window.showSaveFilePicker; delete Window.prototype.showSaveFilePicker").await;
    browser.click("#find-csv").await;
    browser.reads("#find-said", "Downloaded: 2.").await;
    let file = eventually("the file is there", async || {
        let files = std::fs::read_dir(stack.temp_dir.path()).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|file| file.extension().is_some_and(|end| end == "csv"))
    })
    .await;
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("key,arrived,order_uid,track_number,entry,delivery.name"), "{}", lines[0]);
    let (plain, odd) = (lines[1], lines[2]);
    assert!(plain.contains(",plain,WBILMTESTTRACK,WBIL,Test Testov,+9720000000,"), "{plain}");
    for cell in [",\"a \"\"quoted\"\", text\nof two lines\",", ",'=1+1,", ",9007199254740993,", ",[],"] {
        assert!(odd.contains(cell), "no {cell} in {odd}");
    }
}

/// Without members to search by, the page says what can be searched, and how to have more.
#[tokio::test(flavor = "multi_thread")]
async fn without_members_to_search_by_documents_are_found_by_their_key_alone() {
    let stack = Stack::new();
    let service = stack.serve(&[("MODEL", "any")]).await;
    stack.publish(&[r#"{"city":"Riga"}"#]).await;
    service.wait_len(1).await;
    let id = service.ids().await[0].clone();
    let browser = open(&service).await;
    browser.reads("#live-list", &id).await;
    // Beside the key, the beginning of the document, of whatever length and form.
    browser.reads("#live-list", r#"{"city":"Riga"}"#).await;
    let long = format!("{{\n  \"city\": \"{}\"}}", "🧾".repeat(100));
    stack.publish(&[&long, &format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000))]).await;
    service.wait_len(3).await;
    let mut shown = [
        r#"{"city":"Riga"}"#.to_owned(),
        format!("{{ \"city\": \"{}…", "🧾".repeat(74)),
        format!("{}…", "{\"a\":".repeat(32)),
    ];
    let rows = "[...document.querySelectorAll('section:not([hidden]) .orders tbody tr')].map((row) => row.cells[2].textContent)";
    for view in ["#/page/1", "#/", "#/find"] {
        browser.go(&format!("{}{view}", url(&service))).await;
        eventually(&format!("{view} shows documents"), async || {
            (browser.script(&format!("return {rows}")).await == json!(shown)).then_some(())
        })
        .await;
        is_sound(&browser, "a list of documents without members").await;
        browser.resize(1280, 800).await;
        if view == "#/page/1" {
            shown.reverse();
        }
    }
    let searched = "return [document.getElementById('search').placeholder, document.getElementById('search').labels[0].textContent]";
    assert_eq!(browser.script(searched).await, json!(["Key", "Find a document by Key"]));
    browser.keys("#search", "Riga").await;
    browser.reads("#results", "No document has this key.").await;
    browser.reads("#results", "The service’s setting SEARCH names those to search by").await;
    // The browser itself tells the console of the 404.
    browser.console().await;
    is_sound(&browser, "a search for no key").await;
    browser.resize(1280, 800).await;
    browser.script("document.getElementById('search').select()").await;
    browser.keys("#search", &format!("{id}\u{e007}")).await;
    browser.reads("#view-order", "Riga").await;
    browser.click("nav [data-view=find]").await;
    browser.reads("#find-form", "The service’s setting SEARCH names those to search by").await;
    assert_eq!(browser.text("#find-members").await, "");
    is_sound(&browser, "a search without members").await;
    browser.resize(1280, 800).await;
    browser.click("#language").await;
    browser.reads("#find-form", "настройка сервиса SEARCH").await;

    // With members, the hint and the label name them.
    let service = stack.serve(&[("PG_TABLE", "others"), ("SEARCH", "delivery.city,customer_id")]).await;
    browser.go(&url(&service)).await;
    browser.holds("document.getElementById('search').placeholder !== ''").await;
    let named = "Delivery · City, Customer, or Key";
    assert_eq!(browser.script(searched).await, json!([named, format!("Find an order by {named}")]));
}

/// An empty field does not restrict the search, so the empty text has a check box.
#[tokio::test(flavor = "multi_thread")]
async fn empty_texts_and_booleans_are_searched_by_the_form() {
    let stack = Stack::new();
    let file = stack.temp_dir.path().join("parcel.json");
    std::fs::write(&file, r#"{"note":"n","sealed":true,"weight":1}"#).unwrap();
    let settings = [("MODEL", file.to_str().unwrap()), ("SEARCH", "note,sealed,weight")];
    let service = stack.serve(&settings).await;
    stack.publish(&[r#"{"note":"","sealed":true}"#, r#"{"note":"a","sealed":true}"#, r#"{"note":""}"#]).await;
    service.wait_len(3).await;
    let ids = service.ids().await;
    let browser = open(&service).await;
    browser.click("nav [data-view=find]").await;
    lists(&browser, &[&ids[2], &ids[1], &ids[0]].map(String::clone)).await;
    let empty = "#find-rows .empty-value input";
    browser.click(empty).await;
    browser.holds("document.querySelector('#find-rows .wanted').disabled").await;
    browser.click("#find-form .primary").await;
    lists(&browser, &[&ids[2], &ids[0]].map(String::clone)).await;
    browser.click("#find-add").await;
    let second = "#find-rows .find-row:nth-child(2)";
    browser.keys(&format!("{second} .member"), "sealed").await;
    assert_eq!(browser.text(&format!("{second} .empty-value")).await, "");
    browser.keys(&format!("{second} .wanted"), "true").await;
    is_sound(&browser, "a search for an empty text and a boolean").await;
    browser.resize(1280, 900).await;
    browser.click("#find-form .primary").await;
    lists(&browser, &[ids[0].clone()]).await;
    // A link to the search fills the form in the same way.
    let shared = browser.script("return location.href").await;
    browser.go("about:blank").await;
    browser.go(shared.as_str().unwrap()).await;
    lists(&browser, &[ids[0].clone()]).await;
    browser.holds(&format!("document.querySelector('{empty}').checked")).await;
    let form = "return [...document.querySelectorAll('#find-rows .wanted')].map((field) => [field.value, field.disabled])";
    assert_eq!(browser.script(form).await, json!([["", true], ["true", false]]));
    // A number can't be empty.
    browser.keys("#find-rows .member", "weight").await;
    browser.holds(&format!("document.querySelector('{empty}') === null")).await;
    browser.keys("#find-rows .wanted", "0\u{e007}").await;
    lists(&browser, &[&ids[1], &ids[0]].map(String::clone)).await;
}

/// Members within others, of documents of any form.
#[tokio::test(flavor = "multi_thread")]
async fn documents_of_any_form_are_found_by_a_path_and_saved_whole() {
    let stack = Stack::new();
    let service = stack.serve(&[("MODEL", "any"), ("SEARCH", "to.city,tags")]).await;
    let first = "{\"to\":\n{\"city\":\"Riga\"},\"n\":1.50,\"tags\":[\"a\",\"b\"]}";
    stack.publish(&[first, r#"{"to":{"city":"Tallinn"}}"#]).await;
    service.wait_len(2).await;
    let id = service.ids().await[0].clone();
    let browser = open(&service).await;
    sent(&browser, &service, "?$.to.city=Riga&$.tags=b").await;
    lists(&browser, std::slice::from_ref(&id)).await;
    browser.reads("#find-list tbody tr", "Riga").await;
    browser.script(FILE).await;
    browser.click("#find-jsonl").await;
    browser.holds("ended === 'closed'").await;
    let line = format!("{{\"id\":\"{id}\",\"order\":{}}}\n", first.replace('\n', " "));
    assert_eq!(browser.script("return pieces.join('')").await, line);
    let csv = csv(&browser).await;
    assert!(csv.starts_with("key,arrived,to.city,tags,document\r\n"), "{csv}");
    assert!(csv.contains("Riga,\"[\"\"a\"\",\"\"b\"\"]\",\"{\"\"to\"\":"), "{csv}");
    is_sound(&browser, "a search of documents of any form").await;
}

/// A document may have members with the names of the file's own columns.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_columns_of_a_file_have_one_name() {
    for (model, document, head) in [
        (
            "parcel.json",
            r#"{"id":"i","key":"k","orderd_key":"o","arrived":"a","unknown_members":"u"}"#,
            "orderd_orderd_key,orderd_arrived,id,key,orderd_key,arrived,unknown_members,orderd_unknown_members",
        ),
        ("any", r#"{"id":"i","document":"d"}"#, "key,arrived,id,document,orderd_document"),
    ] {
        let stack = Stack::new();
        let file = stack.temp_dir.path().join(model);
        std::fs::write(&file, document).unwrap();
        let named = if model == "any" { model } else { file.to_str().unwrap() };
        let search = if model == "any" { "id,document" } else { "id" };
        let service = stack.serve(&[("MODEL", named), ("SEARCH", search)]).await;
        stack.publish(&[document]).await;
        service.wait_len(1).await;
        let browser = open(&service).await;
        browser.go(&format!("{}#/find", url(&service))).await;
        browser.holds(&format!("{ROWS}.length === 1")).await;
        assert_eq!(csv(&browser).await.lines().next(), Some(head));
    }
}

/// The file of a search, without the byte order mark.
async fn csv(browser: &Browser) -> String {
    browser.script(FILE).await;
    browser.click("#find-csv").await;
    browser.holds("ended === 'closed'").await;
    let csv = browser.script("return pieces.join('')").await;
    csv.as_str().unwrap().trim_start_matches('\u{feff}').to_owned()
}

/// Members that the model lacks, names in another case, and numbers that JavaScript can't hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_csv_file_has_every_member_and_numbers_as_they_were_sent() {
    const MODEL: &str = r#"{"id":"i","weight":0.5,"to":{"city":"c"},"count":1,"tags":["t"]}"#;
    const HEAD: &str = "key,arrived,id,weight,to.city,count,tags,unknown_members";
    let json = "{\"ID\":\"p-1\",\"weight\":1.50,\"To\":{\"CITY\":\"Riga\",\"floor\":3},\n\"count\":9007199254740993,\"count\":null,\"tags\":[ \"a\"],\
                \"exact\":0.1234567890123456789012,\"note\":\"=1, \\\"x\\\"\",\"huge\":1e400}";
    let jsonb = json.replace(",\"huge\":1e400", "");
    let rest = r#"{"To":{"floor":3},"exact":0.1234567890123456789012,"note":"=1, \"x\"","huge":1e400}"#;
    // PostgreSQL's form.
    let sorted = r#"{"to":{"floor":3},"note":"=1, \"x\"","exact":0.1234567890123456789012}"#;
    let typed =
        |tags: &str, rest: &str| format!("p-1,1.50,Riga,9007199254740993,{},{}", quoted(tags), quoted(rest));
    let whole = |id: &str| format!("{id},1.50,0.1234567890123456789012,{}", quoted(json));
    for (format, model, document, head, cells) in [
        ("json", "parcel.json", json, HEAD, typed(r#"[ "a"]"#, rest)),
        ("jsonb", "parcel.json", &*jsonb, HEAD, typed(r#"["a"]"#, sorted)),
        // Without a model, names are exact.
        ("json", "any", json, "key,arrived,id,weight,exact,document", whole("")),
        (
            "json",
            "any",
            &json.replace("ID", "id"),
            "key,arrived,id,weight,exact,document",
            whole("p-1").replace("ID", "id"),
        ),
    ] {
        let stack = Stack::new();
        let file = stack.temp_dir.path().join("parcel.json");
        std::fs::write(&file, MODEL).unwrap();
        let (named, search) = match model {
            "any" => ("any", "id,weight,exact"),
            _ => (file.to_str().unwrap(), "id"),
        };
        let service = stack.serve(&[("MODEL", named), ("PG_FORMAT", format), ("SEARCH", search)]).await;
        stack.publish(&[document]).await;
        service.wait_len(1).await;
        let browser = open(&service).await;
        browser.go(&format!("{}#/find", url(&service))).await;
        browser.holds(&format!("{ROWS}.length === 1")).await;
        // The list finds the member too.
        let shown = if model == "any" && !document.contains("\"id\"") { "–" } else { "p-1" };
        browser.reads("#find-list tbody tr .main", shown).await;
        let csv = csv(&browser).await;
        let (first, rest) = csv.split_once("\r\n").unwrap();
        assert_eq!(first, head, "{format} {model}");
        let key = service.ids().await[0].clone();
        let row = rest.strip_prefix(&key).and_then(|row| row.split_once("Z,")).unwrap().1;
        assert_eq!(row, format!("{cells}\r\n"), "{format} {model}");
    }
}

/// As in `member_name.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_folds_letters_as_the_service_does() {
    let (_stack, service) = Stack::started().await;
    let browser = open(&service).await;
    let groups = ["sSſ", "kK\u{212a}", "åÅ\u{212b}", "жЖ", "σςΣ", "ßẞ", "µμΜ", "ǆǅǄ", "ιΙ\u{345}\u{1fbe}"];
    let others = ["iı", "Iİ", "iİ", "eé", "sß", "f\u{fb00}"];
    let folds = format!(
        "import('./json.js').then(({{ folded }}) => done({}.map((letters) => new Set([...letters].map(folded)).size)))",
        json!([&groups[..], &others].concat())
    );
    assert_eq!(browser.script_async(&folds).await, json!([[1; 9].as_slice(), &[2; 6]].concat()));
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
