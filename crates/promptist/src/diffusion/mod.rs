//! Stable Diffusion 1.x and 2.x: prompts and noise to images.
//!
//! [`pipeline`] is the whole path, start reading there: text encoder ([`crate::clip::text`]), then [`unet`] and
//! [`scheduler`] in turn, then [`vae`]. [`folder`] finds and checks the files of a model in diffusers' layout,
//! [`noise`] draws what an image starts from. The networks take and return tensors and know nothing of prompts,
//! rewards or training. Larger models (SDXL, SD3, Flux) are not here: servers make their images
//! ([`crate::generator::http`]).

mod config;
pub mod folder;
pub mod noise;
pub mod pipeline;
mod resnet;
pub mod scheduler;
pub mod unet;
pub mod vae;
