//! The reward that training is paid: named terms, each with a weight.

use super::{Pair, Reward};
use crate::error::{Error, Result};
use crate::generator::Cancel;

/// One term of the sum.
pub struct Term {
    /// What metrics and samples call it.
    pub name: String,
    /// What its score is multiplied with. A penalty that scores above 0 has a weight below.
    pub weight: f64,
    /// Who scores.
    pub reward: Box<dyn Reward>,
}

/// `Σ weight · score` over named terms.
pub struct WeightedSum {
    terms: Vec<Term>,
}

/// A pair's reward and what each term gave before its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct TermScores {
    /// The weighted sum.
    pub total: f64,
    /// In the order of [`WeightedSum::names`].
    pub terms: Vec<f64>,
}

impl Term {
    /// Finite scores, as many as pairs; reasons name the term.
    fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<f64, String>>> {
        let name = &self.name;
        let scores = self.reward.score(pairs, cancel)?;
        if scores.len() != pairs.len() {
            return Err(Error::Shape(format!("`{name}`: {} scores of {} pairs", scores.len(), pairs.len())));
        }
        let checked = |score: Result<f64, String>| match score {
            Ok(score) if score.is_finite() => Ok(score),
            Ok(score) => Err(format!("{name}: {score} is no number")),
            Err(reason) => Err(format!("{name}: {reason}")),
        };
        Ok(scores.into_iter().map(checked).collect())
    }
}

/// A term's score of a pair, or why there is none.
type Score = Result<f64, String>;

impl WeightedSum {
    /// Puts terms together.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none, a weight is no number, or two have one name.
    pub fn new(terms: Vec<Term>) -> Result<Self> {
        if terms.is_empty() {
            return Err(Error::config("reward", "needs a term"));
        }
        for (idx, term) in terms.iter().enumerate() {
            if !term.weight.is_finite() {
                return Err(Error::config(format!("reward.{}.weight", term.name), "must be a number"));
            }
            if terms[..idx].iter().any(|earlier| earlier.name == term.name) {
                return Err(Error::config("reward", format!("two terms are called `{}`", term.name)));
            }
        }
        Ok(Self { terms })
    }

    /// The terms' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.name.as_str())
    }

    /// Each term's own scores of pairs, before its weight, by name; the reason where it has no number to give.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_each(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<(String, Vec<Score>)>> {
        let of_term = |term: &Term| Ok((term.name.clone(), term.score(pairs, cancel)?));
        self.terms.iter().map(of_term).collect()
    }

    /// The scores of pairs, in their order; a pair that one term cannot score has none, and the reason.
    ///
    /// # Errors
    /// Those of the terms; [`Error::Shape`] if one returns another number of scores than it got pairs.
    pub fn score(&self, pairs: &[Pair], cancel: &Cancel) -> Result<Vec<Result<TermScores, String>>> {
        let mut sums: Vec<Result<TermScores, String>> =
            vec![Ok(TermScores { total: 0.0, terms: Vec::with_capacity(self.terms.len()) }); pairs.len()];
        for Term { name, weight, reward } in &self.terms {
            let scores = reward.score(pairs, cancel)?;
            if scores.len() != pairs.len() {
                return Err(Error::Shape(format!(
                    "`{name}`: {} scores of {} pairs",
                    scores.len(),
                    pairs.len()
                )));
            }
            for (sum, score) in sums.iter_mut().zip(scores) {
                let score = match score {
                    Ok(score) if score.is_finite() => Ok(score),
                    Ok(score) => Err(format!("{name}: {score} is no number")),
                    Err(reason) => Err(format!("{name}: {reason}")),
                };
                match (sum.as_mut(), score) {
                    (Ok(sum), Ok(score)) => {
                        sum.total += weight * score;
                        sum.terms.push(score);
                    }
                    (Ok(_), Err(reason)) => *sum = Err(reason),
                    (Err(_), _) => {}
                }
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn term(name: &str, weight: f64, reward: impl Reward + 'static) -> Term {
        Term { name: name.to_owned(), weight, reward: Box::new(reward) }
    }

    fn pair(adapted_prompt: &str) -> Pair {
        Pair { user_input: "a".to_owned(), adapted_prompt: adapted_prompt.to_owned() }
    }

    #[test]
    fn terms_are_weighed_and_kept_apart() {
        let sum = WeightedSum::new(vec![
            term("length", 2.0, |pair: &Pair| pair.adapted_prompt.len() as f64),
            term("one", -0.5, |_: &Pair| 1.0),
        ])
        .unwrap();
        let scores = sum.score(&[pair("abc"), pair("")], &Cancel::default()).unwrap();
        assert_eq!(scores[0], Ok(TermScores { total: 5.5, terms: vec![3.0, 1.0] }));
        assert_eq!(scores[1], Ok(TermScores { total: -0.5, terms: vec![0.0, 1.0] }));
    }

    #[test]
    fn a_pair_without_one_term_has_no_score() {
        let picky = |pair: &Pair| if pair.adapted_prompt.is_empty() { f64::NAN } else { 1.0 };
        let sum =
            WeightedSum::new(vec![term("picky", 1.0, picky), term("one", 1.0, |_: &Pair| 1.0)]).unwrap();
        let scores = sum.score(&[pair(""), pair("b")], &Cancel::default()).unwrap();
        assert_eq!(scores[0], Err("picky: NaN is no number".to_owned()));
        assert_eq!(scores[1].as_ref().unwrap().total, 2.0);
    }

    #[test]
    fn what_makes_no_sum_is_refused() {
        let one = |name: &str, weight| term(name, weight, |_: &Pair| 1.0);
        assert!(WeightedSum::new(Vec::new()).is_err());
        assert!(WeightedSum::new(vec![one("a", f64::INFINITY)]).is_err());
        assert!(WeightedSum::new(vec![one("a", 1.0), one("a", 2.0)]).is_err());
    }
}
