//! Pictures inside pages: small, and a part of the page.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};

use crate::error::{Error, Result};

/// Pictures larger than this are made smaller for a page, in pixels of the longer side.
const MAX_SIDE: u32 = 384;
const JPEG_QUALITY: u8 = 88;

/// An `img` that needs no other file; `what` is its alternative text.
///
/// # Errors
/// [`Error::Shape`] if the picture cannot be encoded.
pub fn tag(image: &RgbImage, what: &str) -> Result<String> {
    let image = shrunk(image);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode_image(&image)
        .map_err(|error| Error::Shape(format!("a picture of a page: {error}")))?;
    Ok(format!(
        "<img loading=\"lazy\" alt=\"{what}\" width=\"{}\" height=\"{}\" src=\"data:image/jpeg;base64,{}\">",
        image.width(),
        image.height(),
        STANDARD.encode(jpeg)
    ))
}

/// The same for a file; a note in its place if it cannot be read.
///
/// # Errors
/// As [`tag`].
pub fn embedded(path: &Path, what: &str) -> Result<String> {
    match image::open(path) {
        Ok(image) => tag(&image.to_rgb8(), what),
        Err(_) => Ok(gone()),
    }
}

/// What stands where a picture is missing.
pub fn gone() -> String {
    "<div class=\"gone\">the picture is not there</div>".to_owned()
}

fn shrunk(image: &RgbImage) -> RgbImage {
    let side = image.width().max(image.height());
    if side <= MAX_SIDE {
        return image.clone();
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(MAX_SIDE) / u64::from(side)).max(1) as u32;
    imageops::resize(image, scaled(image.width()), scaled(image.height()), FilterType::Lanczos3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_made_smaller_and_never_larger() {
        assert_eq!(shrunk(&RgbImage::new(1000, 10)).dimensions(), (384, 3));
        assert_eq!(shrunk(&RgbImage::new(7, 9)).dimensions(), (7, 9));
    }

    #[test]
    fn a_missing_file_is_said() {
        let html = embedded(Path::new("/nowhere.png"), "adapted").expect("no picture");
        assert!(html.contains("not there"));
        assert!(
            tag(&RgbImage::new(2, 3), "adapted").expect("a picture").contains("width=\"2\" height=\"3\"")
        );
    }
}
