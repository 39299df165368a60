//! What can go wrong with a study, in terms of its inputs, systems and raters.

use std::path::PathBuf;

/// `Result` with the study's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a study.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files, folders, configs and images.
    #[error(transparent)]
    Library(#[from] promptist::Error),
    /// The database could not be reached, refused, or does not hold what it must.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database was written by a newer version.
    #[error("the study's tables are of version {found}, and this program knows {known}")]
    NewerDatabase {
        /// Version of the tables.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// A study is never written over.
    #[error("{}: is there already; a study is never written over", .0.display())]
    Exists(PathBuf),
    /// A folder that is no study.
    #[error("{}: is no study: {reason}", path.display())]
    NoStudy {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// No input at all.
    #[error("there are no rows: give rewrites with --input or in the config")]
    NoRows,
    /// There is nothing to compare.
    #[error("all rows are of one system, `{0}`: a comparison needs two")]
    OneSystem(String),
    /// A pair names a system that no row has.
    #[error("`pairs`: no row is of system `{0}`")]
    UnknownSystem(String),
    /// Two rows of one system for one input.
    #[error("input `{input_id}`: system `{system}` has two rows")]
    TwoRows {
        /// The input.
        input_id: String,
        /// The system.
        system: String,
    },
    /// Two rows with one id and different texts.
    #[error("input `{input_id}`: is `{first}` in one row and `{second}` in another")]
    TwoTexts {
        /// The input.
        input_id: String,
        /// Its text in one row.
        first: String,
        /// Its text in another.
        second: String,
    },
    /// Systems that answer different inputs are not compared on equal terms.
    #[error(
        "the systems do not have the same inputs: `{system}` lacks {lacking}, the first of them `{input_id}`; \
         give all rows, or set incomplete = \"drop\""
    )]
    UnequalInputs {
        /// The system that lacks inputs.
        system: String,
        /// How many it lacks.
        lacking: usize,
        /// The first of them.
        input_id: String,
    },
    /// No input has all systems.
    #[error("no input has a row of every system")]
    NoInputs,
    /// A side with more images than the other tells the systems apart.
    #[error(
        "input `{input_id}`: `{first}` has {first_count} images and `{second}` has {second_count}: raters would \
         tell the systems apart by that"
    )]
    UnequalImages {
        /// The input.
        input_id: String,
        /// A system.
        first: String,
        /// Its number of images.
        first_count: usize,
        /// Another.
        second: String,
        /// Its number of images.
        second_count: usize,
    },
    /// A side with larger images than the other tells the systems apart.
    #[error(
        "input `{input_id}`: `{first}` has images of {first_size} and `{second}` of {second_size}: raters would \
         tell the systems apart by that; set allow_different_sizes = true if they may"
    )]
    DifferentSizes {
        /// The input.
        input_id: String,
        /// A system.
        first: String,
        /// Width and height of its images.
        first_size: String,
        /// Another.
        second: String,
        /// Width and height of its images.
        second_size: String,
    },
    /// Every pair of systems has the same images for every input.
    #[error("all systems have the same images for every input: there is nothing to ask")]
    AllTheSame,
    /// The cache has no image of a prompt.
    #[error("{}: holds no image of `{prompt}` from seed {seed}", cache.display())]
    NotCached {
        /// The cache.
        cache: PathBuf,
        /// The prompt.
        prompt: String,
        /// The seed.
        seed: u64,
    },
    /// A row says neither which images it has nor from which seeds they were made.
    #[error("input `{input_id}`, system `{system}`: neither `images`, nor `seeds` and a cache to look in")]
    NoImages {
        /// The input.
        input_id: String,
        /// The system.
        system: String,
    },
    /// Nobody may join any more.
    #[error("the study has all the raters that it takes ({0})")]
    Full(i64),
    /// A question that does not exist.
    #[error("the study has no question, row or input `{0}`")]
    NoQuestion(String),
}
