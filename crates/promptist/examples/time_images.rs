//! Times an image model for `bench/peers/images.py`: a line on standard input is answered by a run, as JSON.
//!
//! ```sh
//! cargo run --release --example time_images -- clip|unet|vae MODEL INPUTS.safetensors OUTPUT.f32
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorCreationOptions, TensorData};
use promptist::clip::Clip;
use promptist::diffusion::unet::Unet;
use promptist::diffusion::unet::config::UnetConfig;
use promptist::diffusion::vae::VaeDecoder;
use promptist::diffusion::vae::config::VaeConfig;
use promptist::model_source::ModelFiles;
use promptist::nn;
use promptist::weights::Weights;

/// One run of the model: its output, row-major.
type Run = Box<dyn Fn() -> promptist::Result<Vec<f32>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, model, inputs, output] = &arguments[..] else {
        return Err("expected: clip|unet|vae MODEL INPUTS OUTPUT".into());
    };
    let run = open(case, Path::new(model), &Inputs(Weights::open_file(inputs)?))?;
    println!("{{\"ready\": true}}");
    for line in stdin().lines() {
        line?;
        let started = Instant::now();
        let values = run()?;
        let seconds = started.elapsed().as_secs_f64();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(output, bytes)?;
        println!("{{\"seconds\": {seconds}, \"peak_bytes\": {}}}", peak_bytes()?);
    }
    Ok(())
}

fn open(case: &str, model: &Path, inputs: &Inputs) -> Result<Run, Box<dyn Error>> {
    let options = TensorCreationOptions::from((&Device::flex(), DType::F32));
    let config = model.join("config.json");
    let weights = || Weights::open_file(model.join("diffusion_pytorch_model.fp16.safetensors"));
    Ok(match case {
        "clip" => {
            let clip = Clip::open(&ModelFiles::folder(model), &options)?;
            let pixel_values = inputs.tensor::<4>("pixel_values")?;
            Box::new(move || nn::values(clip.vision().forward(pixel_values.clone())?))
        }
        "unet" => {
            let unet_config = UnetConfig::from_json(&fs::read(&config)?, &config)?;
            let unet = Unet::from_weights(&unet_config, &weights()?, &options)?;
            let (latents, text) = (inputs.tensor::<4>("latents")?, inputs.tensor::<3>("text")?);
            Box::new(move || nn::values(unet.forward(latents.clone(), 601.0, text.clone())?))
        }
        "vae" => {
            let vae_config = VaeConfig::from_json(&fs::read(&config)?, &config)?;
            let vae = VaeDecoder::from_weights(&vae_config, &weights()?, &options)?;
            let latents = inputs.tensor::<4>("latents")?;
            Box::new(move || nn::values(vae.decode(latents.clone())?))
        }
        _ => return Err(format!("`{case}` is not clip, unet or vae").into()),
    })
}

struct Inputs(Weights);

impl Inputs {
    fn tensor<const D: usize>(&self, name: &str) -> promptist::Result<Tensor<D>> {
        let shape = self.0.shape(name).unwrap_or_default().to_vec();
        Ok(Tensor::from_data(TensorData::new(self.0.get_f32_any_shape(name)?, shape), &Device::flex()))
    }
}

/// The most memory that this process ever had, as Linux counts it.
fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
