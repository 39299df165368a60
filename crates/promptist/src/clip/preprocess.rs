//! From a decoded picture to the pixel values that the image tower takes, as transformers'
//! `CLIPImageProcessorPil` does it: shorter side to 224 by Pillow's bicubic, centre crop, normalise.

use std::path::Path;

use image::RgbImage;
use serde::Deserialize;
use serde_json::Value;

use super::resample::{self, Window};
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;

/// Largest side of a crop or a resized picture that a folder may ask for.
const MAX_SIDE: usize = 4096;
/// Pillow's number for bicubic.
const BICUBIC: u64 = 3;

/// How pictures are made ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    size: Size,
    /// Height and width.
    crop: [usize; 2],
    /// What a byte becomes, by channel.
    values: [Vec<f32>; 3],
}

/// What a picture is resized to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    /// The shorter side, the longer one in proportion.
    ShortestEdge(usize),
    /// Both sides, whatever the proportion.
    Exactly { height: usize, width: usize },
}

/// `preprocessor_config.json`: the keys that we follow. The defaults are OpenAI's.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    do_resize: bool,
    size: Sides,
    resample: u64,
    do_center_crop: bool,
    crop_size: Sides,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: [f64; 3],
    image_std: [f64; 3],
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sides {
    One(usize),
    Shortest { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            do_resize: true,
            size: Sides::One(224),
            resample: BICUBIC,
            do_center_crop: true,
            crop_size: Sides::One(224),
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
        }
    }
}

impl Preprocessing {
    /// What a model folder asks for in `preprocessor_config.json`, or in `processor_config.json` as
    /// transformers 5 writes it; OpenAI's way, at `image_size` pixels, if it has neither.
    ///
    /// # Errors
    /// [`Error::File`] if the file is malformed; [`Error::Config`] naming a key that asks for what we do not
    /// do, or a crop that is not of `image_size`.
    pub fn open(files: &ModelFiles, image_size: usize) -> Result<Self> {
        let read = |name: &str| -> Result<Option<Value>> {
            let Some(bytes) = files.read_optional(name)? else { return Ok(None) };
            serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(files.path(name), e.to_string()))
        };
        let (name, value) = match read("preprocessor_config.json")? {
            Some(value) => ("preprocessor_config.json", Some(value)),
            None => {
                let processor = read("processor_config.json")?;
                ("processor_config.json", processor.and_then(|value| value.get("image_processor").cloned()))
            }
        };
        match value {
            Some(value) => Self::from_value(value, image_size, &files.path(name)),
            None => Self::new(&Config {
                size: Sides::One(image_size),
                crop_size: Sides::One(image_size),
                ..Config::default()
            }),
        }
    }

    fn from_value(mut value: Value, image_size: usize, path: &Path) -> Result<Self> {
        if let Some(object) = value.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
        let config: Config = serde_json::from_value(value).map_err(|e| Error::file(path, e.to_string()))?;
        let preprocessing = Self::new(&config)?;
        if preprocessing.crop != [image_size; 2] {
            let [height, width] = preprocessing.crop;
            return Err(Error::config(
                "crop_size",
                format!("{width}x{height} pixels, but the model's image_size is {image_size}"),
            ));
        }
        Ok(preprocessing)
    }

    fn new(config: &Config) -> Result<Self> {
        let steps = [
            ("do_resize", config.do_resize),
            ("do_center_crop", config.do_center_crop),
            ("do_rescale", config.do_rescale),
            ("do_normalize", config.do_normalize),
        ];
        if let Some((key, _)) = steps.iter().find(|(_, is_done)| !is_done) {
            return Err(Error::config(*key, "false is not supported"));
        }
        if config.resample != BICUBIC {
            let found = config.resample;
            return Err(Error::config("resample", format!("expected {BICUBIC} (bicubic), found {found}")));
        }
        let size = match config.size {
            Sides::One(side) | Sides::Shortest { shortest_edge: side } => Size::ShortestEdge(side),
            Sides::Both { height, width } => Size::Exactly { height, width },
        };
        let crop = match config.crop_size {
            Sides::One(side) | Sides::Shortest { shortest_edge: side } => [side; 2],
            Sides::Both { height, width } => [height, width],
        };
        let sides = match size {
            Size::ShortestEdge(side) => [side; 2],
            Size::Exactly { height, width } => [height, width],
        };
        for (key, [height, width]) in [("size", sides), ("crop_size", crop)] {
            if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
                return Err(Error::config(key, format!("{width}x{height}: not in 1..={MAX_SIDE}")));
            }
        }
        if !config.image_std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(Error::config("image_std", "must be positive"));
        }
        let values = |channel: usize| {
            let (mean, std) = (config.image_mean[channel] as f32, config.image_std[channel] as f32);
            // In f64 up to here and in f32 from here on, as numpy does it in transformers.
            let rescaled = (0..=255_u8).map(|byte| (f64::from(byte) * config.rescale_factor) as f32);
            rescaled.map(|value| (value - mean) / std).collect()
        };
        Ok(Self { size, crop, values: [values(0), values(1), values(2)] })
    }

    /// Pixel values of a picture: `[3, H, W]`, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if the picture has no pixels.
    pub fn pixel_values(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let cropped = self.resize_and_crop(picture)?;
        let (pixels, _) = cropped.as_chunks::<3>();
        let channel = |channel: usize| {
            let values = &self.values[channel];
            pixels.iter().map(move |pixel| values[usize::from(pixel[channel])])
        };
        Ok((0..3).flat_map(channel).collect())
    }

    /// The picture resized and cropped, as bytes: `[H, W, 3]`. Black where it does not reach.
    ///
    /// # Errors
    /// [`Error::Shape`] if the picture has no pixels.
    pub fn resize_and_crop(&self, picture: &RgbImage) -> Result<Vec<u8>> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(Error::Shape(format!("a picture of {width}x{height} pixels")));
        }
        let (new_width, new_height) = match self.size {
            Size::Exactly { height, width } => (width, height),
            // `int(size * long / short)`, the division in f64: `get_resize_output_image_size`.
            Size::ShortestEdge(size) if width <= height => {
                (size, ((size * height) as f64 / width as f64) as usize)
            }
            Size::ShortestEdge(size) => (((size * width) as f64 / height as f64) as usize, size),
        };
        let [crop_height, crop_width] = self.crop;
        let (from_row, to_row, rows) = centred(new_height, crop_height);
        let (from_column, to_column, columns) = centred(new_width, crop_width);
        let window = Window { columns: from_column..from_column + columns, rows: from_row..from_row + rows };
        let resized = resample::resize(picture, new_width, new_height, &window);
        if [rows, columns] == self.crop {
            return Ok(resized);
        }
        let mut cropped = vec![0; crop_height * crop_width * 3];
        for (row, pixels) in resized.chunks_exact(columns * 3).enumerate() {
            cropped[((to_row + row) * crop_width + to_column) * 3..][..columns * 3].copy_from_slice(pixels);
        }
        Ok(cropped)
    }
}

