//! Images as raters get them: decoded and written anew, so that a file holds pixels and nothing else.
//!
//! Our own PNGs carry their prompt in a text chunk, others' carry names and dates; a decoder's output carries
//! none of it. All files come from one encoder, so that not even its choices tell one system from another.

use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, Rgb, RgbImage};
use promptist::Error;
use promptist::atomic::write_atomic;
use promptist::clip::image_file;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::error::Result;

/// An image in the study's folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Picture {
    /// Its file's name: the SHA-256 of its pixels and size. Nobody outside sees it.
    pub(crate) file: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The images of a study, in a folder.
pub(crate) struct Pictures {
    folder: PathBuf,
    /// What has been read, by path: systems share images, and checks use them again.
    read: HashMap<PathBuf, Picture>,
}

impl Pictures {
    /// Makes the folder.
    pub(crate) fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self { folder, read: HashMap::new() })
    }

    /// Takes over an image file.
    ///
    /// # Errors
    /// [`Error::Io`] if it is missing; [`Error::File`] if it is no picture.
    pub(crate) fn add(&mut self, path: &Path) -> Result<Picture> {
        if let Some(picture) = self.read.get(path) {
            return Ok(picture.clone());
        }
        let picture = self.put(&image_file::read_rgb(path)?)?;
        self.read.insert(path.to_owned(), picture.clone());
        Ok(picture)
    }

    /// Noise of a picture's size: of no request the better answer.
    pub(crate) fn add_noise(&mut self, width: u32, height: u32, seed: u64) -> Result<Picture> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.put(&RgbImage::from_fn(width, height, |_, _| Rgb(rng.random())))
    }

    fn put(&mut self, pixels: &RgbImage) -> Result<Picture> {
        let (width, height) = pixels.dimensions();
        let mut hash = Sha256::new();
        hash.update(width.to_le_bytes());
        hash.update(height.to_le_bytes());
        hash.update(pixels.as_raw());
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let picture = Picture { file: format!("{name}.png"), width, height };
        let path = self.folder.join(&picture.file);
        if !path.exists() {
            let bytes = encode(pixels, &path)?;
            write_atomic(&path, |file| file.write_all(&bytes))?;
        }
        Ok(picture)
    }
}

fn encode(pixels: &RgbImage, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(pixels.as_raw(), pixels.width(), pixels.height(), image::ExtendedColorType::Rgb8)
        .map_err(|error| Error::file(path, error.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The types of a PNG's chunks.
    fn chunks(png: &[u8]) -> Vec<String> {
        let mut rest = &png[8..];
        let mut chunks = Vec::new();
        while let Some((length, more)) = rest.split_first_chunk::<4>() {
            chunks.push(String::from_utf8_lossy(&more[..4]).into_owned());
            rest = &more[4 + u32::from_be_bytes(*length) as usize + 4..];
        }
        chunks
    }

    #[test]
    fn a_file_holds_pixels_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = RgbImage::from_fn(20, 10, |x, y| Rgb([x as u8, y as u8, 9]));
        let source = folder.path().join("ppo-a-cat.png");
        // The same pixels with a text chunk, as a generator writes it.
        let mut plain = encode(&pixels, &source).unwrap();
        let text = b"tEXtparameters\0a cat, trending on artstation";
        let mut chunk = (text.len() as u32 - 4).to_be_bytes().to_vec();
        chunk.extend_from_slice(text);
        chunk.extend_from_slice(&crc32(text).to_be_bytes());
        plain.splice(33..33, chunk);
        assert!(chunks(&plain).contains(&"tEXt".to_owned()));
        fs::write(&source, &plain).unwrap();

        let mut pictures = Pictures::create(folder.path().join("images")).unwrap();
        let picture = pictures.add(&source).unwrap();
        assert_eq!((picture.width, picture.height), (20, 10));
        let kept = fs::read(folder.path().join("images").join(&picture.file)).unwrap();
        assert!(chunks(&kept).iter().all(|chunk| ["IHDR", "IDAT", "IEND"].contains(&chunk.as_str())));
        assert_eq!(image::load_from_memory(&kept).unwrap().to_rgb8(), pixels);
        // The same pixels from elsewhere are the same file.
        let other = folder.path().join("sft.png");
        pixels.save(&other).unwrap();
        assert_eq!(pictures.add(&other).unwrap(), picture);
    }

    #[test]
    fn noise_is_its_seed_s() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::create(folder.path().to_owned()).unwrap();
        let first = pictures.add_noise(8, 8, 1).unwrap();
        assert_eq!(first, pictures.add_noise(8, 8, 1).unwrap());
        assert_ne!(first, pictures.add_noise(8, 8, 2).unwrap());
    }

    /// PNG's check sum of a chunk.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8)
                .fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
        })
    }
}
