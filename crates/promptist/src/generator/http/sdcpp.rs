//! stable-diffusion.cpp's `sd-server`, its own asynchronous contract: `/sdcpp/v1/img_gen`, then the job until it ends.
//!
//! Against its `/sdapi/v1/txt2img` this one says what it has loaded, has no connection open for minutes, refuses at
//! once when its queue is full, and forgets a job that is called off in the queue.
//!
//! Source: `examples/server/api.md` and `routes_sdcpp.cpp` in leejet/stable-diffusion.cpp. Image i is of seed + i.

use image::RgbImage;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::settings::HttpSettings;
use super::{Backend, Call, Description, consecutive, picture, signed};
use crate::http::client::{Client, MAX_JSON_BYTES};
use crate::http::failure::Failure;
use crate::http::watch::{JobState, Watch};
use crate::weights::hex;

/// `limits.max_batch_count`.
const MAX_BATCH: usize = 8;

/// Defaults that every call overrides, so that images do not depend on them.
const OVERRIDDEN: [&str; 8] = [
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "seed",
    "batch_count",
    "output_format",
    "output_compression",
];

pub(super) struct SdCpp {
    client: Client,
    max_batch: usize,
}

impl SdCpp {
    pub fn new(client: Client, settings: &HttpSettings) -> Self {
        Self { client, max_batch: settings.max_batch.min(MAX_BATCH) }
    }

    fn state(&self, job: &str, max_bytes: u64, watch: &Watch<'_>) -> Result<JobState<Vec<Image>>, Failure> {
        let url = format!("{}/sdcpp/v1/jobs/{job}", self.client.base());
        let body = match self.client.get_bytes(&url, max_bytes, watch) {
            Ok(body) => body,
            // Its names begin anew when it does.
            Err(failure) if failure.has_status(404) || failure.has_status(410) => {
                return Ok(JobState::Failed(
                    "the server has forgotten the job; was it restarted?".to_owned(),
                ));
            }
            Err(failure) => return Err(failure),
        };
        let job: Job = serde_json::from_slice(&body)
            .map_err(|error| Failure::passing(format!("a job in another form: {error}")))?;
        Ok(match job.status.as_str() {
            "queued" | "generating" => JobState::Waiting,
            "completed" => JobState::Done(job.result.map(|result| result.images).unwrap_or_default()),
            status => {
                let error = job.error.map(|error| format!(": {}: {}", error.code, error.message));
                JobState::Failed(format!("the job is {status}{}", error.unwrap_or_default()))
            }
        })
    }
}

impl Backend for SdCpp {
    fn describe(&self, watch: &Watch<'_>) -> Result<Description, Failure> {
        let capabilities: Capabilities = self.client.get("/sdcpp/v1/capabilities", watch)?;
        let mut defaults = capabilities.defaults;
        for key in OVERRIDDEN {
            defaults.remove(key);
        }
        // The sampler, the VAE's tiles and more are the server's, from its command line.
        let hash = Sha256::digest(serde_json::to_vec(&defaults).unwrap_or_default());
        let model = format!("{}, defaults {}", capabilities.model.name, &hex(&hash)[..16]);
        Ok(Description { model, takes_seeds: true })
    }

    fn batch_len(&self, seeds: &[u64], _agreed: &Description) -> usize {
        consecutive(seeds, self.max_batch)
    }

    fn make(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Vec<RgbImage>, Failure> {
        let (width, height) = call.size();
        let mut sample_params = json!({
            "sample_steps": call.settings.num_inference_steps,
            "guidance": {"txt_cfg": call.settings.guidance_scale},
        });
        if let Some(sampler) = &call.settings.scheduler {
            sample_params["sample_method"] = json!(sampler);
        }
        let request = json!({
            "prompt": call.prompt,
            "negative_prompt": call.settings.negative_prompt,
            "width": width,
            "height": height,
            "seed": signed(call.seeds)?,
            "batch_count": call.seeds.len(),
            "sample_params": sample_params,
            "output_format": "png",
        });
        let accepted: Accepted = self.client.post("/sdcpp/v1/img_gen", &request, MAX_JSON_BYTES, watch)?;
        // It becomes a part of URLs, so it must be nothing else.
        let job = accepted.id;
        if job.is_empty() || !job.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(Failure::passing(format!("expected a job's id, found `{job}`")));
        }
        let max_bytes = picture::max_answer_bytes(call.seeds.len(), (width, height));
        let mut images = watch.poll(|| self.state(&job, max_bytes, watch)).inspect_err(|_| {
            self.client.post_farewell(&format!("/sdcpp/v1/jobs/{job}/cancel"), &json!({}))
        })?;
        images.sort_by_key(|image| image.index);
        if !images.iter().map(|image| image.index).eq(0..call.seeds.len()) {
            return Err(Failure::passing(format!(
                "asked for {} images, got {}",
                call.seeds.len(),
                images.len()
            )));
        }
        images.iter().map(|image| picture::from_base64(&image.b64_json, (width, height))).collect()
    }
}

#[derive(Deserialize)]
struct Capabilities {
    model: Model,
    #[serde(default)]
    defaults: Map<String, Value>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Job {
    status: String,
    result: Option<JobResult>,
    error: Option<JobError>,
}

#[derive(Deserialize)]
struct JobResult {
    images: Vec<Image>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobError {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Image {
    index: usize,
    b64_json: String,
}
