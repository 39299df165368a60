//! Families of image models: which text encoders read a prompt, how much each of them reads, and in what
//! style a family is best written to.
//!
//! The numbers are those of diffusers 0.42.1, whose pipelines cut what is longer. Special tokens are taken off:
//! CLIP's row of 77 holds 75 tokens of text, T5's ends in `</s>`.

use serde::Serialize;

use crate::error::{Error, Result};

/// A family of image models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Stable Diffusion 1 and 2: one CLIP.
    Sd15,
    /// Stable Diffusion XL: CLIP-L and OpenCLIP-bigG, which share a vocabulary.
    Sdxl,
    /// Stable Diffusion 3 and 3.5: both CLIPs and T5.
    Sd3,
    /// Flux.1: T5 reads the prompt; CLIP only gives one vector for the whole of it.
    Flux,
    /// Qwen-Image: Qwen2.5-VL.
    QwenImage,
    /// Any other; its folder says what is to be known.
    Other,
}

/// How a family likes its prompts. What the prompter's own model was trained to write is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// `portrait, highly detailed, artstation`: words and tags between commas.
    Tags,
    /// A plain description and some short phrases after it.
    ShortPhrases,
    /// Whole sentences that describe the picture.
    Prose,
}

impl Family {
    /// Those that can be asked for by name.
    pub const NAMED: [Self; 5] = [Self::Sd15, Self::Sdxl, Self::Sd3, Self::Flux, Self::QwenImage];

    /// Its name, as in `--target`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sd15 => "sd15",
            Self::Sdxl => "sdxl",
            Self::Sd3 => "sd3",
            Self::Flux => "flux",
            Self::QwenImage => "qwen-image",
            Self::Other => "other",
        }
    }

    /// The style that the family answers best.
    ///
    /// The CLIP families learned from short web captions, XL with more words in them. Half of Stable Diffusion
    /// 3's captions are sentences that a model wrote (Esser et al. 2024), Qwen-Image's template asks for a
    /// description, and a T5 or a language model reads sentences. Nothing is known of others: the middle way.
    pub fn style(self) -> Style {
        match self {
            Self::Sd15 => Style::Tags,
            Self::Sdxl | Self::Other => Style::ShortPhrases,
            Self::Sd3 | Self::Flux | Self::QwenImage => Style::Prose,
        }
    }

    /// The family of that name, [`Family::Other`] not among them.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|family| family.name() == name)
    }

    /// The family of a diffusers pipeline: `_class_name` of `model_index.json`. Variants of a pipeline
    /// (image to image, inpainting, ControlNet) read their prompts alike and start with the same words.
    pub(super) fn of_pipeline(class_name: &str) -> Self {
        const PREFIXES: [(&str, Family); 7] = [
            ("StableDiffusionXL", Family::Sdxl),
            ("StableDiffusion3", Family::Sd3),
            ("StableDiffusion", Family::Sd15),
            ("Flux2", Family::Other),
            ("Flux", Family::Flux),
            ("QwenImage21", Family::Other),
            ("QwenImage", Family::QwenImage),
        ];
        let found = PREFIXES.into_iter().find(|(prefix, _)| class_name.starts_with(prefix));
        found.map_or(Self::Other, |(_, family)| family)
    }

    /// Its text encoders, in the order of the pipeline's folders.
    pub(super) fn slots(self) -> &'static [Slot] {
        const CLIP_L: Slot =
            Slot { folder: "tokenizer", name: "CLIP-L", kind: Kind::Clip, limit: 75, reads: true };
        const BIG_G: Slot =
            Slot { folder: "tokenizer_2", name: "OpenCLIP-bigG", kind: Kind::OpenClip, ..CLIP_L };
        match self {
            Self::Sd15 => &[CLIP_L],
            Self::Sdxl => &[CLIP_L, BIG_G],
            // `max_sequence_length` 256 by default, at most 512: pipeline_stable_diffusion_3.py.
            Self::Sd3 => {
                const T5: Slot =
                    Slot { folder: "tokenizer_3", name: "T5", kind: Kind::T5, limit: 255, reads: true };
                &[CLIP_L, BIG_G, T5]
            }
            // `max_sequence_length` 512, at most 256 for the distilled `schnell`: pipeline_flux.py. CLIP gives
            // `pooler_output` alone, and a tail that it does not see is not lost: T5 reads it.
            Self::Flux => {
                const POOLED: Slot = Slot { reads: false, ..CLIP_L };
                const T5: Slot =
                    Slot { folder: "tokenizer_2", name: "T5", kind: Kind::T5, limit: 511, reads: true };
                &[POOLED, T5]
            }
            // `max_sequence_length` 512 by default, at most 1024: pipeline_qwenimage.py. The template before
            // the prompt is dropped; the five tokens after it (`<|im_end|>\n<|im_start|>assistant\n`) stay.
            // A picture to edit takes its tokens from the same 512: how many is not known here.
            Self::QwenImage => {
                const QWEN: Slot =
                    Slot { folder: "tokenizer", name: "Qwen2.5", kind: Kind::Qwen, limit: 507, reads: true };
                &[QWEN]
            }
            Self::Other => &[],
        }
    }
}

/// The most text tokens that Flux.1 schnell was distilled with: 256 with `</s>`.
pub(super) const SCHNELL_LIMIT: usize = 255;

/// A place for a text encoder in a family's pipeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The pipeline's folder that holds the tokenizer.
    pub folder: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    /// Tokens that are read by default, special tokens not counted.
    pub limit: usize,
    /// Whether the encoder reads the prompt word for word, so that its limit and the budget matter.
    pub reads: bool,
}

/// Which tokenizer a place wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// CLIP's BPE.
    Clip,
    /// The same, padded with `!`, which makes every `!` of the text a token of its own:
    /// `tokenizer_2/special_tokens_map.json` of stable-diffusion-xl-base-1.0.
    OpenClip,
    /// A Unigram model.
    T5,
    /// Byte-level BPE without CLIP's end of word.
    Qwen,
    /// Any other, for which no family has a place.
    Unknown,
}

impl Kind {
    /// Whether the tokenizer is there without any file.
    pub fn is_built_in(self) -> bool {
        matches!(self, Self::Clip | Self::OpenClip)
    }

    /// Whether a tokenizer found to be `found` does for the place.
    pub fn takes(self, found: Self) -> bool {
        self == found || (self.is_built_in() && found.is_built_in())
    }

    pub fn describe(self) -> &'static str {
        match self {
            Self::Clip | Self::OpenClip => "CLIP's tokenizer",
            Self::T5 => "T5's tokenizer (Unigram)",
            Self::Qwen => "Qwen's tokenizer (byte-level BPE)",
            Self::Unknown => "another kind of tokenizer",
        }
    }
}

/// What `--target` may be, for errors.
pub(super) fn unknown(spec: &str) -> Error {
    let names: Vec<&str> = Family::NAMED.iter().map(|family| family.name()).collect();
    let names = names.join(", ");
    Error::config("target", format!("`{spec}` is neither one of {names}, nor NAME=FOLDER, nor a folder"))
}

/// The places of a family that a single tokenizer of `kind` can fill; an error if there is none.
pub(super) fn places_for(family: Family, kind: Kind) -> Result<()> {
    if family.slots().iter().any(|slot| slot.kind.takes(kind)) {
        return Ok(());
    }
    let wanted: Vec<&str> = family.slots().iter().map(|slot| slot.kind.describe()).collect();
    Err(Error::config(
        "target",
        format!("`{}` reads {}, the folder holds {}", family.name(), wanted.join(" and "), kind.describe()),
    ))
}
