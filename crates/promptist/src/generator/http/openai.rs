//! `POST /v1/images/generations`: OpenAI, and vLLM-Omni, which takes seeds, steps and guidance too.
//!
//! OpenAI's own models take no seed: their images share no noise with others, and steps, guidance and sampler are
//! the provider's. A negative prompt or a sampler, which the contract cannot carry, is an error.
//!
//! `response_format` is not sent: gpt-image-1 refuses it, dall-e answers with URLs, vLLM-Omni with base64. Both are
//! read.

use std::borrow::Cow;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::settings::HttpSettings;
use super::{Backend, Call, Description, picture};
use crate::http::client::Client;
use crate::http::failure::Failure;
use crate::http::watch::Watch;

/// The most images of one call in OpenAI's contract.
const MAX_IMAGES: usize = 10;
/// dall-e-3 makes one.
const ONE_AT_A_TIME: &str = "dall-e-3";
/// How vLLM's servers begin to say who owns their models.
const TAKES_SEEDS: &str = "vllm";

pub(super) struct OpenAi {
    client: Client,
    /// `/v1`, unless the URL ends with it.
    prefix: &'static str,
    model: Option<String>,
    max_batch: usize,
    takes_seeds: Option<bool>,
}

impl OpenAi {
    pub fn new(client: Client, settings: &HttpSettings) -> Self {
        let prefix = if client.base().ends_with("/v1") { "" } else { "/v1" };
        Self {
            client,
            prefix,
            model: settings.model.clone(),
            max_batch: settings.max_batch,
            takes_seeds: settings.takes_seeds,
        }
    }

    fn picture(&self, image: &Image, call: &Call<'_>, watch: &Watch<'_>) -> Result<RgbImage, Failure> {
        if let Some(revised) = image.revised_prompt.as_deref().filter(|revised| *revised != call.prompt) {
            tracing::debug!(prompt = call.prompt, revised, "the server rewrote the prompt");
        }
        match (&image.b64_json, &image.url) {
            (Some(base64), _) => picture::from_base64(base64, call.size()),
            (None, Some(url)) if url.starts_with("data:") => picture::from_base64(url, call.size()),
            (None, Some(url)) => {
                let url: Cow<'_, str> = match url.starts_with('/') {
                    true => format!("{}{url}", self.origin()).into(),
                    false => url.into(),
                };
                let bytes = self
                    .client
                    .get_bytes(&url, picture::max_answer_bytes(1, call.size()), watch)
                    .map_err(Failure::after_acceptance)?;
                picture::from_bytes(&bytes, call.size())
            }
            (None, None) => Err(Failure::passing("an image with neither `b64_json` nor `url`")),
        }
    }

    /// Scheme, host and port.
    fn origin(&self) -> &str {
        let base = self.client.base();
        let host = base.find("://").map_or(0, |at| at + 3);
        base[host..].find('/').map_or(base, |path| &base[..host + path])
    }
}

impl Backend for OpenAi {
    fn describe(&self, watch: &Watch<'_>) -> Result<Description, Failure> {
        let models = match self.client.get::<Models>(&format!("{}/models", self.prefix), watch) {
            Ok(models) => models.data,
            // Look-alikes need not list what they have.
            Err(failure) if failure.has_status(404) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        let listed = match &self.model {
            Some(name) => models.iter().find(|model| model.id == *name),
            // A list of several says nothing of which one answers.
            None => models.first().filter(|_| models.len() == 1),
        };
        let of_vllm = listed.or(models.first()).is_some_and(|model| model.owned_by.starts_with(TAKES_SEEDS));
        let model = self.model.clone().or_else(|| listed.map(|model| model.id.clone()));
        Ok(Description { model: model.unwrap_or_default(), takes_seeds: self.takes_seeds.unwrap_or(of_vllm) })
    }

    fn batch_len(&self, seeds: &[u64], agreed: &Description) -> usize {
        // Which seed the second image of a batch has, vLLM-Omni leaves to the model.
        match agreed.takes_seeds || agreed.model == ONE_AT_A_TIME {
            true => 1,
            false => seeds.len().min(self.max_batch).min(MAX_IMAGES),
        }
    }

    fn make(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Vec<RgbImage>, Failure> {
        let settings = call.settings;
        if settings.scheduler.is_some() {
            return Err(Failure::anywhere("the contract has no field for a scheduler"));
        }
        let seeded = call.agreed.takes_seeds.then_some(()).and(call.seeds.first()).map(|&seed| Seeded {
            seed,
            negative_prompt: &settings.negative_prompt,
            num_inference_steps: settings.num_inference_steps,
            guidance_scale: settings.guidance_scale,
        });
        if seeded.is_none() && !settings.negative_prompt.is_empty() {
            return Err(Failure::anywhere("the contract has no field for a negative prompt"));
        }
        let (width, height) = call.size();
        let request = Request {
            model: self.model.as_deref(),
            prompt: call.prompt,
            n: call.seeds.len(),
            size: format!("{width}x{height}"),
            seeded,
        };
        let max_bytes = picture::max_answer_bytes(call.seeds.len(), (width, height));
        let path = format!("{}/images/generations", self.prefix);
        let answer: Answer = self.client.post(&path, &request, max_bytes, watch)?;
        if answer.data.len() != call.seeds.len() {
            return Err(Failure::passing(format!(
                "asked for {} images, got {}",
                call.seeds.len(),
                answer.data.len()
            )));
        }
        answer.data.iter().map(|image| self.picture(image, call, watch)).collect()
    }
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    prompt: &'a str,
    n: usize,
    size: String,
    #[serde(flatten)]
    seeded: Option<Seeded<'a>>,
}

/// vLLM-Omni's own fields.
#[derive(Serialize)]
struct Seeded<'a> {
    seed: u64,
    negative_prompt: &'a str,
    num_inference_steps: usize,
    guidance_scale: f64,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    b64_json: Option<String>,
    url: Option<String>,
    revised_prompt: Option<String>,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    owned_by: String,
}
