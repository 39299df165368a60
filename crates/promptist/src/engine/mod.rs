//! GPT-2 decoding on a CPU: packed weights and the kernels that stream them.

pub mod activations;
pub mod isa;
mod kernels;
pub mod packed;
pub mod precision;

pub use activations::{Activations, RowMut};
pub use isa::Isa;
pub use kernels::block_product;
pub use packed::{BLOCK, GROUP, PackedMatrix, Packer, WeightLayout};
pub use precision::Precision;
