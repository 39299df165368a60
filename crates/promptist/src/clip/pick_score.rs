//! PickScore: a CLIP model tuned on which of two pictures people chose. Folder `yuvalkirstain/PickScore_v1`.
//!
//! Kirstain et al. 2023. About 18 to 24 for pictures of their own prompts; only differences between pictures of
//! one prompt mean anything.

use image::RgbImage;

use super::{Clip, cosine};
use crate::error::{Error, Result};

/// The score of each picture under the text beside it: `exp(logit_scale) · cosine`.
///
/// Pairs, not a table: text i is asked about picture i alone.
///
/// # Errors
/// [`Error::Shape`] if there are not as many texts as pictures; as [`Clip::encode_images`] and
/// [`Clip::encode_texts`].
pub fn pick_scores(clip: &Clip, texts: &[&str], images: &[RgbImage]) -> Result<Vec<f32>> {
    if texts.len() != images.len() {
        return Err(Error::Shape(format!("{} texts and {} pictures", texts.len(), images.len())));
    }
    let (texts, images) = (clip.encode_texts(texts)?, clip.encode_images(images)?);
    texts.iter().zip(&images).map(|(text, image)| pick_score(clip, text, image)).collect()
}

/// The score of two features of length 1.
///
/// # Errors
/// [`Error::Shape`] if they differ in length.
pub fn pick_score(clip: &Clip, text: &[f32], image: &[f32]) -> Result<f32> {
    Ok(clip.logit_scale().exp() * cosine(text, image)?)
}
