//! The image model that a prompt is written for: whose tokens count, how many it reads, what style it likes.
//!
//! A budget is counted in the target's own tokens, never in the prompter's, over the whole prompt: the user's
//! text and what is added. A prompt keeps to it if none of the text encoders that read it needs more tokens;
//! special tokens (CLIP's start and end, T5's `</s>`, Qwen's template) are not counted. What a prompt that is
//! too long loses is the search's business, not this module's.
//!
//! | target | encoders that read the prompt | tokens by default | without a folder |
//! |---|---|---|---|
//! | `sd15` | CLIP-L | 75 | yes |
//! | `sdxl` | CLIP-L, OpenCLIP-bigG | 75 | yes |
//! | `sd3` | CLIP-L, OpenCLIP-bigG, T5 | 75; T5 alone would read 255 | T5's tokenizer |
//! | `flux` | T5 (its CLIP gives one vector for the whole) | 511, schnell 255 | T5's tokenizer |
//! | `qwen-image` | Qwen2.5 | 507 | Qwen's tokenizer |
//!
//! Special tokens that a user types count as the image model's own tokenizer counts them. `!` is one to
//! OpenCLIP-bigG as diffusers runs it, so `wow!!!` has four tokens there and two in CLIP-L.
//!
//! A budget beyond an encoder's row is the user's to ask for: programs that read a prompt in windows of 75
//! exist, and what they do at a window's edge is not modelled here. Numbers and their sources: `family.rs`.

mod counter;
mod encoder;
mod family;
mod pieces;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub use self::counter::Counter;
pub use self::encoder::Encoder;
use self::encoder::{Loaded, read_json};
use self::family::Slot;
pub use self::family::{Family, Style};
use crate::clip::tokenizer::MAX_TEXT_BYTES;
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;

/// The budget where a target's folder names no limit: one row of CLIP, the least that any known model reads.
const DEFAULT_BUDGET: usize = 75;

/// An image model, as far as the length and style of its prompts go.
#[derive(Debug)]
pub struct Target {
    name: String,
    family: Family,
    encoders: Vec<Encoder>,
}

impl Target {
    /// Opens what `--target` names: a family (`sd15`), a family with its folder (`flux=FOLDER`), or a folder
    /// alone. A family's name wins over a folder of that name; `./sd15` is always the folder.
    ///
    /// A folder is a diffusers pipeline (`model_index.json`, which names the family, and `tokenizer`,
    /// `tokenizer_2`, ...), or holds one tokenizer (`tokenizer.json`, or CLIP's or Qwen's `vocab.json` and
    /// `merges.txt`). One tokenizer takes the family's place for its kind; CLIP's other places are built in.
    ///
    /// # Errors
    /// [`Error::Config`] for `target` if it is none of these, lacks a folder or has another family's;
    /// [`Error::File`] or [`Error::Io`] naming the file of the folder that is missing or unusable.
    pub fn open(spec: &str) -> Result<Self> {
        if let Some(family) = Family::named(spec) {
            let encoders = built_in_and(family, None)?;
            return Ok(Self { name: spec.to_owned(), family, encoders });
        }
        let named = spec.split_once('=').and_then(|(name, folder)| Some((Family::named(name)?, folder)));
        let (family, folder) = named.map_or((None, spec), |(family, folder)| (Some(family), folder));
        let path = Path::new(folder);
        if !path.is_dir() {
            return Err(match family {
                Some(_) => Error::config("target", format!("`{spec}`: `{folder}` is no folder")),
                None => family::unknown(spec),
            });
        }
        let (family, encoders) = match read_json(&ModelFiles::folder(path), "model_index.json")? {
            Some(index) => pipeline(family, path, &index)?,
            None => single(family, path)?,
        };
        Ok(Self { name: spec.to_owned(), family, encoders })
    }

    /// What it was opened as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The style that it answers best.
    pub fn style(&self) -> Style {
        self.family.style()
    }

    /// Its text encoders, in the pipeline's order.
    pub fn encoders(&self) -> &[Encoder] {
        &self.encoders
    }

    /// The most tokens of a prompt that every encoder reads to its end: the least of their limits.
    pub fn default_budget(&self) -> usize {
        self.readers().filter_map(|encoder| encoder.limit).min().unwrap_or(DEFAULT_BUDGET)
    }

    /// How much of a budget a text takes: the largest of the counts of the encoders that read it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text is longer than [`MAX_TEXT_BYTES`] or a tokenizer refuses it.
    pub fn count(&self, text: &str) -> Result<usize> {
        if text.len() > MAX_TEXT_BYTES {
            let found = text.len();
            return Err(Error::Tokenizer(format!("{found} bytes of text: the limit is {MAX_TEXT_BYTES}")));
        }
        self.readers().try_fold(0, |most, encoder| Ok(most.max(encoder.count(text)?)))
    }

