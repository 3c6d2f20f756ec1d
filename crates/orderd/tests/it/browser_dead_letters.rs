//! Dead letters on the page: listed in both languages, and replayed.

use std::collections::BTreeSet;

use crate::browser::{is_sound, open, url};
use crate::support::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_read_and_with_a_token_sent_again() {
    let (stack, mut service) = Stack::started().await;
    let browser = open(&service).await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-list", "No dead letters").await;
    is_sound(&browser, "no dead letters").await;
    // The one stored last is shown first.
    stack.publish(&[r#"{"track_number":"<b>A</b>"}"#]).await;
    stack.wait_settled(1).await;
    stack.publish(&["{"]).await;
    browser.reads("#dead-list .letter:first-child", "Not JSON").await;
    browser.reads("#dead-list .letter:last-child", "A required member is missing").await;
    browser.reads("#dead-how", "Replaying and dropping them from here requires HTTP_REPLAY_TOKEN").await;
    browser.holds("document.querySelector('#dead-list button:not([hidden])') === null").await;
    browser.click("#dead-list .letter:last-child summary").await;
    browser.reads("#dead-list .letter:last-child pre", "<b>A</b>").await;
    is_sound(&browser, "dead letters").await;
    browser.click("#language").await;
    browser.reads("#dead-list", "Нет обязательного поля").await;
    browser.click("#language").await;

    assert_eq!(service.stop(), Some(0));
    let addr = service.addr.to_string();
    let settings = [
        ("HTTP_ADDR", addr.as_str()),
        ("HTTP_TOKEN", "open-sesame"),
        ("HTTP_REPLAY_TOKEN", "open-sesame"),
        ("REQUIRE", "none"),
    ];
    let _service = stack.serve(&settings).await;
    // From another page: changing only the view would not reload it.
    browser.go("about:blank").await;
    browser.go(&format!("http://{addr}/")).await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#live-list", "No orders yet").await;
    browser.console().await;
    browser.go(&format!("http://{addr}/#/dead")).await;
    // By the keyboard alone.
    browser.reads("#dead-list .letter:last-child button", "Replay").await;
    browser.keys("#dead-list .letter:first-child button", "\u{e007}").await;
    browser.keys("#dead-list .letter:last-child button", "\u{e007}").await;
    browser.reads("#dead-list .letter:last-child", "Accepted.").await;
    browser.reads("#dead-list .letter:first-child", "Refused again: Not JSON").await;
    is_sound(&browser, "dead letters sent again").await;
    browser.click("#dead-list .letter:last-child a").await;
    browser.reads("#view-order", "<b>A</b>").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_filtered_corrected_and_sent_again_together() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&[r#"{"track_number":"A"}"#, "{", r#"{"track_number":"B"}"#]).await;
    stack.wait_settled(3).await;
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.click("nav [data-view=dead]").await;
    // In the order in which they were stored, which is any.
    browser.holds("document.querySelectorAll('#dead-list .letter').length === 3").await;
    browser.reads("#dead-list", "A required member is missing").await;
    is_sound(&browser, "dead letters with their tools").await;
    let select = "const s = document.getElementById('dead-reason'); s.value = '{}'; s.dispatchEvent(new Event('change'))";
    browser.script(&select.replace("{}", "invalid_json")).await;
    browser.holds("document.querySelectorAll('.letter:not([hidden])').length === 1").await;
    browser.click(".letter:not([hidden]) .correct summary").await;
    browser.holds("document.querySelector('.letter:not([hidden]) textarea').value === '{'").await;
    is_sound(&browser, "a dead letter that is corrected").await;
    // A line break and two characters of several bytes come before the error.
    browser.keys(".letter:not([hidden]) textarea", "\"order_uid\":\n\"яя\",}").await;
    browser.click(".letter:not([hidden]) .correct button").await;
    let wrong = "Refused again: Not JSON: trailing comma (line 2, column 6)";
    browser.reads(".letter:not([hidden]) .letter-do", wrong).await;
    browser.script("document.querySelector('.letter:not([hidden]) textarea').select()").await;
    browser.keys(".letter:not([hidden]) textarea", "{\"order_uid\":\"mended\"}").await;
    browser.click(".letter:not([hidden]) .correct button").await;
    browser.reads(".letter:not([hidden])", "Accepted.").await;
    service.wait_len(1).await;
    // First none of the shown dead letters is left to replay, then two are.
    browser.holds("document.getElementById('dead-replay-all').hidden").await;
    browser.script(&select.replace("{}", "")).await;
    browser.reads("#dead-replay-all", "Replay all 2 shown").await;
    // What was typed for one of them is sent with the others, though nobody has sent it alone.
    let typed = "const t = document.querySelector('.letter[data-reason=missing_member] textarea');
        t.value = '{\"order_uid\":\"typed\"}'; t.dispatchEvent(new Event('input'))";
    browser.script(typed).await;
    browser.click("#dead-replay-all").await;
    browser.reads(".letter-tools", "1 of 2 accepted.").await;
    let outcome = "document.getElementById('dead-said').textContent";
    browser.holds(&format!("{outcome} === '1 of 2 accepted.'")).await;
    service.wait_len(2).await;
    let found = service.get("/orders?order_uid=typed").await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    browser.script(&select.replace("{}", "missing_member")).await;
    browser.reads("#dead-list", "Refused again: A required member is missing").await;
    // The outcome was that of another list.
    browser.holds(&format!("{outcome} === ''")).await;
    browser.click("#language").await;
    browser.reads("#dead-replay-all", "Отправить снова 1 показанное").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_dropped_after_a_question() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&["{", "7"]).await;
    stack.wait_settled(2).await;
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-replay-all", "Replay all 2 shown").await;
    let letter = ".letter[data-reason=invalid_json]";
    let discard = format!("{letter} .letter-do button:nth-child(2)");
    assert_eq!(browser.text(&discard).await, "Drop");
    let count = async || service.get("/dead_letters").await.json().as_array().unwrap().len();
    // Neither the button that has the focus, nor Escape, nor the way back drops it.
    for leaves in ["Keep", "Escape", "back"] {
        browser.click(&discard).await;
        browser.reads("dialog", "permanently? This can’t be undone.").await;
        browser.holds("document.activeElement.textContent === 'Keep'").await;
        match leaves {
            "Keep" => {
                is_sound(&browser, "the question before a drop").await;
                browser.click("dialog button:last-child").await;
            }
            "Escape" => browser.keys("dialog", "\u{e00c}").await,
            _ => drop(browser.script("history.back()").await),
        }
        browser.holds("document.querySelector('dialog') === null").await;
    }
    browser.reads("#view-live", "Orders as they arrive").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads(letter, "Not JSON").await;
    assert_eq!(count().await, 2);
    browser.click(&discard).await;
    browser.click("dialog .primary").await;
    browser.reads(letter, "Dropped.").await;
    assert_eq!(count().await, 1);
    browser.reads("#dead-replay-all", "Replay 1 shown").await;
    browser.holds(&format!("document.querySelector('{letter} button') === null")).await;
    browser.holds("document.activeElement.textContent === 'Dropped.'").await;
    is_sound(&browser, "a dead letter that was dropped").await;
    // Another process has dropped it meanwhile.
    let other = ".letter:not([data-reason=invalid_json])";
    assert!(stack.run(&["dead-letters", "drop", "--all", "--yes"], "").await.status.success());
    browser.click(&format!("{other} .letter-do button:nth-child(2)")).await;
    browser.click("dialog .primary").await;
    browser.reads(other, "It no longer exists.").await;
    // The browser itself tells the console of the 404.
    browser.console().await;
    browser.click("#language").await;
    browser.reads("#dead-list", "Отклонённых сообщений нет").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letters_that_are_shown_are_dropped_together() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&["{", "7", "{"]).await;
    stack.wait_settled(3).await;
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop all 3 shown").await;
    let select = "const s = document.getElementById('dead-reason'); s.value = 'invalid_json'; s.dispatchEvent(new Event('change'))";
    browser.script(select).await;
    browser.reads("#dead-drop-all", "Drop all 2 shown").await;
    browser.click("#dead-drop-all").await;
    browser.reads("dialog", "Drop 2 dead letters permanently?").await;
    browser.click("dialog button:last-child").await;
    browser.holds("document.querySelector('dialog') === null").await;
    browser.click("#dead-drop-all").await;
    browser.click("dialog .primary").await;
    browser.reads(".letter-tools", "2 of 2 dropped.").await;
    let left = service.get("/dead_letters").await.json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["reason"]), (1, &"not_an_object".into()));
    browser.holds("document.getElementById('dead-drop-all').hidden").await;
    browser.holds("document.activeElement.textContent === '2 of 2 dropped.'").await;
    is_sound(&browser, "dead letters that were dropped together").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_action_goes_on_after_a_change_of_the_language_and_ends_with_another_view() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&vec!["7"; 53]).await;
    stack.wait_settled(53).await;
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop all 50 shown").await;
    browser.click("#dead-list > button").await;
    browser.reads("#dead-drop-all", "Drop all 53 shown").await;
    // The page gets the answer to the second drop, and to the fourth, only when the test lets it.
    let held = "window.drops = 0; const real = fetch; window.fetch = async (path, options) => { \
                const answer = await real(path, options); if (options?.method === 'DELETE') { drops += 1; \
                if (drops === 2 || drops === 4) await new Promise((resolve) => (window.go = resolve)); } return answer; }";
    browser.script(held).await;
    browser.click("#dead-drop-all").await;
    browser.click("dialog .primary").await;
    browser.holds("drops === 2 && 'go' in window").await;
    // Several times, so that several lists are asked for meanwhile.
    browser.click("#language").await;
    browser.click("#language").await;
    browser.click("#language").await;
    browser.script("go(); delete window.go").await;
    browser.holds("drops === 4 && 'go' in window").await;
    browser.reads("#dead-said", "Удалено 3 из 53…").await;
    browser.click("#language").await;
    browser.script("go()").await;
    browser.reads("#dead-said", "53 of 53 dropped.").await;
    let count = async || service.get("/dead_letters").await.json().as_array().unwrap().len();
    assert_eq!(count().await, 0);

    stack.publish(&["7"; 3]).await;
    browser.reads("#dead-drop-all", "Drop all 3 shown").await;
    browser.script("drops = 0; delete window.go").await;
    browser.click("#dead-drop-all").await;
    browser.click("dialog .primary").await;
    browser.holds("drops === 2 && 'go' in window").await;
    browser.click("nav [data-view=live]").await;
    browser.reads("#view-live", "Orders as they arrive").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop 1 shown").await;
    browser.script("go()").await;
    browser.click("#language").await;
    browser.reads("#dead-drop-all", "Удалить 1 показанное").await;
    assert_eq!((count().await, browser.script("return drops").await), (1, 2.into()));
}

