//! Messages of the NATS Streaming protocol (protobuf in plain NATS messages, as in `protocol.proto` of its Go client),
//! as far as reading a channel needs them. The numbers are those of the fields.

/// A request to connect. Sent to `_STAN.discover.{cluster}`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConnectRequest {
    #[prost(string, tag = "1")]
    pub(super) client_id: String,
    #[prost(string, tag = "2")]
    pub(super) heartbeat_inbox: String,
    #[prost(int32, tag = "3")]
    pub(super) protocol: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) connection_id: Vec<u8>,
}

/// The subjects for further requests.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConnectResponse {
    #[prost(string, tag = "2")]
    pub(super) subscribe: String,
    #[prost(string, tag = "3")]
    pub(super) unsubscribe: String,
    #[prost(string, tag = "4")]
    pub(super) close: String,
    #[prost(string, tag = "5")]
    pub(super) error: String,
    #[prost(string, tag = "6")]
    pub(super) close_subscription: String,
    #[prost(string, tag = "7")]
    pub(super) ping: String,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum StartPosition {
    New = 0,
    Last = 1,
    Time = 2,
    Sequence = 3,
    First = 4,
}

/// A request for a channel's messages.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscriptionRequest {
    #[prost(string, tag = "1")]
    pub(super) client_id: String,
    #[prost(string, tag = "2")]
    pub(super) channel: String,
    #[prost(string, tag = "3")]
    pub(super) queue_group: String,
    #[prost(string, tag = "4")]
    pub(super) inbox: String,
    #[prost(int32, tag = "5")]
    pub(super) max_in_flight: i32,
    #[prost(int32, tag = "6")]
    pub(super) ack_wait_seconds: i32,
    #[prost(string, tag = "7")]
    pub(super) durable: String,
    #[prost(enumeration = "StartPosition", tag = "10")]
    pub(super) start: i32,
}

/// Answers that, and an [`UnsubscribeRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscriptionResponse {
    #[prost(string, tag = "2")]
    pub(super) ack_inbox: String,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

/// Ends a subscription; the server knows it by its ack inbox.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnsubscribeRequest {
    #[prost(string, tag = "1")]
    pub(super) client_id: String,
    #[prost(string, tag = "2")]
    pub(super) channel: String,
    #[prost(string, tag = "3")]
    pub(super) ack_inbox: String,
}

/// A message of a channel.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Delivered {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(string, tag = "2")]
    pub(super) channel: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) payload: bytes::Bytes,
    #[prost(bool, tag = "6")]
    pub(super) redelivered: bool,
}

/// Says that a message is taken.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Ack {
    #[prost(string, tag = "1")]
    pub(super) channel: String,
    #[prost(uint64, tag = "2")]
    pub(super) sequence: u64,
}

/// A check whether the server still knows a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Ping {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) connection_id: Vec<u8>,
}

/// Leaves.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloseRequest {
    #[prost(string, tag = "1")]
    pub(super) client_id: String,
}

/// Answers a [`Ping`] and a [`CloseRequest`]: the error, or nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorResponse {
    #[prost(string, tag = "1")]
    pub(super) error: String,
}
