//! Picture files as RGB, as Pillow's `Image.open(path).convert("RGB")` gives them: transparency is dropped and
//! not blended, orientation tags and colour profiles are not applied, of an animation the first frame counts.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};

/// Largest file read.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most pixels decoded: what Pillow warns beyond, 89 megapixels.
pub const MAX_PIXELS: u64 = 89_478_485;

/// Reads and decodes a PNG, JPEG or WebP file. The format is told by the content, not by the name.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::File`] if it is of another format, broken, or larger than
/// [`MAX_FILE_BYTES`] or [`MAX_PIXELS`].
pub fn read_rgb(path: &Path) -> Result<RgbImage> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if size > MAX_FILE_BYTES {
        return Err(Error::file(path, format!("{size} bytes: the limit for a picture is {MAX_FILE_BYTES}")));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    decode_rgb(&bytes, path)
}

/// Decodes the bytes of a PNG, JPEG or WebP file; `path` is for errors.
///
/// # Errors
/// As [`read_rgb`].
pub fn decode_rgb(bytes: &[u8], path: &Path) -> Result<RgbImage> {
    let refuse = |error: ImageError| Error::file(path, format!("not a readable picture: {error}"));
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Error::io(path))?;
    if reader.format().is_none() {
        return Err(Error::file(path, "not a picture: expected PNG, JPEG or WebP"));
    }
    let mut limits = Limits::default();
    // Eight bytes a pixel is the most that a file can hold, and the decoder may want as much beside them.
    limits.max_alloc = Some(2 * 8 * MAX_PIXELS);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(Error::file(path, format!("{width}x{height} pixels: the limit is {MAX_PIXELS}")));
    }
    Ok(to_rgb(DynamicImage::from_decoder(decoder).map_err(refuse)?))
}

/// Of 16 bits Pillow keeps the upper 8, except in grey pictures (mode `I;16`), whose values it cuts at 255.
fn to_rgb(picture: DynamicImage) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let upper = |value: u16| (value >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(grey) => {
            RgbImage::from_fn(width, height, |x, y| image::Rgb([grey.get_pixel(x, y).0[0].min(255) as u8; 3]))
        }
        DynamicImage::ImageLumaA16(grey) => {
            RgbImage::from_fn(width, height, |x, y| image::Rgb([upper(grey.get_pixel(x, y).0[0]); 3]))
        }
        DynamicImage::ImageRgb16(rgb) => {
            RgbImage::from_fn(width, height, |x, y| image::Rgb(rgb.get_pixel(x, y).0.map(upper)))
        }
        DynamicImage::ImageRgba16(rgba) => RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, _] = rgba.get_pixel(x, y).0.map(upper);
            image::Rgb([r, g, b])
        }),
        // Eight bits: copied, repeated, or cut to three channels.
        other => other.into_rgb8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(bytes: &[u8], expected: &str) {
        let error = decode_rgb(bytes, Path::new("x.png")).expect_err(expected).to_string();
        assert!(error.starts_with("x.png: ") && error.contains(expected), "{error}");
    }

    fn png(picture: &RgbImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).expect("encodes");
        bytes
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        check_refused(b"", "expected PNG, JPEG or WebP");
        check_refused(b"hello, this is text", "expected PNG, JPEG or WebP");
        check_refused(b"GIF89a\x01\x00\x01\x00", "not a readable picture");
        let whole = png(&RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8])));
        for length in (8..whole.len() - 12).step_by(7) {
            check_refused(&whole[..length], "not a readable picture");
        }
    }

    /// A header that promises 60000 by 60000 pixels.
    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        let mut bomb = png(&RgbImage::new(1, 1));
        bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let sum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&sum.to_be_bytes());
        check_refused(&bomb, "60000x60000 pixels");
    }

    /// PNG's check sum of a chunk.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8)
                .fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
        })
    }
}
