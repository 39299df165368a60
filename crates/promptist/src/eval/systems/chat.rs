//! A chat model behind an OpenAI-compatible URL as a system (feature `http`).
//!
//! `POST URL/chat/completions` with the system prompt and the user's text as it stands; the answer's first line
//! that says anything counts, without the quotation marks around it. A server that is away is waited for, and
//! ends the run when it stays away, which can then be resumed; an input that a server refuses is missing.

use crate::error::Result;
use crate::eval::config::OpenAiSettings;
use crate::eval::inputs::Input;
use crate::generator::Cancel;
use crate::http::Auth;

/// A chat model.
pub struct ChatRewriter {
    #[cfg(feature = "http")]
    server: over_http::Server,
}

#[cfg(feature = "http")]
impl ChatRewriter {
    /// A server, which is not asked yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if this build has no HTTP, or the URL is none.
    pub fn new(settings: &OpenAiSettings, auth: &Auth) -> Result<Self> {
        Ok(Self { server: over_http::Server::new(settings, auth)? })
    }

    /// Its rewrites of `inputs`, in their order, each or why there is none.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted); [`Error::Http`](crate::Error::Http) if the server is gone.
    pub fn rewrite(&self, inputs: &[Input], cancel: &Cancel) -> Result<Vec<Result<String, String>>> {
        self.server.rewrite(inputs, cancel)
    }
}

#[cfg(not(feature = "http"))]
impl ChatRewriter {
    /// Without feature `http` there are no servers.
    ///
    /// # Errors
    /// Always [`Error::Config`](crate::Error::Config).
    pub fn new(_settings: &OpenAiSettings, _auth: &Auth) -> Result<Self> {
        Err(crate::Error::config("systems.openai", "this build has no HTTP (feature `http`)"))
    }

    /// Nothing asks a server that cannot be made.
    ///
    /// # Errors
    /// Never.
    pub fn rewrite(&self, _inputs: &[Input], _cancel: &Cancel) -> Result<Vec<Result<String, String>>> {
        Ok(Vec::new())
    }
}

#[cfg(feature = "http")]
mod over_http {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use serde::{Deserialize, Serialize};

    use crate::error::{Error, Result};
    use crate::eval::config::OpenAiSettings;
    use crate::eval::inputs::Input;
    use crate::generator::Cancel;
    use crate::http::backoff::{Backoff, Jitter};
    use crate::http::client::{Client, MAX_JSON_BYTES};
    use crate::http::failure::{Failure, FailureKind};
    use crate::http::in_order::in_order;
    use crate::http::watch::Watch;
    use crate::http::{Address, Auth};

    /// The longest wait between two tries.
    const LONGEST_WAIT_SECS: f64 = 60.0;

    pub struct Server {
        settings: OpenAiSettings,
        client: Client,
        backoff: Backoff,
        jitter: Jitter,
    }

    #[derive(Serialize)]
    struct Question<'a> {
        model: &'a str,
        messages: [Message<'a>; 2],
        temperature: f64,
        max_tokens: u32,
    }