/// Orders are open here, so that only sending asks for a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_typed_correction_is_still_there_after_the_sign_in_that_sending_it_asks_for() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    // The first is not among the newest that are listed at first.
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    stack.publish(&vec!["7"; 50]).await;
    stack.wait_settled(51).await;
    let browser = open(&service).await;
    browser.click("nav [data-view=dead]").await;
    let count = |count| format!("document.querySelectorAll('#dead-list .letter').length === {count}");
    browser.holds(&count(50)).await;
    browser.click("#dead-list > button").await;
    browser.holds(&count(51)).await;
    let key = service.get("/dead_letters").await.json();
    let newest: BTreeSet<_> =
        key.as_array().unwrap().iter().map(|letter| letter["key"].as_str().unwrap().to_owned()).collect();
    let keys = browser
        .script("return [...document.querySelectorAll('.letter')].map((letter) => letter.dataset.key)")
        .await;
    let keys: Vec<String> = serde_json::from_value(keys).unwrap();
    let key = keys.into_iter().find(|key| !newest.contains(key)).unwrap();
    let letter = format!(".letter[data-key='{key}']");
    browser.click(&format!("{letter} .correct summary")).await;
    browser.holds(&format!("document.querySelector(\"{letter} textarea\").value === '{{'")).await;
    browser.keys(&format!("{letter} textarea"), "\"order_uid\":\"mended\"}").await;
    let typed =
        format!("document.querySelector(\"{letter} textarea\").value === '{{\"order_uid\":\"mended\"}}'");
    browser.holds(&typed).await;
    browser.click(&format!("{letter} .correct button")).await;
    browser
        .reads("#view-signin", "Replaying or dropping dead letters requires a token. Reading does not.")
        .await;
    assert!(!browser.text("#view-signin").await.contains("personal data"));
    let outcome = format!("document.querySelector(\"{letter} .letter-do .note\").textContent");
    browser.holds(&format!("{outcome} === 'Sign in to replay or drop dead letters.'")).await;
    // The browser itself tells the console of the 401.
    browser.console().await;
    is_sound(&browser, "the view to sign in for a replay").await;
    browser.resize(1280, 800).await;

    // Reading still works without a token, and the typed text is kept.
    browser.click("nav [data-view=live]").await;
    browser.reads("#view-live", "Orders as they arrive").await;
    assert_eq!(browser.text("#view-signin").await, "");
    browser.click("nav [data-view=dead]").await;
    browser.reads(&letter, "Not JSON").await;
    browser.holds(&typed).await;
    browser.click(&format!("{letter} .correct button")).await;
    browser.reads("#view-signin", "Sign in").await;
    // After the sign-in, it is sent.
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(&letter, "Accepted.").await;
    service.wait_len(1).await;

    // Signing out discards what was typed.
    browser.click("#dead-list .letter:nth-child(2) .correct summary").await;
    browser.keys("#dead-list .letter:nth-child(2) textarea", "secret").await;
    browser.click("#sign-out").await;
    browser.reads("#view-signin", "Sign in").await;
    browser.click("nav [data-view=live]").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-list", "Not a JSON object").await;
    let left = "return [...document.querySelectorAll('textarea')].filter((text) => text.value !== '').length";
    assert_eq!(browser.script(left).await, 0);
}

