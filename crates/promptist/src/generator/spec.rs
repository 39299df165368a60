//! What people write after `--generator`: a folder or Hub id for the built-in pipeline, or servers.
//!
//! ```text
//! a1111+http://host:7860   comfy+http://host:8188   openai+https://host/v1   sdcpp+http://host:1234
//! a1111+http://a:7860,a1111+http://b:7860      several share the work
//! a1111+https://user:password@host             basic auth, of this server alone
//! ```

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::http::Address;
pub use crate::http::Credentials;

/// Who makes the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeneratorSpec {
    /// A folder or a Hub id: our own Stable Diffusion.
    BuiltIn(String),
    /// One or more servers.
    Servers(Vec<ServerSpec>),
}

impl FromStr for GeneratorSpec {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] if a URL is none, or its kind is unknown.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::config("generator", "is empty"));
        }
        // A folder may have commas in its name; `://` it has not.
        if !text.contains("://") {
            return Ok(Self::BuiltIn(text.to_owned()));
        }
        text.split(',').map(str::parse).collect::<Result<_>>().map(Self::Servers)
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Which contract it speaks.
    pub kind: ServerKind,
    /// Its base URL, without a slash at the end and without credentials.
    pub url: String,
    /// The URL's `user:password@`.
    pub credentials: Option<Credentials>,
}

/// Which contract a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// AUTOMATIC1111's webui, Forge, SD.Next, `tools/servers/a1111_diffusers.py`: `/sdapi/v1/txt2img`.
    A1111,
    /// ComfyUI: `/prompt`, `/history`, `/view`.
    Comfy,
    /// OpenAI, vLLM-Omni: `/v1/images/generations`.
    OpenAi,
    /// stable-diffusion.cpp's `sd-server`: `/sdcpp/v1/img_gen`.
    SdCpp,
}

impl ServerKind {
    const ALL: [Self; 4] = [Self::A1111, Self::Comfy, Self::OpenAi, Self::SdCpp];

    /// As it is written before the `+`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A1111 => "a1111",
            Self::Comfy => "comfy",
            Self::OpenAi => "openai",
            Self::SdCpp => "sdcpp",
        }
    }
}

/// Kind and URL, as it is written, without credentials.
impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.kind.name(), self.url)
    }
}

impl FromStr for ServerSpec {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] if it is not a kind and a URL.
    fn from_str(text: &str) -> Result<Self> {
        // What is wrong may stand in the password, so the text is not repeated.
        let wrong =
            |reason: &str| Error::config("generator", format!("{reason}, as in a1111+http://host:7860"));
        let text = text.trim();
        let kind = ServerKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.name())?.strip_prefix('+')?)));
        let (kind, url) = kind.ok_or_else(|| {
            let names = ServerKind::ALL.map(ServerKind::name).join(", ");
            wrong(&format!("a server's URL must have its kind in front ({names})"))
        })?;
        let Address { url, credentials } = Address::parse(url).map_err(wrong)?;
        Ok(Self { kind, url: url.trim_end_matches('/').to_owned(), credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<ServerSpec> {
        match text.parse() {
            Ok(GeneratorSpec::Servers(servers)) => servers,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn folders_and_hub_ids_are_built_in() {
        for text in ["models/sd,1", "CompVis/stable-diffusion-v1-4", "a1111", "C:\\models\\sd", "./comfy+x"] {
            assert_eq!(text.parse::<GeneratorSpec>().expect(text), GeneratorSpec::BuiltIn(text.to_owned()));
        }
        assert!(" ".parse::<GeneratorSpec>().is_err());
    }

    #[test]
    fn each_kind_of_server() {
        for (text, kind, url) in [
            ("a1111+http://host:7860/", ServerKind::A1111, "http://host:7860"),
            ("comfy+https://host/api", ServerKind::Comfy, "https://host/api"),
            ("openai+https://api.openai.com/v1/", ServerKind::OpenAi, "https://api.openai.com/v1"),
            ("sdcpp+http://[::1]:1234", ServerKind::SdCpp, "http://[::1]:1234"),
        ] {
            assert_eq!(servers(text), [ServerSpec { kind, url: url.to_owned(), credentials: None }]);
            assert_eq!(servers(text)[0].to_string(), format!("{}+{url}", kind.name()));
        }
    }

    #[test]
    fn several_are_separated_by_commas() {
        let urls: Vec<String> =
            servers("a1111+http://a:1, a1111+http://b:2").into_iter().map(|server| server.url).collect();
        assert_eq!(urls, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn credentials_leave_the_url_and_are_not_printed() {
        let server = &servers("a1111+https://me:p%40ss%3a@host/x")[0];
        assert_eq!(server.url, "https://host/x");
        let credentials = server.credentials.as_ref().expect("credentials");
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("me", "p@ss:"));
        assert!(!format!("{server:?}{server}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_server_is_refused_without_repeating_secrets() {
        for text in [
            "http://host:7860",
            "a1111+ftp://host",
            "a1111+http://",
            "a1111+http://secret@",
            "a1111+http://me:secret%4@host",
            "a1111+http://host?x=1",
            "swarm+http://host",
            "a1111+http://a,http://b",
        ] {
            let error = text.parse::<GeneratorSpec>().expect_err(text).to_string();
            assert!(error.contains("generator") && !error.contains("secret"), "{text}: {error}");
        }
    }
}
