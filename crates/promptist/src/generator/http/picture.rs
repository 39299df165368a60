//! From the bytes of an answer to a picture, or to what is wrong with them.

use std::io::Cursor;

use crate::http::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, ImageReader, RgbImage};

/// What a server's answer may hold beside the pictures: settings, the prompt in each picture's metadata.
const OVERHEAD_BYTES: u64 = 4 << 20;

/// The most bytes of an answer with that many pictures: four channels of 16 bits each that did not compress,
/// in base64, with room for what surrounds them.
pub(super) fn max_answer_bytes(count: usize, (width, height): (u32, u32)) -> u64 {
    let picture = u64::from(width) * u64::from(height) * 8;
    OVERHEAD_BYTES + count as u64 * (picture * 3 / 2 + (64 << 10))
}

/// A picture in base64, with or without `data:image/png;base64,` before it.
pub(super) fn from_base64(text: &str, size: (u32, u32)) -> Result<RgbImage, Failure> {
    let digits = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(',').map_or("", |(_, digits)| digits),
        None => text,
    };
    let bytes = STANDARD
        .decode(digits.trim())
        .map_err(|error| Failure::passing(format!("a picture's base64: {error}")))?;
    from_bytes(&bytes, size)
}

/// A PNG, JPEG or WebP of that size.
pub(super) fn from_bytes(bytes: &[u8], size: (u32, u32)) -> Result<RgbImage, Failure> {
    let broken = |reason: String| Failure::passing(format!("a picture's bytes: {reason}"));
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP))
        .ok_or_else(|| broken("expected PNG, JPEG or WebP".to_owned()))?;
    // The decoder fills what is missing of a JPEG with grey.
    if format == ImageFormat::Jpeg && !bytes.ends_with(&[0xff, 0xd9]) {
        return Err(broken("a JPEG that is cut off".to_owned()));
    }
    let reader = || ImageReader::with_format(Cursor::new(bytes), format);
    // Before anything of that size is allocated.
    let found = reader().into_dimensions().map_err(|error| broken(error.to_string()))?;
    if found != size {
        let (width, height) = size;
        return Err(Failure::this_server(format!(
            "asked for a picture of {width}x{height}, got one of {}x{}",
            found.0, found.1
        )));
    }
    let picture = reader().decode().map_err(|error| broken(error.to_string()))?.into_rgb8();
    let mut pixels = picture.pixels();
    let first = pixels.next();
    if pixels.all(|pixel| Some(pixel) == first) {
        // A model does not draw that: safety checkers and overflows leave it.
        return Err(Failure::this_server(
            "a picture of one colour: a safety checker, or numbers that overflowed",
        ));
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::failure::FailureKind;

    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let picture =
            RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 7, y as u8 * 5, (x * y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("a picture");
        bytes.into_inner()
    }

    #[test]
    fn each_format_is_read_whole_and_refused_when_cut_anywhere() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let bytes = encoded(format, 32, 24);
            assert_eq!(from_bytes(&bytes, (32, 24)).expect("a picture").dimensions(), (32, 24));
            // Without its last 12 bytes, the end chunk, a PNG still has every pixel and its checksum.
            let slack = if format == ImageFormat::Png { 12 } else { 0 };
            for len in 0..bytes.len() - slack {
                assert!(from_bytes(&bytes[..len], (32, 24)).is_err(), "{format:?}, {len} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn base64_with_and_without_its_address() {
        let digits = STANDARD.encode(encoded(ImageFormat::Png, 8, 8));
        let plain = from_base64(&digits, (8, 8)).expect("a picture");
        let prefixed = from_base64(&format!("data:image/png;base64,{digits}"), (8, 8)).expect("a picture");
        assert_eq!(plain, prefixed);
        assert_eq!(from_base64("%%%", (8, 8)).expect_err("no base64").kind, FailureKind::Passing);
        assert_eq!(from_base64("data:", (8, 8)).expect_err("no picture").kind, FailureKind::Passing);
    }

    #[test]
    fn another_size_and_a_single_colour_are_this_servers_failures() {
        let bytes = encoded(ImageFormat::Png, 8, 8);
        let failure = from_bytes(&bytes, (16, 8)).expect_err("another size");
        assert_eq!(failure.kind, FailureKind::ThisServer);
        assert!(failure.reason.contains("16x8") && failure.reason.contains("8x8"), "{}", failure.reason);

        let mut black = Cursor::new(Vec::new());
        RgbImage::new(8, 8).write_to(&mut black, ImageFormat::Png).expect("a picture");
        let failure = from_bytes(black.get_ref(), (8, 8)).expect_err("black");
        assert_eq!(failure.kind, FailureKind::ThisServer);
    }

    #[test]
    fn other_formats_are_none() {
        for bytes in [&b"GIF89a"[..], b"<svg/>", b"", b"{\"error\": 1}"] {
            assert_eq!(from_bytes(bytes, (8, 8)).expect_err("no picture").kind, FailureKind::Passing);
        }
    }
}
