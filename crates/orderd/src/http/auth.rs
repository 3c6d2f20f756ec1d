//! Who may ask: bearer tokens, where any are set, or a session that one of them opened.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::{App, text};

/// Lets a request pass that carries one of the tokens, or any where none are set.
pub(super) async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if admits(&app, request.headers()) {
        return next.run(request).await;
    }
    let mut refused = text(StatusCode::UNAUTHORIZED, &refusal(request.headers(), "a token"));
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"orderd\""));
    refused
}

/// What to say: of a token that is unknown, not that one is needed.
pub(super) fn refusal(headers: &HeaderMap, needed: &str) -> String {
    if headers.contains_key(header::AUTHORIZATION) {
        format!("401 {needed} is needed, and the one in Authorization is not valid here: Bearer …")
    } else {
        format!("401 {needed} is needed: Authorization: Bearer …")
    }
}

/// Whether these headers open what shows orders.
pub(super) fn admits(app: &App, headers: &HeaderMap) -> bool {
    let tokens = app.settings.http.tokens.current();
    tokens.0.is_empty()
        || bearer(headers).is_some_and(|token| is_one_of(token, &tokens.0))
        || app.sessions.admit(headers, &tokens.0)
}

/// Whether this value of `Authorization` alone does.
pub(super) fn admits_bearer(app: &App, value: Option<&str>) -> bool {
    let tokens = app.settings.http.tokens.current();
    tokens.0.is_empty() || value.and_then(token_in).is_some_and(|token| is_one_of(token, &tokens.0))
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    token_in(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

fn token_in(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Takes as long for a wrong token as for a right one, and looks at all of them.
pub(super) fn is_one_of(token: &str, tokens: &[String]) -> bool {
    let found = tokens.iter().map(|known| known.as_bytes().ct_eq(token.as_bytes()));
    found.fold(subtle::Choice::from(0), |any, this| any | this).into()
}
