//! Which files of a repository are wanted, and whether a folder has them all.
//!
//! A repository holds much that we do not read: the same weights in other formats, a safety checker, pictures. Of each
//! network one form of its weights is wanted, the first that the list of its names has.

use std::path::Path;

use crate::diffusion::folder::{MODEL_INDEX, NETWORKS, SCHEDULER_CONFIG, TOKENIZER_FILES, weight_files};
use crate::weights::{WEIGHT_FILES, is_shard_index, shard_names};

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A model as transformers saves it: config, tokenizer and weights beside each other.
    Model,
    /// A model that makes images, as diffusers saves it: a folder for each component.
    Pipeline,
}

/// Files beside the weights that a model folder may have. `config.json` it must have.
const MODEL_FILES: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
];

/// A file, and whether the folder is of no use without it.
pub(super) struct SideFile {
    pub(super) name: String,
    pub(super) is_needed: bool,
}

/// The weights of a network: the first of these names that is there.
pub(super) struct NetworkFiles {
    /// Its folder with a slash, or nothing.
    pub(super) folder: String,
    pub(super) names: Vec<String>,
}

impl RepoKind {
    /// What is wanted beside the weights, small and first what says the most of the rest.
    pub(super) fn side_files(self) -> Vec<SideFile> {
        let file = |name: String, is_needed| SideFile { name, is_needed };
        match self {
            Self::Model => MODEL_FILES.map(|name| file(name.to_owned(), name == "config.json")).into(),
            Self::Pipeline => {
                let needed = [MODEL_INDEX, SCHEDULER_CONFIG].map(str::to_owned);
                let configs = NETWORKS.map(|network| format!("{network}/config.json"));
                let tokenizer = TOKENIZER_FILES.map(|name| file(format!("tokenizer/{name}"), false));
                let needed = needed.into_iter().chain(configs).map(|name| file(name, true));
                needed.chain(tokenizer).collect()
            }
        }
    }

    /// The networks whose weights are wanted.
    pub(super) fn networks(self) -> Vec<NetworkFiles> {
        match self {
            Self::Model => {
                vec![NetworkFiles { folder: String::new(), names: WEIGHT_FILES.map(str::to_owned).into() }]
            }
            Self::Pipeline => NETWORKS
                .map(|network| NetworkFiles {
                    folder: format!("{network}/"),
                    names: weight_files(network).into(),
                })
                .into(),
        }
    }

    /// Whether `folder` holds one that can be used: the files that are needed, and weights with all their shards.
    pub(super) fn is_complete(self, folder: &Path) -> bool {
        let has = |file: &SideFile| !file.is_needed || folder.join(&file.name).is_file();
        self.side_files().iter().all(has)
            && self.networks().iter().all(|network| network.is_complete(&folder.join(&network.folder)))
    }
}

impl NetworkFiles {
    fn is_complete(&self, folder: &Path) -> bool {
        let weights = self.names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let Some(weights) = weights else { return false };
        if !is_shard_index(&weights) {
            return true;
        }
        shard_names(&weights).is_ok_and(|names| names.iter().all(|name| folder.join(name).is_file()))
    }
}
