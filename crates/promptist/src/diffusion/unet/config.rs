//! The UNet's `config.json`: the keys that shape the networks of Stable Diffusion 1.x and 2.x. Any other value of
//! any other key that would change what the network computes is refused.

use std::path::Path;

use serde::Deserialize;

use super::super::config::{Keys, MAX_BLOCKS, PerBlock, check_size};
use crate::error::{Error, Result};

/// Shape of a UNet.
///
/// # Source
/// <https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/unets/unet_2d_condition.py>
#[derive(Debug, Clone, PartialEq)]
pub struct UnetConfig {
    /// Channels of the latents.
    pub in_channels: usize,
    /// Channels of what is predicted.
    pub out_channels: usize,
    /// Whether latents from 0 to 1 are moved to -1 to 1 first.
    pub center_input_sample: bool,
    /// Whether the time embedding begins with the cosines.
    pub flip_sin_to_cos: bool,
    /// By how much the exponents of the time embedding's frequencies are stretched.
    pub freq_shift: f64,
    /// Width of the text's hidden states.
    pub cross_attention_dim: usize,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// Added to the variance by the GroupNorms outside the transformers.
    pub norm_eps: f64,
    /// Whether the transformers' way in and out is stored as a linear layer, as in 2.x, or as a 1x1 convolution.
    pub use_linear_projection: bool,
    /// Whether attention is computed in f32 whatever the weights are.
    pub upcast_attention: bool,
    /// From the largest picture down; the way up has the same in reverse.
    pub blocks: Vec<BlockConfig>,
}

/// One level of the UNet, down and up.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockConfig {
    /// `block_out_channels`.
    pub channels: usize,
    /// `layers_per_block`: residual blocks on the way down; on the way up there is one more.
    pub layers: usize,
    /// `attention_head_dim`, which is the *number* of heads: the name is a mistake of the first version that the
    /// files have kept (<https://github.com/huggingface/diffusers/issues/2011#issuecomment-1547958131>).
    pub num_heads: usize,
    /// Whether each residual block on the way down is followed by a transformer.
    pub down_attention: bool,
    /// The same on the way up.
    pub up_attention: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum DownBlockType {
    #[serde(rename = "CrossAttnDownBlock2D")]
    CrossAttention,
    #[serde(rename = "DownBlock2D")]
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum UpBlockType {
    #[serde(rename = "CrossAttnUpBlock2D")]
    CrossAttention,
    #[serde(rename = "UpBlock2D")]
    Plain,
}

/// Keys for which one value, or two spellings of it, is the networks' that we compute. Other values, and other
/// keys that do not say null or false, are refused.
const SUPPORTED: [(&str, &[&str]); 13] = [
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("attention_type", &["\"default\""]),
    ("conv_in_kernel", &["3"]),
    ("conv_out_kernel", &["3"]),
    ("downsample_padding", &["1"]),
    ("mid_block_scale_factor", &["1", "1.0"]),
    ("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1", "1.0"]),
    ("resnet_time_scale_shift", &["\"default\""]),
    ("time_embedding_type", &["\"positional\""]),
    ("transformer_layers_per_block", &["1"]),
    ("dual_cross_attention", &["false"]),
];

