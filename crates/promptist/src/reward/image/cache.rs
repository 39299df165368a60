//! Images and features on disk, by what they are made of: nothing is made twice, not after a crash and not
//! by two processes at once.
//!
//! ```text
//! images/ab/abcdef….png              named by the SHA-256 of generator, model, prompt, seed and settings
//! features/0123456789abcdef/ab/…     the feature of that image by that CLIP model, with a checksum
//! locks/abc                          held while a prompt's images are made
//! ```
//!
//! Files are whole or absent. What was not read for longest goes when the bound is reached. A file that is
//! damaged counts as absent.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use image::RgbImage;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::atomic::write_atomic;
use crate::clip::image_file;
use crate::error::{Error, Result};
use crate::generator::png::{self, Provenance};
use crate::generator::{Cancel, GeneratorIdentity, ImageSettings};
use crate::weights::hex;

/// A folder of images and features.
#[derive(Debug)]
pub struct ImageCache {
    folder: PathBuf,
    max_bytes: u64,
    /// What the folder held when last counted, and what was added since by this process.
    used_bytes: AtomicU64,
}

/// What an image is made of, hashed: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageKey(String);

/// The right to make the images of one prompt. Given back when dropped, or when the process ends.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl ImageKey {
    /// The key of the image of `seed`. Of a generator without seeds, `seed` tells its draws apart.
    pub fn new(generator: &GeneratorIdentity, prompt: &str, seed: u64, settings: &ImageSettings) -> Self {
        // The form is the key: a field that is added or renamed makes every image anew.
        let made_of = json!({
            "generator": generator.name,
            "model": generator.model,
            "prompt": prompt,
            "seed": seed,
            "settings": settings,
        });
        Self(hex(&Sha256::digest(made_of.to_string())))
    }

    fn shard(&self) -> &str {
        &self.0[..2]
    }
}

impl ImageCache {
    /// Opens a folder, making it if need be; counts what is in it.
    ///
    /// # Errors
    /// [`Error::Io`] naming what cannot be read or made.
    pub fn open(folder: impl Into<PathBuf>, max_bytes: u64) -> Result<Self> {
        let cache = Self { folder: folder.into(), max_bytes, used_bytes: AtomicU64::new(0) };
        for part in ["images", "features", "locks"] {
            let path = cache.folder.join(part);
            fs::create_dir_all(&path).map_err(Error::io(path))?;
        }
        cache.make_room()?;
        Ok(cache)
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the image is there. It may be gone a moment later.
    pub fn has_image(&self, key: &ImageKey) -> bool {
        self.image_path(key).is_file()
    }

    /// An image, if it is there and whole.
    pub fn image(&self, key: &ImageKey) -> Option<RgbImage> {
        let path = self.image_path(key);
        match image_file::read_rgb(&path) {
            Ok(image) => {
                touch(&path);
                Some(image)
            }
            Err(error) => {
                if path.is_file() {
                    tracing::warn!(%error, "a cached image is damaged and will be made again");
                    let _ = fs::remove_file(&path);
                }
                None
            }
        }
    }

    /// Keeps an image.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn put_image(&self, key: &ImageKey, image: &RgbImage, provenance: &Provenance) -> Result<()> {
        let path = self.image_path(key);
        make_parent(&path)?;
        png::write(&path, image, provenance)?;
        self.added(&path)
    }

    /// The feature of an image by the CLIP model whose weights hash to `judge`, if it is there and whole.
    pub fn feature(&self, judge: &str, key: &ImageKey) -> Option<Vec<f32>> {
        let path = self.feature_path(judge, key);
        let feature = parse_feature(&fs::read(&path).ok()?)?;
        touch(&path);
        Some(feature)
    }

    /// Keeps a feature.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn put_feature(&self, judge: &str, key: &ImageKey, feature: &[f32]) -> Result<()> {
        let path = self.feature_path(judge, key);
        make_parent(&path)?;
        let values: Vec<u8> = feature.iter().flat_map(|value| value.to_le_bytes()).collect();
        write_atomic(&path, |file| {
            file.write_all(&crc32c::crc32c(&values).to_le_bytes())?;
            file.write_all(&values)
        })?;
        self.added(&path)
    }

    /// Waits until nobody else, in this process or another, makes images of the prompt of `key`. Whoever
    /// comes out of the wait looks for the image again first.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `cancel` is raised meanwhile; [`Error::Io`].
    pub fn claim(&self, key: &ImageKey, cancel: &Cancel) -> Result<Claim> {
        // A bounded number of files, never removed: a lock on a removed file would keep nobody out. Two
        // prompts on one file wait for each other without need, once in four thousand.
        let path = self.folder.join("locks").join(&key.0[..3]);
        let mut options = File::options();
        let lock = options.create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Claim { _lock: lock }),
                Err(fs::TryLockError::WouldBlock) => {
                    cancel.check()?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(fs::TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
            }
        }
    }

    /// Where an image lies, or would.
    pub fn image_path(&self, key: &ImageKey) -> PathBuf {
        self.folder.join("images").join(key.shard()).join(format!("{}.png", key.0))
    }

    fn feature_path(&self, judge: &str, key: &ImageKey) -> PathBuf {
        let judge = judge.get(..16).unwrap_or(judge);
        self.folder.join("features").join(judge).join(key.shard()).join(&key.0)
    }

    fn added(&self, path: &Path) -> Result<()> {
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.max_bytes {
            self.make_room()?;
        }
        Ok(())
    }

    /// Counts the files, and removes those read longest ago if there are too many bytes of them: down to nine
    /// tenths, so that not every image counts them all again.
    fn make_room(&self) -> Result<()> {
        let mut files = Vec::new();
        for part in ["images", "features"] {
            list_files(&self.folder.join(part), &mut files)?;
        }
        let mut used: u64 = files.iter().map(|file| file.bytes).sum();
        if used > self.max_bytes {
            files.sort_by_key(|file| file.used);
            for file in files {
                if used <= self.max_bytes / 10 * 9 {
                    break;
                }
                // Another process may have been first.
                let _ = fs::remove_file(&file.path);
                used -= file.bytes;
            }
        }
        self.used_bytes.store(used, Ordering::Relaxed);
        Ok(())
    }
}

