//! `/session`: signs a browser in with a token that it sends once. The browser keeps a cookie that no script can read.
//! The cookie has a part for each token of the session: an id of the token, its rights and the end of the part, signed
//! with a key derived from the token. Every process that has the token can verify its part, and a process without the
//! token can't.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;

use crate::config::{Access, Right, Token, is_token_id};
use crate::http::server::HEAD;
use crate::http::{App, text};
use crate::logging::audit::{self, Actor};

const COOKIE: &str = "orderd_session";

/// Separates the parts of the cookie.
const PART_SEPARATOR: &str = "~";

/// How long a part of a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Bytes of a signature (SHA-256).
const SIGNATURE_BYTES: usize = 32;

/// How far the clock of another process may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The fields of the form.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
}

/// For a valid token, 204 with a cookie; for a form sent without a script, the page. Without tokens for reading, no
/// cookie. The rights of an existing session stay.
pub(crate) async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    given: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let given = match given {
        Ok(Form(given)) => given,
        Err(rejection) => {
            let status = rejection.status();
            let why = "the body must be a form (application/x-www-form-urlencoded) with the field token";
            return text(status, &format!("{} {why}", status.as_u16()));
        }
    };
    let access = &app.settings.access;
    let cookie = match signed(access, given.token.trim(), now() + SESSION_LIFETIME.as_secs()) {
        Some((actor, part)) => {
            audit::note("sign-in", &actor, &[]);
            let value = extended(access, &headers, &part, now());
            Some(cookie(&value, SESSION_LIFETIME, is_secure(&app, &headers)))
        }
        None if Right::ALL.into_iter().any(|right| access.is_set(right)) => {
            app.audit.failed("sign-in", None, "unknown token");
            return text(StatusCode::UNAUTHORIZED, "401 invalid token");
        }
        None => None,
    };
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = if accepts.contains("text/html") {
        (StatusCode::SEE_OTHER, [(header::LOCATION, "./")]).into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    };
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A form must arrive within the timeout of a head, because anyone may send a form.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HEAD, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let said = format!("408 the whole body did not arrive within {} s", HEAD.as_secs());
            let response = text(StatusCode::REQUEST_TIMEOUT, &said);
            ([(header::CONNECTION, "close")], response).into_response()
        }
    }
}

/// The form's media type in lower case: it is compared without regard to case (RFC 9110, 8.3.1), but not by `Form`.
pub(crate) async fn lower_media_type(mut request: Request, next: Next) -> Response {
    if let Some(media_type) = request.headers_mut().get_mut(header::CONTENT_TYPE)
        && let Ok(lower) = HeaderValue::from_bytes(&media_type.as_bytes().to_ascii_lowercase())
    {
        *media_type = lower;
    }
    next.run(request).await
}

/// Ends the session in this browser.
pub(crate) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    for actor in actors(&app.settings.access, &headers, None) {
        audit::note("sign-out", &actor, &[]);
    }
    let cookie = cookie("", Duration::ZERO, is_secure(&app, &headers));
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// Whether the response travels over TLS: ours, or a proxy's, as its header says. A client that forges the header
/// exposes only its own cookie.
fn is_secure(app: &App, asked: &HeaderMap) -> bool {
    app.settings.server_certificate.is_some()
        || asked.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

fn cookie(value: &str, lasts: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lasts.as_secs())
}

/// Seconds of Unix time.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The part of a session's cookie for a token, `{id}.{rights}.{end}.{signature}`, and the token as an actor.
fn signed(access: &Access, text: &str, end: u64) -> Option<(Actor, String)> {
    let found = |right| {
        access
            .of(right)
            .current()
            .find(text)
            .map(|token| (Actor::from(token), sign(token, &rights(access, text), end)))
    };
    Right::ALL.into_iter().find_map(found)
}

/// The value of the cookie: a new part, and those of the session so far that have a further right. So there are never
/// more parts than rights. If both the session and the new token may read, the new token begins another session: somebody
/// else may be signing in.
fn extended(access: &Access, headers: &HeaderMap, new: &str, now: u64) -> String {
    let has = |part: &str, right: Right| verified(access, part, Some(right), now).is_some();
    let mut kept = vec![new];
    if has(new, Right::Read) && parts(headers).any(|part| has(part, Right::Read)) {
        return new.to_owned();
    }
    for part in parts(headers) {
        let adds = |right: &Right| has(part, *right) && !kept.iter().any(|kept| has(kept, *right));
        if Right::ALL.iter().any(adds) {
            kept.push(part);
        }
    }
    kept.join(PART_SEPARATOR)
}

