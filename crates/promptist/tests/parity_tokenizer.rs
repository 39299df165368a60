//! GPT-2's ids of hostile strings, and the text of ids that are no text, against transformers.
//!
//! Golden file: `tools/reference/tokenizer.py`.

mod common;

use promptist::tokenizer::Tokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    encode: Vec<Pair>,
    special: Vec<Special>,
    decode: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Special {
    text: String,
    /// transformers', with the end token in them.
    ids: Vec<u32>,
    ids_as_plain_text: Vec<u32>,
}

#[test]
fn ids_of_hostile_strings_equal_transformers() {
    let Golden { encode, .. } = common::golden_json("tokenizer.json");
    let tokenizer = Tokenizer::gpt2().expect("embedded");
    assert!(encode.len() >= 800, "the golden file has lost its strings");
    for Pair { text, ids } in &encode {
        assert_eq!(tokenizer.encode(text).expect("encodes"), *ids, "{text:?}");
        assert_eq!(tokenizer.decode(ids).expect("decodes"), *text, "{ids:?}");
    }
}

#[test]
fn texts_of_any_ids_equal_transformers() {
    let Golden { decode, .. } = common::golden_json("tokenizer.json");
    let tokenizer = Tokenizer::gpt2().expect("embedded");
    assert!(decode.len() >= 300, "the golden file has lost its ids");
    for Pair { text, ids } in &decode {
        assert_eq!(tokenizer.decode(ids).expect("decodes"), *text, "{ids:?}");
    }
}

/// The one difference, on purpose: transformers lets a user type the end token.
#[test]
fn a_typed_end_token_has_the_ids_of_its_characters() {
    let Golden { special, .. } = common::golden_json("tokenizer.json");
    let tokenizer = Tokenizer::gpt2().expect("embedded");
    for case in &special {
        let found = tokenizer.encode(&case.text).expect("encodes");
        assert_eq!(found, case.ids_as_plain_text, "{:?}", case.text);
        assert_ne!(found, case.ids, "{:?}", case.text);
    }
    assert!(!special.is_empty());
}
