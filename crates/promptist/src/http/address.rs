//! A server's address as people write it: `http://user:password@host:5000/path`.

use std::fmt;

/// An address whose credentials stand beside it, so that it can be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host, port and path, without credentials.
    pub url: String,
    /// The URL's `user:password@`.
    pub credentials: Option<Credentials>,
}

/// A name and a password. Printed without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub user: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Address {
    /// Takes a URL apart, or says what is wrong with it, without repeating it: what is wrong may stand
    /// in the password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.trim().split_once("://").ok_or("expected a URL")?;
        if !matches!(scheme, "http" | "https") {
            return Err("a server's URL must begin with http:// or https://");
        }
        if rest.contains(['?', '#', ' ']) {
            return Err("a server's URL must have no query and no fragment");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, host) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((user_info, host)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                let (user, password) =
                    decoded(user).zip(decoded(password)).ok_or("a `%` must be written %25")?;
                (Some(Credentials { user, password }), host)
            }
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("a server's URL must name a host");
        }
        Ok(Self { url: format!("{scheme}://{host}{path}"), credentials })
    }
}

/// `text` with its `%XX` as the bytes they stand for, if that is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
