//! `/dead_letters`, described.

use order::Reason;
use serde_json::{Value, json};

use crate::http::routes::dead_letters::{LARGEST, LISTED};
use crate::http::routes::openapi::parts::{content, ok, operation, parameter, plain, reference, required};

const KEY: &str = "1700000000123456789-42";

pub(crate) fn schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let number =
        |description: &str| json!({ "type": ["integer", "null"], "minimum": 0, "description": description });
    let reasons = Reason::ALL.map(Reason::as_str);
    json!({
        "type": "object",
        "required": ["key", "number", "subject", "time", "reason", "detail"],
        "properties": {
            "key": text("The id that the order would have had, and has after a replay that is taken in"),
            "number": { "type": "integer", "minimum": 1, "description": "Its place among the dead letters" },
            "subject": text("Where it was published"),
            "sequence": number("Its number in the stream of orders"),
            "time": text("When the stream took it"),
            "reason": { "type": "string", "examples": reasons },
            "detail": text("The reason in words; quotes nothing of the message"),
            "path": { "type": ["string", "null"], "examples": ["$.items[0].price"] },
            "offset": number("The place in the payload, in bytes"),
            "bytes": number("How long the payload is"),
            "payload_base64": { "type": "string", "contentEncoding": "base64" },
            "payload": { "type": ["string", "null"], "description": "As text, where it is UTF-8" },
        },
    })
}

fn unanswered() -> (&'static str, Value) {
    plain("503", "NATS can't be asked now")
}

pub(crate) fn list() -> Value {
    let letters = json!({ "type": "array", "items": reference("DeadLetter"), "maxItems": LISTED });
    let answers =
        vec![ok("application/json", letters), plain("400", "The query can't be read"), unanswered()];
    let mut list = operation("What could not be taken in, newest first, without the payloads", answers);
    let number = json!({ "type": "integer", "minimum": 0, "maximum": LARGEST });
    list["parameters"] = json!([parameter("query", "before", "Only those with a smaller `number`", number)]);
    list
}

fn key() -> Value {
    let text = json!({ "type": "string", "minLength": 1, "examples": [KEY] });
    required(parameter("path", "key", "As it stands in the list", text))
}

pub(crate) fn show() -> Value {
    let found = ("200", content("It, with its payload", "application/json", reference("DeadLetter")));
    let answers = vec![
        found,
        plain("400", "The key is not UTF-8"),
        plain("404", "There is no such dead letter"),
        unanswered(),
    ];
    let mut show = operation("One that could not be taken in", answers);
    show["parameters"] = json!([key()]);
    show
}

pub(crate) fn replay() -> Value {
    let outcome = |description| content(description, "application/json", reference("Replay"));
    let answers = vec![
        (
            "200",
            outcome(
                "It was sent. Taken in, it is the order of its key and leaves the list; refused again, it stays",
            ),
        ),
        (
            "202",
            outcome("It is sent, and nothing is known of it yet. The list shows it until it is taken in"),
        ),
        plain("400", "The key is not UTF-8, or the body can't be read"),
        plain("403", "No token is set, or a page of another address made the browser ask"),
        plain("404", "There is no such dead letter, or it was taken in or dropped meanwhile"),
        plain("408", "The body did not come in time"),
        ("413", too_large()),
        ("502", outcome("NATS does not take it; the detail says why")),
        unanswered(),
    ];
    let mut replay =
        operation("Sends one into the topic again, after a fix, and says what became of it", answers);
    replay["parameters"] = json!([key()]);
    replay["requestBody"] = json!({
        "description": "A corrected document, sent in place of the payload. Without it, the payload is sent",
        "required": false,
        // Any document may be sent: whether it is an order, the answer says.
        "content": { "application/json": { "schema": {} } },
    });
    replay
}

/// By us, with its key; or by the limit for bodies.
fn too_large() -> Value {
    let described = "With its key, it is larger than NATS takes; or the body is larger than may be sent";
    let mut answer = content(described, "application/json", reference("Replay"));
    answer["content"]["text/plain"] = json!({ "schema": { "type": "string" } });
    answer
}

/// What became of one that was sent again.
pub(crate) fn outcome_schema() -> Value {
    let outcomes = ["taken_in", "refused", "undecided", "too_large", "not_sent"];
    json!({
        "type": "object",
        "required": ["key", "outcome"],
        "properties": {
            "key": { "type": "string" },
            "outcome": { "type": "string", "enum": outcomes },
            "reason": { "type": "string", "examples": Reason::ALL.map(Reason::as_str) },
            "detail": { "type": "string", "description": "Why it is refused again, or was not sent, in words" },
            "path": { "type": ["string", "null"], "examples": ["$.items[0].price"] },
        },
    })
}
