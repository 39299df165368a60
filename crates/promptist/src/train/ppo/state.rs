//! A checkpoint of PPO: the policy as a model folder that transformers loads, and beside it the value
//! network, both optimisers' moments and where the run stands.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::guard::{Guard, Stop};
use super::kl::Controller;
use super::update::Learner;
use super::value_network::{ValueHead, ValueNetwork};
use crate::error::{Error, Result};
use crate::gpt2::folder::{self, CompanionFiles};
use crate::nn::Parameters;
use crate::train::checkpoint::{Checkpoints, load_optimizer, load_state, save_optimizer, save_state};
use crate::train::trainable::Trainable;
use crate::weights::{TensorInfo, Weights, f32_to_bytes, write_safetensors};

const VALUE: &str = "value.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const VALUE_OPTIMIZER: &str = "value_optimizer.safetensors";

/// Where a run stands, beside weights and moments. What a round explores and draws is a function of its
/// number, so there is no random state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoState {
    /// Rounds done.
    pub step: u64,
    /// Updates of the policy.
    pub policy_updates: u64,
    /// Updates of the value network.
    pub value_updates: u64,
    /// Responses learned from.
    pub samples: u64,
    /// Responses that could not be scored.
    pub dropped: u64,
    /// The weight of the KL charge.
    pub kl: Controller,
    /// What the evaluations have shown.
    pub guard: Guard,
    /// Why the run was stopped, if it was.
    pub stop: Option<Stop>,
    /// The reference's weights, so that a run does not go on with another.
    pub reference_sha256: String,
}

/// Writes a checkpoint and makes it the latest; `files` go along with the policy.
///
/// # Errors
/// As [`Checkpoints::save`].
pub fn save(
    checkpoints: &Checkpoints,
    learner: &Learner,
    state: &PpoState,
    files: &CompanionFiles,
) -> Result<()> {
    checkpoints.save(state.step, |path| {
        folder::save(&learner.policy, path, files)?;
        let value = learner.value.to_parameters()?;
        let infos: Vec<TensorInfo> =
            value.iter().map(|(name, shape, _)| TensorInfo::f32(name.clone(), shape.clone())).collect();
        let by_name: BTreeMap<&str, &[f32]> =
            value.iter().map(|(name, _, values)| (name.as_str(), values.as_slice())).collect();
        write_safetensors(path.join(VALUE), &infos, &BTreeMap::new(), |info| {
            Ok(f32_to_bytes(by_name[info.name.as_str()]))
        })?;
        save_optimizer(&path.join(OPTIMIZER), &learner.policy_optimizer)?;
        save_optimizer(&path.join(VALUE_OPTIMIZER), &learner.value_optimizer)?;
        save_state(path, state)
    })?;
    Ok(())
}

/// What the latest checkpoint holds and the files that go along with the policy; none if there is none.
/// `shared_trunk` and `trainable` are the config's.
///
/// # Errors
/// As [`Checkpoints::latest`]; [`Error::Tensor`] if weights or moments are missing or of another shape;
/// [`Error::File`] if the checkpoint was made with another reference.
pub fn load_latest(
    checkpoints: &Checkpoints,
    (shared_trunk, trainable): (bool, Trainable),
    reference_sha256: &str,
    device: &Device,
) -> Result<Option<(Learner, PpoState, CompanionFiles)>> {
    let Some(path) = checkpoints.latest()? else { return Ok(None) };
    let state: PpoState = load_state(&path)?;
    if state.reference_sha256 != reference_sha256 {
        let (expected, found) = (&state.reference_sha256, reference_sha256);
        let reason = format!("was made with the reference {expected}, but the model is now {found}");
        return Err(Error::file(&path, reason));
    }
    let policy = folder::open(&path, device)?;
    let head = ValueHead::zeros(policy.config().n_embd, device);
    let value = ValueNetwork { trunk: (!shared_trunk).then(|| policy.clone()), head };
    let weights = Weights::open_file(path.join(VALUE))?;
    let value = value.load(|name, shape| weights.get_f32(name, shape))?;
    let moments = |name: &str| path.join(name);
    let learner = Learner {
        policy_optimizer: load_optimizer(
            &moments(OPTIMIZER),
            &policy,
            trainable,
            state.policy_updates,
            device,
        )?,
        value_optimizer: load_optimizer(
            &moments(VALUE_OPTIMIZER),
            &value,
            Trainable::All,
            state.value_updates,
            device,
        )?,
        policy,
        value,
    };
    Ok(Some((learner, state, folder::companion_files(&path)?)))
}

/// Makes the policy and value network that training starts from.
///
/// # Errors
/// Those of opening the model folder.
pub fn start(model_folder: &Path, shared_trunk: bool, seed: u64, device: &Device) -> Result<Learner> {
    let policy = folder::open(model_folder, device)?;
    let value = ValueNetwork {
        trunk: (!shared_trunk).then(|| policy.clone()),
        head: ValueHead::random(policy.config().n_embd, seed, device)?,
    };
    Ok(Learner { policy, value, policy_optimizer: Default::default(), value_optimizer: Default::default() })
}
