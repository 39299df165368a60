//! A prompter as a system.

use crate::data::safety;
use crate::decoding::{Finish, RawDecodingSettings};
use crate::error::{Error, Result};
use crate::eval::config::SystemConfig;
use crate::eval::inputs::Input;
use crate::eval::report::ModelRun;
use crate::eval::rows::Decoded;
use crate::output_filter::FilterRule;
use crate::prompter::{AdaptRequest, AdaptSettings, Adapted, Output, Prompter};

use super::{Outcome, Rewrite};

/// A model of a system, and how it answers.
pub struct SystemModel {
    prompter: Prompter,
    settings: AdaptSettings,
    request: AdaptRequest,
}

impl SystemModel {
    /// # Errors
    /// [`Error::Config`] for a setting of the system that the model cannot have.
    pub fn new(prompter: Prompter, system: &SystemConfig) -> Result<Self> {
        let request = AdaptRequest {
            decoding: system.decoding.clone(),
            keep: system.keep,
            guidance_scale: system.guidance_scale,
            filter: system.filter.unwrap_or(true),
            ..AdaptRequest::default()
        };
        Ok(Self { settings: prompter.settings(&request)?, prompter, request })
    }

    /// The model.
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// How it answers.
    pub fn settings(&self) -> &AdaptSettings {
        &self.settings
    }

    /// Settings with `decoding` over the system's own.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that is impossible.
    pub fn settings_with(&self, decoding: RawDecodingSettings) -> Result<AdaptSettings> {
        let decoding = decoding.or(self.request.decoding.clone());
        self.prompter.settings(&AdaptRequest { decoding, ..self.request.clone() })
    }

    /// What the report says of it.
    pub fn report(&self) -> ModelRun {
        ModelRun {
            identity: self.prompter.identity().clone(),
            settings: self.settings.clone(),
            receipt: self.prompter.receipt(&self.settings),
        }
    }

    /// Whether it adds nothing to an input on purpose: the filter does not touch an unsafe one.
    pub fn refuses(&self, user_input: &str) -> bool {
        self.settings.filter && safety::check(user_input).is_some()
    }

    /// Adapts inputs as one batch; those of like length beside each other are the caller's care.
    pub fn rewrite(&self, inputs: &[Input]) -> Vec<Outcome> {
        let rewrite = |adapted: Result<Adapted>| {
            let adapted = adapted?;
            let seed = adapted.seed;
            let output = adapted.outputs.into_iter().next();
            self.of_output(output.ok_or_else(|| Error::Decoding("no output".into()))?, seed)
        };
        let adapted = self.adapt(inputs, &self.settings);
        adapted.into_iter().map(|adapted| rewrite(adapted).map_err(|error| error.to_string())).collect()
    }

    /// Several answers to each input, best first; the reason for one that cannot be adapted.
    pub fn candidates(&self, inputs: &[Input], settings: &AdaptSettings) -> Vec<Result<Vec<String>, String>> {
        let texts = |adapted: Adapted| adapted.outputs.into_iter().map(|output| output.text).collect();
        let adapted = self.adapt(inputs, settings).into_iter();
        adapted.map(|adapted| adapted.map(texts).map_err(|error| error.to_string())).collect()
    }

    fn adapt(&self, inputs: &[Input], settings: &AdaptSettings) -> Vec<Result<Adapted>> {
        let texts: Vec<String> = inputs.iter().map(|input| input.user_input.clone()).collect();
        self.prompter.adapt(&texts, settings, 0)
    }

    fn of_output(&self, output: Output, seed: Option<u64>) -> Result<Rewrite> {
        // Where the filter took the cut phrase out, the output ends with a whole one.
        let was_mended = output.filtered.contains(&FilterRule::CutPhrase);
        let cut_answer = match output.finish {
            Finish::Length if !was_mended => Some(self.prompter.tokenizer().decode(&output.token_ids)?),
            _ => None,
        };
        let decoded = Decoded {
            score: output.score,
            token_ids: output.token_ids,
            finish: output.finish,
            filtered: output.filtered,
            restored: output.restored,
            seed,
        };
        Ok(Rewrite { adapted_prompt: output.text, decoded: Some(decoded), cut_answer })
    }
}
