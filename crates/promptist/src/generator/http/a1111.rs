//! AUTOMATIC1111's webui and what speaks its contract: Forge, SD.Next, stable-diffusion.cpp's `sd-server`,
//! `tools/servers/a1111_diffusers.py`.
//!
//! Source: `modules/api/api.py`, `text2imgapi`, and `modules/processing.py` in AUTOMATIC1111/stable-diffusion-webui.
//! Image i of a batch is that of seed + i. `info` says which seeds and which model were used; stable-diffusion.cpp
//! leaves it empty, or its lists.

use std::sync::atomic::{AtomicU64, Ordering};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::settings::HttpSettings;
use super::{Backend, Call, Description, consecutive, picture, signed};
use crate::http::client::Client;
use crate::http::failure::Failure;
use crate::http::watch::Watch;

/// Options of the server beside its model on which images depend.
const SHAPING_OPTIONS: [&str; 4] =
    ["sd_vae", "CLIP_stop_at_last_layers", "randn_source", "eta_noise_seed_delta"];

/// Hashes of weights are shown and compared by so many hex digits, as the webui does.
const SHORT_HASH: usize = 10;

pub(super) struct A1111 {
    client: Client,
    max_batch: usize,
    checkpoint: Option<String>,
    tasks: AtomicU64,
}

impl A1111 {
    pub fn new(client: Client, settings: &HttpSettings) -> Self {
        Self {
            client,
            max_batch: settings.max_batch,
            checkpoint: settings.model.clone(),
            tasks: AtomicU64::new(0),
        }
    }

    /// The hash, or else the name, of the checkpoint that will make the images.
    fn checkpoint(&self, options: &Map<String, Value>, watch: &Watch<'_>) -> Result<String, Failure> {
        let option = |key| options.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(wanted) = &self.checkpoint else {
            let hash = option("sd_checkpoint_hash");
            return Ok(if hash.is_empty() { option("sd_model_checkpoint").to_owned() } else { short(hash) });
        };
        let models: Vec<Model> = self.client.get("/sdapi/v1/sd-models", watch)?;
        let Some(model) = models.iter().find(|model| model.title == *wanted || model.model_name == *wanted)
        else {
            let names: Vec<&str> = models.iter().map(|model| model.model_name.as_str()).collect();
            return Err(Failure::this_server(format!("has no checkpoint `{wanted}`, but {names:?}")));
        };
        let hash = model.sha256.as_deref().or(model.hash.as_deref()).filter(|hash| !hash.is_empty());
        Ok(hash.map_or_else(|| model.title.clone(), short))
    }

    /// Whether the server says that it made what it was asked for. What it does not say is not held against it.
    fn check_info(info: &str, call: &Call<'_>) -> Result<Info, Failure> {
        if info.trim().is_empty() {
            return Ok(Info::default());
        }
        let info: Info = serde_json::from_str(info)
            .map_err(|error| Failure::passing(format!("`info` in another form: {error}")))?;
        if !info.all_seeds.is_empty() && info.all_seeds != call.seeds {
            let reason = format!("asked for seeds {:?}, got {:?}", call.seeds, info.all_seeds);
            return Err(Failure::this_server(reason));
        }
        let agreed = call.agreed.model.split(',').next().unwrap_or_default();
        let made = info.sd_model_hash.as_deref().unwrap_or_default();
        if is_hash(agreed) && is_hash(made) && short(made) != agreed {
            return Err(Failure::this_server(format!("asked for model {agreed}, got {}", short(made))));
        }
        Ok(info)
    }

    /// Stops the server's work on `task`, if that is what it works on: others may use it too.
    fn interrupt(&self, task: &str) {
        let question = json!({"id_task": task, "live_preview": false});
        let state: Result<Progress, Failure> = self.client.post_last("/internal/progress", &question);
        if state.is_ok_and(|state| state.active) {
            self.client.post_farewell("/sdapi/v1/interrupt", &json!({}));
        }
    }
}

