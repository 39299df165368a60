//! OpenAI's contract, for everything that asks a language model by URL: the last user message, or the
//! prompt, is adapted.
//!
//! `temperature` above 0 samples and 0 does not, `n` is the number of answers, `max_tokens` the longest
//! answer, cut to what the model's context holds, for clients send the number of some other model. What is
//! absent is as in `adapt`. Settings of ours may stand beside OpenAI's under their own names; any other
//! field is ignored, as every server of this kind does.
//!
//! A streamed answer is the same text as one that is not. With the filter or rules on, which may still take
//! a phrase back, the text comes when they have passed it; without, token by token.
//!
//! Source: `openai-python`'s `types/chat/` and `types/completion*.py`.

pub(super) mod answer;
pub(crate) mod chat;
pub(crate) mod completions;
pub(super) mod request;
pub(super) mod stream;
