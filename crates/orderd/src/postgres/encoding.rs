//! Ids in a database whose encoding is not UTF-8: an id that the encoding lacks must not fail a query for other ids,
//! and a stored id that is not valid text must not stop the fill.

use std::borrow::Cow;

use futures_util::future;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::is_no_text;
use crate::config::Table;

/// The upper half of a single-byte encoding; lower bytes are ASCII in all server encodings.
const HIGH: std::ops::RangeInclusive<u8> = 128..=255;

/// Number of ids that are checked together for characters that can't be converted to UTF-8.
const MAX_PROBED_ROWS: i64 = 4096;

/// How a database stores text.
pub(crate) enum Encoding {
    Utf8,
    /// `SQL_ASCII`: arbitrary bytes, unchanged.
    Bytes,
    /// The character of each byte from 128 on.
    SingleByte(Vec<Option<char>>),
    /// Multi-byte: only the server can convert it.
    MultiByte,
}

impl Encoding {
    /// The encoding of this connection's database.
    pub(crate) async fn of(client: &Client) -> Result<Self, Error> {
        let query = "SELECT getdatabaseencoding()::text,
                            pg_encoding_max_length(pg_char_to_encoding(getdatabaseencoding())) = 1";
        let rows = client.query_typed(query, &[]).await?;
        let Some(row) = rows.first() else { return Ok(Self::Utf8) };
        match row.try_get::<_, &str>(0)? {
            "UTF8" => Ok(Self::Utf8),
            "SQL_ASCII" => Ok(Self::Bytes),
            _ if row.try_get(1)? => Ok(Self::SingleByte(high_half(client).await?)),
            _ => Ok(Self::MultiByte),
        }
    }

    /// Those of the ids that the database can represent. No row has any other.
    pub(crate) async fn holdable<'i>(&self, client: &Client, ids: &[&'i str]) -> Result<Vec<&'i str>, Error> {
        let mut holdable = Vec::with_capacity(ids.len());
        for &id in ids {
            let holds = match self {
                _ if id.contains('\0') => false,
                Self::Utf8 | Self::Bytes => true,
                _ if id.is_ascii() => true,
                Self::SingleByte(high) => {
                    id.chars().all(|letter| letter.is_ascii() || high.contains(&Some(letter)))
                }
                Self::MultiByte => takes(client, id).await?,
            };
            if holds {
                holdable.push(id);
            }
        }
        Ok(holdable)
    }

    /// The stored ids that can't be converted to UTF-8, as the server stores them. Only for multi-byte encodings, in
    /// which a query that returns such an id fails for all rows; [`Self::decode`] handles the others.
    ///
    /// # Errors
    /// PostgreSQL can't be reached.
    pub(crate) async fn unreadable_ids(&self, client: &Client, table: &Table) -> Result<Vec<Vec<u8>>, Error> {
        let mut unreadable = Vec::new();
        if !matches!(self, Self::MultiByte) {
            return Ok(unreadable);
        }
        // Pure ASCII ids have as many bytes as characters. The server compares its own texts.
        let query = format!(
            "SELECT convert_to(id, getdatabaseencoding()) FROM {} WHERE octet_length(id) <> char_length(id)
               AND ($1::bytea IS NULL OR id > convert_from($1, getdatabaseencoding())) ORDER BY id LIMIT {MAX_PROBED_ROWS}",
            table.quoted()
        );
        let mut last: Option<Vec<u8>> = None;
        loop {
            let rows = client.query_typed(&query, &[(&last, Type::BYTEA)]).await?;
            let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>, Error>>()?;
            let Some(end) = ids.last() else { return Ok(unreadable) };
            last = Some(end.clone());
            unreadable.extend(without_utf8(client, &ids).await?);
        }
    }

    /// The condition that excludes such ids.
    pub(crate) fn except(unreadable: &[Vec<u8>]) -> String {
        if unreadable.is_empty() {
            return "true".to_owned();
        }
        let literal = |id: &Vec<u8>| {
            let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("decode('{digits}', 'hex')")
        };
        let literals: Vec<String> = unreadable.iter().map(literal).collect();
        format!("convert_to(id, getdatabaseencoding()) NOT IN ({})", literals.join(", "))
    }

    /// The SQL expression for the stored bytes of an id.
    pub(crate) fn raw_id(&self) -> &'static str {
        match self {
            Self::Utf8 | Self::MultiByte => "id",
            Self::Bytes | Self::SingleByte(_) => "convert_to(id, getdatabaseencoding())",
        }
    }

    /// The id in these bytes; `None` if they are not text.
    pub(crate) fn decode<'b>(&self, raw: &'b [u8]) -> Option<Cow<'b, str>> {
        match self {
            Self::SingleByte(high) if !raw.is_ascii() => {
                let letter = |&byte: &u8| match byte.checked_sub(*HIGH.start()) {
                    None => Some(char::from(byte)),
                    Some(index) => high.get(usize::from(index)).copied().flatten(),
                };
                raw.iter().map(letter).collect::<Option<String>>().map(Cow::Owned)
            }
            _ => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
        }
    }
}

/// Queried from the server, so that both convert alike. Bytes without a character are omitted.
async fn high_half(client: &Client) -> Result<Vec<Option<char>>, Error> {
    let query = "SELECT convert_from($1, getdatabaseencoding())";
    let bytes: Vec<[u8; 1]> = HIGH.map(|byte| [byte]).collect();
    let letters = bytes.iter().map(async |byte| {
        let parameter = &byte.as_slice();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] = [(parameter, Type::BYTEA)];
        match client.query_typed(query, &parameters).await {
            Ok(rows) => {
                let text: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
                Ok(text.and_then(|text| text.chars().next()))
            }
            Err(error) if is_no_text(&error) => Ok(None),
            Err(error) => Err(error),
        }
    });
    future::try_join_all(letters).await
}

/// Those of the ids that the server can't convert. Found by halving, because they are rare.
async fn without_utf8(client: &Client, ids: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let query = "SELECT count(convert(raw, getdatabaseencoding(), 'UTF8')) FROM unnest($1::bytea[]) AS raw";
    let (mut found, mut parts) = (Vec::new(), vec![ids]);
    while let Some(part) = parts.pop() {
        match client.query_typed(query, &[(&part, Type::BYTEA_ARRAY)]).await {
            Ok(_) => {}
            Err(error) if !is_no_text(&error) => return Err(error),
            Err(_) if part.len() == 1 => found.extend_from_slice(part),
            Err(_) => parts.extend(<[_; 2]>::from(part.split_at(part.len() / 2))),
        }
    }
    Ok(found)
}

/// Whether the server can convert an id.
async fn takes(client: &Client, id: &str) -> Result<bool, Error> {
    match client.query_typed("SELECT WHERE $1 = ''", &[(&id, Type::TEXT)]).await {
        Ok(_) => Ok(true),
        Err(error) if is_no_text(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_the_ids_that_the_server_means() {
        let mut high = vec![None; 128];
        high[0x7f] = Some('я');
        let encoding = Encoding::SingleByte(high);
        assert_eq!(encoding.decode(b"abc").as_deref(), Some("abc"));
        assert_eq!(encoding.decode(b"a\xff").as_deref(), Some("aя"));
        assert_eq!(encoding.decode(b"a\x98"), None);
        assert_eq!(Encoding::Bytes.decode("я".as_bytes()).as_deref(), Some("я"));
        assert_eq!(Encoding::Bytes.decode(b"\xff"), None);
    }
}