/// Orders are open here, so that only these actions ask for a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_action_is_done_after_the_sign_in_that_it_asks_for() {
    const ALL: u64 = 51;
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&vec!["7"; ALL as usize]).await;
    stack.wait_settled(ALL).await;
    let browser = open(&service).await;
    let count = async || service.get("/dead_letters").await.json().as_array().unwrap().len();
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop all 50 shown").await;
    browser.click("#dead-list > button").await;
    browser.reads("#dead-drop-all", "Drop all 51 shown").await;
    let drop_first = "#dead-list .letter:first-child .letter-do button:nth-child(2)";
    // Another view ends what was confirmed.
    browser.click(drop_first).await;
    browser.click("dialog .primary").await;
    browser.reads("#signin-pending", "Your action is carried out once you have signed in.").await;
    browser.click("nav [data-view=live]").await;
    browser.reads("#view-live", "Orders as they arrive").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-list .letter:nth-child(2)", "Not a JSON object").await;
    browser.click("#dead-list .letter:nth-child(2) .letter-do button").await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#dead-list .letter:nth-child(2)", "Refused again: Not a JSON object").await;
    assert_eq!(browser.text("#dead-list .letter:first-child .letter-do .note").await, "");
    let key = browser.script("return document.querySelector('.letter').dataset.key").await;
    let kept = service.get(&format!("/dead_letters/{}", key.as_str().unwrap())).await;
    assert_eq!(kept.status, 200);

    // Of a bulk action, also those that are not among the newest.
    browser.click("#dead-list > button").await;
    browser.reads("#dead-drop-all", "Drop all 51 shown").await;
    let forget = "return fetch('session', { method: 'DELETE' }).then((answer) => answer.status)";
    browser.script(forget).await;
    browser.click("#dead-drop-all").await;
    browser.click("dialog .primary").await;
    browser.reads("#view-signin", "Sign in").await;
    stack.publish(&["{"]).await;
    stack.wait_settled(ALL + 2).await;
    browser.console().await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(".letter-tools", "51 of 51 dropped.").await;
    // The one that came after the question stays.
    assert_eq!(count().await, 1);
    browser.holds("document.activeElement.id === 'dead-said'").await;
    is_sound(&browser, "dead letters that were dropped after a sign-in").await;
    browser.resize(1280, 800).await;

    // A single one.
    let letter = ".letter[data-reason=invalid_json]";
    browser.click("nav [data-view=live]").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads(letter, "Not JSON").await;
    browser.script(forget).await;
    browser.click(drop_first).await;
    browser.click("dialog .primary").await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(letter, "Dropped.").await;
    assert_eq!(count().await, 0);
}

