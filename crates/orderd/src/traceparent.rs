//! The header `traceparent` of W3C Trace Context: of which trace a message or a request is a part.

use std::fmt::{self, Display};

/// The header's name, and the one that clients give it that write all names as HTTP/1.1 does: names in NATS have a case.
pub(crate) const TRACEPARENT: &str = "traceparent";
const CAPITALIZED: &str = "Traceparent";

/// Bytes of a value of version 00.
const LENGTH: usize = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".len();

/// A valid header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: u128,
    /// The sender's span.
    pub(crate) span_id: u64,
    /// Whether the sender records the trace.
    pub(crate) is_sampled: bool,
}

impl TraceParent {
    /// Parses a value; an invalid one counts as missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('-')?;
        let mut parts = rest.splitn(4, '-');
        let (trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let version = hex(version, 2).filter(|version| *version != 0xff)?;
        // Later versions may have more after the flags.
        if version == 0 && text.len() != LENGTH {
            return None;
        }
        let trace_id = hex(trace_id, 32).filter(|id| *id != 0)?;
        let span_id = u64::try_from(hex(span_id, 16)?).ok().filter(|id| *id != 0)?;
        let is_sampled = hex(flags, 2)? & 1 == 1;
        Some(Self { trace_id, span_id, is_sampled })
    }

    /// Of a message of NATS.
    pub(crate) fn of_message(headers: Option<&async_nats::HeaderMap>) -> Option<Self> {
        let headers = headers?;
        let value = headers.get(TRACEPARENT).or_else(|| headers.get(CAPITALIZED))?;
        Self::parse(value.as_str())
    }

    /// Of a request.
    pub(crate) fn of_request(headers: &hyper::HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    /// The trace id in hexadecimal.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// As a header has it.
impl Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, is_sampled } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

/// The value of `count` lower-case hexadecimal digits; `None` for anything else.
fn hex(digits: &str, count: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == count && digits.bytes().all(is_digit)).then(|| u128::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn valid_values_are_read_and_written_as_they_were() {
        let read = TraceParent::parse(VALID).unwrap();
        assert_eq!((read.to_string().as_str(), read.is_sampled), (VALID, true));
        assert_eq!(read.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(!TraceParent::parse(&VALID.replace("-01", "-00")).unwrap().is_sampled);
        // A later version, with more fields.
        assert_eq!(TraceParent::parse(&format!("cc{}-what-comes", &VALID[2..])), Some(read));
    }

    #[test]
    fn invalid_values_count_as_none() {
        for wrong in [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "ы0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_a_message_the_name_may_begin_with_a_capital() {
        for name in [TRACEPARENT, CAPITALIZED] {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(name, VALID);
            assert_eq!(TraceParent::of_message(Some(&headers)), TraceParent::parse(VALID));
        }
        assert_eq!(TraceParent::of_message(None), None);
    }
}
