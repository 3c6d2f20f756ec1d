//! `/session`: lets a browser in with a token that it sends once. What it keeps is a cookie that no script can
//! read, with a random name of the session and not the token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::server::HEAD;
use super::{App, auth, text};

const COOKIE: &str = "orderd_session";

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Sessions at once; the oldest gives way.
const SESSIONS: usize = 1024;

/// The sessions of this process: a restart ends them.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Session>>,
}

struct Session {
    /// The token that opened it: when that is taken away, so is the session.
    token: String,
    ends: Instant,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
}

/// 204 with a cookie for a token that opens; to a form that is sent without a script, the page.
pub(super) async fn open(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Form(given): Form<SignIn>,
) -> Response {
    let token = given.token.trim();
    let tokens = app.settings.http.tokens.current();
    if !tokens.0.is_empty() && !auth::is_one_of(token, &tokens.0) {
        return text(StatusCode::UNAUTHORIZED, "401 invalid token");
    }
    let Some(name) = app.sessions.open(token) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "500 internal server error");
    };
    let cookie = cookie(&name, LASTS, is_secure(&app, &headers));
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie.as_str()), (header::LOCATION, "./")])
            .into_response();
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// A form comes within the time that a head has, or not at all: anybody may send one.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HEAD, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let answer = text(StatusCode::REQUEST_TIMEOUT, "408 request timeout");
            ([(header::CONNECTION, "close")], answer).into_response()
        }
    }
}

/// Ends the session, where there is one.
pub(super) async fn close(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(name) = named(&headers) {
        app.sessions.lock().remove(name);
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", Duration::ZERO, is_secure(&app, &headers)))])
        .into_response()
}

/// Whether what is sent back comes by TLS: ours, or by its word that of a proxy in front of us. A cookie lost to
/// a lie here is the liar's own.
fn is_secure(app: &App, asked: &HeaderMap) -> bool {
    app.settings.identity.is_some() || asked.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

fn cookie(name: &str, lasts: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={name}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lasts.as_secs())
}

/// The session that a request names.
fn named(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

impl Sessions {
    /// Whether a request belongs to a session whose token still opens.
    pub(super) fn admit(&self, headers: &HeaderMap, tokens: &[String]) -> bool {
        let Some(name) = named(headers) else { return false };
        let open = self.lock();
        open.get(name)
            .is_some_and(|session| session.ends > Instant::now() && auth::is_one_of(&session.token, tokens))
    }

    fn open(&self, token: &str) -> Option<String> {
        let name = Some(crate::random::hex::<32>()).filter(|name| !name.is_empty())?;
        let now = Instant::now();
        let mut open = self.lock();
        open.retain(|_, session| session.ends > now);
        if open.len() >= SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.ends).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| open.remove(&oldest));
        }
        open.insert(name.clone(), Session { token: token.into(), ends: now + LASTS });
        Some(name)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: &str) -> HeaderMap {
        let cookie = HeaderValue::from_str(&format!("a=b; {COOKIE}={name}")).unwrap();
        [(header::COOKIE, cookie)].into_iter().collect()
    }

    #[test]
    fn a_session_lasts_as_long_as_its_token_and_makes_room() {
        let sessions = Sessions::default();
        let (ours, others) = (["token".to_owned()], ["other".to_owned()]);
        let first = sessions.open("token").unwrap();
        assert!(sessions.admit(&with(&first), &ours));
        assert!(!sessions.admit(&with(&first), &others) && !sessions.admit(&with("token"), &ours));
        for _ in 0..SESSIONS {
            sessions.open("token").unwrap();
        }
        assert!(!sessions.admit(&with(&first), &ours));
        assert_eq!(sessions.lock().len(), SESSIONS);
    }
}
