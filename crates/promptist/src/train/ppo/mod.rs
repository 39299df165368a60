//! Proximal policy optimisation: explore better prompts (facts section 3, the paper's section 2.3).
//!
//! Equations are pure functions in f64 over the tokens of a response, the end token included: [`gae`],
//! [`whiten`], [`kl`], [`loss`]. There is no padding in them and so no mask.

pub mod config;
pub mod experience;
pub mod gae;
pub mod kl;
pub mod loss;
pub mod prompts;
pub mod update;
pub mod value_network;
pub mod whiten;