    /// A counter for texts that start with `text_so_far`.
    ///
    /// # Errors
    /// As [`Target::count`].
    pub fn counter(self: &Arc<Self>, text_so_far: &str) -> Result<Counter> {
        Counter::new(Arc::clone(self), text_so_far)
    }

    /// The encoders that a budget is for.
    fn readers(&self) -> impl Iterator<Item = &Encoder> {
        self.encoders.iter().filter(|encoder| encoder.reads)
    }
}

/// A family's encoders: the tokenizer that was given in its places, CLIP's built in elsewhere.
fn built_in_and(family: Family, mut given: Option<Loaded>) -> Result<Vec<Encoder>> {
    let mut encoders = Vec::new();
    for slot in family.slots() {
        let loaded = if let Some(loaded) = given.take_if(|loaded| slot.kind.takes(loaded.kind)) {
            loaded
        } else if slot.kind.is_built_in() {
            Loaded::built_in(slot.kind)?
        } else {
            let (name, wanted) = (family.name(), slot.kind.describe());
            return Err(Error::config(
                "target",
                format!(
                    "`{name}` needs {wanted}: give {name}=FOLDER, a diffusers pipeline (with \
                     model_index.json) or the folder that holds its tokenizer.json"
                ),
            ));
        };
        encoders.push(place(slot, slot.limit, loaded));
    }
    Ok(encoders)
}

/// A folder with one tokenizer.
fn single(family: Option<Family>, folder: &Path) -> Result<(Family, Vec<Encoder>)> {
    let loaded = Loaded::open(folder)?;
    let Some(family) = family else {
        let encoder = Encoder::new("tokenizer", loaded.limit, true, loaded);
        return Ok((Family::Other, vec![encoder]));
    };
    family::places_for(family, loaded.kind)?;
    Ok((family, built_in_and(family, Some(loaded))?))
}

/// A diffusers pipeline. A tokenizer that its index calls null is not there: Stable Diffusion 3 runs without T5.
fn pipeline(family: Option<Family>, folder: &Path, index: &Value) -> Result<(Family, Vec<Encoder>)> {
    let path = folder.join("model_index.json");
    let class = index["_class_name"].as_str().unwrap_or_default();
    let found = Family::of_pipeline(class);
    let family = family.unwrap_or(found);
    if found != family && found != Family::Other {
        let (name, found) = (family.name(), found.name());
        return Err(Error::config(
            "target",
            format!("`{name}`: {} is a {class}, of {found}", path.display()),
        ));
    }
    let is_there =
        |name: &str| index[name].as_array().is_some_and(|entry| entry.iter().any(|e| !e.is_null()));
    let mut encoders = Vec::new();
    for slot in family.slots().iter().filter(|slot| is_there(slot.folder)) {
        let loaded = Loaded::open(&folder.join(slot.folder))?;
        if !slot.kind.takes(loaded.kind) {
            let (wanted, found) = (slot.kind.describe(), loaded.kind.describe());
            return Err(Error::file(folder.join(slot.folder), format!("expected {wanted}, found {found}")));
        }
        let limit = if family == Family::Flux && slot.reads { flux_limit(folder, slot)? } else { slot.limit };
        encoders.push(place(slot, limit, loaded));
    }
    if family == Family::Other {
        let names = index.as_object().into_iter().flat_map(|entries| entries.keys());
        for name in names.filter(|name| name.starts_with("tokenizer") && is_there(name)) {
            let loaded = Loaded::open(&folder.join(name))?;
            encoders.push(Encoder::new(name, loaded.limit, true, loaded));
        }
    }
    if !encoders.iter().any(|encoder| encoder.reads) {
        return Err(Error::file(path, format!("`{class}` names no tokenizer that reads the prompt")));
    }
    Ok((family, encoders))
}

/// Flux.1 schnell has no guidance and reads half of what dev reads.
fn flux_limit(folder: &Path, slot: &Slot) -> Result<usize> {
    let config = read_json(&ModelFiles::folder(folder.join("transformer")), "config.json")?;
    let distilled = config.is_some_and(|config| config["guidance_embeds"] == false);
    Ok(if distilled { family::SCHNELL_LIMIT } else { slot.limit })
}

fn place(slot: &Slot, limit: usize, loaded: Loaded) -> Encoder {
    Encoder::new(slot.name, Some(limit), slot.reads, loaded)
}

#[cfg(test)]
mod tests;
