//! Decoding over a toy model: against transformers, against exhaustive search, against statistics.

mod batch_loop;
mod corners;
mod exactness;
mod guides;
mod parity;
mod sampling;
mod searches;
mod toy;
