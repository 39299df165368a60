//! Statistics of evaluations and studies: intervals, tests, strengths of systems, agreement of raters, power.
//!
//! One method a file; each is a pure function, and what draws takes a seed. What is not defined is `None`: no values, one rater,
//! a system that always wins. Every function names the package that it equals, on random and on degenerate inputs
//! (`tests/parity_statistics.rs`).
//!
//! | question | answer |
//! |---|---|
//! | a mean, or a mean of paired differences | [`bootstrap_mean`] |
//! | a share of yes among yes and no | [`wilson`]; [`clopper_pearson`] where no share may be missed more often |
//! | a share of yes less another share of the same things; a mean of paired differences of which few are not 0 | [`paired_shares`]; [`paired_few`] |
//! | a mean between 0 and 1 of which few values are not the same | [`wilson_mean`] |
//! | any other statistic | [`bootstrap`], [`bootstrap_each`] |
//! | is the mean of paired differences 0? | [`sign_flip_test`] |
//! | is a share p? did either side win more often? | [`binomial_test`] |
//! | several such tests | [`holm`], [`benjamini_hochberg`] |
//! | what could n pairs have shown? | [`smallest_detectable_difference`] |
//! | who is preferred, among several? | [`bradley_terry`], [`bradley_terry_intervals`] |
//! | do raters agree? | [`krippendorff_alpha`], [`krippendorff_alpha_interval`]; one with themselves: [`cohen_kappa`] |
//!
//! # Coverage
//!
//! How many of 4,000 intervals that promise 95 % held the true mean, in percent, with 1,000 resamples each. The standard
//! error of an entry is 0.35. `tests/statistics_coverage.rs` draws the table anew.
//!
//! | values | n | percentile | BCa | studentised | [`bootstrap_mean`] |
//! |---|---|---|---|---|---|
//! | normal | 20 | 93.3 | 93.3 | 95.5 | 95.5 |
//! | normal | 50 | 93.9 | 93.8 | 94.8 | 94.8 |
//! | normal | 100 | 94.4 | 94.5 | 95.0 | 95.0 |
//! | normal | 300 | 94.3 | 94.5 | 94.4 | 94.4 |
//! | exponential | 20 | 89.5 | 90.4 | 94.0 | 94.0 |
//! | exponential | 50 | 93.0 | 93.6 | 94.8 | 94.8 |
//! | exponential | 100 | 93.8 | 94.0 | 95.0 | 95.0 |
//! | exponential | 300 | 95.1 | 95.0 | 95.3 | 95.3 |
//! | lognormal, s = 0.5 | 20 | 91.2 | 91.6 | 94.6 | 94.6 |
//! | lognormal, s = 0.5 | 50 | 93.4 | 93.5 | 94.8 | 94.8 |
//! | lognormal, s = 0.5 | 100 | 94.1 | 94.1 | 94.7 | 94.7 |
//! | lognormal, s = 0.5 | 300 | 94.3 | 94.3 | 94.5 | 94.5 |
//! | lognormal, s = 1 | 20 | 86.0 | 87.6 | 92.5 | 92.5 |
//! | lognormal, s = 1 | 50 | 89.8 | 90.4 | 93.1 | 93.1 |
//! | lognormal, s = 1 | 100 | 92.4 | 92.3 | 93.8 | 93.8 |
//! | lognormal, s = 1 | 300 | 93.3 | 93.8 | 94.3 | 94.3 |
//! | 0 in 60 % | 20 | 91.0 | 89.7 | 92.0 | 91.8 |
//! | 0 in 60 % | 50 | 93.6 | 93.0 | 93.7 | 93.7 |
//! | 0 in 60 % | 100 | 94.0 | 93.6 | 94.1 | 94.1 |
//! | 0 in 60 % | 300 | 94.6 | 94.4 | 94.4 | 94.4 |
//! | -1, 0 or 1 | 20 | 94.8 | 91.0 | 90.6 | 89.4 |
//! | -1, 0 or 1 | 50 | 96.1 | 94.0 | 94.6 | 94.5 |
//! | -1, 0 or 1 | 100 | 95.6 | 95.6 | 95.0 | 95.0 |
//! | -1, 0 or 1 | 300 | 95.6 | 95.8 | 95.2 | 95.2 |
//! | share of 0.5 | 20 | 95.8 | 97.0 | 96.8 | 95.8 |
//! | share of 0.5 | 50 | 96.4 | 95.7 | 96.0 | 94.0 |
//! | share of 0.5 | 100 | 95.4 | 96.2 | 95.0 | 94.0 |
//! | share of 0.5 | 300 | 95.8 | 95.8 | 95.7 | 94.9 |
//! | share of 0.2 | 20 | 92.7 | 98.2 | 98.1 | 96.2 |
//! | share of 0.2 | 50 | 94.9 | 96.2 | 96.5 | 95.2 |
//! | share of 0.2 | 100 | 95.9 | 95.5 | 96.6 | 94.3 |
//! | share of 0.2 | 300 | 96.4 | 96.4 | 96.3 | 95.6 |
//! | share of 0.05 | 20 | 63.9 | 63.8 | 63.7 | 56.6 |
//! | share of 0.05 | 50 | 91.2 | 88.3 | 90.8 | 88.3 |
//! | share of 0.05 | 100 | 95.7 | 96.7 | 96.9 | 96.7 |
//! | share of 0.05 | 300 | 95.9 | 96.2 | 97.0 | 96.0 |
//!
//! Skewed values decide: of 20 the percentile interval holds 86 to 91 %, of a long tail 92.4 % even of 100, and BCa hardly
//! more. So a mean's interval is studentised. From 50 values on it holds 93 to 97 %; a share of 0.05 takes 100, for
//! nothing tells a sample of 50 zeros from a share of 0. Of 20 values, an interval is a hint: 90 % where most of them are equal.
//! Of shares, [`wilson`], who knows both numbers, holds 92.6 % at the worst (0.05 of 20) and 94.0 to 96.7 % from 50 on.
//!
//! Of shares less shares, where a mean of resamples knows too little: [`paired_shares`] at n of 20, 50, 100 and 300, and
//! [`wilson_mean`] of what is kept where a quarter to all of it is lost in some. They hold too much rather than too little.
//!
//! | differences | 20 | 50 | 100 | 300 | kept: 20 | 50 | 100 | 300 |
//! |---|---|---|---|---|---|---|---|---|
//! | none | 100.0 | 100.0 | 100.0 | 100.0 | | | | |
//! | -1 in 0.01, 1 in 0.01 | 100.0 | 100.0 | 99.6 | 97.2 | | | | |
//! | -1 in 0.02, 1 in 0.05 | 99.9 | 97.5 | 96.4 | 95.6 | | | | |
//! | -1 in 0.1, 1 in 0.2 | 95.1 | 95.7 | 95.1 | 95.2 | | | | |
//! | -1 in 0.3, 1 in 0.3 | 94.3 | 95.0 | 95.2 | 94.9 | | | | |
//! | a part is lost in 0.01 | 100.0 | 100.0 | 100.0 | 100.0 | 94.9 | 95.8 | 96.2 | 97.8 |
//! | a part is lost in 0.03 | 100.0 | 100.0 | 100.0 | 94.7 | 96.9 | 97.2 | 97.9 | 97.2 |
//! | a part is lost in 0.1 | 99.9 | 95.9 | 95.1 | 94.7 | 97.5 | 97.5 | 97.3 | 97.8 |
//!
//! Of other statistics, of 1,000 intervals (standard error 0.7): Spearman's correlation of 0.48; the strength of the first of
//! three systems, a unit comparing all three pairs; alpha of 0.36 of three raters. There BCa keeps the promise from 20 on.
//!
//! | statistic | n | percentile | BCa: [`bootstrap`] |
//! |---|---|---|---|
//! | Spearman | 20 | 95.9 | 95.8 |
//! | Spearman | 50 | 94.6 | 95.0 |
//! | Spearman | 100 | 94.4 | 94.4 |
//! | Spearman | 300 | 95.1 | 95.2 |
//! | strength | 20 | 92.3 | 94.1 |
//! | strength | 50 | 92.7 | 93.4 |
//! | strength | 100 | 93.5 | 93.9 |
//! | strength | 300 | 94.8 | 94.5 |
//! | alpha | 20 | 93.1 | 95.8 |
//! | alpha | 50 | 95.6 | 96.4 |
//! | alpha | 100 | 95.7 | 95.3 |
//! | alpha | 300 | 95.7 | 95.5 |

mod agreement;
mod binomial;
mod bootstrap;
pub mod bounds;
mod bradley_terry;
mod correlation;
mod distributions;
mod interval;
mod mean;
mod multiplicity;
mod paired_shares;
mod permutation;
mod power;
mod random_others;

pub use agreement::{Level, cohen_kappa, krippendorff_alpha, krippendorff_alpha_interval};
pub use binomial::{binomial_test, clopper_pearson, wilson, wilson_mean};
pub use bootstrap::{bootstrap, bootstrap_each, bootstrap_mean};
pub use bradley_terry::{Comparison, bradley_terry, bradley_terry_intervals};
pub use correlation::{pearson, spearman};
pub use interval::{CONFIDENCE, Interval};
pub use mean::mean;
pub use multiplicity::{benjamini_hochberg, holm};
pub use paired_shares::{paired_few, paired_shares};
pub use permutation::{EXACT_UP_TO, sign_flip_test};
pub use power::{paired_power, smallest_detectable_difference};
pub use random_others::random_others;