/// Without a session, the page removes all that it shows, and reads it again after the sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_action_outlasts_the_end_of_the_session() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "open-sesame"), ("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&["{", "7"]).await;
    stack.wait_settled(2).await;
    let browser = open(&service).await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#live-list", "No orders yet").await;
    browser.click("nav [data-view=dead]").await;
    let letter = ".letter[data-reason=invalid_json]";
    browser.reads(letter, "Not JSON").await;
    browser.click(&format!("{letter} .letter-do button:nth-child(2)")).await;
    browser.reads("dialog", "permanently?").await;
    browser.script("return fetch('session', { method: 'DELETE' }).then((answer) => answer.status)").await;
    browser.click("dialog .primary").await;
    browser.reads("#view-signin", "Orders are personal data").await;
    browser.reads("#signin-pending", "Your action is carried out once you have signed in.").await;
    browser.click("#language").await;
    browser.reads("#signin-pending", "Действие будет выполнено после входа.").await;
    browser.click("#language").await;
    // The browser itself tells the console of the 401.
    browser.console().await;
    is_sound(&browser, "the view to sign in while an action is pending").await;
    browser.resize(1280, 800).await;
    assert_eq!(browser.script("return document.getElementById('dead-list').innerHTML").await, "");
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads(letter, "Dropped.").await;
    browser.reads("#dead-replay-all", "Replay 1 shown").await;

    // Another view ends it, and the sign-in says so.
    browser.script("return fetch('session', { method: 'DELETE' }).then((answer) => answer.status)").await;
    browser.click("#dead-list .letter:not([data-reason=invalid_json]) button").await;
    browser.reads("#signin-pending", "Your action is carried out").await;
    browser.click("nav [data-view=live]").await;
    browser.holds("document.getElementById('signin-pending').hidden").await;
    browser.reads("#view-signin", "Orders are personal data").await;
}

