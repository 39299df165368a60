//! Image generators over HTTP, each against a server in this process that speaks its documented contract and
//! fails in every way that we could think of. No test asserts a time.

#![cfg(feature = "http")]
#![allow(clippy::print_stdout, clippy::print_stderr)] // --nocapture shows what is measured and what is skipped

mod a1111;
mod comfy;
#[path = "../common/mod.rs"]
mod common;
mod diffusers_server;
mod fake;
mod openai;
mod pool;
mod sdcpp;
