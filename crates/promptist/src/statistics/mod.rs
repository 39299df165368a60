//! Statistics of evaluations and studies: intervals, tests, strengths and agreement.

mod agreement;
mod binomial;
mod bootstrap;
pub mod bounds;
mod bradley_terry;
mod correlation;
mod distributions;
mod interval;
mod multiplicity;
mod permutation;
mod power;
mod random_others;

pub use agreement::{Level, cohen_kappa, krippendorff_alpha, krippendorff_alpha_interval};
pub use binomial::{binomial_test, clopper_pearson, wilson};
pub use bootstrap::{bootstrap, bootstrap_each, bootstrap_mean};
pub use bradley_terry::{Comparison, bradley_terry, bradley_terry_intervals};
pub use correlation::{pearson, spearman};
pub use interval::{CONFIDENCE, Interval};
pub use multiplicity::{benjamini_hochberg, holm};
pub use permutation::{EXACT_UP_TO, sign_flip_test};
pub use power::{paired_power, smallest_detectable_difference};
pub use random_others::random_others;