/// The list has the newest 50. Where some of them are dropped, older ones that were not asked for do not join them.
#[tokio::test(flavor = "multi_thread")]
async fn only_newer_dead_letters_join_the_list_when_their_number_changes() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&vec!["7"; 60]).await;
    stack.wait_settled(60).await;
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.reads("#fig-dead", "60").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop all 50 shown").await;
    for left in [49, 48] {
        browser.click("#dead-list .letter .letter-do button:nth-child(2)").await;
        browser.click("dialog .primary").await;
        browser.reads("#dead-drop-all", &format!("Drop all {left} shown")).await;
    }
    // The figures are in another view.
    browser.holds("document.getElementById('fig-dead').textContent === '58'").await;
    stack.publish(&["{"]).await;
    browser.reads("#dead-list .letter:first-child", "Not JSON").await;
    browser.reads("#dead-drop-all", "Drop all 49 shown").await;
    let count = "return document.querySelectorAll('#dead-list .letter').length";
    assert_eq!(browser.script(count).await, 51);
}

/// A proxy that replaces `Host` makes requests of browsers without `Sec-Fetch-Site` look like those of another origin.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_token_changes_is_shown_and_asks_for_none() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_TOKEN", "open-sesame"), ("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    let browser = open(&service).await;
    browser.reads("#view-signin", "Orders are personal data").await;
    browser.console().await;
    let refuse = "window.real ??= window.fetch;
        window.fetch = (path, options) => options?.method && options.method !== 'GET'
            ? Promise.resolve(new Response('403 pages of other origins may not do this', { status: 403 }))
            : window.real(path, options)";
    browser.script(refuse).await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#signin-error", "403 pages of other origins may not do this").await;
    browser.script("window.fetch = window.real").await;
    browser.keys("#token", "open-sesame\u{e007}").await;
    browser.reads("#live-list", "No orders yet").await;
    assert_eq!(browser.text("#signin-error").await, "");
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-list", "Not JSON").await;
    browser.script(refuse).await;
    let letter = ".letter .letter-do";
    browser.click(&format!("{letter} button")).await;
    browser.reads(letter, "The request failed").await;
    browser.click(&format!("{letter} button:nth-child(2)")).await;
    browser.click("dialog .primary").await;
    browser.reads(letter, "The request failed").await;
    assert_eq!(browser.text("#view-signin").await, "");
}

