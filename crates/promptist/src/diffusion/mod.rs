//! Stable Diffusion 1.x and 2.x: prompts and noise to images.

pub mod scheduler;
