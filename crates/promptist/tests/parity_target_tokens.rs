//! How many tokens image models' tokenizers make of a prompt, against transformers' own, at once and while the
//! prompt grows.
//!
//! Golden files: `tools/reference/target_tokens.py`.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use promptist::target::Target;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    counts: Vec<Counts>,
}

#[derive(Deserialize)]
struct Counts {
    text: String,
    #[serde(flatten)]
    tokens: HashMap<String, usize>,
}

fn target(folder: &str) -> Arc<Target> {
    let spec = common::golden("target_tokens").join(folder).display().to_string();
    Arc::new(Target::open(&spec).expect("a committed tokenizer"))
}

/// Both ways of counting, and two cuts that no tokenizer would make.
#[track_caller]
fn check(target: &Arc<Target>, expected: impl Fn(&HashMap<String, usize>) -> usize) {
    let Golden { counts } = common::golden_json("target_tokens/counts.json");
    assert!(counts.len() >= 450, "the golden file has lost its texts");
    for Counts { text, tokens } in &counts {
        let expected = expected(tokens);
        assert_eq!(target.count(text).expect("short"), expected, "{text:?}");
        let mut by_character = target.counter("").expect("empty");
        for character in text.chars() {
            by_character = by_character.with(character.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(by_character.tokens(), expected, "{text:?}");
        let middle = (text.len() / 2..).find(|&at| text.is_char_boundary(at)).expect("the end is one");
        let (before, after) = text.split_at(middle);
        let counter = target.counter(before).expect("short");
        assert_eq!(counter.tokens_with(after), expected, "{text:?}");
    }
}

#[test]
fn clips_of_stable_diffusion_count_as_transformers() {
    check(&Arc::new(Target::open("sd15").expect("built in")), |tokens| tokens["clip"]);
    let most = |tokens: &HashMap<String, usize>| tokens["clip"].max(tokens["open_clip"]);
    check(&Arc::new(Target::open("sdxl").expect("built in")), most);
}

#[test]
fn a_clip_folder_counts_as_transformers() {
    check(&target("clip"), |tokens| tokens["clip_like"]);
}

#[test]
fn t5_folders_of_both_forms_count_as_transformers() {
    check(&target("t5"), |tokens| tokens["t5_like"]);
    check(&target("t5_v4"), |tokens| tokens["t5_like_v4"]);
}

#[test]
fn qwen_folders_of_both_forms_count_as_transformers() {
    check(&target("qwen"), |tokens| tokens["qwen_like"]);
    check(&target("qwen_json"), |tokens| tokens["qwen_like"]);
}
