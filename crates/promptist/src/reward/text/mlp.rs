//! A small network on dense features: standardise, one hidden layer of tanh, one number out.
//!
//! In f64 and by hand: it has some thousand parameters, and fitting must give the same bits again.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A fitted network.
///
/// `z = w2 · tanh(w1 · (x - mean) / std + b1) + b2`
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Of each feature in the fitted data, `[F]`.
    pub mean: Vec<f64>,
    /// Of each feature in the fitted data, never near 0, `[F]`.
    pub std: Vec<f64>,
    /// `[H, F]`, row-major.
    pub w1: Vec<f64>,
    /// `[H]`.
    pub b1: Vec<f64>,
    /// `[H]`.
    pub w2: Vec<f64>,
    /// The last bias.
    pub b2: f64,
}

/// Below this a feature is taken for constant.
const MIN_STD: f64 = 1e-6;

/// Standardised features beyond this are cut: nothing out there was ever fitted.
const MAX_DEVIATION: f64 = 5.0;

/// How the network is fitted, by Adam (Kingma and Ba 2015) on the weighted logistic loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpFit {
    /// Units of the hidden layer.
    pub hidden: usize,
    /// Passes over the data.
    pub epochs: usize,
    /// Examples an update.
    pub batch_size: usize,
    /// Step width, decaying linearly to 0.
    pub learning_rate: f64,
    /// Decoupled, on the two matrices.
    pub weight_decay: f64,
    /// Seeds initial weights and the order of examples.
    pub seed: u64,
}

/// One example of a two-class fit.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// `[F]`.
    pub features: &'a [f64],
    /// 1 or 0.
    pub label: f64,
    /// How much it counts.
    pub weight: f64,
}

impl Mlp {
    /// Log-odds of the class 1.
    pub fn forward(&self, features: &[f64]) -> f64 {
        let x = self.standardized(features);
        self.hidden(&x).iter().zip(&self.w2).map(|(h, w)| h * w).sum::<f64>() + self.b2
    }

    fn standardized(&self, features: &[f64]) -> Vec<f64> {
        let z =
            |((x, mean), std): ((&f64, &f64), &f64)| ((x - mean) / std).clamp(-MAX_DEVIATION, MAX_DEVIATION);
        features.iter().zip(&self.mean).zip(&self.std).map(z).collect()
    }

    fn hidden(&self, x: &[f64]) -> Vec<f64> {
        let unit = |(row, bias): (&[f64], &f64)| (dot(row, x) + bias).tanh();
        self.w1.chunks_exact(x.len()).zip(&self.b1).map(unit).collect()
    }

