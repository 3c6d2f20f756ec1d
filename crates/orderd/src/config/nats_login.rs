//! The login to NATS. A replaced file takes effect with the next connection.

use async_nats::{Auth, AuthError, ServerAddr};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};

use crate::config::{Address, Reload, Reloaded, Secret};

/// The login in the addresses of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UrlLogin {
    /// No login.
    Anonymous,
    /// A user and a password.
    User(String, Secret<String>),
    /// A token.
    Token(Secret<String>),
}

impl UrlLogin {
    /// The login in the addresses. It must be the same in all, because the client uses one login.
    ///
    /// # Errors
    /// Two addresses with different users.
    pub(crate) fn of(servers: &[ServerAddr]) -> Result<Self, &'static str> {
        let named = |server: &&ServerAddr| server.username().is_some() || server.password().is_some();
        let mut logins = servers.iter().filter(named).map(|server| (server.username(), server.password()));
        let Some(first) = logins.next() else { return Ok(Self::Anonymous) };
        if logins.any(|other| other != first) {
            return Err(
                "its servers have different users; one connection has one user, so give all the same",
            );
        }
        let (user, password) = first;
        let user = decoded(user.unwrap_or_default());
        Ok(match password {
            Some(password) => Self::User(user, Secret(decoded(password))),
            None => Self::Token(Secret(user)),
        })
    }
}

/// A kind of login.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// The login in the addresses, if any.
    Address(Reloaded<Address>),
    /// A file with a JWT and a seed.
    Credentials(Reloaded<Credentials>),
    /// An nkey, which is always present.
    Nkey(Reloaded<Option<KeyPair>>),
}

/// The JWT of a user, and the key that it is for.
pub(crate) struct Credentials {
    jwt: String,
    key: KeyPair,
}

impl Login {
    /// The files that it is loaded from, except those of the addresses.
    pub(crate) fn files(&self) -> Option<Box<dyn Reload>> {
        match self {
            Self::Address(_) => None,
            Self::Credentials(credentials) => Some(Box::new(credentials.clone())),
            Self::Nkey(key) => Some(Box::new(key.clone())),
        }
    }

    /// Whether it can be used now.
    ///
    /// # Errors
    /// What is wrong with the seed or the file, without quoting it.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.auth(b"nonce").map(drop)
    }

    /// The credentials for a server's nonce.
    ///
    /// # Errors
    /// A file or a seed that can't be used.
    pub(crate) fn credentials(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        self.auth(nonce).map_err(AuthError::new)
    }

    fn auth(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        match self {
            Self::Address(address) => match &address.fresh().named {
                UrlLogin::Anonymous => {}
                UrlLogin::User(user, password) => {
                    auth.username = Some(user.clone());
                    auth.password = Some(password.0.clone());
                }
                UrlLogin::Token(token) => auth.token = Some(token.0.clone()),
            },
            Self::Credentials(credentials) => {
                let Credentials { jwt, key } = &*credentials.fresh();
                auth.signature = Some(key.sign(nonce).map_err(|error| error.to_string())?);
                auth.jwt = Some(jwt.clone());
            }
            Self::Nkey(key) => {
                let key = key.fresh();
                let key = Option::as_ref(&key).ok_or("there is no nkey")?;
                auth.signature = Some(key.sign(nonce).map_err(|error| error.to_string())?);
                auth.nkey = Some(key.public_key());
            }
        }
        Ok(auth)
    }
}

/// Parses a seed, also between the marker lines that `nsc` writes.
///
/// # Errors
/// The text is not an nkey seed. It is not quoted, because a mistyped seed still reveals most of the secret.
pub(crate) fn user_key(text: &str) -> Result<KeyPair, String> {
    const TAKES: &str = "takes the seed of a user's nkey, which begins with SU";
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU")).ok_or(TAKES)?;
    let key = KeyPair::from_seed(seed).map_err(|_| TAKES)?;
    if key.key_pair_type() == KeyPairType::User { Ok(key) } else { Err(TAKES.into()) }
}

