//! One rule a test, on pairs of prompts; and what must hold of any text.

use proptest::prelude::*;

use super::*;

/// What is lost, each as its kind and what.
fn losses(user_input: &str, adapted_prompt: &str) -> Vec<String> {
    let kept = ContentKept::of(user_input, adapted_prompt);
    let of = |(name, kept): (&str, &Kept)| -> Vec<String> {
        kept.lost.iter().map(|loss| format!("{name}: {}", loss.what)).collect()
    };
    kept.kinds().into_iter().flat_map(of).collect()
}

#[track_caller]
fn check(user_input: &str, adapted_prompt: &str, expected: &[&str]) {
    assert_eq!(losses(user_input, adapted_prompt), expected, "{user_input} -> {adapted_prompt}");
}

#[test]
fn objects_are_kept_by_themselves_by_their_like_and_by_what_is_more_specific() {
    check("a sofa", "a couch, 8k", &[]);
    check("a person", "a woman, 8k", &[]);
    check("a woman", "a person, 8k", &["objects: woman"]);
    check("a space suit", "a spacesuit", &[]);
    check("a cup of coffee", "a coffee cup", &[]);
    check("a coffee cup", "a cup of hot coffee", &[]);
    check("a fire truck", "a truck on fire", &["objects: fire truck"]);
    check("a mother raccoon", "raccoon mother", &[]);
    check("a photo of a dog", "a dog in front of a house", &[]);
    check("a cat", "cat portrait, oil painting", &[]);
    check("a cat", "a cat house", &["objects: cat"]);
    check("a street with cars", "a street without cars", &["objects: car"]);
}

#[test]
fn attributes_are_bound_to_their_object() {
    let both = ["attributes: red cube", "attributes: blue sphere"];
    check("a red cube on a blue sphere", "a blue cube on a red sphere", &both);
    check("a red cube on a blue sphere", "a blue sphere under a cube that is red", &[]);
    check("a red fox", "fox, red background", &["attributes: red fox"]);
    check("a red fox", "fox, red and fluffy", &[]);
    check("a red fox", "a fox with red fur", &[]);
    check("a red-haired woman", "a woman with red hair", &[]);
    check("a wooden table", "a table made of wood", &[]);
    check("a heart-shaped box", "a box in the shape of a heart", &[]);
    check("a snowy hill", "a hill covered in snow", &[]);
    check("an unlit candle", "a candle that is not lit", &[]);
    check("a beautiful cat", "a cat", &[]);
    // The loss of the cube is told with the objects.
    check("a red cube", "a sphere", &["objects: cube"]);
}

#[test]
fn additions_count_only_where_they_contradict() {
    check("a fox", "a red fox in the snow", &[]);
    check("a red fox", "a red and blue fox", &["attributes: red fox"]);
    check("a red fox", "a red fox on a blue sofa", &[]);
    check("a small dog and a big dog", "a big dog beside a small dog", &[]);
    check("cats", "five cats", &[]);
    check("a cat", "five cats", &["counts: a cat"]);
}

#[test]
fn counts_are_said_in_many_ways() {
    for kept in ["3 cats", "a trio of cats", "a group of three cats", "one grey cat and two black cats"] {
        check("three cats", kept, &[]);
    }
    for lost in ["cats", "four cats", "a cat", "several cats"] {
        check("three cats", lost, &["counts: three cats"]);
    }
    check("two dogs", "a pair of dogs", &[]);
    check("two dogs", "one black and one white dog", &[]);
    check("two people", "a man and a woman", &[]);
    check("a dozen eggs", "12 eggs", &[]);
    check("half a dozen eggs", "six eggs", &[]);
    check("a single rose", "a rose", &[]);
    check("a single rose", "roses", &["counts: a single rose"]);
    check("several boats", "a boat", &["counts: several boats"]);
    check("a four-legged robot", "a robot with four legs", &[]);
    check("cat", "cats", &[]);
    check("samurai", "a samurai", &[]);
}

#[test]
fn silent_counts_are_asked_for_only_when_broken() {
    assert_eq!(ContentKept::of("a cat", "a cat").counts.asked, 0);
    assert_eq!(ContentKept::of("a cat", "two cats").counts.asked, 1);
    assert_eq!(ContentKept::of("two cats", "two cats").counts, Kept { asked: 1, kept: 1, lost: vec![] });
}

#[test]
fn negations_are_kept_dropped_or_turned_around() {
    let kind = |user_input: &str, adapted_prompt: &str| {
        ContentKept::of(user_input, adapted_prompt).negations.lost.first().map(|loss| loss.kind)
    };
    for (user_input, adapted_prompt) in [
        ("a street without cars", "a street, no cars"),
        ("a street without cars", "a car-free street"),
        ("a city without people", "an empty city, nobody around"),
        ("a man not smiling", "an unsmiling man"),
        ("a man not wearing a hat", "a hatless man"),
        ("a tree without leaves", "a leafless tree"),
        ("a man without shoes", "a barefoot man"),
        ("cats instead of dogs", "cats, not dogs"),
    ] {
        assert_eq!(kind(user_input, adapted_prompt), None, "{user_input} -> {adapted_prompt}");
    }
    assert_eq!(kind("a street without cars", "a street, 8k"), Some(LossKind::Lost));
    assert_eq!(kind("a street without cars", "a street with cars"), Some(LossKind::TurnedAround));
    assert_eq!(kind("a man not smiling", "a smiling man"), Some(LossKind::TurnedAround));
    assert_eq!(ContentKept::of("no people or cars", "a field").negations.asked, 2);
}