impl UnetConfig {
    /// Reads and checks the file's bytes; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::File`] naming the key.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::parse(bytes).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Width of the time embedding inside the network.
    pub fn time_width(&self) -> usize {
        4 * self.blocks[0].channels
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        use DownBlockType as Down;
        use UpBlockType as Up;

        let mut keys = Keys::parse(bytes, "UNet2DConditionModel")?;
        for (key, supported) in SUPPORTED {
            keys.expect(key, supported)?;
        }
        let channels: Vec<usize> = keys.take("block_out_channels", vec![320, 640, 1280, 1280])?;
        let len = channels.len();
        if !(1..=MAX_BLOCKS).contains(&len) {
            let rule = format!("must have from 1 to {MAX_BLOCKS} entries, has {len}");
            return Err(Error::config("block_out_channels", rule));
        }
        let (cross, plain) = (Down::CrossAttention, Down::Plain);
        let down: Vec<Down> = keys.take("down_block_types", vec![cross, cross, cross, plain])?;
        let (cross, plain) = (Up::CrossAttention, Up::Plain);
        let up: Vec<Up> = keys.take("up_block_types", vec![plain, cross, cross, cross])?;
        for (key, found) in [("down_block_types", down.len()), ("up_block_types", up.len())] {
            if found != len {
                let rule = format!("expected {len}, as block_out_channels has, found {found}");
                return Err(Error::config(key, rule));
            }
        }
        let mut per_block = |key: &str, default| keys.take(key, PerBlock::One(default))?.each(key, len);
        let layers = per_block("layers_per_block", 2)?;
        let num_heads = per_block("attention_head_dim", 8)?;
        let cross_attention_dim = per_block("cross_attention_dim", 1280)?;
        if cross_attention_dim.iter().any(|&width| width != cross_attention_dim[0]) {
            let rule = "must be the same for all blocks: they look at one text";
            return Err(Error::config("cross_attention_dim", rule));
        }
        let blocks = (0..len).map(|idx| BlockConfig {
            channels: channels[idx],
            layers: layers[idx],
            num_heads: num_heads[idx],
            down_attention: down[idx] == Down::CrossAttention,
            up_attention: up[len - 1 - idx] == Up::CrossAttention,
        });
        let config = Self {
            blocks: blocks.collect(),
            cross_attention_dim: cross_attention_dim[0],
            in_channels: keys.take("in_channels", 4)?,
            out_channels: keys.take("out_channels", 4)?,
            center_input_sample: keys.take("center_input_sample", false)?,
            flip_sin_to_cos: keys.take("flip_sin_to_cos", true)?,
            freq_shift: keys.take("freq_shift", 0.0)?,
            norm_num_groups: keys.take("norm_num_groups", 32)?,
            norm_eps: keys.take("norm_eps", 1e-5)?,
            use_linear_projection: keys.take("use_linear_projection", false)?,
            upcast_attention: keys.take("upcast_attention", false)?,
        };
        keys.finish()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        check_size("in_channels", self.in_channels)?;
        check_size("out_channels", self.out_channels)?;
        check_size("norm_num_groups", self.norm_num_groups)?;
        for block in &self.blocks {
            let channels = block.channels;
            check_size("block_out_channels", channels)?;
            if block.layers > MAX_BLOCKS {
                return Err(Error::config("layers_per_block", format!("must be at most {MAX_BLOCKS}")));
            }
            for (key, divisor) in
                [("norm_num_groups", self.norm_num_groups), ("attention_head_dim", block.num_heads)]
            {
                if !channels.is_multiple_of(divisor) {
                    return Err(Error::config(key, format!("{divisor} does not divide {channels} channels")));
                }
            }
        }
        let half_width = self.blocks[0].channels as f64 / 2.0;
        if !self.blocks[0].channels.is_multiple_of(2) {
            return Err(Error::config("block_out_channels", "the first must be even"));
        }
        if !(0.0..half_width).contains(&self.freq_shift) {
            return Err(Error::config("freq_shift", format!("must be from 0 to below {half_width}")));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(Error::config("norm_eps", "must be a number, 0 or more"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What the files of 1.x and 2.x have in common; the defaults are 1.x's but for the text's width.
    fn config(more: &str) -> Result<UnetConfig> {
        let comma = if more.is_empty() { "" } else { "," };
        let text = format!(r#"{{"_class_name": "UNet2DConditionModel", "sample_size": 64{comma}{more}}}"#);
        UnetConfig::from_json(text.as_bytes(), Path::new("unet/config.json"))
    }

    #[test]
    fn the_two_families_differ_in_heads_widths_and_projection() {
        let first = config(r#""cross_attention_dim": 768, "attention_head_dim": 8"#).unwrap();
        assert!(first.blocks.iter().all(|block| block.num_heads == 8));
        assert_eq!(first.cross_attention_dim, 768);
        assert!(!first.use_linear_projection);
        let attention: Vec<(bool, bool)> =
            first.blocks.iter().map(|block| (block.down_attention, block.up_attention)).collect();
        assert_eq!(attention, [(true, true), (true, true), (true, true), (false, false)]);

        let second = r#""cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": true, "dual_cross_attention": false, "upcast_attention": true,
            "num_class_embeds": null, "only_cross_attention": [false, false]"#;
        let second = config(second).unwrap();
        assert_eq!(second.blocks.iter().map(|block| block.num_heads).collect::<Vec<_>>(), [5, 10, 20, 20]);
        assert!(second.use_linear_projection && second.upcast_attention);
    }

    #[test]
    fn what_we_do_not_compute_is_refused_by_name() {
        let cases = [
            ("addition_embed_type", r#""text_time""#),
            ("class_embed_type", r#""timestep""#),
            ("time_cond_proj_dim", "256"),
            ("dual_cross_attention", "true"),
            ("transformer_layers_per_block", "[1, 2, 10]"),
            ("resnet_time_scale_shift", r#""scale_shift""#),
            ("mid_block_type", "null"),
            ("encoder_hid_dim", "1024"),
            ("num_attention_heads", "8"),
            ("a_key_of_the_future", "1"),
            ("only_cross_attention", "[true, false]"),
            ("down_block_types", r#"["AttnDownBlock2D"]"#),
            ("up_block_types", r#"["UpBlock2D"]"#),
            ("block_out_channels", "[]"),
            ("attention_head_dim", "[8, 8]"),
            ("cross_attention_dim", "[768, 768, 768, 1024]"),
            ("attention_head_dim", "7"),
            ("attention_head_dim", "0"),
            ("norm_num_groups", "null"),
            ("norm_num_groups", "33"),
            ("freq_shift", "160"),
            ("in_channels", "1000000000000"),
            ("layers_per_block", "17"),
            ("_class_name", r#""UNet2DModel""#),
        ];
        for (key, value) in cases {
            let error = match key {
                "_class_name" => UnetConfig::parse(format!(r#"{{"{key}": {value}}}"#).as_bytes()),
                _ => config(&format!(r#""{key}": {value}"#)),
            };
            let message = error.unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{key} {value}: {message}");
        }
        assert!(UnetConfig::parse(b"[]").is_err());
    }
}
