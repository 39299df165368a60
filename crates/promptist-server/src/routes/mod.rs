//! One file a contract.

pub(crate) mod adapt;
pub(crate) mod expand;
pub(crate) mod health;
pub(crate) mod images;
pub(crate) mod models;
pub(crate) mod openai;
pub(crate) mod page;
pub(crate) mod prompt_enhance;
pub(crate) mod rescore;
pub(crate) mod reward;
