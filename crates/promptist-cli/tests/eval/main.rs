//! `promptist eval` as people run it, on a tiny model with random weights.

#[allow(dead_code, reason = "the library's tests use the rest")]
#[path = "../../../promptist/tests/generators/fake.rs"]
mod fake;

mod card;
mod images;
mod page;
mod resume;
mod schema;
mod systems;
mod world;
