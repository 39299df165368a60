//! Who makes the images: our own Stable Diffusion on the tensor library, or servers over HTTP.
//!
//! [`Generator`] is what the reward and `promptist generate` see. A generator makes the images of one prompt;
//! it says whether it takes seeds, and what identifies its images in the cache.
//!
//! [`spec`] reads what people write after `--generator`; [`http`] is the servers.

pub mod built_in;
pub mod http;
pub mod png;
pub mod spec;

use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Makes images of prompts.
pub trait Generator: Send + Sync {
    /// What its images depend on beside prompt, seed and settings.
    fn identity(&self) -> &GeneratorIdentity;

    /// How many requests it works on at once with profit: 1, or the number of servers.
    fn parallelism(&self) -> usize;

    /// One image for each of the request's seeds, in their order.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `cancel` was raised; otherwise whatever kept it from making all of them.
    /// An image that could not be made is an error, never a placeholder.
    fn generate(&self, request: &ImageRequest<'_>, cancel: &Cancel) -> Result<Vec<RgbImage>>;
}

/// What a generator's images depend on beside prompt, seed and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorIdentity {
    /// What the user called it: a folder, a Hub id, or a kind of server. Servers that do not say which model
    /// they hold are named with their URLs; of others the URL does not count, so that one more keeps the cache.
    pub name: String,
    /// Hash of the weights, or what a server says of its model; empty if it says nothing.
    pub model: String,
    /// Whether an image is a function of the seed. If not, images of two prompts share no noise.
    pub takes_seeds: bool,
}

/// Images of one prompt.
#[derive(Debug, Clone)]
pub struct ImageRequest<'a> {
    /// What to draw.
    pub prompt: &'a str,
    /// One image each.
    pub seeds: &'a [u64],
    /// How.
    pub settings: &'a ImageSettings,
}

/// How images are made. The defaults are the released code's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSettings {
    /// What not to draw.
    pub negative_prompt: String,
    /// Pixels, a multiple of 8.
    pub width: usize,
    /// Pixels, a multiple of 8.
    pub height: usize,
    /// Denoising steps.
    pub num_inference_steps: usize,
    /// Classifier-free guidance: 1 is none.
    pub guidance_scale: f64,
    /// The sampler; none follows the generator's own.
    pub scheduler: Option<String>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            negative_prompt: String::new(),
            width: 512,
            height: 512,
            num_inference_steps: 20,
            guidance_scale: 7.5,
            scheduler: None,
        }
    }
}

impl ImageSettings {
    /// Whether the values are possible.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule.
    pub fn check(&self) -> Result<()> {
        for (key, pixels) in [("width", self.width), ("height", self.height)] {
            if pixels == 0 || pixels % 8 != 0 || pixels > 8192 {
                return Err(Error::config(
                    key,
                    format!("must be a multiple of 8, from 8 to 8192, found {pixels}"),
                ));
            }
        }
        if !(1..=1000).contains(&self.num_inference_steps) {
            return Err(Error::config("num_inference_steps", "must be from 1 to 1000"));
        }
        if !self.guidance_scale.is_finite() || self.guidance_scale < 0.0 {
            return Err(Error::config("guidance_scale", "must be a number, 0 or more"));
        }
        Ok(())
    }
}

/// A flag by which whoever waits for work calls it off.
#[derive(Debug, Default)]
pub struct Cancel(std::sync::Arc<AtomicBool>);

impl Cancel {
    /// One that follows `flag`.
    pub fn following(flag: std::sync::Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Whether the work is called off.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For work to ask between two of its steps.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the work is called off.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