/// A token's rights, by their first letters.
fn rights(access: &Access, text: &str) -> String {
    let has = |right: &Right| access.of(*right).current().find(text).is_some();
    Right::ALL.into_iter().filter(has).map(letter).collect()
}

fn letter(right: Right) -> char {
    match right {
        Right::Read => 'r',
        Right::Replay => 'p',
        Right::Erase => 'e',
    }
}

fn sign(token: &Token, rights: &str, end: u64) -> String {
    let content = format!("{}.{rights}.{end}", token.id);
    let signature = hmac::sign(&token.key, content.as_bytes());
    format!("{content}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The token of a request's session that has this right, or any with `None`. The token must still have the right:
/// removing a token ends its parts of sessions.
pub(crate) fn actor(access: &Access, headers: &HeaderMap, right: Option<Right>) -> Option<Actor> {
    actors(access, headers, right).next()
}

/// As [`actor`], all of them.
fn actors(access: &Access, headers: &HeaderMap, right: Option<Right>) -> impl Iterator<Item = Actor> {
    parts(headers).filter_map(move |part| verified(access, part, right, now()))
}

/// The parts of all our cookies. Other cookies may belong to other services on this host, and have any bytes.
fn parts(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'));
    let values = cookies.filter_map(|cookie| {
        let value = cookie.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    });
    values.flat_map(|value| value.split(PART_SEPARATOR))
}

/// The fields of a part of a cookie, not verified.
struct Session<'v> {
    /// What is signed: the other fields.
    content: &'v str,
    token_id: &'v str,
    rights: &'v str,
    /// Seconds of Unix time.
    end: u64,
    signature: Vec<u8>,
}

impl<'v> Session<'v> {
    fn read(value: &'v str) -> Option<Self> {
        let (content, signature) = value.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut fields = content.split('.');
        let (token_id, rights, end) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        fields.next().is_none().then_some(Self { content, token_id, rights, end, signature })
    }

    fn is_signed_with(&self, token: &Token) -> bool {
        hmac::verify(&token.key, self.content.as_bytes(), &self.signature).is_ok()
    }

    /// Whether a current token signed it, or a removed token may have.
    fn may_be_ours(&self, access: &Access, now: u64) -> bool {
        let verdicts = Right::ALL.into_iter().filter_map(|right| {
            let tokens = access.of(right).current();
            tokens.of_id(self.token_id).map(|token| self.is_signed_with(token))
        });
        verdicts.reduce(|one, other| one || other).unwrap_or_else(|| {
            let has_form = is_token_id(self.token_id) && self.signature.len() == SIGNATURE_BYTES;
            has_form && self.end <= now + SESSION_LIFETIME.as_secs() + CLOCK_SKEW.as_secs()
        })
    }
}

fn verified(access: &Access, part: &str, right: Option<Right>, now: u64) -> Option<Actor> {
    let session = Session::read(part).filter(|session| session.end > now)?;
    let is_meant =
        |of: &Right| right.is_none_or(|right| right == *of) && session.rights.contains(letter(*of));
    Right::ALL.into_iter().filter(is_meant).find_map(|right| {
        let tokens = access.of(right).current();
        tokens.of_id(session.token_id).filter(|token| session.is_signed_with(token)).map(Actor::from)
    })
}

/// Whether a request names a session, good or not.
pub(crate) fn is_named(headers: &HeaderMap) -> bool {
    parts(headers).next().is_some()
}

/// Whether a request names a session that no token of ours has opened. A session that has expired is not forged, nor one
/// whose token is gone, as far as that can be told: pages that were left open send these.
pub(crate) fn is_forged(access: &Access, headers: &HeaderMap) -> bool {
    parts(headers).any(|part| is_forged_part(access, part, now()))
}

fn is_forged_part(access: &Access, part: &str, now: u64) -> bool {
    // A sign-out empties the cookie.
    !part.is_empty() && Session::read(part).is_none_or(|session| !session.may_be_ours(access, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tokens;

    fn access(read: &str, erase: &str) -> Access {
        let some = |right, text: &str| tokens(right, Some(text).filter(|text| !text.is_empty())).unwrap();
        Access {
            read: some(Right::Read, read),
            replay: some(Right::Replay, ""),
            erase: some(Right::Erase, erase),
        }
    }

    fn token(name: &str, setting: &'static str) -> Actor {
        Actor { name: name.to_owned(), setting: Some(setting) }
    }

    #[test]
    fn a_session_is_good_wherever_its_token_has_the_right_until_its_end() {
        let ours = access("ops:both,reader", "eraser:both");
        let (actor, value) = signed(&ours, "both", 100).unwrap();
        assert_eq!(actor, token("ops", "HTTP_TOKEN"));
        assert_eq!(verified(&ours, &value, Some(Right::Read), 99), Some(token("ops", "HTTP_TOKEN")));
        assert_eq!(
            verified(&ours, &value, Some(Right::Erase), 99),
            Some(token("eraser", "HTTP_ERASE_TOKEN"))
        );
        assert_eq!(verified(&ours, &value, Some(Right::Replay), 99), None);
        assert_eq!(verified(&ours, &value, Some(Right::Read), 100), None, "it has ended");
        // Another process has the token under another name.
        assert_eq!(verified(&access("both", ""), &value, None, 0), Some(token("#1", "HTTP_TOKEN")));
        assert_eq!(verified(&access("", "both"), &value, None, 0), Some(token("#1", "HTTP_ERASE_TOKEN")));
        assert_eq!(verified(&access("other", ""), &value, None, 0), None, "the token is gone");
        assert!(signed(&ours, "unknown", 100).is_none());
    }

    #[test]
    fn a_further_sign_in_adds_its_right_and_replaces_the_part_of_its_own() {
        let some = |right, text: &str| tokens(right, Some(text)).unwrap();
        let ours = Access {
            read: some(Right::Read, "reader:r,other:s,ops:all"),
            replay: some(Right::Replay, "replayer:p,ops:all"),
            erase: some(Right::Erase, "eraser:e,ops:all"),
        };
        let headers = |value: &str| {
            let cookie = format!("{COOKIE}={value}");
            [(header::COOKIE, cookie.try_into().unwrap())].into_iter().collect::<HeaderMap>()
        };
        let begun = now();
        let sign_in = |so_far: &str, token: &str, end: u64| {
            let (_, part) = signed(&ours, token, end).unwrap();
            extended(&ours, &headers(so_far), &part, begun)
        };
        let names = |value: &str| {
            Right::ALL.map(|right| actor(&ours, &headers(value), Some(right)).map(|by| by.name))
        };
        let of = |names: [&str; 3]| names.map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
        let mut value = String::new();
        for (token, expected, count) in [
            ("p", ["", "replayer", ""], 1),
            ("r", ["reader", "replayer", ""], 2),
            ("e", ["reader", "replayer", "eraser"], 3),
            ("p", ["reader", "replayer", "eraser"], 3),
            ("s", ["other", "", ""], 1),
            ("e", ["other", "", "eraser"], 2),
            ("all", ["ops", "ops", "ops"], 1),
            // Its part has further rights, so it stays beside the newer one.
            ("p", ["ops", "replayer", "ops"], 2),
            ("r", ["reader", "", ""], 1),
        ] {
            value = sign_in(&value, token, begun + 1000);
            assert_eq!(
                (names(&value), value.split(PART_SEPARATOR).count()),
                (of(expected), count),
                "{token}"
            );
            assert!(!is_forged(&ours, &headers(&value)));
        }
        // Each part has its own end and its own token.
        let value = sign_in(&sign_in("", "r", begun), "p", begun + 1000);
        assert_eq!((names(&value), value.split(PART_SEPARATOR).count()), (of(["", "replayer", ""]), 1));
        let value = sign_in(&sign_in("", "r", begun + 1000), "p", begun + 1000);
        let fewer = access("other:s", "");
        assert_eq!(actor(&fewer, &headers(&value), None), None, "both tokens are gone");
        let fewer = access("r", "");
        assert_eq!(actor(&fewer, &headers(&value), None), Some(token("#1", "HTTP_TOKEN")));
        // Nothing is kept of parts that are forged.
        let (content, _) = value.rsplit_once('.').unwrap();
        let (replayer, _) = content.split_once(PART_SEPARATOR).unwrap();
        for forged in [format!("{content}.AAAA"), format!("x~{replayer}~~"), "~".into()] {
            let value = sign_in(&forged, "e", begun + 1000);
            let expected =
                if forged.contains(replayer) { ["", "replayer", "eraser"] } else { ["", "", "eraser"] };
            assert_eq!(names(&value), of(expected), "{forged}");
        }
        assert!(is_forged(&ours, &headers(&format!("{content}.AAAA"))));
    }

    #[test]
    fn cookies_of_other_services_leave_a_session_alone() {
        let ours = access("reader", "");
        let (_, value) = signed(&ours, "reader", now() + 100).unwrap();
        let mine = format!("{COOKIE}={value}");
        for (cookies, is_in) in [
            (mine.clone(), true),
            (format!("name=J\u{fc}rgen; {mine}"), true),
            (format!("{mine};name=\u{44f}"), true),
            (format!("{COOKIE}=\u{fc}; {mine}"), true),
            (format!("{COOKIE}x={value}; name=\"{mine}\""), false),
        ] {
            let headers = [(header::COOKIE, cookies.as_bytes().try_into().unwrap())].into_iter().collect();
            assert_eq!(actor(&ours, &headers, Some(Right::Read)).is_some(), is_in, "{cookies}");
            assert_eq!(is_named(&headers), is_in, "{cookies}");
        }
    }

    #[test]
    fn sessions_that_have_ended_are_not_forged() {
        let ours = access("reader", "");
        let (_, value) = signed(&ours, "reader", 100).unwrap();
        let (content, signature) = value.rsplit_once('.').unwrap();
        let (id, _) = content.split_once('.').unwrap();
        let flipped =
            |text: &str| text.replacen(&text[..1], if text.starts_with('A') { "B" } else { "A" }, 1);
        for (access, value, is_forged) in [
            (&ours, value.clone(), false),
            // The token is gone, or has another right now.
            (&access("other", ""), value.clone(), false),
            (&access("", "reader"), value.clone(), false),
            // The sign-out has emptied it.
            (&ours, String::new(), false),
            (&ours, format!("{content}.{}", flipped(signature)), true),
            (&ours, format!("{id}.r.101.{signature}"), true),
            // A token that is gone can't have signed these either.
            (&access("other", ""), format!("{id}.r.100.AAAA"), true),
            (&access("other", ""), format!("{id}.r.99999999999.{signature}"), true),
            (&access("other", ""), format!("{id}0.r.100.{signature}"), true),
            (&access("other", ""), format!("{}.r.100.{signature}", "x".repeat(id.len())), true),
            (&ours, "reader".to_owned(), true),
        ] {
            for now in [99, 100, 10_000_000] {
                assert_eq!(is_forged_part(access, &value, now), is_forged, "{value} at {now}");
            }
        }
        let headers = |cookie: &str| [(header::COOKIE, cookie.try_into().unwrap())].into_iter().collect();
        assert!(is_forged(&ours, &headers(&format!("other=x; {COOKIE}=forged"))));
        assert!(!is_forged(&ours, &headers("other=x")));
    }

    #[test]
    fn no_part_of_a_cookie_can_be_changed() {
        let ours = access("reader", "eraser");
        let (_, value) = signed(&ours, "reader", 100).unwrap();
        let parts: Vec<_> = value.split('.').collect();
        let [id, rights, end, signature] = parts[..] else { panic!("{value}") };
        assert_eq!((rights, end), ("r", "100"));
        for changed in [
            format!("{id}.re.{end}.{signature}"),
            format!("{id}.{rights}.900.{signature}"),
            format!("{id}.{rights}.{end}.x.{signature}"),
            format!(
                "{}.{rights}.{end}.{signature}",
                signed(&ours, "eraser", 100).unwrap().1.split('.').next().unwrap()
            ),
            format!("{id}.{rights}.{end}."),
            format!("{id}.{rights}.{end}"),
            "reader".into(),
            String::new(),
        ] {
            assert_eq!(verified(&ours, &changed, None, 0), None, "{changed}");
        }
        for forged in [format!("{id}.re.{end}.{signature}"), format!("{id}.{rights}.{end}.x.{signature}")] {
            assert!(is_forged_part(&ours, &forged, 0), "{forged}");
        }
        // A session that was opened with the right to read can't erase, even if its token gets that right later.
        let later = access("reader", "reader");
        assert_eq!(verified(&later, &value, Some(Right::Erase), 0), None);
    }
}
