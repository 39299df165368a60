//! Proximal policy optimisation: explore better prompts (facts section 3, the paper's section 2.3).
//!
//! [`run::train`] is one flat loop: explore and score a round ([`prompts`], [`rollout`], [`scoring`]), see
//! what it was worth ([`experience`]), learn from it ([`update`]), log, measure on held-out prompts
//! ([`evaluation`]), stop if the policy cheats ([`guard`]), save ([`state`]).
//!
//! Equations are pure functions in f64 over the tokens of a response, the end token included: [`gae`],
//! [`whiten`], [`kl`], [`loss`]. There is no padding in them and so no mask (Q11, Q12).

pub mod config;
pub mod evaluation;
pub mod experience;
pub mod gae;
pub mod guard;
pub mod kl;
pub mod loss;
pub mod prompts;
pub mod rollout;
pub mod run;
pub mod scoring;
pub mod state;
pub mod text_statistics;
pub mod update;
pub mod value_network;
pub mod whiten;
