//! Which parameters of a GPT-2 a training changes.

/// All of a model, or its upper part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trainable {
    /// Every parameter.
    #[default]
    All,
    /// The last blocks, as many as said, the embeddings and the final norm: what the released code
    /// calls `num_layers_unfrozen`.
    LastLayers(usize),
}

impl Trainable {
    /// Whether the parameter `name` (`h.3.ln_1.weight`) of a model of `num_layers` blocks changes.
    /// Names of heads and of other models' parts do.
    pub fn includes(self, name: &str, num_layers: usize) -> bool {
        let Self::LastLayers(trainable_layers) = self else { return true };
        layer_idx(name).is_none_or(|layer| layer + trainable_layers >= num_layers)
    }
}

/// How many blocks a model has whose parameters have these names.
pub(super) fn num_layers<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.filter_map(layer_idx).max().map_or(0, |last| last + 1)
}

/// The block that a parameter is part of.
fn layer_idx(name: &str) -> Option<usize> {
    name.strip_prefix("h.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layers_and_the_embeddings_train() {
        let last_two = Trainable::LastLayers(2);
        for (name, expected) in [
            ("h.0.ln_1.weight", false),
            ("h.9.mlp.c_fc.bias", false),
            ("h.10.attn.c_attn.weight", true),
            ("h.11.ln_2.bias", true),
            ("wte.weight", true),
            ("wpe.weight", true),
            ("ln_f.bias", true),
            ("v_head.0.weight", true),
        ] {
            assert_eq!(last_two.includes(name, 12), expected, "{name}");
            assert!(Trainable::All.includes(name, 12));
        }
        assert!(Trainable::LastLayers(20).includes("h.0.ln_1.weight", 12));
    }
}
