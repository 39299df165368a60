//! The engine: a product, a step, a beam search. `cargo bench -p promptist --bench engine`.
//!
//! Weights are random: what they are changes no time here. `bench/peers` measures against other programs.

use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::Device;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use promptist::decoding::{Allowed, Answers, LanguageModel, Queries, Query, RawDecodingSettings, generate};
use promptist::engine::{
    Activations, BLOCK, Engine, EngineOptions, Isa, PackedMatrix, Precision, WeightLayout, block_product,
};
use promptist::gpt2::{Gpt2, Gpt2Config};
use promptist::nn::{NamedParameter, Parameters};

fn main() {
    divan::main();
}

/// `c_fc` of GPT-2 124M on one thread, by rows and precision; bytes are those of the weights. They are
/// small enough for the caches of most CPUs: this is what the kernel can do, and [`step`] what the memory
/// lets it.
#[divan::bench(args = Precision::ALL, consts = [1, 8, 16])]
fn product<const ROWS: usize>(bencher: Bencher, precision: Precision) {
    let (k, n, isa) = (768, 3072, Isa::detect());
    let numbers =
        |count: usize| -> Vec<f32> { (0..count).map(|i| (i * i % 97) as f32 / 48.0 - 1.0).collect() };
    let matrix = PackedMatrix::pack(&numbers(k * n), WeightLayout::InOut, k, n, precision, isa, None);
    let mut inputs = Activations::new(precision, k, isa);
    inputs.resize(ROWS);
    inputs.rows_mut().for_each(|mut row| row.set(&numbers(k)));
    let mut tile = vec![0.0; ROWS * BLOCK];
    bencher.counter(BytesCount::new(matrix.bytes())).bench_local(|| {
        for block in 0..matrix.num_blocks() {
            block_product(&inputs, 0..ROWS, &matrix, block, divan::black_box(&mut tile));
        }
    });
}

/// One step of a model that is GPT-2 124M but for its ten missing blocks: 8 beams of 60 tokens in
/// common and one of their own. Bytes are those of the weights.
#[divan::bench(args = Setup::all(), sample_count = 40, sample_size = 1)]
fn step(bencher: Bencher, setup: Setup) {
    const BEAMS: usize = 8;
    static MODEL: LazyLock<Model> =
        LazyLock::new(|| Model::random(Gpt2Config { n_layer: 2, ..Default::default() }));
    let engine = MODEL.engine(setup);
    let prompt: Vec<u32> = (0..60).map(|position| 7 * position).collect();
    let queries = |rows: usize| {
        let mut queries = Queries::default();
        (0..rows).for_each(|_| {
            queries.push(Query::Top { count: 2 * BEAMS, allowed: Allowed::ALL, token_ids: &[] })
        });
        queries
    };
    let of_beams = queries(BEAMS);
    bencher
        .counter(BytesCount::new(engine.bytes_per_step()))
        .with_inputs(|| {
            let (mut cache, mut answers) = (engine.new_cache(), Answers::default());
            engine.append(&mut cache, &[&prompt], &queries(1), &mut answers).expect("a prompt of the model");
            engine.reorder(&mut cache, &[0; BEAMS]).expect("the prompt's row");
            (cache, answers)
        })
        .bench_local_values(|(mut cache, mut answers)| {
            engine
                .append(&mut cache, &[[11].as_slice(); BEAMS], &of_beams, &mut answers)
                .expect("tokens of the model");
            (cache, answers)
        });
}

/// An answer of 75 tokens by 8 beams from a model of the shape of `models/mini`. Items are tokens.
#[divan::bench(args = Setup::all(), sample_count = 20, sample_size = 1)]
fn beam_search(bencher: Bencher, setup: Setup) {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini/config.json");
        Model::random(Gpt2Config::read(&path).expect("a committed file"))
    });
    let engine = MODEL.engine(setup);
    // No token ends it.
    let settings = RawDecodingSettings::default().resolve().expect("the defaults");
    let prompts = [(0..16).map(|position| 100 * position).collect::<Vec<u32>>()];
    bencher
        .counter(ItemsCount::new(settings.max_new_tokens))
        .bench_local(|| generate(&engine, &prompts, &settings, &[]).expect("a prompt of the model"));
}

/// How an engine computes.
#[derive(Clone, Copy)]
struct Setup {
    precision: Precision,
    num_threads: usize,
}

impl Setup {
    /// Every precision on one thread and on all.
    fn all() -> Vec<Self> {
        let mut num_threads = vec![1, EngineOptions::default().num_threads];
        num_threads.dedup();
        let setups = |precision| num_threads.iter().map(move |&num_threads| Self { precision, num_threads });
        Precision::ALL.into_iter().flat_map(setups).collect()
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { precision, num_threads } = self;
        write!(f, "{precision}, threads: {num_threads}")
    }
}

/// A model's shape and its parameters, drawn once for all setups.
struct Model {
    config: Gpt2Config,
    parameters: Vec<NamedParameter>,
}

impl Model {
    fn random(config: Gpt2Config) -> Self {
        let model = Gpt2::random(&config, 0, &Device::flex()).expect("a possible shape");
        let parameters = model.to_parameters().expect("parameters of f32");
        Self { config, parameters }
    }

    fn engine(&self, Setup { precision, num_threads }: Setup) -> Engine {
        let options = EngineOptions { precision, isa: None, num_threads };
        Engine::from_parameters(&self.config, &self.parameters, options).expect("the model's parameters")
    }
}
