//! A small n-gram language model over token ids, to hold neural ones against.
//!
//! Interpolated Kneser-Ney with one absolute discount an order, `D = n1 / (n1 + 2 n2)`:
//!
//! ```text
//! p(w | h) = max(c(h w) - D, 0) / c(h) + D * N(h) / c(h) * p(w | h')
//! ```
//!
//! where `h'` drops the oldest token of `h`, `N(h)` counts the distinct successors of `h`, and the
//! unigrams fall back on 1 / V. `c` are counts in the highest order and for what begins a text, below
//! that the number of distinct tokens seen before the n-gram. A context never seen says nothing: the
//! shorter one decides.
//!
//! Source: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling",
//! section 3 (equations for interpolated Kneser-Ney).

use std::collections::HashMap;

/// Highest order whose n-grams fit a key: 5 ids of 24 bits.
const MAX_ORDER: usize = 5;

/// An n-gram model.
pub struct NgramModel {
    /// Orders 1, 2, ...; the model's order is their number.
    orders: Vec<Order>,
    vocab_size: usize,
}

/// The n-grams of one length.
#[derive(Default)]
struct Order {
    counts: HashMap<u128, u32>,
    /// What follows a context: the sum of counts, and how many distinct tokens.
    contexts: HashMap<u128, (u64, u32)>,
    discount: f64,
}

impl NgramModel {
    /// Learns from texts of token ids below `vocab_size`, each of which begins and ends with
    /// `end_token_id`, as the prompter's training text does. `order` is 1 to 5.
    pub fn train(
        texts: impl Iterator<Item = Vec<u32>>,
        order: usize,
        vocab_size: usize,
        end_token_id: u32,
    ) -> Self {
        let order = order.clamp(1, MAX_ORDER);
        let mut orders: Vec<Order> = (0..order).map(|_| Order::default()).collect();
        for ids in texts {
            let text: Vec<u32> = [end_token_id].into_iter().chain(ids).chain([end_token_id]).collect();
            for last in 1..text.len() {
                let longest = order.min(last + 1);
                // Counted as it is: the highest order, or all there is from the text's beginning.
                let ngram = &text[last + 1 - longest..=last];
                *orders[longest - 1].counts.entry(key(ngram)).or_default() += 1;
            }
        }
        // Every distinct n-gram is one more predecessor of the n-gram without its first token.
        for n in (1..order).rev() {
            let (shorter, longer) = orders.split_at_mut(n);
            for &ngram in longer[0].counts.keys() {
                *shorter[n - 1].counts.entry(without_first(ngram, n + 1)).or_default() += 1;
            }
        }
        for order in &mut orders {
            order.finish();
        }
        Self { orders, vocab_size }
    }

    /// p(`token_id` | `context`), of which the last tokens count, as many as the order takes.
    pub fn probability(&self, context: &[u32], token_id: u32) -> f64 {
        let mut probability = 1.0 / self.vocab_size as f64;
        for (context_len, order) in self.orders.iter().enumerate() {
            let Some(from) = context.len().checked_sub(context_len) else {
                break;
            };
            let context = key(&context[from..]);
            let Some(&(total, distinct)) = order.contexts.get(&context) else {
                break;
            };
            let count = order.counts.get(&push(context, token_id)).copied().unwrap_or(0);
            let discounted = (f64::from(count) - order.discount).max(0.0);
            let left_over = order.discount * f64::from(distinct);
            probability = (discounted + left_over * probability) / total as f64;
        }
        probability
    }

    /// Tokens that a prediction looks at, the predicted one included.
    pub fn order(&self) -> usize {
        self.orders.len()
    }
}

impl Order {
    /// Sums over successors, and the discount from the counts of counts.
    fn finish(&mut self) {
        let (mut ones, mut twos) = (0_u64, 0_u64);
        for (&ngram, &count) in &self.counts {
            let context = self.contexts.entry(ngram >> 24).or_default();
            context.0 += u64::from(count);
            context.1 += 1;
            ones += u64::from(count == 1);
            twos += u64::from(count == 2);
        }
        // Without singletons there is nothing to learn from; half is what is usual.
        self.discount = match ones {
            0 => 0.5,
            _ => ones as f64 / (ones + 2 * twos) as f64,
        };
    }
}

/// An n-gram as a number: 24 bits a token, the last token lowest, each plus one.
fn key(ngram: &[u32]) -> u128 {
    ngram.iter().fold(0, |key, &id| push(key, id))
}

fn push(key: u128, token_id: u32) -> u128 {
    (key << 24) | u128::from(token_id + 1)
}

/// An n-gram of `n` tokens without its first.
fn without_first(ngram: u128, n: usize) -> u128 {
    ngram & ((1 << (24 * (n - 1))) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 0;

    fn model(order: usize) -> NgramModel {
        let texts = [vec![1, 2, 3, 4], vec![1, 2, 3, 5], vec![2, 3, 4, 4, 4], vec![], vec![6, 2, 3, 4, 1, 2]];
        NgramModel::train(texts.into_iter(), order, 9, END)
    }

    #[test]
    fn probabilities_sum_to_one_after_every_context() {
        let contexts: [&[u32]; 8] = [
            &[],
            &[END],
            &[END, 1],
            &[END, 1, 2, 3],
            &[1, 2, 3, 4],
            &[8, 8, 8, 8],
            &[8, 2, 3],
            &[4, 4, 4, 4, 4, 4],
        ];
        for order in 1..=5 {
            let model = model(order);
            for context in contexts {
                let sum: f64 = (0..9).map(|id| model.probability(context, id)).sum();
                assert!((sum - 1.0).abs() < 1e-12, "order {order}, {context:?}: {sum}");
                assert!((0..9).all(|id| model.probability(context, id) > 0.0));
            }
        }
    }

    #[test]
    fn a_bigram_model_is_the_formula_by_hand() {
        // Texts 1 2 and 1 3: bigrams (0 1) twice, (1 2), (1 3), (2 0), (3 0) once.
        let model = NgramModel::train([vec![1, 2], vec![1, 3]].into_iter(), 2, 4, END);
        // Bigrams: n1 = 4, n2 = 1, D = 4/6. Unigrams by predecessors: 1, 2, 3 have one, 0 has two:
        // n1 = 3, n2 = 1, D = 3/5, the sum is 5.
        let (d2, d1) = (4.0 / 6.0, 3.0 / 5.0);
        let unigram = |count: f64| (count - d1) / 5.0 + d1 * 4.0 / 5.0 / 4.0;
        let expected = (1.0 - d2) / 2.0 + d2 * 2.0 / 2.0 * unigram(1.0);
        assert!((model.probability(&[1], 2) - expected).abs() < 1e-12);
        let unseen = d2 * 2.0 / 2.0 * unigram(2.0);
        assert!((model.probability(&[1], 0) - unseen).abs() < 1e-12);
        assert!((model.probability(&[], 0) - unigram(2.0)).abs() < 1e-12);
    }

    #[test]
    fn longer_contexts_tell_more() {
        let of_order = |order| model(order).probability(&[END, 1, 2], 3);
        assert!(of_order(1) < of_order(2));
        assert!(model(5).probability(&[1, 2], 3) > model(5).probability(&[4, 2], 7));
    }
}
