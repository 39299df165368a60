//! ComfyUI: a workflow template with named placeholders, queued, waited for, fetched.
//!
//! 1. `POST /prompt` with the filled-in graph; a graph that the server cannot run comes back with `node_errors`.
//! 2. `GET /history/ID` until it is there; it says how the run ended and which files the output node wrote. When it
//!    is not there, `GET /queue` tells whether the server still knows of it: a restarted one does not.
//! 3. `GET /view` for the file.
//!
//! A batch of ComfyUI draws all its noise from one seed, so image j would not be that of seed + j: every seed is a
//! graph of its own.
//!
//! [`Workflow`] is the template.
//!
//! Source: `server.py` and `execution.py` in comfyanonymous/ComfyUI.

use std::sync::atomic::{AtomicU64, Ordering};

use image::RgbImage;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::settings::HttpSettings;
use super::workflow::Workflow;
use super::{Backend, Call, Description, picture};
use crate::error::Result;
use crate::http::client::{Client, MAX_JSON_BYTES};
use crate::http::failure::Failure;
use crate::http::watch::{JobState, Watch};
use crate::weights::hex;

pub(super) struct Comfy {
    client: Client,
    workflow: Workflow,
    /// What the images depend on: the workflow.
    model: String,
    jobs: AtomicU64,
}

impl Comfy {
    pub fn new(client: Client, settings: &HttpSettings) -> Result<Self> {
        let workflow = Workflow::open(settings)?;
        let hash = Sha256::digest(serde_json::to_vec(&workflow.graph).unwrap_or_default());
        let graph = format!("graph {}", &hex(&hash)[..16]);
        let model = match &settings.model {
            Some(checkpoint) => format!("{checkpoint}, {graph}"),
            None => graph,
        };
        Ok(Self { client, workflow, model, jobs: AtomicU64::new(0) })
    }

    /// Queues the graph. Returns the server's name for the job.
    fn queue(&self, graph: &Value, watch: &Watch<'_>) -> Result<String, Failure> {
        let client_id =
            format!("promptist-{}-{}", std::process::id(), self.jobs.fetch_add(1, Ordering::Relaxed));
        let body = json!({"prompt": graph, "client_id": client_id});
        let answer = self.client.post_answer("/prompt", &body, MAX_JSON_BYTES, watch)?;
        let errors = serde_json::from_slice::<Refusal>(&answer.body).ok().and_then(|refusal| refusal.text());
        if let Some(errors) = errors.filter(|_| answer.status.is_success() || answer.status.as_u16() == 400) {
            // Most often a model or a node that this server lacks.
            return Err(Failure::this_server(format!("cannot run the workflow: {errors}")));
        }
        let queued: Queued = serde_json::from_slice(&answer.checked()?)
            .map_err(|error| Failure::passing(format!("an answer in another form: {error}")))?;
        Ok(queued.prompt_id)
    }

    /// Where the job's image is, once it is there.
    fn state(&self, job: &str, watch: &Watch<'_>) -> Result<JobState<File>, Failure> {
        if let Some(run) = self.history(job, watch)? {
            return Ok(self.file(run));
        }
        if self.is_queued(job, watch)? {
            return Ok(JobState::Waiting);
        }
        // It may have ended between the two questions.
        Ok(match self.history(job, watch)? {
            Some(run) => self.file(run),
            None => JobState::Failed("the server has forgotten the job; was it restarted?".to_owned()),
        })
    }

    fn history(&self, job: &str, watch: &Watch<'_>) -> Result<Option<Run>, Failure> {
        let mut runs: Map<String, Value> = self.client.get(&format!("/history/{}", encoded(job)), watch)?;
        let run = runs.remove(job).map(serde_json::from_value).transpose();
        run.map_err(|error| Failure::passing(format!("a history in another form: {error}")))
    }

    fn is_queued(&self, job: &str, watch: &Watch<'_>) -> Result<bool, Failure> {
        let queue: Queue = self.client.get("/queue", watch)?;
        Ok(holds(&queue.queue_running, job) || holds(&queue.queue_pending, job))
    }

