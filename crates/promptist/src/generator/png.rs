//! PNG files that say how they were made.
//!
//! Chunk `parameters` is AUTOMATIC1111's text, which web UIs, viewers and model sites read; chunk
//! `promptist` is all of it as JSON. A chunk is tEXt if Latin-1 can write it, else iTXt, as Pillow does it.

use std::fmt::Write as _;
use std::io::{self, BufReader};
use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{GeneratorIdentity, ImageSettings};
use crate::atomic::write_atomic;
use crate::error::{Error, Result};

/// Where an image comes from: enough to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// What was drawn.
    pub prompt: String,
    /// None if the generator takes no seeds, or the noise was given.
    pub seed: Option<u64>,
    /// SHA-256 of the file of latents, if the noise was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents_sha256: Option<String>,
    /// How.
    pub settings: ImageSettings,
    /// By whom.
    pub generator: GeneratorIdentity,
    /// This library's.
    pub version: String,
}

/// Keywords of the two chunks.
const PARAMETERS: &str = "parameters";
const PROMPTIST: &str = "promptist";
/// What a hostile file's compressed text may grow to.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Writes an image with its provenance, whole or not at all.
///
/// # Errors
/// [`Error::Io`] naming `path`; [`Error::File`] if the image is empty.
pub fn write(path: &Path, image: &RgbImage, provenance: &Provenance) -> Result<()> {
    // Encoded in memory, so that an encoder's error is not taken for the disk's.
    let bytes = encode(image, provenance).map_err(|error| Error::file(path, error.to_string()))?;
    write_atomic(path, |file| file.write_all(&bytes))
}

/// Reads an image's provenance back; none if the file has none.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if it is no PNG or the provenance cannot be read.
pub fn read_provenance(path: &Path) -> Result<Option<Provenance>> {
    let Some(json) = read_text(path, PROMPTIST)? else { return Ok(None) };
    let provenance = serde_json::from_str(&json);
    provenance.map(Some).map_err(|error| Error::file(path, format!("chunk `{PROMPTIST}`: {error}")))
}

/// Reads a PNG's text of that keyword, before the image or after it.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] if it is no PNG.
pub fn read_text(path: &Path, keyword: &str) -> Result<Option<String>> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let wrong = |error: png::DecodingError| Error::file(path, error.to_string());
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().map_err(wrong)?;
    reader.finish().map_err(wrong)?;
    let info = reader.info();
    let latin1 = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword);
    if let Some(chunk) = latin1 {
        return Ok(Some(chunk.text.clone()));
    }
    let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == keyword) else { return Ok(None) };
    let mut chunk = chunk.clone();
    chunk.decompress_text_with_limit(MAX_TEXT_BYTES).map_err(wrong)?;
    chunk.get_text().map(Some).map_err(wrong)
}

impl Provenance {
    /// AUTOMATIC1111's `parameters`: the prompt, the negative prompt, and a line of settings.
    ///
    /// # Source
    /// `create_infotext` in <https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing.py>,
    /// and `parse_generation_parameters` beside it, which asks for three settings at least.
    pub fn parameters(&self) -> String {
        let Self { prompt, settings, generator, .. } = self;
        let mut text = prompt.clone();
        if !settings.negative_prompt.is_empty() {
            let _ = write!(text, "\nNegative prompt: {}", settings.negative_prompt);
        }
        let mut fields = vec![("Steps", settings.num_inference_steps.to_string())];
        fields.extend(settings.scheduler.as_deref().map(|name| ("Sampler", sampler(name).to_owned())));
        fields.push(("CFG scale", settings.guidance_scale.to_string()));
        fields.extend(self.seed.map(|seed| ("Seed", seed.to_string())));
        fields.push(("Size", format!("{}x{}", settings.width, settings.height)));
        fields.extend(model_hash(&generator.model).map(|hash| ("Model hash", hash.to_owned())));
        fields.push(("Model", generator.name.clone()));
        fields.push(("Version", format!("promptist {}", self.version)));
        let fields = fields.into_iter().map(|(key, value)| format!("{key}: {}", quoted(&value)));
        text + "\n" + &fields.collect::<Vec<_>>().join(", ")
    }
}