/// The other reasons say more in the detail than in their labels.
#[tokio::test(flavor = "multi_thread")]
async fn reasons_that_only_replays_have_are_said_once_and_in_the_language_of_the_page() {
    let stack = Stack::new();
    let settings = [("HTTP_REPLAY_TOKEN", "open-sesame"), ("RECEIPT_SUBJECTS", "none")];
    let service = stack.serve(&settings).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    let api = service.get("/openapi.json").await.json();
    let reasons = |schema: &str| -> BTreeSet<String> {
        let reasons = &api["components"]["schemas"][schema]["properties"]["reason"]["examples"];
        serde_json::from_value(reasons.clone()).unwrap()
    };
    let only_of_replays: Vec<_> = reasons("Replay").difference(&reasons("DeadLetter")).cloned().collect();
    assert!(only_of_replays.len() > 6, "{only_of_replays:?}");
    let browser = open(&service).await;
    browser.script("return fetch('session', { method: 'POST', body: new URLSearchParams({ token: 'open-sesame' }) }).then((answer) => answer.status)").await;
    browser.click("nav [data-view=dead]").await;
    let said = ".letter .letter-do .note";
    let reads = async |expected: &str| {
        browser.holds("document.querySelector('.letter .letter-do button')?.disabled === false").await;
        browser.click(".letter .letter-do button").await;
        let whole = format!("document.querySelector('{said}').textContent === '{expected}'");
        browser.holds(&whole).await;
    };
    browser.reads(".letter", "Not JSON").await;
    reads("Refused again: The reason is in the service’s log").await;
    browser.click("#language").await;
    browser.reads(".letter", "Не JSON").await;
    reads("Снова отклонено: Причина указана в логе сервиса").await;
    let answers = "window.fetch = async () => new Response(JSON.stringify({ outcome: 'refused', reason: window.reason, \
                   detail: 'a sentence in English', path: null, offset: null }), { headers: { 'content-type': 'application/json' } })";
    browser.script(answers).await;
    for reason in only_of_replays {
        browser.script(&format!("window.reason = '{reason}'")).await;
        let label = browser
            .script_async(&format!("import('./ru.js').then(({{ ru }}) => done(ru.reasons['{reason}']))"))
            .await;
        reads(&format!("Снова отклонено: {}", label.as_str().unwrap())).await;
    }
    browser.script("window.reason = 'refused_by_database'").await;
    reads("Снова отклонено: Отвергнуто PostgreSQL: a sentence in English").await;
}

