//! Who adapts: the user's own text, a person, a prompter, a file, a chat model. One face for all:
//! [`System::rewrite`].

mod chat;
mod file;
mod model;

use self::chat::ChatRewriter;
use self::file::FileRewrites;
pub use self::model::SystemModel;
use super::config::{SystemConfig, SystemKind};
use super::inputs::Input;
use super::report::SystemReport;
use super::rows::Decoded;
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::http::Auth;
use crate::prompter::Prompter;
use serde::{Deserialize, Serialize};

/// A system of the config, opened.
pub struct System {
    config: SystemConfig,
    rewriter: Rewriter,
}

enum Rewriter {
    Input,
    Human,
    /// The seeds of one training; mostly one.
    Models(Vec<SystemModel>),
    File(FileRewrites),
    Chat(ChatRewriter),
}

/// What a system made of an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The adapted prompt.
    pub adapted_prompt: String,
    /// How a prompter came to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<Decoded>,
    /// What a model wrote, if the length limit stopped it in the middle of a phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_answer: Option<String>,
}

/// A rewrite, or why there is none.
pub type Outcome = std::result::Result<Rewrite, String>;

impl System {
    /// Opens what the config names; `open_model` opens `mini`, a folder or a Hub id.
    ///
    /// # Errors
    /// Whatever `open_model` returns; naming the file of rewrites that is missing or wrong; [`Error::Config`] for a
    /// setting that is impossible with its model.
    pub fn open(
        config: &SystemConfig,
        open_model: &mut dyn FnMut(&str) -> Result<Prompter>,
        auth: &Auth,
    ) -> Result<Self> {
        let lacks = |key: &str| Error::config(format!("systems.{}.{key}", config.name), "is needed");
        let rewriter = match config.kind {
            SystemKind::Input => Rewriter::Input,
            SystemKind::Human => Rewriter::Human,
            SystemKind::Model => {
                let open = |model| SystemModel::new(open_model(model)?, config);
                Rewriter::Models(config.models().map(open).collect::<Result<_>>()?)
            }
            SystemKind::File => {
                Rewriter::File(FileRewrites::read(config.path.as_deref().ok_or_else(|| lacks("path"))?)?)
            }
            SystemKind::OpenAi => Rewriter::Chat(ChatRewriter::new(
                config.openai.as_ref().ok_or_else(|| lacks("openai"))?,
                auth,
            )?),
        };
        Ok(Self { config: config.clone(), rewriter })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it is.
    pub fn kind(&self) -> SystemKind {
        self.config.kind
    }

    /// Its models; none of other kinds.
    pub fn models(&self) -> &[SystemModel] {
        match &self.rewriter {
            Rewriter::Models(models) => models,
            _ => &[],
        }
    }

    /// Rewrites that it makes of an input.
    pub fn num_rewrites(&self) -> usize {
        self.models().len().max(1)
    }

    /// Whether it has anything to say of a set: a person only where the set has human prompts.
    pub fn covers(&self, inputs: &[Input]) -> bool {
        !matches!(self.rewriter, Rewriter::Human) || inputs.iter().any(|input| input.human_prompt.is_some())
    }

    /// What it makes of `inputs`, in their order; rewrite `of_model` of each.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `cancel` was raised; [`Error::Http`] if a server is gone.
    pub fn rewrite(&self, inputs: &[Input], of_model: usize, cancel: &Cancel) -> Result<Vec<Outcome>> {
        cancel.check()?;
        let plain = |text: &str| Rewrite { adapted_prompt: text.to_owned(), decoded: None, cut_answer: None };
        Ok(match &self.rewriter {
            Rewriter::Input => inputs.iter().map(|input| Ok(plain(&input.user_input))).collect(),
            Rewriter::Human => {
                let human = |input: &Input| {
                    let prompt = input.human_prompt.as_deref().map(plain);
                    prompt.ok_or_else(|| "the set has no human prompt of it".to_owned())
                };
                inputs.iter().map(human).collect()
            }
            Rewriter::Models(models) => models[of_model].rewrite(inputs),
            Rewriter::File(file) => {
                inputs.iter().map(|input| Ok(plain(&file.rewrite(&input.user_input)?))).collect()
            }
            Rewriter::Chat(chat) => {
                let answers = chat.rewrite(inputs, cancel)?;
                answers.into_iter().map(|answer| Ok(plain(&answer?))).collect()
            }
        })
    }

    /// What the report says of it.
    pub fn report(&self) -> SystemReport {
        let (mut file, mut openai) = (None, None);
        match &self.rewriter {
            Rewriter::File(rewrites) => file = Some(rewrites.identity().clone()),
            Rewriter::Chat(_) => openai = self.config.openai.clone(),
            _ => {}
        }
        SystemReport {
            name: self.config.name.clone(),
            kind: self.config.kind,
            models: self.models().iter().map(SystemModel::report).collect(),
            file,
            openai,
        }
    }
}