    /// The output node's only file, of a run that has ended.
    fn file(&self, mut run: Run) -> JobState<File> {
        if run.status.as_ref().is_some_and(|status| status.status_str == "error") {
            return JobState::Failed(run.error());
        }
        let node = &self.workflow.output;
        let mut images = run.outputs.remove(node).map(|output| output.images).unwrap_or_default();
        match (images.pop(), images.len()) {
            (Some(file), 0) => JobState::Done(file),
            (last, others) => {
                let count = others + usize::from(last.is_some());
                JobState::Failed(format!("node `{node}` gave {count} images, not one"))
            }
        }
    }

    /// Takes the job off the queue, or stops it, if it is the one that runs.
    fn call_off(&self, job: &str) {
        let running =
            self.client.get_last::<Queue>("/queue").is_ok_and(|queue| holds(&queue.queue_running, job));
        match running {
            true => self.client.post_farewell("/interrupt", &json!({"prompt_id": job})),
            false => self.client.post_farewell("/queue", &json!({"delete": [job]})),
        }
    }
}

impl Backend for Comfy {
    fn describe(&self, watch: &Watch<'_>) -> Result<Description, Failure> {
        // Whether it is there, and is ComfyUI.
        let _: Queue = self.client.get("/queue", watch)?;
        Ok(Description { model: self.model.clone(), takes_seeds: true })
    }

    fn batch_len(&self, _seeds: &[u64], _agreed: &Description) -> usize {
        1
    }

    fn make(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Vec<RgbImage>, Failure> {
        let graph = self.workflow.filled_in(call)?;
        let job = self.queue(&graph, watch)?;
        let file = watch.poll(|| self.state(&job, watch)).inspect_err(|_| self.call_off(&job))?;
        let url = format!(
            "{}/view?filename={}&subfolder={}&type={}",
            self.client.base(),
            encoded(&file.filename),
            encoded(&file.subfolder),
            encoded(&file.kind)
        );
        let bytes = self
            .client
            .get_bytes(&url, picture::max_answer_bytes(1, call.size()), watch)
            .map_err(Failure::after_acceptance)?;
        Ok(vec![picture::from_bytes(&bytes, call.size())?])
    }
}

/// `text` as a part of a URL.
fn encoded(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// Whether an entry of the queue, `[number, prompt_id, graph, ...]`, is that job.
fn holds(entries: &[Value], job: &str) -> bool {
    entries.iter().any(|entry| entry[1] == job)
}

#[derive(Deserialize)]
struct Queued {
    prompt_id: String,
}

#[derive(Deserialize)]
struct Queue {
    queue_running: Vec<Value>,
    queue_pending: Vec<Value>,
}

/// What `POST /prompt` says against a graph.
#[derive(Deserialize)]
struct Refusal {
    error: Option<Value>,
    #[serde(default)]
    node_errors: Value,
}

impl Refusal {
    fn text(&self) -> Option<String> {
        let mut texts = Vec::new();
        if let Some(error) = &self.error {
            texts.push(error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned));
        }
        for (id, node) in self.node_errors.as_object().into_iter().flatten() {
            let class = node["class_type"].as_str().unwrap_or("node");
            for error in node["errors"].as_array().into_iter().flatten() {
                let say = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                texts.push(format!("{class} {id}: {}: {}", say("message"), say("details")));
            }
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// One entry of the history.
#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    outputs: std::collections::BTreeMap<String, Output>,
    status: Option<Status>,
}

impl Run {
    /// What the node said that failed.
    fn error(&self) -> String {
        let messages = self.status.iter().flat_map(|status| &status.messages);
        let mut errors = messages.filter_map(|(kind, message)| match kind.as_str() {
            "execution_error" => {
                let say = |key: &str| message[key].as_str().unwrap_or_default().trim().to_owned();
                Some(format!("{}: {}", say("node_type"), say("exception_message")))
            }
            "execution_interrupted" => Some("somebody interrupted the run".to_owned()),
            _ => None,
        });
        errors.next().unwrap_or_else(|| "the run failed".to_owned())
    }
}

#[derive(Deserialize)]
struct Status {
    status_str: String,
    #[serde(default)]
    messages: Vec<(String, Value)>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    images: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    #[serde(default)]
    subfolder: String,
    #[serde(rename = "type")]
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_encoded() {
        assert_eq!(encoded("a b/ä&.png"), "a%20b%2F%C3%A4%26.png");
    }
}
