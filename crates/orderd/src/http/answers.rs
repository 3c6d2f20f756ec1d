//! What answers a connection's requests: `/order/{id}` at once, all others by the routes.
//!
//! The way through the routes and their layers costs more than an order and its JSON do, and `/order/{id}` is
//! what is asked for by the thousands. So the plainest form of it takes a short way, to the same answer.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Response, header};
use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::{Either as EitherBody, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use tower::ServiceExt;

use super::{App, auth, order, router};

/// Answers the requests of a connection.
#[derive(Clone)]
pub(super) struct Answers {
    app: Arc<App>,
    router: Router,
}

type Answer = Response<EitherBody<Full<Bytes>, Body>>;
type Answered = Result<Answer, Infallible>;

impl Answers {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { router: router(app.clone()), app }
    }

    /// An order that memory has, asked for by an id that needs no decoding, by one who may.
    fn at_once(&self, request: &Request<Incoming>) -> Option<Answer> {
        let id = request.uri().path().strip_prefix("/order/")?;
        // Another page's question is answered in words of CORS, which are said on the long way.
        let is_plain = *request.method() == Method::GET && !request.headers().contains_key(header::ORIGIN);
        if !is_plain || id.contains(['/', '%']) {
            return None;
        }
        let begun = Instant::now();
        if !auth::admits(&self.app, request.headers()) {
            return None;
        }
        let response = order::from_memory(&self.app, id)?;
        self.app.orders_served.count(begun);
        Some(response.map(EitherBody::Left))
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Ready<Answered>, Pin<Box<dyn Future<Output = Answered> + Send>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Some(answer) = self.at_once(&request) {
            return Either::Left(std::future::ready(Ok(answer)));
        }
        let routed = self.router.clone().oneshot(request);
        Either::Right(Box::pin(async { Ok(routed.await?.map(EitherBody::Right)) }))
    }
}
