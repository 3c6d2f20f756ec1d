//! Numbers as PostgreSQL's `numeric` prints them: without an exponent, with the given number of decimals, and zero
//! without a sign.

use std::borrow::Cow;

/// Maximum number of digits after the decimal point of a `numeric`.
const MAX_SCALE: usize = 16_383;

/// Numbers of fewer characters than this, without an exponent, are within a double's range.
const SURELY_FINITE: usize = 300;

/// Why `jsonb` can't hold a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// Beyond a double's range.
    TooLarge,
    /// More decimals than `numeric` has.
    TooFine,
}

/// A JSON number as PostgreSQL prints it.
pub(super) fn canonical(text: &str) -> Result<Cow<'_, str>, Problem> {
    let has_exponent = memchr::memchr2(b'e', b'E', text.as_bytes());
    if text.len() >= SURELY_FINITE || has_exponent.is_some() {
        let is_finite = text.parse().is_ok_and(f64::is_finite);
        if !is_finite {
            return Err(Problem::TooLarge);
        }
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let end = has_exponent.map_or(digits.len(), |at| at - sign.len());
    let (mantissa, exponent) = (&digits[..end], digits.get(end + 1..));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    let Some(exponent) = exponent else {
        if fraction.len() > MAX_SCALE {
            return Err(Problem::TooFine);
        }
        return Ok(Cow::Borrowed(if is_zero { mantissa } else { text }));
    };
    // If the exponent does not fit into an i64, the number is zero or has too many decimals.
    let limit = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent: i64 = exponent.parse().unwrap_or(limit);
    let scale = (fraction.len() as i64).saturating_sub(exponent).max(0) as usize;
    if scale > MAX_SCALE {
        return Err(Problem::TooFine);
    }
    Ok(Cow::Owned(if is_zero { zero(scale) } else { written_out(sign, whole, fraction, exponent, scale) }))
}

fn zero(scale: usize) -> String {
    if scale == 0 { "0".into() } else { format!("0.{}", "0".repeat(scale)) }
}

/// A finite number other than zero, so its decimal point is not far from its digits.
fn written_out(sign: &str, whole: &str, fraction: &str, exponent: i64, scale: usize) -> String {
    let digits = [whole, fraction].concat();
    let point = whole.len() as i64 + exponent;
    let (whole, fraction) = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => {
            (digits.clone() + &"0".repeat(point - digits.len()), String::new())
        }
        Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        // Pads with zeros in front to `scale` decimals.
        Err(_) => (String::new(), format!("{digits:0>scale$}")),
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are from `select '…'::jsonb` in PostgreSQL 15.
    #[test]
    fn numbers_are_written_as_postgresql_prints_them() {
        for (given, printed) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0e-5", "0.00000"),
            ("0e300", "0"),
            ("0e99999999999999999999", "0"),
            ("-0.0e-1", "0.00"),
            ("0.0e5", "0"),
            ("1e2", "100"),
            ("1E+2", "100"),
            ("1.0", "1.0"),
            ("-1.50", "-1.50"),
            ("1.50e1", "15.0"),
            ("12.340e1", "123.40"),
            ("1e-2", "0.01"),
            ("-12e-2", "-0.12"),
            ("12e-1", "1.2"),
            ("100e-2", "1.00"),
            ("0.5e3", "500"),
            ("0.05e1", "0.5"),
            ("0.001e-1", "0.0001"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551616", "18446744073709551616"),
        ] {
            assert_eq!(canonical(given).unwrap(), printed, "{given}");
            // Canonical numbers stay unchanged.
            assert_eq!(canonical(printed).unwrap(), printed);
        }
        assert_eq!(canonical("1.7976931348623157e308").unwrap().len(), 309);
    }

    #[test]
    fn numbers_that_jsonb_can_not_have_are_refused() {
        for large in ["1e309", "-1e131071", "1e99999999999999999999", &"9".repeat(310)] {
            assert_eq!(canonical(large), Err(Problem::TooLarge), "{large}");
        }
        let fine = format!("0.{}1", "0".repeat(16_383));
        for fine in ["1e-16384", "0e-16384", "1e-99999999999999999999", &fine] {
            assert_eq!(canonical(fine), Err(Problem::TooFine), "{fine}");
        }
        assert_eq!(canonical("1e-16383").unwrap().len(), 16_385);
    }
}