fn encode(image: &RgbImage, provenance: &Provenance) -> Result<Vec<u8>, png::EncodingError> {
    let json = serde_json::to_string(provenance).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in [(PARAMETERS, provenance.parameters()), (PROMPTIST, json)] {
        // No chunk may hold a zero byte: it ends the keyword.
        let text = text.replace('\0', "\u{fffd}");
        if text.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk(keyword.to_owned(), text)?;
        } else {
            encoder.add_itxt_chunk(keyword.to_owned(), text)?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The first ten digits of the weights' SHA-256, where a generator names its model by that or by them.
fn model_hash(model: &str) -> Option<&str> {
    let hash = model.split(',').next()?;
    let is_hash = matches!(hash.len(), 10 | 64) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| &hash[..10])
}

/// A scheduler's name there.
fn sampler(scheduler: &str) -> &str {
    match scheduler {
        "dpm++" | "dpm-solver++" => "DPM++ 2M",
        "ddim" => "DDIM",
        "euler" => "Euler",
        other => other,
    }
}

/// A value as it is, or as a JSON string if it would end too early.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n']) {
        true => serde_json::Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn provenance(prompt: &str) -> Provenance {
        Provenance {
            prompt: prompt.to_owned(),
            seed: Some(7),
            latents_sha256: None,
            settings: ImageSettings {
                negative_prompt: "blurry, grey".to_owned(),
                width: 16,
                height: 8,
                scheduler: Some("dpm++".to_owned()),
                ..ImageSettings::default()
            },
            generator: GeneratorIdentity {
                name: "a1111+http://host:7860".to_owned(),
                model: "0123456789abcdef".repeat(4),
                takes_seeds: true,
            },
            version: "1.2.3".to_owned(),
        }
    }

    #[test]
    fn parameters_read_as_the_web_ui_writes_them() {
        assert_eq!(
            provenance("a cat, oil painting").parameters(),
            "a cat, oil painting\nNegative prompt: blurry, grey\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7.5, \
             Seed: 7, Size: 16x8, Model hash: 0123456789, Model: \"a1111+http://host:7860\", \
             Version: promptist 1.2.3"
        );
    }

    #[test]
    fn a_model_is_named_by_its_hash_where_it_has_one() {
        assert_eq!(model_hash("6ce0161689, sd_vae Automatic"), Some("6ce0161689"));
        for none in ["", "v1-5-pruned.safetensors", "äääää", "gpt-image-1"] {
            assert_eq!(model_hash(none), None);
        }
    }

    #[test]
    fn an_image_says_how_it_was_made_in_any_script() {
        let folder = tempfile::tempdir().unwrap();
        let image = RgbImage::from_fn(16, 8, |x, y| image::Rgb([x as u8, y as u8, 200]));
        for prompt in ["a cat", "café, \"quoted\"\nsecond line", "猫 🐈", "", "zero\0byte"] {
            let path = folder.path().join("image.png");
            let written = provenance(prompt);
            write(&path, &image, &written).unwrap();
            assert_eq!(image::open(&path).unwrap().to_rgb8(), image, "{prompt:?}");
            let read = read_provenance(&path).unwrap().unwrap();
            // JSON escapes the zero byte that the other chunk cannot hold.
            assert_eq!(read, written);
            let parameters = read_text(&path, PARAMETERS).unwrap().unwrap();
            assert_eq!(parameters, written.parameters().replace('\0', "\u{fffd}"), "{prompt:?}");
        }
    }

    #[test]
    fn other_files_have_no_provenance_or_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        RgbImage::new(4, 4).save(&path).unwrap();
        assert_eq!(read_provenance(&path).unwrap(), None);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read_provenance(&path).unwrap_err().to_string().contains("image.png"));
        std::fs::write(&path, "no picture").unwrap();
        assert!(read_provenance(&path).is_err());
        assert!(write(&path, &RgbImage::new(0, 0), &provenance("")).is_err());
    }
}
