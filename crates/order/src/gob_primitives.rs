//! The primitives of Go's gob: unsigned and signed integers, floats, byte strings.
//!
//! The specification is "Encoding Details" in the documentation of Go's `encoding/gob`. `gobwire` handles descriptors
//! and `row_codec` whole rows; values are read and written here, because every order needs that.

use crate::RowError;

/// An error of a value, in one byte: every primitive read returns it, and a [`RowError`], which may hold text, would
/// slow each read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Truncated,
    BadNumber,
    Utf8,
    UnknownField,
    TooDeep,
    TooLarge,
}

impl From<Fault> for RowError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Truncated => Self::Truncated,
            Fault::BadNumber => Self::BadNumber,
            Fault::Utf8 => Self::Utf8,
            Fault::UnknownField => Self::UnknownField,
            Fault::TooDeep => Self::TooDeep,
            Fault::TooLarge => Self::TooLarge,
        }
    }
}

/// Appends an unsigned integer: below 128 one byte, else the negated count of the big-endian bytes after it.
#[inline]
pub(crate) fn put_uint(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        out.push(number as u8);
    } else {
        put_long_uint(out, number);
    }
}

fn put_long_uint(out: &mut Vec<u8>, number: u64) {
    // Appends all eight bytes and truncates: cheaper than copying exactly the needed ones.
    let skipped = number.leading_zeros() / 8;
    out.push(((8 - skipped) as u8).wrapping_neg());
    out.extend_from_slice(&(number << (8 * skipped)).to_be_bytes());
    out.truncate(out.len() - skipped as usize);
}

/// Appends a signed integer: bit 0 says whether the rest is complemented.
pub(crate) fn put_int(out: &mut Vec<u8>, number: i64) {
    put_uint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends a float: its bits, byte-swapped, as an unsigned integer.
pub(crate) fn put_float(out: &mut Vec<u8>, number: f64) {
    put_uint(out, number.to_bits().swap_bytes());
}

/// Appends a byte string: its length, then the bytes.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`put_uint`] appends.
#[inline]
pub(crate) fn uint_len(number: u64) -> usize {
    if number < 0x80 { 1 } else { 9 - (number.leading_zeros() / 8) as usize }
}

/// Reads primitives from the front of a value; never past its end.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            None => Err(Fault::Truncated),
            Some(&small) if small < 0x80 => {
                self.at += 1;
                Ok(u64::from(small))
            }
            Some(&first) => self.long_uint(first),
        }
    }

    fn long_uint(&mut self, first: u8) -> Result<u64, Fault> {
        self.at += 1;
        let count = usize::from(first.wrapping_neg());
        if count > 8 {
            return Err(Fault::BadNumber);
        }
        let digits = self.take(count)?;
        Ok(digits.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64, Fault> {
        let number = self.uint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(crate) fn float(&mut self) -> Result<f64, Fault> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    /// A byte string.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.uint()?).map_err(|_| Fault::Truncated)?;
        self.take(length)
    }

    /// The number of elements that follow. Each takes at least a byte, so a count larger than the rest of the value is
    /// refused at once.
    pub(crate) fn count(&mut self) -> Result<usize, Fault> {
        let count = usize::try_from(self.uint()?).map_err(|_| Fault::Truncated)?;
        if count > self.bytes.len() - self.at {
            return Err(Fault::Truncated);
        }
        Ok(count)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let taken = self.bytes[self.at..].get(..length).ok_or(Fault::Truncated)?;
        self.at += length;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    /// The examples of Go's documentation.
    #[test]
    fn writes_what_go_documents() {
        assert_eq!(written(|out| put_uint(out, 7)), [0x07]);
        assert_eq!(written(|out| put_uint(out, 256)), [0xfe, 0x01, 0x00]);
        assert_eq!(written(|out| put_int(out, -129)), [0xfe, 0x01, 0x01]);
        assert_eq!(written(|out| put_float(out, 17.0)), [0xfe, 0x31, 0x40]);
    }

    #[test]
    fn truncated_or_oversized_gob_is_refused() {
        assert!(matches!(Reader::new(&[], 0).uint(), Err(Fault::Truncated)));
        assert!(matches!(Reader::new(&[0xfe, 1], 0).uint(), Err(Fault::Truncated)));
        assert!(matches!(Reader::new(&[0xf7; 12], 0).uint(), Err(Fault::BadNumber)));
        assert!(matches!(Reader::new(&[0xf8; 12], 0).bytes(), Err(Fault::Truncated)));
        assert!(matches!(Reader::new(&[3, 0, 0], 0).count(), Err(Fault::Truncated)));
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(unsigned: u64, signed: i64, float: f64, bytes: Vec<u8>) {
            let out = written(|out| {
                put_uint(out, unsigned);
                put_int(out, signed);
                put_float(out, float);
                put_bytes(out, &bytes);
            });
            let mut reader = Reader::new(&out, 0);
            prop_assert_eq!(reader.uint(), Ok(unsigned));
            prop_assert_eq!(reader.at(), uint_len(unsigned));
            prop_assert_eq!(reader.int(), Ok(signed));
            prop_assert_eq!(reader.float().map(f64::to_bits), Ok(float.to_bits()));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.at(), out.len());
        }
    }
}