impl Backend for A1111 {
    fn describe(&self, watch: &Watch<'_>) -> Result<Description, Failure> {
        let options = match self.client.get::<Map<String, Value>>("/sdapi/v1/options", watch) {
            Ok(options) => options,
            // Old servers of stable-diffusion.cpp have no options.
            Err(failure) if failure.has_status(404) => Map::new(),
            Err(failure) => return Err(failure),
        };
        let mut model = self.checkpoint(&options, watch)?;
        for key in SHAPING_OPTIONS {
            if let Some(value) = options.get(key) {
                model.push_str(&format!(
                    ", {key} {}",
                    value.as_str().map_or(value.to_string(), str::to_owned)
                ));
            }
        }
        Ok(Description { model, takes_seeds: true })
    }

    fn batch_len(&self, seeds: &[u64], _agreed: &Description) -> usize {
        consecutive(seeds, self.max_batch)
    }

    fn make(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Vec<RgbImage>, Failure> {
        let seed = signed(call.seeds)?;
        let (width, height) = call.size();
        let task =
            format!("task(promptist-{}-{})", std::process::id(), self.tasks.fetch_add(1, Ordering::Relaxed));
        let request = Txt2Img {
            prompt: call.prompt,
            negative_prompt: &call.settings.negative_prompt,
            seed,
            batch_size: call.seeds.len(),
            n_iter: 1,
            steps: call.settings.num_inference_steps,
            cfg_scale: call.settings.guidance_scale,
            width,
            height,
            sampler_name: call.settings.scheduler.as_deref(),
            override_settings: self
                .checkpoint
                .as_deref()
                .map(|name| OverrideSettings { sd_model_checkpoint: name }),
            // Putting the user's own checkpoint back after every call would load two for each image.
            override_settings_restore_afterwards: self.checkpoint.as_ref().map(|_| false),
            do_not_save_samples: true,
            do_not_save_grid: true,
            send_images: true,
            save_images: false,
            force_task_id: &task,
        };
        let max_bytes = picture::max_answer_bytes(call.seeds.len() + 1, (width, height));
        let answer = self.client.post::<Images>("/sdapi/v1/txt2img", &request, max_bytes, watch);
        if answer.is_err() && watch.check().is_err() {
            self.interrupt(&task);
        }
        let answer = answer?;
        let info = Self::check_info(answer.info.as_deref().unwrap_or_default(), call)?;
        // A grid of them all may come first.
        let images = answer.images.get(info.index_of_first_image..).unwrap_or_default();
        if images.len() != call.seeds.len() {
            return Err(Failure::passing(format!(
                "asked for {} images, got {}",
                call.seeds.len(),
                images.len()
            )));
        }
        images.iter().map(|image| picture::from_base64(image, (width, height))).collect()
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn short(hash: &str) -> String {
    hash.chars().take(SHORT_HASH).collect::<String>().to_lowercase()
}

#[derive(Serialize)]
struct Txt2Img<'a> {
    prompt: &'a str,
    negative_prompt: &'a str,
    seed: i64,
    batch_size: usize,
    n_iter: usize,
    steps: usize,
    cfg_scale: f64,
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    override_settings: Option<OverrideSettings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    override_settings_restore_afterwards: Option<bool>,
    do_not_save_samples: bool,
    do_not_save_grid: bool,
    send_images: bool,
    save_images: bool,
    force_task_id: &'a str,
}

#[derive(Serialize)]
struct OverrideSettings<'a> {
    sd_model_checkpoint: &'a str,
}

#[derive(Deserialize)]
struct Images {
    images: Vec<String>,
    info: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    all_seeds: Vec<u64>,
    index_of_first_image: usize,
    sd_model_hash: Option<String>,
}

#[derive(Deserialize)]
struct Progress {
    active: bool,
}

#[derive(Deserialize)]
struct Model {
    title: String,
    model_name: String,
    hash: Option<String>,
    sha256: Option<String>,
}
