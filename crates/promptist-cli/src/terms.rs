//! Terms of a training's reward, opened as a config names them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use promptist::http::{Auth, Secret};
use promptist::reward::http;
use promptist::reward::{
    Degeneracy, EndsWith, ImageMeasure, ImageReward, ImageTerm, Retention, Reward, Term, TermConfig,
    TermKind, TextReward, WeightedSum,
};

use crate::models::DeviceChoice;
use crate::score;

/// Opens terms; image rewards of one config are opened once, so that no image is made twice.
pub struct Opener {
    device: DeviceChoice,
    num_threads: usize,
    images: HashMap<PathBuf, Arc<ImageReward>>,
}

impl Opener {
    /// Models compute on `device`; text rewards, which run beside exploration, on `num_threads` threads.
    pub fn new(device: DeviceChoice, num_threads: usize) -> Self {
        Self { device, num_threads, images: HashMap::new() }
    }

    /// The weighted sum of `terms`; none if there are none.
    pub fn open(&mut self, terms: &[TermConfig]) -> Result<Option<WeightedSum>> {
        let term = |term: &TermConfig| -> Result<Term> {
            let reward = self.reward(term).with_context(|| format!("reward `{}`", term.name))?;
            Ok(Term { name: term.name.clone(), weight: term.weight, reward })
        };
        let terms: Vec<Term> = terms.iter().map(term).collect::<Result<_>>()?;
        match terms.is_empty() {
            true => Ok(None),
            false => Ok(Some(WeightedSum::new(terms)?)),
        }
    }

    fn reward(&mut self, term: &TermConfig) -> Result<Box<dyn Reward>> {
        Ok(match (term.kind, &term.model, &term.config, &term.http, &term.phrase) {
            (TermKind::Retention, ..) => Box::new(Retention),
            (TermKind::Degenerate, ..) => Box::new(Degeneracy),
            (TermKind::Phrase, .., Some(phrase)) => Box::new(EndsWith::new(phrase)),
            (TermKind::Text, Some(model), ..) => Box::new(TextReward::open(model, self.num_threads)?),
            (TermKind::Image, _, Some(config), ..) => {
                Box::new(ImageTerm::new(self.images(config)?, ImageMeasure::Score)?)
            }
            (TermKind::PickScore, _, Some(config), ..) => {
                Box::new(ImageTerm::new(self.images(config)?, ImageMeasure::PickScoreGain)?)
            }
            (TermKind::Http, _, _, Some(settings), _) => http::open(settings, &auth())?,
            _ => bail!("lacks what its kind needs"),
        })
    }

    fn images(&mut self, config: &Path) -> Result<Arc<ImageReward>> {
        if let Some(images) = self.images.get(config) {
            return Ok(Arc::clone(images));
        }
        let images = Arc::new(score::open(&score::read_config(config)?, self.device)?);
        self.images.insert(config.to_owned(), Arc::clone(&images));
        Ok(images)
    }
}

/// The key of reward servers, if `PROMPTIST_REWARD_TOKEN` holds one.
fn auth() -> Auth {
    match std::env::var("PROMPTIST_REWARD_TOKEN") {
        Ok(token) if !token.is_empty() => Auth::Bearer(Secret(token)),
        _ => Auth::None,
    }
}
