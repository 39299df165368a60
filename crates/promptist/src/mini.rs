//! `mini`, the model inside the program: `models/mini`, compiled in with feature `embedded-model`.

use crate::model_source::EmbeddedModel;

/// The embedded model; none if the program was built without it.
pub fn embedded() -> Option<&'static EmbeddedModel> {
    #[cfg(feature = "embedded-model")]
    {
        macro_rules! file {
            ($name:literal) => {
                ($name, include_bytes!(concat!("../../../models/mini/", $name)).as_slice())
            };
        }
        static MINI: EmbeddedModel = EmbeddedModel {
            name: crate::model_source::MINI,
            files: &[
                file!("config.json"),
                file!("generation_config.json"),
                file!("model.safetensors"),
                file!("precision.json"),
                file!("tokenizer.json"),
            ],
        };
        Some(&MINI)
    }
    #[cfg(not(feature = "embedded-model"))]
    None
}
