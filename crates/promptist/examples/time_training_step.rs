//! Times a training step for `bench/peers/train_step.py`: a line on standard input is answered by a step, as JSON.
//!
//! ```sh
//! cargo run --release --example time_training_step -- MODEL BATCH.safetensors
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use promptist::gpt2::{Gpt2, folder};
use promptist::train::adamw::{AdamW, AdamWConfig, Decay, Gradients};
use promptist::train::loss::head_loss;
use promptist::train::trainable::Trainable;
use promptist::train::trunk::{self, KeepMemory, TrunkPass};
use promptist::weights::Weights;

/// As in `train_step.py`.
const LEARNING_RATE: f64 = 5e-5;
const CONFIG: AdamWConfig = AdamWConfig {
    betas: (0.9, 0.999),
    eps: 1e-6,
    weight_decay: 0.1,
    decay: Decay::Matrices,
    max_grad_norm: 1.0,
    trainable: Trainable::All,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, batch] = &arguments[..] else {
        return Err("expected: MODEL BATCH".into());
    };
    let mut model = folder::open(Path::new(model), &Device::flex())?;
    let batch = Weights::open_file(batch)?;
    let input_ids = ids(&batch, "input_ids")?;
    let targets: Vec<u32> = ids(&batch, "targets")?.into_data().iter::<i64>().map(|id| id as u32).collect();
    let mut optimizer = AdamW::default();
    let _keep_memory = KeepMemory::new();
    println!("{{\"ready\": true}}");
    for line in stdin().lines() {
        line?;
        let started = Instant::now();
        let answer;
        (model, answer) = step(model, &mut optimizer, &input_ids, &targets)?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{{\"seconds\": {seconds}, {answer}, \"peak_bytes\": {}}}", peak_bytes()?);
    }
    Ok(())
}

/// As `train::sft` does it; returns the updated model, and loss, norm and the phases' seconds as JSON.
fn step(
    model: Gpt2,
    optimizer: &mut AdamW,
    input_ids: &Tensor<2, Int>,
    targets: &[u32],
) -> promptist::Result<(Gpt2, String)> {
    let mut phases = Vec::new();
    let mut last = Instant::now();
    let mut phase = |name: &str| {
        phases.push(format!("\"{name}\": {}", last.elapsed().as_secs_f64()));
        last = Instant::now();
    };
    let mut gradients = Gradients::new();
    let pass = TrunkPass::forward(&model, input_ids.clone(), Trainable::All)?;
    phase("forward");
    let [b, t, e] = pass.hidden().dims();
    let head = head_loss(&pass.hidden().reshape([b * t, e]), model.wte(), targets)?;
    trunk::add(&mut gradients, "wte.weight", head.wte_grad.reshape([-1]));
    phase("head");
    pass.backward(head.hidden_grad.reshape([b, t, e]), &mut gradients)?;
    phase("backward");
    let scale = 1.0 / targets.len() as f64;
    let (model, norm) = optimizer.update(model, &gradients, scale, LEARNING_RATE, &CONFIG)?;
    trunk::recycle(gradients);
    phase("update");
    let loss = head.loss_sum * scale;
    Ok((model, format!("\"loss\": {loss}, \"norm\": {norm}, \"phases\": {{{}}}", phases.join(", "))))
}

fn ids(batch: &Weights, name: &str) -> promptist::Result<Tensor<2, Int>> {
    let shape = batch.shape(name).unwrap_or_default().to_vec();
    let ids: Vec<i64> = batch.get_f32_any_shape(name)?.into_iter().map(|id| id as i64).collect();
    Ok(Tensor::from_data(TensorData::new(ids, shape), &Device::flex()))
}

/// The most memory that this process ever had, as Linux counts it.
fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
