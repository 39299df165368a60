//! Rephrasing by a language model behind an OpenAI-compatible URL (feature `http`).
//!
//! The paper asked text-davinci-002 to complete `"[Input] Rephrase:"`. Chat models of today want to be told
//! what that means; the template itself is kept, so a completion model behind a chat face answers too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sources::Rephrase;
use crate::{Error, Result, template};

/// A language model that rephrases.
pub struct RephraseOverHttp {
    agent: ureq::Agent,
    url: String,
    model: String,
    key: Option<String>,
}

const INSTRUCTION: &str = "Say the user's description of a picture in other words: one plain, natural sentence with the same \
                           meaning and the same important words. Answer with that sentence alone.";

/// Tries before a request counts as failed; the wait between them doubles from one second.
const TRIES: u32 = 4;

impl RephraseOverHttp {
    /// `url` is the API's base, such as `http://localhost:8080/v1`; `key` is sent as a bearer token.
    pub fn new(url: &str, model: &str, key: Option<String>) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(120))).build();
        Self {
            agent: config.into(),
            url: format!("{}/chat/completions", url.trim_end_matches('/')),
            model: model.to_owned(),
            key,
        }
    }

    fn ask(&self, text: &str) -> std::result::Result<Answer, ureq::Error> {
        let mut request = self.agent.post(&self.url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", &format!("Bearer {key}"));
        }
        let question = template::prompt(text);
        let messages = [
            Message { role: "system".into(), content: INSTRUCTION.into() },
            Message { role: "user".into(), content: question },
        ];
        let body = Question { model: &self.model, messages, temperature: 0.7, max_tokens: 120, seed: 0 };
        request.send_json(&body)?.body_mut().read_json()
    }
}

impl Rephrase for RephraseOverHttp {
    fn rephrase(&self, text: &str) -> Result<String> {
        let mut wait = Duration::from_secs(1);
        for attempt in 1.. {
            match self.ask(text) {
                Ok(answer) => return self.first_line(answer),
                Err(error) if attempt < TRIES && is_passing(&error) => {
                    tracing::warn!(url = self.url, attempt, %error, "rephrasing failed, trying again");
                    std::thread::sleep(wait);
                    wait *= 2;
                }
                Err(error) => return Err(self.error(error.to_string())),
            }
        }
        Err(self.error("no try was left".to_owned()))
    }
}

impl RephraseOverHttp {
    fn first_line(&self, answer: Answer) -> Result<String> {
        let text = answer.choices.into_iter().next().map(|choice| choice.message.content);
        let line = text.as_deref().and_then(|text| {
            text.lines().map(|line| line.trim().trim_matches('"')).find(|line| !line.is_empty())
        });
        line.map(str::to_owned).ok_or_else(|| self.error("the answer holds no text".to_owned()))
    }

    fn error(&self, reason: String) -> Error {
        Error::Http { url: self.url.clone(), reason }
    }
}

/// Whether trying again may help: overload, and connections that break.
fn is_passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::StatusCode(code) => *code == 429 || *code >= 500,
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: [Message; 2],
    temperature: f32,
    max_tokens: u32,
    seed: u64,
}

#[derive(Serialize, Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server on loopback that gives each of `answers` once; returns its URL and the bodies it was sent.
    fn serve(answers: &'static [(&str, &str)]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1/", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let mut bodies = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a header");
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut sent = vec![0; length];
                reader.read_exact(&mut sent).expect("a body");
                bodies.push(String::from_utf8(sent).expect("UTF-8"));
                write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("an answer");
            }
            bodies
        });
        (url, server)
    }

    #[test]
    fn the_template_is_sent_and_the_first_line_taken() {
        let (url, server) = serve(&[
            ("503 Service Unavailable", "{}"),
            (
                "200 OK",
                r#"{"choices": [{"message": {"role": "assistant", "content": "\n\"A fox sits.\"\nMore."}}]}"#,
            ),
        ]);
        let model = RephraseOverHttp::new(&url, "tiny", Some("secret".to_owned()));
        assert_eq!(model.rephrase(" a fox sitting ").expect("an answer"), "A fox sits.");
        let bodies = server.join().expect("the server");
        assert!(
            bodies[1].contains("a fox sitting Rephrase:") && bodies[1].contains("\"tiny\""),
            "{}",
            bodies[1]
        );
    }

    #[test]
    fn a_refusal_names_the_url() {
        let (url, server) = serve(&[("401 Unauthorized", "{}")]);
        let error =
            RephraseOverHttp::new(&url, "tiny", None).rephrase("a fox").expect_err("refused").to_string();
        assert!(error.contains("/v1/chat/completions") && error.contains("401"), "{error}");
        server.join().expect("the server");
    }
}
