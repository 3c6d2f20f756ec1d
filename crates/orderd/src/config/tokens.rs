//! Bearer tokens for reading, replaying and erasing, with the names that the audit log shows.

use ring::hkdf::{self, HKDF_SHA256, KeyType, Salt};
use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq;

use super::reloadable::Reload;
use super::{ConfigError, Reloaded, Secret, list, secret, wrong};
use crate::finding::Finding;

/// Minimum length in bytes. A shorter token can be brute-forced offline from a cookie that it signed.
const SHORT_TOKEN_BYTES: usize = 16;

/// The longest name.
const MAX_NAME_BYTES: usize = 32;

/// Separates session keys from anything else that may be derived from a token.
const HKDF_SALT: &[u8] = b"orderd session";

/// Bytes of a token's id.
const ID_BYTES: usize = 8;

/// A right of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To see orders, ids and counts.
    Read,
    /// To send dead letters again.
    Replay,
    /// To erase orders.
    Erase,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Replay, Self::Erase];

    /// The setting of its tokens.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Read => "HTTP_TOKEN",
            Self::Replay => "HTTP_REPLAY_TOKEN",
            Self::Erase => "HTTP_ERASE_TOKEN",
        }
    }

    /// The name in messages and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Replay => "replay",
            Self::Erase => "erase",
        }
    }
}

/// A token.
pub struct Token {
    /// Its name, or `#` and its index in the setting.
    pub name: String,
    /// The setting that holds it.
    pub(crate) setting: &'static str,
    text: Secret<String>,
    /// Identifies it in a cookie without revealing it.
    pub(crate) id: String,
    /// Signs the cookies of its sessions. Every process with the token has the same key.
    pub(crate) key: hmac::Key,
}

impl Token {
    fn new(setting: &'static str, name: String, text: &str) -> Self {
        let id = derived::<ID_BYTES>(text, b"id").iter().map(|byte| format!("{byte:02x}")).collect();
        let key = hmac::Key::new(HMAC_SHA256, &derived::<32>(text, b"key"));
        Self { name, setting, text: Secret(text.to_owned()), id, key }
    }

    /// `name:token`, or a token.
    fn parse(setting: &'static str, number: usize, given: &str) -> Result<Self, ConfigError> {
        let named = given.split_once(':').filter(|(name, _)| is_name(name));
        let (name, text) = match named {
            Some((name, text)) => (name.to_owned(), text.trim()),
            None => (format!("#{number}"), given),
        };
        if text.is_empty() {
            return Err(wrong(setting, format!("the name {name} has no token after its colon")));
        }
        // A header can't contain such a token.
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | 0x80..)) {
            return Err(wrong(
                setting,
                format!("the token {name} contains a control character, such as a line break"),
            ));
        }
        Ok(Self::new(setting, name, text))
    }

    /// The token as requests send it.
    pub(crate) fn text(&self) -> &str {
        &self.text.0
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_part)
}

/// Whether a text has the form of a token's id.
pub(crate) fn is_token_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Bytes that are derived from a token and do not reveal it (HKDF, RFC 5869).
fn derived<const BYTES: usize>(token: &str, purpose: &[u8]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let extracted: hkdf::Prk = Salt::new(HKDF_SHA256, HKDF_SALT).extract(token.as_bytes());
    // Fails only for more than 8160 bytes.
    let filled = extracted.expand(&[purpose], Length(BYTES)).and_then(|okm| okm.fill(&mut bytes));
    debug_assert!(filled.is_ok());
    bytes
}

/// The tokens of one setting.
#[derive(Default)]
pub struct TokenList(Vec<Token>);

impl TokenList {
    /// Whether the setting has no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<&Token> {
        self.0.first()
    }

    /// Finds a token. Compares with all tokens in constant time.
    pub(crate) fn find(&self, text: &str) -> Option<&Token> {
        let is_it = |token: &&Token| bool::from(token.text().as_bytes().ct_eq(text.as_bytes()));
        self.0.iter().filter(is_it).fold(None, |found, token| found.or(Some(token)))
    }

    /// The token with this id. Ids are not secret.
    pub(crate) fn of_id(&self, id: &str) -> Option<&Token> {
        self.0.iter().find(|token| token.id == id)
    }
}

/// The tokens of a setting, which may change while the service runs, so that they can be rotated.
pub type Tokens = Reloaded<TokenList>;

