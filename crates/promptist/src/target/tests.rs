use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/target_tokens").join(name)
}

fn open(spec: &str) -> Target {
    Target::open(spec).expect("opens")
}

fn with_folder(name: &str, folder: &Path) -> String {
    format!("{name}={}", folder.display())
}

/// A target of every kind of tokenizer that counts in pieces.
static TARGETS: LazyLock<BTreeMap<&str, Arc<Target>>> = LazyLock::new(|| {
    let folders = ["clip", "t5", "t5_v4", "qwen", "qwen_json"];
    let of_folder = folders.map(|name| (name, golden(name).display().to_string()));
    let built_in = ["sd15", "sdxl"].map(|name| (name, name.to_owned()));
    let specs = of_folder.into_iter().chain(built_in);
    specs.map(|(name, spec)| (name, Arc::new(open(&spec)))).collect()
});

/// A diffusers pipeline of the class, with golden folders in its places.
fn pipeline_folder(class: &str, places: &[(&str, Option<&str>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut index = json!({"_class_name": class, "_diffusers_version": "0.42.1"});
    for (place, tokenizer) in places {
        index[*place] = json!([tokenizer.map(|_| "transformers"), tokenizer.map(|_| "AnyTokenizer")]);
        let Some(tokenizer) = tokenizer else { continue };
        let target = folder.path().join(place);
        fs::create_dir(&target).expect("new");
        for file in fs::read_dir(golden(tokenizer)).expect("committed") {
            let file = file.expect("readable");
            fs::copy(file.path(), target.join(file.file_name())).expect("copied");
        }
    }
    write_json(&folder.path().join("model_index.json"), &index);
    folder
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("writable");
}

fn names(target: &Target) -> Vec<(&str, Option<usize>, bool)> {
    target.encoders().iter().map(|encoder| (encoder.name.as_str(), encoder.limit, encoder.reads)).collect()
}

#[track_caller]
fn check_refused(spec: &str, expected: &str) {
    let error = Target::open(spec).expect_err("refused").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn clip_families_need_no_folder() {
    let target = open("sd15");
    assert_eq!((target.name(), target.family(), target.style()), ("sd15", Family::Sd15, Style::Tags));
    assert_eq!(names(&target), [("CLIP-L", Some(75), true)]);
    assert_eq!(target.default_budget(), 75);
    assert_eq!(target.count("").expect("short"), 0);
    assert_eq!(target.count("a cat, highly detailed").expect("short"), 5);

    let target = open("sdxl");
    assert_eq!(names(&target), [("CLIP-L", Some(75), true), ("OpenCLIP-bigG", Some(75), true)]);
}

/// One token to CLIP-L, three to the tower that is padded with `!`.
#[test]
fn the_largest_count_counts() {
    let [sd15, sdxl] = ["sd15", "sdxl"].map(|name| open(name).count("wow!!!").expect("short"));
    assert_eq!((sd15, sdxl), (2, 4));
}

#[test]
fn families_with_other_tokenizers_ask_for_them() {
    check_refused("sd3", "needs T5's tokenizer (Unigram): give sd3=FOLDER");
    check_refused("flux", "needs T5's tokenizer (Unigram): give flux=FOLDER");
    check_refused("qwen-image", "needs Qwen's tokenizer (byte-level BPE): give qwen-image=FOLDER");
}

#[test]
fn one_tokenizer_takes_its_place_in_the_family() {
    let t5 = golden("t5");
    let flux = open(&with_folder("flux", &t5));
    assert_eq!(names(&flux), [("CLIP-L", Some(75), false), ("T5", Some(511), true)]);
    assert_eq!((flux.family(), flux.style(), flux.default_budget()), (Family::Flux, Style::Prose, 511));
    let sd3 = open(&with_folder("sd3", &t5));
    let expected = [("CLIP-L", Some(75), true), ("OpenCLIP-bigG", Some(75), true), ("T5", Some(255), true)];
    assert_eq!(names(&sd3), expected);
    assert_eq!(sd3.default_budget(), 75);
    let qwen = open(&with_folder("qwen-image", &golden("qwen")));
    assert_eq!(names(&qwen), [("Qwen2.5", Some(507), true)]);
    // The small vocabulary splits words that CLIP's has.
    let text = "an astronaut riding a horse";
    let [own, small] = ["sd15".to_owned(), with_folder("sd15", &golden("clip"))].map(|spec| open(&spec));
    assert!(own.count(text).expect("short") < small.count(text).expect("short"));
}

#[test]
fn flux_is_not_held_to_its_pooled_clip() {
    let [flux, alone] = [with_folder("flux", &golden("t5")), golden("t5").display().to_string()];
    let text = "a cat".repeat(100);
    assert_eq!(open(&flux).count(&text).expect("short"), open(&alone).count(&text).expect("short"));
}

#[test]
fn a_tokenizer_of_another_family_is_refused() {
    check_refused(&with_folder("flux", &golden("qwen")), "`flux` reads CLIP's tokenizer and T5's tokenizer");
    check_refused(&with_folder("sd15", &golden("t5")), "the folder holds T5's tokenizer (Unigram)");
    // CLIP's is flux's too, and T5's is still missing.
    check_refused(&with_folder("flux", &golden("clip")), "`flux` needs T5's tokenizer");
}

#[test]
fn a_folder_alone_with_one_tokenizer_is_another_family() {
    let target = open(&golden("t5").display().to_string());
    assert_eq!((target.family(), target.default_budget()), (Family::Other, 511));
    assert_eq!(names(&target), [("tokenizer", Some(511), true)]);
    assert_eq!(open(&golden("clip").display().to_string()).default_budget(), 75);
}

#[test]
fn a_pipeline_says_what_it_is() {
    let clips = [("tokenizer", Some("clip")), ("tokenizer_2", Some("clip"))];
    for (class, places, family) in [
        ("StableDiffusionInpaintPipeline", &clips[..1], Family::Sd15),
        ("StableDiffusionXLImg2ImgPipeline", &clips, Family::Sdxl),
        ("StableDiffusion3Pipeline", &[clips[0], clips[1], ("tokenizer_3", Some("t5_v4"))], Family::Sd3),
        // Run without T5: its entry is null.
        ("StableDiffusion3Pipeline", &[clips[0], clips[1], ("tokenizer_3", None)], Family::Sd3),
        ("FluxPipeline", &[clips[0], ("tokenizer_2", Some("t5"))], Family::Flux),
        ("QwenImageEditPipeline", &[("tokenizer", Some("qwen"))], Family::QwenImage),
        ("Flux2Pipeline", &[("tokenizer", Some("qwen_json"))], Family::Other),
    ] {
        let folder = pipeline_folder(class, places);
        let target = open(&folder.path().display().to_string());
        assert_eq!(target.family(), family, "{class}");
        let expected = places.iter().filter(|(_, tokenizer)| tokenizer.is_some()).count();
        assert_eq!(target.encoders().len(), expected, "{class}");
        if family != Family::Other {
            assert_eq!(open(&with_folder(family.name(), folder.path())).family(), family);
        }
    }
}

#[test]
fn a_pipeline_of_another_family_is_refused() {
    let folder = pipeline_folder("FluxPipeline", &[("tokenizer_2", Some("t5"))]);
    check_refused(&with_folder("sdxl", folder.path()), "is a FluxPipeline, of flux");
    let folder = pipeline_folder("FluxPipeline", &[("tokenizer", Some("clip")), ("tokenizer_2", None)]);
    check_refused(&folder.path().display().to_string(), "`FluxPipeline` names no tokenizer that reads");
    let folder = pipeline_folder("FluxPipeline", &[("tokenizer_2", Some("clip"))]);
    check_refused(&folder.path().display().to_string(), "expected T5's tokenizer (Unigram), found CLIP's");
}

#[test]
fn schnell_reads_half_of_what_dev_reads() {
    let folder = pipeline_folder("FluxPipeline", &[("tokenizer_2", Some("t5"))]);
    let spec = folder.path().display().to_string();
    let config = folder.path().join("transformer/config.json");
    fs::create_dir(folder.path().join("transformer")).expect("new");
    for (guidance_embeds, expected) in [(true, 511), (false, 255)] {
        write_json(&config, &json!({"guidance_embeds": guidance_embeds}));
        assert_eq!(open(&spec).default_budget(), expected);
    }
}

#[test]
fn what_is_no_target_is_refused_with_what_is_one() {
    for spec in ["", "sd14", "SDXL", "midjourney=x", "./absent"] {
        check_refused(
            spec,
            "neither one of sd15, sdxl, sd3, flux, qwen-image, nor NAME=FOLDER, nor a folder",
        );
    }
    check_refused("flux=./absent", "`./absent` is no folder");
    check_refused("flux=", "`` is no folder");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spec = folder.path().display().to_string();
    check_refused(&spec, "expected a tokenizer: tokenizer.json, or vocab.json and merges.txt");
    fs::write(folder.path().join("spiece.model"), "").expect("writable");
    check_refused(&spec, "spiece.model alone is not read");
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(golden("qwen").join(name), folder.path().join(name)).expect("copied");
    }
    check_refused(&spec, "not CLIP's vocabulary");
    write_json(&folder.path().join("tokenizer_config.json"), &json!({"tokenizer_class": "GPT2Tokenizer"}));
    check_refused(&spec, "tokenizer_class `GPT2Tokenizer` without a tokenizer.json");
    fs::write(folder.path().join("tokenizer.json"), "{").expect("writable");
    check_refused(&spec, "tokenizer.json: EOF");
}

#[test]
fn a_text_that_is_too_long_is_refused_and_over_every_budget() {
    let target = &TARGETS["sd15"];
    let half = "ab ".repeat(MAX_TEXT_BYTES / 6 + 1);
    let counter = target.counter(&half).expect("short enough");
    assert!(counter.tokens() < usize::MAX);
    assert_eq!((counter.tokens_with(&half), counter.with(&half).tokens()), (usize::MAX, usize::MAX));
    assert_eq!(counter.with(&half).with("c").tokens(), usize::MAX);
    let whole = half.repeat(2);
    assert!(matches!(target.count(&whole), Err(Error::Tokenizer(_))));
    assert!(matches!(target.counter(&whole), Err(Error::Tokenizer(_))));
}

#[test]
fn pieces_start_before_a_space_after_an_ordinary_character() {
    for (text, expected) in [
        ("", &[][..]),
        (" a", &[]),
        ("a b, c", &[1, 4]),
        ("a   b ", &[1, 5]),
        ("猫 가 ж", &[3, 7]),
        // White space, what becomes it, marks, and signs that draw the space into their grapheme.
        ("a\n b\u{3000} c\u{200b} d\u{85} e", &[]),
        ("a\u{301} b\u{345} c\u{903} d\u{600} e\u{d4e} f\u{0} g", &[]),
    ] {
        assert_eq!(pieces::starts(text).collect::<Vec<_>>(), expected, "{text:?}");
    }
}

/// Without this, the tests below would compare whole counts with whole counts.
#[test]
fn known_pipelines_count_in_pieces() {
    for (name, target) in TARGETS.iter() {
        let counter = target.counter("a cat, highly detailed").expect("short");
        assert_eq!(counter.longest_unsettled(), " detailed".len(), "{name}");
    }
}

/// Changes to a pipeline after which words may reach across a space.
#[test]
fn unknown_pipelines_count_whole_texts_as_exactly() {
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let token = json!({"id": 3, "content": "a cat", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    let taking = json!({"id": 3, "content": "!", "single_word": false, "lstrip": false, "rstrip": true,
        "normalized": false, "special": true});
    let text = fs::read_to_string(golden("t5_v4").join("tokenizer.json")).expect("committed");
    let original: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in [
        ("pre_tokenizer", metaspace),
        ("pre_tokenizer", Value::Null),
        ("normalizer", strip),
        ("added_tokens", json!([token])),
        ("added_tokens", json!([taking])),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut changed = original.clone();
        changed[key] = value;
        write_json(&folder.path().join("tokenizer.json"), &changed);
        let target = Arc::new(open(&folder.path().display().to_string()));
        let fragments = ["oh, ", "a", " cat", " sat!", " here ", "", "  and slept"];
        let whole = fragments.concat();
        let mut counter = target.counter("").expect("short");
        for fragment in fragments {
            counter = counter.with(fragment);
        }
        assert_eq!(counter.longest_unsettled(), whole.len(), "{key}");
        assert_eq!(counter.tokens(), target.count(&whole).expect("short"), "{key}");
    }
}

/// Characters and words at which a careless split would go wrong.
fn fragment() -> impl Strategy<Value = String> {
    const ODD: [&str; 54] = [
        " ",
        "  ",
        " ",
        ", ",
        ".",
        "!",
        "!!",
        "?!",
        "\t",
        "\n",
        "\r\n",
        "\u{85}",
        "\u{a0}",
        "\u{2003}",
        "\u{3000}",
        "\u{200b}",
        "\u{feff}",
        "\u{301}",
        "\u{345}",
        "\u{308}",
        "\u{200d}",
        "\u{fe0f}",
        "\u{600}",
        "\u{6dd}",
        "\u{d4e}",
        "\u{903}",
        "\u{1103d}",
        "\u{110bd}",
        "▁",
        " ▁",
        "é",
        "Σ",
        "İ",
        "ﬁ",
        "ﷺ",
        "\u{fc5e}",
        "¨",
        "ｶﾞ",
        "猫",
        "가",
        "\u{1100}\u{1161}",
        "👩‍🚀",
        "🇩🇪",
        "'s",
        " 's",
        "'",
        "</s>",
        "<pad>",
        "<extra_id_7>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|end",
        "oftext|>",
        "\0",
    ];
    prop_oneof![
        6 => prop::sample::select(&ODD[..]).prop_map(str::to_owned),
        4 => "[ a-zA-Z0-9,.()!:'-]{0,12}",
        2 => " [a-z]{1,8}",
        1 => any::<String>(),
        1 => any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_growing_text_has_the_tokens_of_the_whole(fragments in prop::collection::vec(fragment(), 0..24)) {
        for (name, target) in TARGETS.iter() {
            let mut text = String::new();
            let mut counter = target.counter("").expect("empty");
            for fragment in &fragments {
                text.push_str(fragment);
                let expected = target.count(&text).expect("short");
                prop_assert_eq!(counter.tokens_with(fragment), expected, "{} {:?}", name, &text);
                counter = counter.with(fragment);
                prop_assert_eq!(counter.tokens(), expected, "{} {:?}", name, &text);
            }
            let fresh = target.counter(&text).expect("short").tokens();
            prop_assert_eq!(fresh, counter.tokens(), "{} {:?}", name, &text);
        }
    }

    #[test]
    fn a_text_may_be_split_anywhere(text in any::<String>(), at in any::<prop::sample::Index>()) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (before, after) = text.split_at(*at.get(&places));
        for target in TARGETS.values() {
            let counter = target.counter(before).expect("short").with(after);
            prop_assert_eq!(counter.tokens(), target.count(&text).expect("short"));
        }
    }
}
