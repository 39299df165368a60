#![allow(clippy::print_stdout, clippy::unwrap_used)]
use burn::tensor::*;
use promptist::gpt2::{Gpt2, Gpt2Config, parameters::*};
use promptist::train::loss::head_loss;
use std::time::Instant;
struct Track;
impl ParameterMap for Track {
    fn map<const D: usize>(&mut self, _: &str, t: Tensor<D>) -> promptist::Result<Tensor<D>> {
        Ok(t.autodiff().require_grad())
    }
}
fn main() {
    let device = Device::flex();
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (e, l, n, b, t) = (a[0], a[1], a[2], a[3], a[4]);
    let config = Gpt2Config { vocab_size: 8192, n_positions: 512, n_embd: e, n_layer: l, n_head: n, eos_token_id: Some(0), ..Default::default() };
    println!("params {}", config.num_parameters());
    let model = Gpt2::random(&config, 1, &device).unwrap().map_parameters("", &mut Track).unwrap();
    for _ in 0..4 {
        let ids: Vec<i64> = (0..b * t).map(|i| (i * 7919 % 8192) as i64).collect();
        let targets: Vec<u32> = ids.iter().map(|&i| i as u32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, t]), &device);
        let t0 = Instant::now();
        let hidden = model.forward(ids).reshape([b * t, e]);
        let t1 = Instant::now();
        let r = head_loss(&hidden.clone().inner(), &model.wte().clone().inner(), &targets).unwrap();
        let t2 = Instant::now();
        let loss = (hidden * r.hidden_grad.autodiff()).sum();
        let g = loss.backward();
        let w = model.wte().grad(&g).unwrap();
        let _ = w.dims();
        let t3 = Instant::now();
        println!("loss {:.3} fwd {:?} head {:?} bwd {:?} tok/s {:.0}", r.loss_sum / (b * t) as f64, t1 - t0, t2 - t1, t3 - t2, (b * t) as f64 / (t3 - t0).as_secs_f64());
    }
}