impl Credentials {
    /// Parses a file of credentials.
    ///
    /// # Errors
    /// What it lacks, without quoting it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines().map(str::trim);
        let begins = |line: &str| line.starts_with("---") && line.contains("BEGIN") && line.contains("JWT");
        let jwt = lines.find(|line| begins(line)).and_then(|_| lines.find(|line| !line.is_empty()));
        let jwt = jwt.filter(|jwt| !jwt.starts_with('-')).ok_or("it contains no user JWT")?;
        let key = user_key(text).map_err(|_| "it contains no seed of a user's nkey, which begins with SU")?;
        Ok(Self { jwt: jwt.to_owned(), key })
    }

    /// When the JWT expires, in Unix seconds; `None` for never.
    pub(crate) fn end(&self) -> Option<i64> {
        #[derive(serde::Deserialize)]
        struct Claims {
            #[serde(default)]
            exp: i64,
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(self.jwt.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (claims.exp > 0).then_some(claims.exp)
    }
}

/// Decodes percent-encoding.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    fn of(servers: &[&str]) -> Result<UrlLogin, &'static str> {
        let servers: Vec<ServerAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        UrlLogin::of(&servers)
    }

    #[test]
    fn what_an_address_holds_is_decoded() {
        assert_eq!(decoded("p%40ss%2Fw%C3%B6rd"), "p@ss/wörd");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn addresses_have_one_user() {
        assert!(matches!(of(&["nats://a", "nats://b"]), Ok(UrlLogin::Anonymous)));
        assert!(matches!(of(&["nats://s3cret@a"]), Ok(UrlLogin::Token(token)) if token.0 == "s3cret"));
        let named = of(&["nats://me:p%40ss@a", "nats://b"]);
        assert!(matches!(named, Ok(UrlLogin::User(user, password)) if user == "me" && password.0 == "p@ss"));
        assert!(matches!(of(&["nats://me:1@a", "nats://me:1@b"]), Ok(UrlLogin::User(..))));
        assert!(of(&["nats://me:1@a", "nats://me:2@b"]).is_err());
        assert!(of(&["nats://me:1@a", "nats://me@b"]).is_err());
    }

    #[test]
    fn the_end_of_a_jwt_is_read_and_none_is_no_end() {
        let (seed, encode) =
            (KeyPair::new_user().seed().unwrap(), |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text));
        for (claims, end) in [
            (r#"{"exp":1700000000,"sub":"U"}"#, Some(1_700_000_000)),
            (r#"{"sub":"U"}"#, None),
            (r#"{"exp":0}"#, None),
            ("no claims", None),
        ] {
            let jwt = format!("e30.{}.sig", encode(claims));
            let text = format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            );
            assert_eq!(Credentials::parse(&text).unwrap().end(), end, "{claims}");
        }
        for half in ["", "-----BEGIN NATS USER JWT-----\n", "-----BEGIN NATS USER JWT-----\nabc\n---"] {
            assert!(Credentials::parse(half).is_err(), "{half}");
        }
    }

    #[test]
    fn a_seed_is_a_users_and_is_never_quoted() {
        let (user, account) = (KeyPair::new_user(), KeyPair::new_account());
        let seed = user.seed().unwrap();
        let login = |text: &str| {
            let text = text.to_owned();
            let key = move |_: &mut _| user_key(&text).map(Some).map_err(|why| ConfigError::new("TEST", why));
            Reloaded::new("TEST", key).map(Login::Nkey)
        };
        let auth = login(&seed).unwrap().credentials(b"abc").unwrap();
        assert_eq!(auth.nkey, Some(user.public_key()));
        assert!(user.verify(b"abc", &auth.signature.unwrap()).is_ok());
        let decorated = format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n");
        assert!(login(&decorated).unwrap().check().is_ok());
        for bad in ["", "hunter2", &account.seed().unwrap(), &seed[..20]] {
            let problem = login(bad).unwrap_err().to_string();
            assert!(
                problem.contains("begins with SU") && (bad.is_empty() || !problem.contains(bad)),
                "{problem}"
            );
        }
    }
}
