//! Authorization: bearer tokens, or a browser session that was opened with one. If no tokens for reading are set,
//! everyone may read; if no tokens for another right are set, no request has it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::config::{Access, Right};
use crate::http::routes::session;
use crate::http::{App, text};
use crate::logging::audit::Actor;

/// The token that authorized a request.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Actor);

/// The result of checking a request's tokens.
enum TokenVerdict {
    Granted(Caller),
    /// A known token that lacks the right.
    Lacks(Actor),
    Unknown,
}

/// Lets a request pass that may read.
pub(crate) async fn require_read(app: State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.settings.access.is_set(Right::Read) {
        return next.run(request).await;
    }
    require(Right::Read, &app, request, next).await
}

/// Lets a request pass that may replay.
pub(crate) async fn require_replay(app: State<Arc<App>>, request: Request, next: Next) -> Response {
    require(Right::Replay, &app, request, next).await
}

/// Lets a request pass that may erase.
pub(crate) async fn require_erase(app: State<Arc<App>>, request: Request, next: Next) -> Response {
    require(Right::Erase, &app, request, next).await
}

/// What a right allows, in words.
fn allowed_by(right: Right) -> &'static str {
    match right {
        Right::Read => "read documents",
        Right::Replay => "replay or drop dead letters",
        Right::Erase => "erase documents",
    }
}

async fn require(right: Right, app: &App, mut request: Request, next: Next) -> Response {
    let (status, why) = match verdict(&app.settings.access, request.headers(), right) {
        TokenVerdict::Granted(caller) => {
            request.extensions_mut().insert(caller);
            return next.run(request).await;
        }
        TokenVerdict::Lacks(actor) => {
            app.audit.failed(right.as_str(), Some(&actor), "the token lacks the right");
            let why =
                format!("403 this token may not {}: it is not one of {}", allowed_by(right), right.setting());
            (StatusCode::FORBIDDEN, why)
        }
        TokenVerdict::Unknown => {
            if request.headers().contains_key(header::AUTHORIZATION) {
                app.audit.failed(right.as_str(), None, "unknown token");
            } else if session::is_forged(&app.settings.access, request.headers()) {
                app.audit.failed(right.as_str(), None, "forged session");
            }
            (StatusCode::UNAUTHORIZED, unauthorized_message(request.headers(), right))
        }
    };
    let mut refused = text(status, &why);
    let challenge = match status {
        StatusCode::FORBIDDEN => "Bearer realm=\"orderd\", error=\"insufficient_scope\"",
        _ => "Bearer realm=\"orderd\"",
    };
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    refused
}

/// The message; it distinguishes an unknown token from a missing one.
fn unauthorized_message(headers: &HeaderMap, right: Right) -> String {
    let needed = match right {
        Right::Read => "a token",
        Right::Replay => "a replay token",
        Right::Erase => "an erase token",
    };
    if headers.contains_key(header::AUTHORIZATION) {
        format!("401 {needed} is needed, and the one in Authorization is not valid here: Bearer …")
    } else if session::is_named(headers) {
        format!("401 {needed} is needed: this session has ended, or its token is not valid any more")
    } else {
        format!("401 {needed} is needed: Authorization: Bearer …")
    }
}

fn verdict(access: &Access, headers: &HeaderMap, right: Right) -> TokenVerdict {
    let bearer = bearer(headers);
    let found = |right| access.of(right).current().find(bearer?).map(Actor::from);
    if let Some(actor) = found(right).or_else(|| session::actor(access, headers, Some(right))) {
        return TokenVerdict::Granted(Caller(actor));
    }
    let known = Right::ALL.into_iter().find_map(found).or_else(|| session::actor(access, headers, None));
    known.map_or(TokenVerdict::Unknown, TokenVerdict::Lacks)
}

/// Whether a request with these headers may still read: its token or its session may have ended since it began.
pub(crate) fn may_still_read(access: &Access, headers: &HeaderMap) -> bool {
    !access.is_set(Right::Read) || matches!(verdict(access, headers, Right::Read), TokenVerdict::Granted(_))
}

/// Whether this value of `Authorization` alone permits reading.
pub(crate) fn admits_bearer(app: &App, value: Option<&[u8]>) -> bool {
    let tokens = app.settings.access.read.current();
    tokens.is_empty() || value.and_then(token_in).is_some_and(|token| tokens.find(token).is_some())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    token_in(headers.get(header::AUTHORIZATION)?.as_bytes())
}

/// A token may have any characters that the settings accept.
fn token_in(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use crate::fuzzing::{HttpHarness, KEY};

    /// On the fast path and through the routes.
    #[test]
    fn a_token_of_any_characters_lets_read_on_both_ways() {
        let harness = HttpHarness::with(&["--http-token", "pässwörd-0123456789"]).unwrap();
        for more in ["", "expect: nothing\r\n"] {
            for (token, status) in [("pässwörd-0123456789", "200"), ("passwörd-0123456789", "401")] {
                let request = format!(
                    "GET /order/{KEY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{more}\r\n"
                );
                let response = harness.response_to(request.as_bytes());
                let response = String::from_utf8_lossy(&response);
                assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
            }
        }
    }
}