/// A payload for each kind of refusal that can be produced.
const REFUSED: [&[u8]; 24] = [
    b"\xff",
    b"7",
    b"{}",
    br#"{"order_uid":true}"#,
    br#"{"order_uid":{}}"#,
    br#"{"delivery":[]}"#,
    br#"{"items":null,"sm_id":"1"}"#,
    br#"{"items":"x"}"#,
    br#"{"sm_id":18446744073709551615}"#,
    br#"{"sm_id":0.5}"#,
    br#"{"sm_id":1e999}"#,
    br#"{"items":["#,
    br#"{"a":1"#,
    br#"{"order_uid":""#,
    br#"{"order_uid":"#,
    br#"{"a" 1}"#,
    br#"{"items":[{} {}]}"#,
    br#"{"a":1 "b":2}"#,
    br#"{"a":nul}"#,
    br#"{"order_uid":"\x"}"#,
    br#"{"sm_id":01}"#,
    b"{\"order_uid\":\"\n\"}",
    br#"{"a":1,}"#,
    br#"{"order_uid":"a"} {}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn why_each_was_refused_is_told_in_russian() {
    let (stack, service) = Stack::started().await;
    stack.publish(&REFUSED).await;
    let browser = open(&service).await;
    browser.reads("#live-list", "No orders yet").await;
    browser.click("#language").await;
    browser.click("nav [data-view=dead]").await;
    let all = format!("document.querySelectorAll('#dead-list .letter').length === {}", REFUSED.len());
    browser.holds(&all).await;
    let shown = browser.text("#dead-list").await;
    let letters = service.get("/dead_letters").await.json();
    let details = letters.as_array().unwrap().iter().map(|letter| letter["detail"].as_str().unwrap());
    let details: BTreeSet<_> = details.collect();
    assert!(details.len() >= 20, "{details:?}");
    for detail in details {
        assert!(!shown.contains(detail), "{detail:?} is not translated: {shown}");
    }
    for (said, location) in
        [("ожидается строка, а здесь логическое значение", "$.order_uid"), ("лишняя запятая", "байт 7")]
    {
        let letter = shown.split("Содержимое").find(|letter| letter.contains(said));
        assert!(letter.unwrap_or_else(|| panic!("{said}: {shown}")).contains(location), "{said}: {shown}");
    }
    is_sound(&browser, "dead letters in Russian").await;
    browser.click("#language").await;
    browser.reads("#dead-list", "a boolean where a string belongs").await;
}

/// Orders need no token here, so only the sign-in shows that there is a session.
#[tokio::test(flavor = "multi_thread")]
async fn who_signed_in_to_replay_can_sign_out_after_a_reload() {
    let stack = Stack::new();
    let service = stack.serve(&[("HTTP_REPLAY_TOKEN", "open-sesame")]).await;
    stack.publish(&["{"]).await;
    stack.wait_settled(1).await;
    let browser = open(&service).await;
    let shown = |is_shown: bool| format!("document.getElementById('sign-out').hidden === {}", !is_shown);
    browser.holds(&shown(false)).await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-list", "Not JSON").await;
    browser.click("#dead-list .letter button").await;
    browser.reads("#view-signin", "Sign in").await;
    browser.keys("#token", "open-sesame\n").await;
    browser.holds(&shown(true)).await;
    for is_signed_in in [true, false] {
        browser.go("about:blank").await;
        browser.go(&url(&service)).await;
        browser.reads("#view-live", "Orders as they arrive").await;
        browser.holds(&shown(is_signed_in)).await;
        if is_signed_in {
            browser.click("#sign-out").await;
            browser.reads("#view-signin", "Sign in").await;
        }
    }
}