/// The tokens of a setting, or of the file that `{setting}_FILE` names; empty if neither is given. A setting without
/// tokens is an error: it would grant access to everyone.
pub(crate) fn tokens(right: Right, given: Option<&str>) -> Result<Tokens, ConfigError> {
    let (setting, given) = (right.setting(), Secret(given.map(ToOwned::to_owned)));
    Reloaded::new(setting, move |files| {
        let Some(text) = secret(setting, given.0.as_deref(), files)? else { return Ok(TokenList::default()) };
        let parsed = list(&text).into_iter().enumerate();
        let parsed: Result<Vec<_>, _> =
            parsed.map(|(index, given)| Token::parse(setting, index + 1, &given)).collect();
        let tokens = parsed?;
        if tokens.is_empty() {
            return Err(wrong(setting, "it contains no token; leave the setting out if none is required"));
        }
        Ok(TokenList(tokens))
    })
}

/// All tokens, by right. A token in several settings has several rights.
#[derive(Clone, Debug)]
pub struct Access {
    /// To read; without tokens, everyone may.
    pub read: Tokens,
    /// To replay and drop dead letters; without tokens, HTTP does not allow it.
    pub replay: Tokens,
    /// To erase; without tokens, HTTP does not allow it.
    pub erase: Tokens,
}

impl Access {
    /// The tokens that have a right.
    pub fn of(&self, right: Right) -> &Tokens {
        match right {
            Right::Read => &self.read,
            Right::Replay => &self.replay,
            Right::Erase => &self.erase,
        }
    }

    /// Whether there are tokens for a right.
    pub fn is_set(&self, right: Right) -> bool {
        !self.of(right).current().is_empty()
    }

    /// The tokens' files, for reloading.
    pub(crate) fn files(&self) -> [Box<dyn Reload>; 3] {
        [&self.read, &self.replay, &self.erase].map(|tokens| Box::new(tokens.clone()) as Box<dyn Reload>)
    }

    /// Warns of tokens that are short enough to guess.
    pub(crate) fn warn_of_short_ones(&self) {
        self.short_tokens().iter().for_each(|short| tracing::warn!("{short}"));
    }

    /// The tokens that are short enough to guess.
    pub(crate) fn short_tokens(&self) -> Vec<Finding> {
        let of_right = |right: Right| {
            let tokens = self.of(right).current();
            let short = tokens.0.iter().filter(|token| token.text().len() < SHORT_TOKEN_BYTES);
            let finding = |token: &Token| {
                Finding::warning(
                    format!(
                        "the token {} of {} has fewer than {SHORT_TOKEN_BYTES} bytes: it can be guessed, even from a \
                         session cookie",
                        token.name,
                        right.setting()
                    ),
                    "generate a new one: openssl rand -hex 32",
                )
            };
            short.map(finding).collect::<Vec<_>>()
        };
        Right::ALL.into_iter().flat_map(of_right).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Vec<(String, String)> {
        let list = tokens(Right::Read, Some(text)).unwrap().current();
        list.0.iter().map(|token| (token.name.clone(), token.text().to_owned())).collect()
    }

    #[test]
    fn a_name_is_what_looks_like_one_before_the_first_colon() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(given("a"), [pair("#1", "a")]);
        assert_eq!(given("ops:a:b, c\nAb_9-:d"), [pair("ops", "a:b"), pair("#2", "c"), pair("Ab_9-", "d")]);
        assert_eq!(given("é:a,a b:c,:d"), [pair("#1", "é:a"), pair("#2", "a b:c"), pair("#3", ":d")]);
        let (longest, longer) = ("n".repeat(32), "n".repeat(33));
        assert_eq!(given(&format!("{longest}:a")), [pair(&longest, "a")]);
        assert_eq!(given(&format!("{longer}:a")), [pair("#1", &format!("{longer}:a"))]);
        for wrong in [" , ", "ops:", "hidden,ops: "] {
            let error = tokens(Right::Erase, Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("HTTP_ERASE_TOKEN: ") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn tokens_that_no_header_can_carry_are_refused() {
        for given in ["a\nb", "name:a\0b", "a\x7fb"] {
            let refused = Token::parse("HTTP_TOKEN", 1, given).map(|_| ()).unwrap_err().to_string();
            assert!(refused.contains("control character"), "{refused}");
        }
        let taken = Token::parse("HTTP_TOKEN", 1, "grüße !~");
        assert!(taken.is_ok_and(|token| token.text() == "grüße !~"));
    }

    #[test]
    fn token_id_and_key_depend_on_the_token_alone() {
        let [first, again, other] = [("a", "t"), ("b", "t"), ("a", "u")]
            .map(|(name, text)| Token::new("HTTP_TOKEN", name.into(), text));
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, other.id);
        let signed = hmac::sign(&first.key, b"x");
        assert!(hmac::verify(&again.key, b"x", signed.as_ref()).is_ok());
        assert!(hmac::verify(&other.key, b"x", signed.as_ref()).is_err());
    }
}