/// Where a centre crop reads from, where it writes to, and how many pixels, along one axis.
///
/// Source: `center_crop` in transformers' `image_transforms.py`: too short an axis is padded by the ceiling of
/// half of what is missing, and the crop begins at the floor of half of what is too much.
fn centred(length: usize, crop: usize) -> (usize, usize, usize) {
    if length >= crop { ((length - crop) / 2, 0, crop) } else { (0, (crop - length).div_ceil(2), length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Preprocessing> {
        let value = serde_json::from_str(text).expect("JSON");
        Preprocessing::from_value(value, 224, Path::new("preprocessor_config.json"))
    }

    #[test]
    fn every_spelling_of_openais_sizes_is_the_default() {
        let expected = Preprocessing::new(&Config::default()).expect("possible");
        for text in [
            "{}",
            r#"{"size": 224, "crop_size": 224, "resample": 3, "feature_extractor_type": "x"}"#,
            r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#,
            r#"{"size": null, "rescale_factor": 0.00392156862745098}"#,
        ] {
            assert_eq!(read(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn what_we_do_not_do_is_refused_by_its_key() {
        let cases = [
            (r#"{"resample": 2}"#, "resample"),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"crop_size": 336}"#, "crop_size"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"size": {"longest_edge": 3}}"#, "preprocessor_config.json"),
            (r#"{"image_std": [1, 1, 0]}"#, "image_std"),
            ("[1]", "preprocessor_config.json"),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_line_of_pixels_is_not_resized_beyond_the_crop() {
        let picture = RgbImage::from_pixel(1_000_000, 1, image::Rgb([9, 8, 7]));
        let cropped = read("{}").expect("valid").resize_and_crop(&picture).expect("has pixels");
        assert!(cropped.chunks(3).all(|pixel| pixel == [9, 8, 7]));
        assert!(read("{}").expect("valid").resize_and_crop(&RgbImage::new(0, 5)).is_err());
    }
}