    #[derive(Serialize)]
    struct Message<'a> {
        role: &'a str,
        content: &'a str,
    }

    #[derive(Deserialize)]
    struct Answer {
        choices: Vec<Choice>,
    }

    #[derive(Deserialize)]
    struct Choice {
        message: Said,
    }

    #[derive(Deserialize)]
    struct Said {
        content: Option<String>,
    }

    impl Server {
        pub fn new(settings: &OpenAiSettings, auth: &Auth) -> Result<Self> {
            let address =
                Address::parse(&settings.url).map_err(|reason| Error::config("openai.url", reason))?;
            let base = address.url.trim_end_matches('/');
            Ok(Self {
                client: Client::new(base, address.credentials.as_ref(), auth, settings.system_proxy),
                backoff: Backoff { first_secs: settings.backoff_secs, longest_secs: LONGEST_WAIT_SECS },
                jitter: Jitter::default(),
                settings: settings.clone(),
            })
        }

        pub fn rewrite(&self, inputs: &[Input], cancel: &Cancel) -> Result<Vec<Result<String, String>>> {
            let num_workers = self.settings.parallel.min(inputs.len()).max(1);
            let is_over = AtomicBool::new(false);
            let work = |worker: usize| {
                let mut done = Vec::new();
                for place in (worker..inputs.len()).step_by(num_workers) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = self
                        .ask(inputs[place].user_input.trim(), cancel)
                        .inspect_err(|_| is_over.store(true, Ordering::Relaxed))?;
                    done.push((place, vec![answer]));
                }
                Ok(done)
            };
            in_order(num_workers, work)
        }

        /// The rewrite of one input, asked for until it comes or there is no point.
        fn ask(&self, user_input: &str, cancel: &Cancel) -> Result<Result<String, String>> {
            let settings = &self.settings;
            let question = Question {
                model: &settings.model,
                messages: [
                    Message { role: "system", content: &settings.system_prompt },
                    Message { role: "user", content: user_input },
                ],
                temperature: settings.temperature,
                max_tokens: settings.max_tokens,
            };
            let (began, give_up) = (Instant::now(), Duration::from_secs_f64(settings.give_up_secs));
            let mut tries = 0;
            for failures in 0.. {
                cancel.check()?;
                let failure = match self.attempt(&question, cancel) {
                    Ok(text) => return Ok(Ok(text)),
                    Err(failure) => failure,
                };
                let (url, reason) = (self.client.base(), failure.reason);
                tracing::warn!(url, reason, "gave no rewrite");
                let gone = || Error::Http { url: url.to_owned(), reason: reason.clone() };
                let mut asked_for = Duration::ZERO;
                match failure.kind {
                    FailureKind::Cancelled => return Err(Error::Interrupted),
                    FailureKind::Away { retry_after } => {
                        asked_for = retry_after.unwrap_or_default();
                        if began.elapsed() >= give_up {
                            return Err(gone());
                        }
                    }
                    FailureKind::Passing => {
                        tries += 1;
                        if tries >= settings.max_tries {
                            return Ok(Err(format!("{url}: {reason}")));
                        }
                    }
                    // A wrong key or URL is wrong for every input.
                    FailureKind::ThisServer => return Err(gone()),
                    FailureKind::Anywhere => return Ok(Err(format!("{url}: {reason}"))),
                }
                let wait = self.backoff.after(failures, self.jitter.next()).max(asked_for.min(give_up));
                // One second more than it sleeps: the deadline is not what ends it.
                let watch = Watch::new(wait + Duration::from_secs(1), cancel);
                watch.sleep(wait).map_err(|_| Error::Interrupted)?;
            }
            Ok(Err("no try was left".to_owned()))
        }

        fn attempt(&self, question: &Question<'_>, cancel: &Cancel) -> Result<String, Failure> {
            let watch = Watch::new(Duration::from_secs_f64(self.settings.timeout_secs), cancel);
            let answer: Answer = self.client.post("/chat/completions", question, MAX_JSON_BYTES, &watch)?;
            let said = answer.choices.into_iter().next().and_then(|choice| choice.message.content);
            said.as_deref().and_then(prompt_in).ok_or_else(|| Failure::passing("the answer holds no text"))
        }
    }

    /// The first line that says anything, without the quotation marks around it. What a model thinks aloud
    /// (`<think>…</think>`) is no answer.
    fn prompt_in(said: &str) -> Option<String> {
        let answer = said.rsplit_once("</think>").map_or(said, |(_, answer)| answer);
        let lines = answer.lines().map(|line| line.trim().trim_matches(['"', '“', '”']).trim());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).next()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_first_line_that_says_anything_is_the_prompt() {
            for (said, expected) in [
                ("a cat, 8k", Some("a cat, 8k")),
                ("\n \"a cat, 8k\" \nThis is better because", Some("a cat, 8k")),
                ("<think>\nhm\n</think>\n\na cat", Some("a cat")),
                (" \n\"\"", None),
            ] {
                assert_eq!(prompt_in(said).as_deref(), expected, "{said}");
            }
        }
    }
}
