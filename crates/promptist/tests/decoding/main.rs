//! Decoding over a toy model: against transformers, against exhaustive search, against statistics.

mod corners;
mod parity;
mod sampling;
mod searches;
mod toy;
