//! What loops over many numbers share: the instruction sets of this CPU, one body compiled for each of
//! them, and mathematics that vectorises.

pub mod dispatch;
pub mod exp;
pub mod isa;
pub mod math;

pub(crate) use dispatch::for_each_isa;
pub use isa::Isa;
