//! What the UNet and the VAE share: the residual block, and the doubling of a picture.

use burn::tensor::{Tensor, TensorCreationOptions};

use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm, Linear, ParameterMap, Parameters};

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`, x through a 1x1 convolution where the number of
/// channels changes. `ResnetBlock2D` of diffusers.
#[derive(Debug, Clone)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    /// None in the VAE, which knows no time.
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

/// What all residual blocks of a network share.
#[derive(Debug, Clone)]
pub(super) struct ResnetSizes {
    pub norm_num_groups: usize,
    pub norm_eps: f64,
    /// Width of the time embedding, if there is one.
    pub time_width: Option<usize>,
}

impl ResnetBlock {
    /// Zeros, to be filled through [`Parameters`].
    pub fn zeros(c_in: usize, c_out: usize, sizes: &ResnetSizes, options: &TensorCreationOptions) -> Self {
        let norm = |channels| GroupNorm::zeros(sizes.norm_num_groups, channels, sizes.norm_eps, options);
        Self {
            norm1: norm(c_in),
            conv1: Conv2d::zeros(c_in, c_out, 3, options),
            time_emb_proj: sizes.time_width.map(|width| Linear::zeros(width, c_out, options)),
            norm2: norm(c_out),
            conv2: Conv2d::zeros(c_out, c_out, 3, options),
            conv_shortcut: (c_in != c_out).then(|| Conv2d::zeros(c_in, c_out, 1, options)),
        }
    }

    /// # Shapes
    /// - `x`: `[B, C, h, w]`
    /// - `time`: `[1, time width]`, the time embedding after its SiLU
    /// - returns `[B, C', h, w]`
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let mut hidden = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        if let (Some(projection), Some(time)) = (&self.time_emb_proj, time) {
            let time = projection.forward(time.clone()); // [1, C']
            let [_, c] = time.dims();
            hidden = hidden + time.reshape([1, c, 1, 1]);
        }
        let hidden = self.conv2.forward(self.norm2.forward_silu(hidden));
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        shortcut + hidden
    }
}

impl Parameters for ResnetBlock {
    fn map_parameters(self, prefix: &str, map: &mut impl ParameterMap) -> Result<Self> {
        let name = |layer: &str| format!("{prefix}.{layer}");
        Ok(Self {
            norm1: self.norm1.map_parameters(&name("norm1"), map)?,
            conv1: self.conv1.map_parameters(&name("conv1"), map)?,
            time_emb_proj: map_optional(self.time_emb_proj, &name("time_emb_proj"), map)?,
            norm2: self.norm2.map_parameters(&name("norm2"), map)?,
            conv2: self.conv2.map_parameters(&name("conv2"), map)?,
            conv_shortcut: map_optional(self.conv_shortcut, &name("conv_shortcut"), map)?,
        })
    }
}

/// Every pixel four times, then cut to a size: `[B, C, h, w]` to `[B, C, size[0], size[1]]`, no side more than
/// twice as long as it was.
///
/// Halving rounds up, so the way back from an odd size is one pixel less than double; torch's nearest
/// neighbours of that size are the same pixels.
pub(super) fn upsample_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let doubled = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w]);
    let [height, width] = size;
    let cut = if height == 2 * h { doubled } else { doubled.narrow(2, 0, height) };
    if width == 2 * w { cut } else { cut.narrow(3, 0, width) }
}

/// Applies `map` to a layer that may not be there.
pub(super) fn map_optional<P: Parameters>(
    layer: Option<P>,
    name: &str,
    map: &mut impl ParameterMap,
) -> Result<Option<P>> {
    layer.map(|layer| layer.map_parameters(name, map)).transpose()
}

/// Applies `map` to layers in a row: `name.0`, `name.1`, ...
pub(super) fn map_each<P: Parameters>(
    layers: Vec<P>,
    name: &str,
    map: &mut impl ParameterMap,
) -> Result<Vec<P>> {
    let layers = layers.into_iter().enumerate();
    layers.map(|(idx, layer)| layer.map_parameters(&format!("{name}.{idx}"), map)).collect()
}