#[test]
fn names_are_kept_whole_or_by_their_surname() {
    check("a cat by vincent van gogh", "a cat by Van Gogh", &[]);
    check("Barack Obama on a horse", "obama on a horse", &[]);
    check("the Golden Gate Bridge", "a bridge", &["names: Golden Gate Bridge"]);
    check("the flag of Japan", "Japanese flag", &[]);
    check("a sign 'Deep Learning'", "a sign reading \"deep learning\"", &[]);
    check("a sign 'Deep Learning'", "a sign 'Machine Learning'", &["names: Deep Learning"]);
    check("a diner in 1950", "a diner in 1980", &["names: 1950"]);
    check("art by greg rutkowski", "art by Greg Rutkowksi", &[]);
    check("spider-man on a roof", "spiderman on a roof", &[]);
}

#[test]
fn a_loss_says_what_is_there_instead() {
    let kept = ContentKept::of("a red cube on a blue sphere", "a green cube on a sphere");
    let loss = |kind, what: &str, instead: Option<&str>| Loss {
        kind,
        what: what.to_owned(),
        instead: instead.map(str::to_owned),
    };
    assert_eq!(
        kept.attributes.lost,
        [loss(LossKind::Changed, "red cube", Some("green cube")), loss(LossKind::Lost, "blue sphere", None)]
    );
    assert_eq!((kept.attributes.asked, kept.attributes.kept), (2, 0));
    assert_eq!(kept.share(), 2.0 / 4.0);
    assert!(!kept.is_kept());
    let written = serde_json::to_string(&kept).expect("plain data");
    assert!(written.contains(r#"{"kind":"changed","what":"red cube","instead":"green cube"}"#), "{written}");
    assert_eq!(serde_json::from_str::<ContentKept>(&written).expect("what was written"), kept);
}

#[test]
fn prompt_syntax_is_set_aside() {
    check("(red hat:1.2) <lora:ink:0.8> --ar 16:9", "a red hat, ink", &[]);
    check("a red hat", "((red)) [hat], <lora:ink:0.8>", &[]);
}

#[test]
fn nothing_asked_for_is_all_kept() {
    for text in ["", "   ", ",,,", "of the", "--ar 16:9", "!?"] {
        let kept = ContentKept::of(text, "a cat, 8k");
        assert!(kept.is_kept() && kept.share() == 1.0, "{text}");
    }
    assert!(ContentKept::of("a cat", " ").is_kept());
}

/// A prompt of words that the rules know, in an order that they need not.
fn prompt() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a", "the", "two", "three", "pair", "of", "red", "blue", "wooden", "big", "old", "cat", "dogs",
        "house", "woman", "hair", "with", "without", "no", "not", "smiling", "on", "in", "and", "is", "that",
        "made", "glass", "Paris", "1985", "'s", ",", ".", "-", "striped", "sitting", "playing", "several",
        "painting", "\"open\"",
    ]);
    prop::collection::vec(word, 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn a_prompt_keeps_itself(text in prompt()) {
        prop_assert!(ContentKept::of(&text, &text).is_kept(), "{text}: {:?}", losses(&text, &text));
    }

    #[test]
    fn appended_modifiers_lose_nothing(text in prompt(), n in 1_usize..4) {
        let modifiers = ["highly detailed", "trending on artstation", "sharp focus", "8k"];
        let adapted_prompt = format!("{text}, {}", modifiers[..n].join(", "));
        prop_assert!(ContentKept::of(&text, &adapted_prompt).is_kept(), "{text}: {:?}", losses(&text, &adapted_prompt));
    }

    #[test]
    fn case_and_closing_punctuation_do_not_matter(text in prompt(), other in prompt()) {
        prop_assume!(!other.trim().is_empty());
        let expected = ContentKept::of(&text, &other);
        for other in [other.to_lowercase(), format!("{other}."), format!(" {other} !"), other.replace(',', ";")] {
            let found = ContentKept::of(&text, &other);
            let lost = |kept: &ContentKept| kept.kinds().map(|(_, kept)| kept.kept);
            prop_assert_eq!(lost(&found), lost(&expected), "{} -> {}", text, other);
        }
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,60}", other in "\\PC{0,60}") {
        let kept = ContentKept::of(&text, &other);
        prop_assert!((0.0..=1.0).contains(&kept.share()));
        for (_, kept) in kept.kinds() {
            prop_assert_eq!(kept.kept + kept.lost.len(), kept.asked);
        }
    }
}
