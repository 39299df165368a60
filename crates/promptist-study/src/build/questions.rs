//! From rows to questions: which images stand against which, and which checks are among them.

use std::path::PathBuf;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::build::pictures::{Picture, Pictures};
use crate::build::rows::{Row, Rows};
use crate::config::{Checks, Exclude, StudyConfig};
use crate::error::{Error, Result};

/// Two sets of images that raters see side by side.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewQuestion {
    pub(crate) user_input: String,
    pub(crate) asks: Asks,
    pub(crate) first: Vec<Picture>,
    pub(crate) second: Vec<Picture>,
}

/// What a question asks for, which raters are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Which of two rows, by their places in [`Items`].
    Which { first: usize, second: usize },
    /// Whether the rater looks: the first side is the right answer.
    Check { note: String },
}

/// A row with its images.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) row: Row,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) pictures: Vec<Picture>,
}

/// All of a study.
#[derive(Debug)]
pub(crate) struct NewStudy {
    pub(crate) systems: Vec<String>,
    pub(crate) items: Vec<Item>,
    pub(crate) questions: Vec<NewQuestion>,
    /// Inputs that were left out because a system lacks them.
    pub(crate) dropped: usize,
    /// Pairs that are not asked, for both sides have the same images.
    pub(crate) the_same: usize,
    /// Whose answers the report will leave out.
    pub(crate) exclude: Exclude,
}

