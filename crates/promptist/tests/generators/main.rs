//! Image generators over HTTP, each against a server in this process that speaks its documented contract and
//! fails in every way that we could think of. No test asserts a time.

#![cfg(feature = "http")]

mod a1111;
#[path = "../common/mod.rs"]
mod common;
mod fake;
mod pool;
