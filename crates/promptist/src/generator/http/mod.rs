//! Images from servers over HTTP: [`open`] a pool of one or several (feature `http`).
//!
//! A `Backend` speaks one contract with one server and knows nothing of other tries; `pool` shares the work
//! between servers, waits, and tries again. An answer is checked before it counts: a picture that is missing,
//! cut, of another size or of another seed is a failure, never a score.

#[cfg(feature = "http")]
mod a1111;
#[cfg(feature = "http")]
mod comfy;
#[cfg(feature = "http")]
mod health;
#[cfg(feature = "http")]
mod openai;
#[cfg(feature = "http")]
mod picture;
#[cfg(feature = "http")]
mod pool;
#[cfg(feature = "http")]
mod sdcpp;
mod settings;
#[cfg(feature = "http")]
mod workflow;

#[cfg(feature = "http")]
pub use pool::{Pool, ServerReport};
pub use settings::{Auth, HttpSettings, Secret};

use super::Generator;
use super::spec::ServerSpec;
use crate::error::Result;
#[cfg(feature = "http")]
use crate::http::failure::Failure;
#[cfg(feature = "http")]
use crate::http::watch::Watch;

/// The servers as one generator. At least one must answer; the others may join later.
///
/// # Errors
/// [`crate::Error::Config`] if a setting is impossible, the servers do not agree on what they make, or this build
/// has no HTTP; [`crate::Error::ImageServersGone`] if none answers.
#[cfg(feature = "http")]
pub fn open(specs: &[ServerSpec], settings: &HttpSettings, auth: &Auth) -> Result<Box<dyn Generator>> {
    Ok(Box::new(Pool::open(specs, settings, auth)?))
}

/// Without feature `http` there are no servers.
///
/// # Errors
/// Always [`crate::Error::Config`].
#[cfg(not(feature = "http"))]
pub fn open(_specs: &[ServerSpec], _settings: &HttpSettings, _auth: &Auth) -> Result<Box<dyn Generator>> {
    Err(crate::Error::config("generator", "this build has no HTTP (feature `http`)"))
}

/// One server that speaks one contract.
#[cfg(feature = "http")]
trait Backend: Send + Sync {
    /// Asks the server what it makes.
    fn describe(&self, watch: &Watch<'_>) -> Result<Description, Failure>;

    /// How many of the first of `seeds` one call makes.
    fn batch_len(&self, seeds: &[u64], agreed: &Description) -> usize;

    /// Makes the images of one call, as many as [`Backend::batch_len`] says.
    fn make(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Vec<image::RgbImage>, Failure>;
}

/// What a server makes.
#[cfg(feature = "http")]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Description {
    /// The model, and what else of the server's own settings its images depend on; empty if it says nothing.
    model: String,
    takes_seeds: bool,
}

/// What is asked of a server at once.
#[cfg(feature = "http")]
struct Call<'a> {
    prompt: &'a str,
    seeds: &'a [u64],
    settings: &'a super::ImageSettings,
    /// What the servers of the pool make.
    agreed: &'a Description,
}

#[cfg(feature = "http")]
impl Call<'_> {
    /// Width and height.
    fn size(&self) -> (u32, u32) {
        let pixels = |len: usize| u32::try_from(len).expect("ImageSettings::check allows 8192 at most");
        (pixels(self.settings.width), pixels(self.settings.height))
    }
}

/// How many of the first seeds follow each other, at most `max`: a batch is seeded by its first.
#[cfg(feature = "http")]
fn consecutive(seeds: &[u64], max: usize) -> usize {
    let following = seeds.windows(2).take_while(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
    (following + 1).min(max)
}

/// The first seed as a contract with signed seeds has it, if all fit: below 0 they mean a random one.
#[cfg(feature = "http")]
fn signed(seeds: &[u64]) -> Result<i64, Failure> {
    if let Some(large) = seeds.iter().find(|&&seed| i64::try_from(seed).is_err()) {
        return Err(Failure::anywhere(format!("seed {large} is above 2^63 - 1")));
    }
    Ok(seeds.first().map_or(0, |&seed| seed as i64))
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_seeds_that_follow_each_other() {
        assert_eq!(consecutive(&[7], 4), 1);
        assert_eq!(consecutive(&[7, 8, 9, 3], 4), 3);
        assert_eq!(consecutive(&[7, 8, 9, 10], 2), 2);
        assert_eq!(consecutive(&[7, 7], 4), 1);
        assert_eq!(consecutive(&[u64::MAX, 0], 4), 1);
    }
}