/// Makes the study of rows, whose images are found by `find`.
pub(crate) fn build(
    rows: Rows,
    config: &StudyConfig,
    pictures: &mut Pictures,
    find: impl Fn(&Row) -> Result<Vec<PathBuf>>,
) -> Result<NewStudy> {
    let Rows { systems, inputs, dropped } = rows;
    let pairs = pairs(&systems, &config.pairs)?;
    let (items, questions, exclude) = (Vec::new(), Vec::new(), config.exclude.clone());
    let mut study = NewStudy { systems, items, questions, dropped, the_same: 0, exclude };
    for input in inputs {
        let start = study.items.len();
        for row in input {
            let paths = find(&row)?;
            let of_row = paths.iter().map(|path| pictures.add(path)).collect::<Result<Vec<_>>>()?;
            study.items.push(Item { row, paths, pictures: of_row });
        }
        for &(first, second) in &pairs {
            let (first, second) = (start + first, start + second);
            let [a, b] = [&study.items[first], &study.items[second]];
            check_alike(a, b, config.allow_different_sizes)?;
            if a.pictures == b.pictures {
                study.the_same += 1;
                continue;
            }
            study.questions.push(NewQuestion {
                user_input: a.row.user_input.clone(),
                asks: Asks::Which { first, second },
                first: a.pictures.clone(),
                second: b.pictures.clone(),
            });
        }
    }
    if study.questions.is_empty() {
        return Err(Error::AllTheSame);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let checks = checks(&study, &config.checks, pictures, &mut rng)?;
    study.questions.extend(checks);
    // The order of the rows is the same on every machine; that of the questions should say nothing of it.
    study.questions.shuffle(&mut rng);
    Ok(study)
}

/// The pairs of systems, by their places.
fn pairs(systems: &[String], wanted: &[[String; 2]]) -> Result<Vec<(usize, usize)>> {
    if wanted.is_empty() {
        let count = systems.len();
        return Ok((0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect());
    }
    let place = |name: &String| {
        let place = systems.iter().position(|system| system == name);
        place.ok_or_else(|| Error::UnknownSystem(name.clone()))
    };
    let mut pairs = Vec::new();
    for [first, second] in wanted {
        let (first, second) = (place(first)?, place(second)?);
        // A pair that is named twice, or both ways, is one pair.
        let pair = (first.min(second), first.max(second));
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

/// That number and size of the images do not tell two systems apart.
fn check_alike(a: &Item, b: &Item, may_differ_in_size: bool) -> Result<()> {
    let input_id = || a.row.input_id.clone();
    let (first, second) = (a.row.system.clone(), b.row.system.clone());
    if a.pictures.is_empty() {
        return Err(Error::NoImages { input_id: input_id(), system: first });
    }
    if a.pictures.len() != b.pictures.len() {
        let (first_count, second_count) = (a.pictures.len(), b.pictures.len());
        return Err(Error::UnequalImages { input_id: input_id(), first, first_count, second, second_count });
    }
    let size = |picture: &Picture| format!("{}x{}", picture.width, picture.height);
    let differ = a.pictures.iter().zip(&b.pictures).find(|(a, b)| size(a) != size(b));
    if let Some((one, other)) = differ
        && !may_differ_in_size
    {
        let (first_size, second_size) = (size(one), size(other));
        return Err(Error::DifferentSizes { input_id: input_id(), first, first_size, second, second_size });
    }
    Ok(())
}

/// The checks: as many images a side as the real questions have, so that they look like them.
fn checks(
    study: &NewStudy,
    wanted: &Checks,
    pictures: &mut Pictures,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<NewQuestion>> {
    let mut checks = Vec::new();
    let mut order: Vec<usize> = (0..study.items.len()).collect();
    order.shuffle(rng);
    let mut next = order.iter().cycle().map(|&idx| &study.items[idx]);
    for _ in 0..wanted.noise {
        let Some(item) = next.next() else { break };
        let noise = |picture: &Picture| (picture.width, picture.height, rng.random());
        let sizes: Vec<(u32, u32, u64)> = item.pictures.iter().map(noise).collect();
        let bad = sizes.iter().map(|&(width, height, seed)| pictures.add_noise(width, height, seed));
        let bad = bad.collect::<Result<Vec<_>>>()?;
        let note = format!("{} against noise", row_id(&item.row));
        checks.push(check(item.row.user_input.clone(), note, item.pictures.clone(), bad));
    }
    for _ in 0..wanted.unrelated {
        let Some(item) = next.next() else { break };
        let others: Vec<&Item> = study
            .items
            .iter()
            .filter(|other| {
                other.row.user_input != item.row.user_input
                    && other.pictures.len() == item.pictures.len()
                    && other.pictures != item.pictures
            })
            .collect();
        if others.is_empty() {
            let reason = "needs two inputs with different texts and images";
            return Err(promptist::Error::config("checks.unrelated", reason).into());
        }
        let other = others[rng.random_range(0..others.len())];
        let note = format!("{} against {}", row_id(&item.row), row_id(&other.row));
        let bad = other.pictures.clone();
        checks.push(check(item.row.user_input.clone(), note, item.pictures.clone(), bad));
    }
    for given in &wanted.given {
        let mut side =
            |paths: &[PathBuf]| paths.iter().map(|path| pictures.add(path)).collect::<Result<Vec<_>>>();
        let (good, bad) = (side(&given.good)?, side(&given.bad)?);
        checks.push(check(given.user_input.trim().to_owned(), "given".to_owned(), good, bad));
    }
    Ok(checks)
}

fn check(user_input: String, note: String, first: Vec<Picture>, second: Vec<Picture>) -> NewQuestion {
    NewQuestion { user_input, asks: Asks::Check { note }, first, second }
}

/// What a row is called in reports: as an evaluation calls its own.
pub(crate) fn row_id(row: &Row) -> String {
    format!("{}:{}", row.input_id, row.system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_or_those_that_are_named() {
        let systems = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(pairs(&systems, &[]).expect("pairs"), [(0, 1), (0, 2), (1, 2)]);
        let named = [["c", "a"], ["a", "c"], ["b", "c"]].map(|pair| pair.map(str::to_owned));
        assert_eq!(pairs(&systems, &named).expect("pairs"), [(0, 2), (1, 2)]);
        let unknown = [["a", "d"].map(str::to_owned)];
        assert!(matches!(pairs(&systems, &unknown), Err(Error::UnknownSystem(name)) if name == "d"));
    }
}
