//! What servers want to know of who asks.

use super::address::Credentials;

/// What servers want to know of who asks. A server's own credentials, in its URL, come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    None,
    /// A name and a password (A1111's `--api-auth`).
    Basic(Credentials),
    /// A key (OpenAI).
    Bearer(Secret),
}

/// Text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
