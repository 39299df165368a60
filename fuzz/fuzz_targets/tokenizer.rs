//! Text and files for tokenizers: any text comes back from its ids, any ids decode or are refused, any
//! bytes are a `tokenizer.json` or refused.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use promptist::tokenizer::Tokenizer;

static GPT2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::gpt2().expect("embedded"));

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let ids = GPT2.encode(&text).expect("short enough");
    assert_eq!(GPT2.decode(&ids).expect("its own ids"), text);

    let (any_ids, _) = bytes.as_chunks::<2>();
    let any_ids: Vec<u32> = any_ids.iter().map(|&id| u32::from(u16::from_le_bytes(id))).collect();
    let _ = GPT2.decode(&any_ids);

    if let Ok(tokenizer) = Tokenizer::from_json(bytes) {
        let _ = tokenizer.encode("a cat").map(|ids| tokenizer.decode(&ids));
    }
});
