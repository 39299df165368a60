//! Training: supervised fine-tuning on pairs, with a language-model stage before it for new models.
//!
//! [`sft::train`] is the loop. Beside it, one thing a file: what it is told ([`config`]), what it
//! learns from and in which order ([`examples`]), loss and gradients ([`loss`], [`gradients`], [`trunk`]), the
//! update ([`adamw`], [`lr_schedule`]), what is kept ([`checkpoint`], [`metrics`]), and what people
//! look at ([`report`]). [`reward`] fits the text reward.

pub mod adamw;
pub mod checkpoint;
pub mod config;
pub mod examples;
pub mod gradients;
pub mod loss;
pub mod lr_schedule;
pub mod metrics;
mod micro_batch;
pub mod ppo;
pub mod report;
pub mod reward;
pub mod run_folder;
pub mod sft;
pub mod tensorboard;
pub mod trainable;
pub mod trunk;
