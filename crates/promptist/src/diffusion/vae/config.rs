//! The VAE's `config.json`: the keys that shape the decoder of Stable Diffusion 1.x and 2.x. Any other value of
//! any other key that would change what it computes is refused.

use std::path::Path;

use super::super::config::{Keys, MAX_BLOCKS, check_size};
use crate::error::{Error, Result};

/// Shape of the decoder.
///
/// # Source
/// <https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py>
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, from the picture to the latents.
    pub block_out_channels: Vec<usize>,
    /// The encoder's residual blocks of a level; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// What latents are divided by first: one over their standard deviation in the training data.
    pub scaling_factor: f64,
}

/// Keys for which one value, or two spellings of it, is the decoder's that we compute. Other values, and other
/// keys that do not say null or false, are refused.
const SUPPORTED: [(&str, &[&str]); 5] = [
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("mid_block_add_attention", &["true"]),
    ("out_channels", &["3"]),
    ("up_block_types", &["\"UpDecoderBlock2D\""]),
    ("use_post_quant_conv", &["true"]),
];

impl VaeConfig {
    /// Reads and checks the file's bytes; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::File`] naming the key.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::parse(bytes).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Pixels of a picture's side for each cell of the latents.
    pub fn scale_factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut keys = Keys::parse(bytes, "AutoencoderKL")?;
        for (key, supported) in SUPPORTED {
            keys.expect(key, supported)?;
        }
        keys.pass_over(&["down_block_types", "in_channels", "use_quant_conv"]); // the encoder's
        let config = Self {
            latent_channels: keys.take("latent_channels", 4)?,
            block_out_channels: keys.take("block_out_channels", vec![64])?,
            layers_per_block: keys.take("layers_per_block", 1)?,
            norm_num_groups: keys.take("norm_num_groups", 32)?,
            scaling_factor: keys.take("scaling_factor", 0.18215)?,
        };
        keys.finish()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        check_size("latent_channels", self.latent_channels)?;
        check_size("norm_num_groups", self.norm_num_groups)?;
        for (key, len) in [
            ("block_out_channels", self.block_out_channels.len()),
            ("layers_per_block", self.layers_per_block),
        ] {
            if !(1..=MAX_BLOCKS).contains(&len) {
                return Err(Error::config(key, format!("must be from 1 to {MAX_BLOCKS}, is {len}")));
            }
        }
        for &channels in &self.block_out_channels {
            check_size("block_out_channels", channels)?;
            if !channels.is_multiple_of(self.norm_num_groups) {
                let rule = format!("{} does not divide {channels} channels", self.norm_num_groups);
                return Err(Error::config("norm_num_groups", rule));
            }
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            return Err(Error::config("scaling_factor", "must be a number above 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_1_x_is_read() {
        // As in CompVis/stable-diffusion-v1-4.
        let text = r#"{"_class_name": "AutoencoderKL", "_diffusers_version": "0.2.2", "act_fn": "silu",
            "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D",
            "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"], "in_channels": 3,
            "latent_channels": 4, "layers_per_block": 2, "out_channels": 3, "sample_size": 512,
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
        let config = VaeConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.block_out_channels, [128, 256, 512, 512]);
        assert_eq!((config.scale_factor(), config.scaling_factor), (8, 0.18215));
    }

    #[test]
    fn what_we_do_not_compute_is_refused_by_name() {
        for (key, value) in [
            ("shift_factor", "0.1"),
            ("latents_mean", "[0.0, 0.0]"),
            ("use_post_quant_conv", "false"),
            ("mid_block_add_attention", "false"),
            ("up_block_types", r#"["AttnUpDecoderBlock2D"]"#),
            ("out_channels", "4"),
            ("block_out_channels", "[]"),
            ("block_out_channels", "[48]"),
            ("layers_per_block", "0"),
            ("scaling_factor", "0"),
            ("latent_channels", "0"),
        ] {
            let message = VaeConfig::parse(format!(r#"{{"{key}": {value}}}"#).as_bytes());
            let message = message.unwrap_err().to_string();
            let named = if value == "[48]" { "norm_num_groups" } else { key };
            assert!(message.contains(&format!("`{named}`")), "{key} {value}: {message}");
        }
    }
}
