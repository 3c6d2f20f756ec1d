//! The span of an HTTP request: until the head of its response.

use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::{Traces, remote};
use crate::traceparent::{TRACEPARENT, TraceParent};

/// Methods in span names; clients can invent any number of others.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// A request that is being answered. Dropped, it ends.
pub(crate) struct RequestSpan(Span);

impl Traces {
    /// Whether a request with these names of headers may have a span.
    pub(crate) fn may_record<'h>(&self, mut headers: impl Iterator<Item = &'h str>) -> bool {
        self.records_roots || headers.any(|name| name.eq_ignore_ascii_case(TRACEPARENT))
    }

    /// Begins the span of a request, if it is traced. The span has neither path nor query, because they may contain
    /// values of orders.
    pub(crate) fn request(
        &self,
        method: &Method,
        route: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<RequestSpan> {
        let parent = TraceParent::of_request(headers);
        if parent.is_none() && !self.records_roots {
            return None;
        }
        let is_known = METHODS.contains(method);
        let method = if is_known { method.as_str() } else { "_OTHER" };
        let called = if is_known { method } else { "HTTP" };
        let mut attributes = vec![KeyValue::new("http.request.method", method.to_owned())];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        let name = route.map_or_else(|| called.to_owned(), |route| format!("{called} {route}"));
        let span = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = self.tracer.build_with_context(span, &parent.map_or_else(Context::new, remote));
        span.is_recording().then_some(RequestSpan(span))
    }
}

impl RequestSpan {
    /// The request is answered with this status.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            self.0.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}