    /// Fits a network; no examples give one that answers 0.
    pub fn fit(examples: &[Labelled<'_>], settings: &MlpFit) -> Self {
        let mut mlp = Self::initial(examples, settings);
        let standardized: Vec<Vec<f64>> =
            examples.iter().map(|example| mlp.standardized(example.features)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed ^ 0x006f_7264_6572);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let steps = settings.epochs * examples.len().div_ceil(settings.batch_size.max(1));
        let mut adam = Adam::new(mlp.num_parameters());
        for _ in 0..settings.epochs {
            order.shuffle(&mut rng);
            for batch in order.chunks(settings.batch_size.max(1)) {
                let mut gradient = vec![0.0; mlp.num_parameters()];
                let total: f64 = batch.iter().map(|&idx| examples[idx].weight).sum();
                for &idx in batch {
                    let example = &examples[idx];
                    mlp.add_gradient(&standardized[idx], example, total.max(1e-12), &mut gradient);
                }
                let lr = settings.learning_rate * (1.0 - adam.steps as f64 / steps.max(1) as f64);
                let update = adam.update(&gradient, lr);
                mlp.apply(&update, lr * settings.weight_decay);
            }
        }
        mlp
    }

    fn initial(examples: &[Labelled<'_>], settings: &MlpFit) -> Self {
        let num_features = examples.first().map_or(0, |example| example.features.len());
        let n = examples.len().max(1) as f64;
        let mut mean = vec![0.0; num_features];
        let mut square = vec![0.0; num_features];
        for example in examples {
            for (idx, x) in example.features.iter().enumerate() {
                mean[idx] += x / n;
                square[idx] += x * x / n;
            }
        }
        let std = mean.iter().zip(&square).map(|(m, s)| (s - m * m).max(0.0).sqrt().max(MIN_STD)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let scale = 1.0 / (num_features.max(1) as f64).sqrt();
        Self {
            mean,
            std,
            w1: (0..settings.hidden * num_features).map(|_| uniform(&mut rng) * scale).collect(),
            b1: vec![0.0; settings.hidden],
            w2: vec![0.0; settings.hidden],
            b2: 0.0,
        }
    }

    fn num_parameters(&self) -> usize {
        self.w1.len() + 2 * self.b1.len() + 1
    }

    /// Adds the gradient of `weight / total · loss`, in the order w1, b1, w2, b2.
    fn add_gradient(&self, x: &[f64], example: &Labelled<'_>, total: f64, gradient: &mut [f64]) {
        let hidden = self.hidden(x);
        let z = hidden.iter().zip(&self.w2).map(|(h, w)| h * w).sum::<f64>() + self.b2;
        let dz = (sigmoid(z) - example.label) * example.weight / total;
        let (w1, rest) = gradient.split_at_mut(self.w1.len());
        let (b1, rest) = rest.split_at_mut(self.b1.len());
        let (w2, b2) = rest.split_at_mut(self.w2.len());
        for (unit, h) in hidden.iter().enumerate() {
            w2[unit] += dz * h;
            let da = dz * self.w2[unit] * (1.0 - h * h);
            b1[unit] += da;
            for (w, x) in w1[unit * x.len()..(unit + 1) * x.len()].iter_mut().zip(x) {
                *w += da * x;
            }
        }
        b2[0] += dz;
    }

    fn apply(&mut self, update: &[f64], decay: f64) {
        let (w1, rest) = update.split_at(self.w1.len());
        let (b1, rest) = rest.split_at(self.b1.len());
        let (w2, b2) = rest.split_at(self.w2.len());
        let step = |values: &mut [f64], update: &[f64], decay: f64| {
            for (value, update) in values.iter_mut().zip(update) {
                *value -= decay * *value + update;
            }
        };
        step(&mut self.w1, w1, decay);
        step(&mut self.b1, b1, 0.0);
        step(&mut self.w2, w2, decay);
        self.b2 -= b2[0];
    }
}

struct Adam {
    steps: usize,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    const BETAS: (f64, f64) = (0.9, 0.999);

    fn new(len: usize) -> Self {
        Self { steps: 0, first: vec![0.0; len], second: vec![0.0; len] }
    }

    /// What is to be subtracted.
    fn update(&mut self, gradient: &[f64], lr: f64) -> Vec<f64> {
        self.steps += 1;
        let (b1, b2) = Self::BETAS;
        let (c1, c2) = (1.0 - b1.powi(self.steps as i32), 1.0 - b2.powi(self.steps as i32));
        let moments = self.first.iter_mut().zip(&mut self.second);
        gradient
            .iter()
            .zip(moments)
            .map(|(g, (first, second))| {
                *first = b1 * *first + (1.0 - b1) * g;
                *second = b2 * *second + (1.0 - b2) * g * g;
                lr * (*first / c1) / ((*second / c2).sqrt() + 1e-8)
            })
            .collect()
    }
}

/// `1 / (1 + exp(-z))`.
pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// In eight lanes, so that it vectorises; the order of the sum is fixed all the same.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Uniform in `[-1, 1)`.
fn uniform(rng: &mut impl Rng) -> f64 {
    2.0 * rng.random::<f64>() - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MlpFit {
        MlpFit { hidden: 6, epochs: 60, batch_size: 16, learning_rate: 0.03, weight_decay: 0.0, seed: 3 }
    }

    /// A ring about a centre, which no straight line divides.
    fn rings() -> Vec<(Vec<f64>, f64)> {
        (0..240)
            .map(|i| {
                let angle = f64::from(i) * 0.7;
                let (radius, label) = if i % 2 == 0 { (1.0, 1.0) } else { (3.0, 0.0) };
                (vec![10.0 + radius * angle.cos(), radius * angle.sin(), 4.0], label)
            })
            .collect()
    }

    fn labelled(data: &[(Vec<f64>, f64)]) -> Vec<Labelled<'_>> {
        data.iter().map(|(x, label)| Labelled { features: x, label: *label, weight: 1.0 }).collect()
    }

    #[test]
    fn what_no_line_divides_is_learned() {
        let data = rings();
        let mlp = Mlp::fit(&labelled(&data), &settings());
        let right = data.iter().filter(|(x, label)| (mlp.forward(x) > 0.0) == (*label > 0.5)).count();
        assert!(right >= 235, "{right} of 240");
        assert_eq!(Mlp::fit(&labelled(&data), &settings()), mlp, "the same bits again");
    }

    #[test]
    fn gradients_are_finite_differences() {
        let data = rings();
        let examples = labelled(&data);
        let mut mlp = Mlp::fit(&examples, &MlpFit { epochs: 2, ..settings() });
        let example = Labelled { weight: 0.7, ..examples[5] };
        let x = mlp.standardized(example.features);
        let mut gradient = vec![0.0; mlp.num_parameters()];
        mlp.add_gradient(&x, &example, 2.0, &mut gradient);
        let loss = |mlp: &Mlp| {
            let z = mlp.forward(example.features);
            let p = sigmoid(z);
            -0.35 * (example.label * p.ln() + (1.0 - example.label) * (1.0 - p).ln())
        };
        // The error of central differences at this step is about 1e-10.
        let eps = 1e-5;
        for idx in 0..mlp.num_parameters() {
            let mut nudge = vec![0.0; gradient.len()];
            nudge[idx] = -eps;
            mlp.apply(&nudge, 0.0);
            let above = loss(&mlp);
            nudge[idx] = 2.0 * eps;
            mlp.apply(&nudge, 0.0);
            let below = loss(&mlp);
            nudge[idx] = -eps;
            mlp.apply(&nudge, 0.0);
            assert!(((above - below) / (2.0 * eps) - gradient[idx]).abs() < 1e-8, "parameter {idx}");
        }
    }

    #[test]
    fn what_is_far_outside_the_data_counts_no_more_than_its_edge() {
        let data = rings();
        let mlp = Mlp::fit(&labelled(&data), &settings());
        let edge = mlp.forward(&[1e6, 0.0, 4.0]);
        assert_eq!(mlp.forward(&[1e9, 0.0, 4.0]), edge);
    }
}