/// With separate tokens, the page asks for the one that an action needs, and both are then signed in.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_the_session_lacks_the_right_for_asks_for_a_further_token() {
    let stack = Stack::new();
    let settings =
        [("HTTP_TOKEN", "read-with-this"), ("HTTP_REPLAY_TOKEN", "replay-with-this"), ("REQUIRE", "none")];
    let service = stack.serve(&settings).await;
    stack.publish(&["{", "7", "[]"]).await;
    stack.wait_settled(3).await;
    let browser = open(&service).await;
    // In the wrong order: the second token lets read, and the first is kept.
    browser.reads("#view-signin", "Orders are personal data").await;
    browser.keys("#token", "replay-with-this\u{e007}").await;
    browser.reads("#signin-error", "may not read orders. Sign in with one that may: you keep").await;
    browser.click("#language").await;
    browser.reads("#signin-error", "не даёт права читать заказы").await;
    browser.click("#language").await;
    browser.console().await;
    is_sound(&browser, "the view to sign in with a second token").await;
    browser.resize(1280, 800).await;
    browser.go("about:blank").await;
    browser.go(&url(&service)).await;
    browser.reads("#signin-why", "may not read orders. Sign in with one that may: you keep").await;
    browser.keys("#token", "read-with-this\u{e007}").await;
    browser.reads("#live-list", "No orders yet").await;
    browser.click("nav [data-view=dead]").await;
    browser.reads("#dead-drop-all", "Drop all 3 shown").await;
    browser.click("#dead-drop-all").await;
    browser.click("dialog .primary").await;
    browser.reads(".letter-tools", "3 of 3 dropped.").await;
    browser.click("#sign-out").await;
    browser.reads("#view-signin", "Orders are personal data").await;

    browser.keys("#token", "read-with-this\u{e007}").await;
    stack.publish(&["{", "7", r#"{"sm_id":"x"}"#]).await;
    browser.reads("#dead-replay-all", "Replay all 3 shown").await;
    browser.console().await;
    // The first refusal asks; the others are not sent.
    browser.click("#dead-replay-all").await;
    browser.reads("#signin-why", "you keep the rights that you have").await;
    let denied = service.process.log().matches("outcome=\"denied\"").count();
    browser.click("#language").await;
    browser.reads("#signin-why", "прежние права останутся").await;
    browser.click("#language").await;
    browser.console().await;
    is_sound(&browser, "the view to sign in with a further token").await;
    browser.resize(1280, 800).await;
    assert_eq!(service.process.log().matches("outcome=\"denied\"").count(), denied);
    // A user who does not sign in can read on.
    browser.click("nav [data-view=live]").await;
    browser.reads("#view-live", "Orders as they arrive").await;
    browser.click("nav [data-view=dead]").await;
    let letter = ".letter[data-reason=wrong_type]";
    browser.reads(letter, "Correct").await;
    browser.click(&format!("{letter} .correct summary")).await;
    browser.holds(&format!("document.querySelector('{letter} textarea').value !== ''")).await;
    browser.script(&format!("document.querySelector('{letter} textarea').select()")).await;
    browser.keys(&format!("{letter} textarea"), r#"{"order_uid":"mended"}"#).await;
    browser.click(&format!("{letter} .correct button")).await;
    browser.reads("#signin-why", "you keep the rights that you have").await;
    browser.keys("#token", "replay-with-this\u{e007}").await;
    browser.reads(letter, "Accepted.").await;
    // The replay of all that another view ended is not done.
    assert_eq!(browser.text(".letter[data-reason=invalid_json] .letter-do .note").await, "");
    browser.click("nav [data-view=live]").await;
    browser.reads("#live-list", "mended").await;
}