struct Listed {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Every file under `folder`. What disappears meanwhile is left out.
fn list_files(folder: &Path, files: &mut Vec<Listed>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            list_files(&entry.path(), files)?;
        } else {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push(Listed { path: entry.path(), bytes: metadata.len(), used });
        }
    }
    Ok(())
}

/// Marks a file as just read. A folder that cannot be written to is still good to read from.
fn touch(path: &Path) {
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::io(parent)),
        None => Ok(()),
    }
}

/// The values of a feature's file, if it is whole: their CRC-32C, then the values, little-endian.
fn parse_feature(bytes: &[u8]) -> Option<Vec<f32>> {
    let (checksum, values) = bytes.split_first_chunk::<4>()?;
    let (values, []) = values.as_chunks::<4>() else { return None };
    let is_whole = crc32c::crc32c(values.as_flattened()) == u32::from_le_bytes(*checksum);
    is_whole.then(|| values.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity() -> GeneratorIdentity {
        GeneratorIdentity { name: "fake".into(), model: "abc".into(), takes_seeds: true }
    }

    fn key(prompt: &str, seed: u64) -> ImageKey {
        ImageKey::new(&identity(), prompt, seed, &ImageSettings::default())
    }

    fn provenance(prompt: &str, seed: u64) -> Provenance {
        Provenance {
            prompt: prompt.into(),
            seed: Some(seed),
            latents_sha256: None,
            settings: ImageSettings::default(),
            generator: identity(),
            version: "0".into(),
        }
    }

    fn noise(seed: u64) -> RgbImage {
        let mut state = seed;
        RgbImage::from_fn(16, 16, |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            image::Rgb([(state >> 40) as u8, (state >> 48) as u8, (state >> 56) as u8])
        })
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(folder.path(), u64::MAX).unwrap();
        let key = key("a cat", 7);
        assert!(cache.image(&key).is_none() && cache.feature("judge", &key).is_none());
        cache.put_image(&key, &noise(7), &provenance("a cat", 7)).unwrap();
        cache.put_feature("judge", &key, &[0.25, -1.0]).unwrap();
        let cache = ImageCache::open(folder.path(), u64::MAX).unwrap();
        assert_eq!(cache.image(&key).unwrap(), noise(7));
        assert_eq!(cache.feature("judge", &key).unwrap(), [0.25, -1.0]);
        assert!(cache.feature("another judge", &key).is_none());
    }

    #[test]
    fn everything_an_image_is_made_of_counts() {
        let settings = ImageSettings::default();
        let other_model = GeneratorIdentity { model: "abd".into(), ..identity() };
        let other_steps = ImageSettings { num_inference_steps: 21, ..settings.clone() };
        let keys = [
            key("a cat", 7),
            key("a cat", 8),
            key("a cat ", 7),
            ImageKey::new(&other_model, "a cat", 7, &settings),
            ImageKey::new(&identity(), "a cat", 7, &other_steps),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(key("a cat", 7), keys[0]);
    }

    #[test]
    fn damage_counts_as_absence() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(folder.path(), u64::MAX).unwrap();
        let key = key("a cat", 1);
        cache.put_image(&key, &noise(1), &provenance("a cat", 1)).unwrap();
        cache.put_feature("judge", &key, &[1.0, 2.0]).unwrap();
        for path in [cache.image_path(&key), cache.feature_path("judge", &key)] {
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(bytes.len() / 2);
            fs::write(&path, &bytes).unwrap();
        }
        assert!(cache.image(&key).is_none());
        assert!(!cache.has_image(&key));
        assert!(cache.feature("judge", &key).is_none());
    }

    #[test]
    fn what_was_read_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(folder.path(), u64::MAX).unwrap();
        for seed in 0..10 {
            cache.put_image(&key("a cat", seed), &noise(seed), &provenance("a cat", seed)).unwrap();
            let path = cache.image_path(&key("a cat", seed));
            let long_ago = SystemTime::now() - Duration::from_secs(1000 - seed);
            File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        let bytes = fs::metadata(cache.image_path(&key("a cat", 0))).unwrap().len();
        assert!(cache.image(&key("a cat", 0)).is_some());
        ImageCache::open(folder.path(), bytes * 6).unwrap();
        let kept: Vec<u64> = (0..10).filter(|&seed| cache.has_image(&key("a cat", seed))).collect();
        assert_eq!(kept, [0, 6, 7, 8, 9]);
    }

    #[test]
    fn a_claim_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(folder.path(), u64::MAX).unwrap();
        let key = key("a cat", 0);
        let claim = cache.claim(&key, &Cancel::default()).unwrap();
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let refused = cache.claim(&key, &Cancel::following(flag));
        assert!(matches!(refused, Err(Error::Interrupted)), "{refused:?}");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cache.claim(&key, &Cancel::default()).map(drop));
            drop(claim);
            waiting.join().unwrap().unwrap();
        });
    }
}
